//! Every text has its limit of `docs/PROTOCOL.md` §1, in UTF-16 code units, on both ways.

use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Message, Os, ParseError, ServerRegistration, utf16_len,
};

/// A body of message `id` around one text, whose length and bytes stand between `before` and `after`.
struct Field {
    id: u16,
    before: &'static [u8],
    after: &'static [u8],
    max_units: usize,
}

const fn field(id: u16, before: &'static [u8], after: &'static [u8], max_units: usize) -> Field {
    Field { id, before, after, max_units }
}

const FIELDS: &[Field] = &[
    field(18, b"", b"", 1800),
    field(24, &[0; 12], &[0; 2], 16),
    field(24, &[0; 14], b"", 20),
    field(25, &[0; 7], &[0; 2], 16),
    field(25, &[0; 9], b"", 20),
    field(29, &[0; 1], b"", 50),
    field(1004, &[0; 6], &[0; 4], 20),
    field(1004, &[0; 8], &[0; 2], 15),
    field(1004, &[0; 10], b"", 20),
    field(1006, &[0; 10], &[0; 4], 20),
    field(1006, &[0; 12], &[0; 2], 15),
    field(1006, &[0; 14], b"", 20),
    field(1011, &[0; 1], b"", 50),
    field(1013, &[0; 12], &[0; 2], 16),
    field(1013, &[0; 14], b"", 20),
    field(1017, &[0; 6], &[0; 7], 20),
    field(1017, &[0; 8], &[0; 5], 15),
    field(1017, &[0; 10], &[0; 3], 20),
    field(1017, &[0; 13], b"", 50),
    field(1021, b"", b"", 1800),
];

#[test]
fn texts_up_to_their_limit_are_taken_and_no_longer_ones() {
    let emoji = "\u{1F3B8}".as_bytes();
    for field in FIELDS {
        let max = field.max_units;
        let too_long = Err(ParseError::TextTooLong { max_units: max });
        assert_eq!(parse(field, &b"n".repeat(max)), Ok(()));
        assert_eq!(parse(field, &b"n".repeat(max + 1)), too_long);
        // Three bytes, one unit: bytes are not what counts.
        assert_eq!(parse(field, &"♪".as_bytes().repeat(max)), Ok(()));
        // Four bytes, two units: characters are not what counts either.
        assert_eq!(parse(field, &emoji.repeat(max / 2)), Ok(()));
        assert_eq!(parse(field, &emoji.repeat(max / 2 + 1)), too_long);
        // An invalid byte counts as the U+FFFD that it becomes.
        assert_eq!(parse(field, &[0xFF].repeat(max)), Ok(()));
        assert_eq!(parse(field, &[0xFF].repeat(max + 1)), too_long);
    }
}

#[test]
fn what_we_send_is_cut_so_that_peers_take_it() {
    let long = "é\u{1F3B8}".repeat(1000);
    let info = ChannelInfo { name: long.clone(), city: long.clone(), ..ChannelInfo::default() };
    let registration = ServerRegistration {
        internal_port: 0,
        country: 0,
        max_clients: 0,
        permanent: false,
        name: long.clone(),
        internal_address: long.clone(),
        city: long.clone(),
    };

    let mut body = Vec::new();
    Message::ChannelInfo(info).write_body(&mut body);
    let Ok(Message::ChannelInfo(info)) = Message::parse(25, &body) else { panic!("{body:?}") };
    assert_eq!((utf16_len(&info.name), utf16_len(&info.city)), (16, 19));

    body.clear();
    let message = ConnlessMessage::RegisterServerEx { registration, os: Os::LINUX, version: long };
    message.write_body(&mut body);
    let Ok(ConnlessMessage::RegisterServerEx { registration, version, .. }) =
        ConnlessMessage::parse(1017, &body)
    else {
        panic!("{body:?}")
    };
    assert_eq!((utf16_len(&registration.name), utf16_len(&registration.city)), (19, 19));
    assert_eq!((utf16_len(&registration.internal_address), utf16_len(&version)), (15, 49));
}

fn parse(field: &Field, text: &[u8]) -> Result<(), ParseError> {
    let length = u16::try_from(text.len()).expect("short texts").to_le_bytes();
    let body = [field.before, &length, text, field.after].concat();
    if jamulet::protocol::is_connless(field.id) {
        ConnlessMessage::parse(field.id, &body).map(drop)
    } else {
        Message::parse(field.id, &body).map(drop)
    }
}
