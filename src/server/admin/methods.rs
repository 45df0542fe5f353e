//! What each call does (`docs/PROTOCOL.md` §7) and what it answers. Pure: the server is behind a [`Desk`].

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::jsonrpc::Failure;
use super::stats::{Stats, registration_name};
use crate::protocol::tables::country;
use crate::protocol::{ServerAddress, utf16_len};
use crate::server::command::{BanTarget, Command, CommandError, MAX_BAN, RecordCommand};
use crate::server::config::{DirectoryChoice, OwnDirectory};
use crate::server::directories::DirectoryKind;
use crate::server::greeting::VERSION_TEXT;
use crate::server::status::{ClientStatus, Status};
use crate::units::{BufferSize, ChannelId, MAX_CHAT_INPUT_UNITS};

/// What a stock server tells as a client's buffer until it knows: "auto". Source: Jamulus 3.9.1.
const AUTO_BUFFER_FRAMES: u8 = 6;
/// What a stock server tells as a client's channels until it knows. Source: Jamulus 3.9.1.
const UNTOLD_CHANNELS: usize = 1;

type Params = Map<String, Value>;
type Outcome = Result<Value, Failure>;

/// The running server, as calls see it.
pub(super) struct Desk<'a> {
    execute: &'a mut dyn FnMut(Command) -> Result<(), CommandError>,
    status: &'a mut dyn FnMut() -> Result<Box<Status>, CommandError>,
    /// Why the last word about recording was refused; empty when it was obeyed. Jamulus acknowledges
    /// every such call and tells the reason in `getRecorderStatus`.
    recording_refusal: &'a mut String,
    /// The server has stopped answering: nobody waits for it again during this line.
    is_gone: bool,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        execute: &'a mut dyn FnMut(Command) -> Result<(), CommandError>,
        status: &'a mut dyn FnMut() -> Result<Box<Status>, CommandError>,
        recording_refusal: &'a mut String,
    ) -> Self {
        Self { execute, status, recording_refusal, is_gone: false }
    }

    fn execute(&mut self, command: Command) -> Result<(), CommandError> {
        if self.is_gone {
            return Err(CommandError::Gone);
        }
        let outcome = (self.execute)(command);
        self.is_gone = outcome == Err(CommandError::Gone);
        outcome
    }

    fn status(&mut self) -> Result<Box<Status>, Failure> {
        let status = if self.is_gone { Err(CommandError::Gone) } else { (self.status)() };
        self.is_gone = status.is_err();
        status.map_err(|error| refusal(&error))
    }
}

/// Carries out `method`.
pub(super) fn call(method: &str, params: &Params, desk: &mut Desk<'_>) -> Outcome {
    match method {
        "jamulus/getMode" => Ok(json!({ "mode": "server" })),
        "jamulus/getVersion" => Ok(json!({ "version": VERSION_TEXT })),
        "jamulusserver/getClients" => Ok(clients(&*desk.status()?)),
        "jamulusserver/getRecorderStatus" => recorder_status(desk),
        "jamulusserver/getServerProfile" => Ok(server_profile(&*desk.status()?)),
        "jamulusserver/setServerName" => obey(desk, Command::SetName(text(params, "serverName")?.to_owned())),
        "jamulusserver/setWelcomeMessage" => {
            let welcome = text(params, "welcomeMessage")?;
            obey(desk, Command::SetWelcome((!welcome.is_empty()).then(|| welcome.to_owned())))
        }
        "jamulusserver/setDirectory" => set_directory(params, desk),
        "jamulusserver/broadcastChatMessage" => broadcast(params, desk),
        "jamulusserver/privateChatMessage" => whisper(params, desk),
        "jamulusserver/setRecordingDirectory" => {
            let folder = text(params, "recordingDirectory")?;
            record(desk, RecordCommand::SetDirectory(folder.into()))
        }
        "jamulusserver/startRecording" => record(desk, RecordCommand::Start),
        "jamulusserver/stopRecording" => record(desk, RecordCommand::Stop),
        "jamulusserver/restartRecording" => record(desk, RecordCommand::Restart),
        "jamulet/kick" => {
            let channel = channel(params)?.ok_or_else(unknown_client)?;
            obey(desk, Command::Kick(channel))
        }
        "jamulet/ban" => ban(params, desk),
        "jamulet/stats" => {
            let stats = Stats::from(&*desk.status()?);
            serde_json::to_value(stats).map_err(|error| Failure::internal(&error.to_string()))
        }
        _ => Err(Failure::method()),
    }
}

/// The text parameter `name`.
pub(super) fn text<'a>(params: &'a Params, name: &str) -> Result<&'a str, Failure> {
    let value = params.get(name).and_then(Value::as_str);
    value.ok_or_else(|| Failure::params(&format!("{name} is not a string")))
}

fn clients(status: &Status) -> Value {
    let clients: Vec<Value> = status.clients.iter().map(client).collect();
    json!({ "connections": clients.len(), "clients": clients })
}

fn client(client: &ClientStatus) -> Value {
    let info = client.info.clone().unwrap_or_default();
    let buffer = match (client.buffer_frames, client.buffer_size) {
        (0, BufferSize::Frames(frames)) => frames,
        (0, BufferSize::Auto) => AUTO_BUFFER_FRAMES,
        (frames, _) => frames,
    };
    json!({
        "id": client.channel.0,
        "address": client.address.to_string(),
        "name": info.name,
        "jitterBufferSize": buffer,
        "channels": client.layout.map_or(UNTOLD_CHANNELS, |layout| layout.format.layout.channels()),
        "instrumentCode": info.instrument,
        "city": info.city,
        "countryName": country(info.country).map_or("", |country| country.name),
        "skillLevelCode": info.skill.0,
    })
}

fn recorder_status(desk: &mut Desk<'_>) -> Outcome {
    let recorder = desk.status()?.recorder;
    let error = if recorder.error.is_empty() { desk.recording_refusal.clone() } else { recorder.error };
    Ok(json!({
        "initialised": recorder.is_available,
        "errorMessage": error,
        "enabled": recorder.is_enabled,
        "recordingDirectory": recorder.directory,
    }))
}

fn server_profile(status: &Status) -> Value {
    let directory = &status.directory.address;
    let kind = match directory.as_str() {
        "" => DirectoryKind::None,
        address => DirectoryKind::of(&DirectoryChoice::Address(address.to_owned())),
    };
    json!({
        "name": status.profile.name,
        "city": status.profile.city,
        "countryId": status.profile.country,
        "welcomeMessage": status.welcome,
        "directoryType": kind.name(),
        "directoryAddress": if kind == DirectoryKind::Custom { directory } else { "" },
        "directory": directory,
        // Its name in 3.9.1.
        "directoryServer": directory,
        "registrationStatus": registration_name(status.directory.registration),
    })
}

fn set_directory(params: &Params, desk: &mut Desk<'_>) -> Outcome {
    let kind = DirectoryKind::parse(text(params, "directoryType")?);
    let address = params.get("directoryAddress").map(|_| text(params, "directoryAddress")).transpose()?;
    let address = match kind {
        DirectoryKind::Custom => address.map(str::trim).filter(|address| !address.is_empty()),
        public => public.address(),
    };
    let choice = match (kind, address) {
        (_, Some(address)) => {
            check_directory(address)?;
            DirectoryChoice::Address(address.to_owned())
        }
        (DirectoryKind::Custom, None) => {
            return Err(Failure::params("a custom directory needs a directoryAddress"));
        }
        (_, None) => DirectoryChoice::None,
    };
    obey(desk, Command::SetDirectory(choice))
}

fn check_directory(address: &str) -> Result<(), Failure> {
    if OwnDirectory::is_meant_by(address) {
        let what = "only --directoryaddress at the start makes a server its own directory";
        return Err(Failure::params(what));
    }
    match address.parse::<ServerAddress>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::params(&error.to_string())),
    }
}

fn broadcast(params: &Params, desk: &mut Desk<'_>) -> Outcome {
    let message = text(params, "chatMessage")?;
    if message.is_empty() {
        return Err(Failure::params("chatMessage is empty"));
    }
    obey(desk, Command::Broadcast(message.to_owned()))
}

fn whisper(params: &Params, desk: &mut Desk<'_>) -> Outcome {
    let message = text(params, "chatMessage")?;
    let channel = channel(params)?;
    if !(1..=MAX_CHAT_INPUT_UNITS).contains(&utf16_len(message)) {
        let what = format!("chatMessage must have 1 to {MAX_CHAT_INPUT_UNITS} characters");
        return Err(Failure::params(&what));
    }
    let channel = channel.ok_or(Failure::InvalidChannel)?;
    match desk.execute(Command::Whisper { to: channel, text: message.to_owned() }) {
        Err(CommandError::NoSuchClient(_)) => Err(Failure::InvalidChannel),
        outcome => told(outcome),
    }
}

fn record(desk: &mut Desk<'_>, command: RecordCommand) -> Outcome {
    *desk.recording_refusal = match desk.execute(Command::Record(command)) {
        Err(CommandError::Gone) => return Err(refusal(&CommandError::Gone)),
        outcome => outcome.err().map(|error| error.to_string()).unwrap_or_default(),
    };
    Ok(json!("acknowledged"))
}

fn ban(params: &Params, desk: &mut Desk<'_>) -> Outcome {
    let whom = match (params.get("id"), params.get("address")) {
        (Some(_), None) => BanTarget::Client(channel(params)?.ok_or_else(unknown_client)?),
        (None, Some(_)) => {
            let address: Result<IpAddr, _> = text(params, "address")?.parse();
            let address = address.map_err(|_| Failure::params("address is not an IP address"))?;
            BanTarget::Address(address.to_canonical())
        }
        _ => return Err(Failure::params("either id or address says whom to ban")),
    };
    let minutes = params.get("minutes").and_then(Value::as_f64).filter(|minutes| *minutes >= 0.0);
    let minutes = minutes.ok_or_else(|| Failure::params("minutes is not a number from 0 up"))?;
    let duration = Duration::try_from_secs_f64(minutes * 60.0).map_or(MAX_BAN, |ban| ban.min(MAX_BAN));
    obey(desk, Command::Ban { whom, duration })
}

/// The slot named by `id`; `None` when no server has so many.
fn channel(params: &Params) -> Result<Option<ChannelId>, Failure> {
    let Some(Value::Number(id)) = params.get("id") else {
        return Err(Failure::params("id is not a number"));
    };
    Ok(id.as_u64().and_then(|id| u8::try_from(id).ok()).map(ChannelId))
}

fn obey(desk: &mut Desk<'_>, command: Command) -> Outcome {
    told(desk.execute(command))
}

fn told(outcome: Result<(), CommandError>) -> Outcome {
    outcome.map(|()| json!("ok")).map_err(|error| refusal(&error))
}

fn refusal(error: &CommandError) -> Failure {
    match error {
        CommandError::NoSuchClient(_) | CommandError::BadText => Failure::params(&error.to_string()),
        _ => Failure::internal(&error.to_string()),
    }
}

fn unknown_client() -> Failure {
    Failure::params("There is no such client.")
}
