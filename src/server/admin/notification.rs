//! What JSON-RPC clients are told without asking (`docs/PROTOCOL.md` §7).

use serde_json::json;

use super::jsonrpc::notification;
use crate::server::event::Event;

/// The id of chat lines that an admin wrote.
const FROM_ADMIN: i16 = -1;

/// `event` as a line; `None` for what is not told.
pub(super) fn line(event: &Event) -> Option<Vec<u8>> {
    let (method, params) = match event {
        Event::Chat { channel, line } => {
            let id = channel.map_or(FROM_ADMIN, |channel| channel.0.into());
            ("jamulusserver/chatMessageReceived", json!({ "id": id, "chatMessage": line }))
        }
        Event::Connected { channel, address, clients } => (
            "jamulusserver/clientConnected",
            json!({ "id": channel.0, "address": address.ip().to_string(), "totalChannels": clients }),
        ),
        Event::Left { channel, .. } => ("jamulusserver/clientDisconnected", json!({ "id": channel.0 })),
        Event::Joined { .. }
        | Event::Renamed { .. }
        | Event::Directory(_)
        | Event::ListNotSaved { .. }
        | Event::Recorder(_)
        | Event::RecorderWarning(_) => return None,
    };
    Some(notification(method, &params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::event::LeaveReason;
    use crate::units::ChannelId;

    fn told(event: &Event) -> String {
        String::from_utf8(line(event).unwrap()).unwrap()
    }

    #[test]
    fn notifications_look_like_a_stock_servers() {
        let (channel, address) = (ChannelId(3), "192.0.2.7:22134".parse().unwrap());
        assert_eq!(
            told(&Event::Connected { channel, address, clients: 2 }),
            "{\"jsonrpc\":\"2.0\",\"method\":\"jamulusserver/clientConnected\",\
             \"params\":{\"address\":\"192.0.2.7\",\"id\":3,\"totalChannels\":2}}\n"
        );
        assert_eq!(
            told(&Event::Left { channel, address, name: None, reason: LeaveReason::Kicked }),
            "{\"jsonrpc\":\"2.0\",\"method\":\"jamulusserver/clientDisconnected\",\"params\":{\"id\":3}}\n"
        );
        assert_eq!(
            told(&Event::Chat { channel: None, line: "<b>\n\"".to_owned() }),
            "{\"jsonrpc\":\"2.0\",\"method\":\"jamulusserver/chatMessageReceived\",\
             \"params\":{\"chatMessage\":\"<b>\\n\\\"\",\"id\":-1}}\n"
        );
        assert_eq!(line(&Event::Renamed { channel, name: String::new() }), None);
    }
}
