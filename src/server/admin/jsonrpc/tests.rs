//! Lines in, lines out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::stats::tests::busy;
use super::*;
use crate::server::command::{BanTarget, Command, CommandError, MAX_BAN, RecordCommand};
use crate::server::config::DirectoryChoice;
use crate::server::greeting::VERSION_TEXT;
use crate::units::ChannelId;
use std::time::Duration;

const SECRET: &str = "only-for-this-test";

/// A server that notes what it is asked and refuses on demand.
#[derive(Default)]
struct FakeServer {
    commands: Vec<Command>,
    refuses_with: Option<CommandError>,
    is_gone: bool,
    asked: usize,
    recording_refusal: String,
}

impl FakeServer {
    fn answer(&mut self, session: &mut Session, line: &[u8]) -> Reply {
        let (commands, refuses_with) = (&mut self.commands, &self.refuses_with);
        let (is_gone, asked) = (self.is_gone, std::cell::Cell::new(0));
        let mut execute = |command| {
            asked.set(asked.get() + 1);
            commands.push(command);
            if is_gone { Err(CommandError::Gone) } else { refuses_with.clone().map_or(Ok(()), Err) }
        };
        let mut status = || {
            asked.set(asked.get() + 1);
            if is_gone { Err(CommandError::Gone) } else { Ok(Box::new(busy())) }
        };
        let mut desk = Desk::new(&mut execute, &mut status, &mut self.recording_refusal);
        let reply = answer(session, line, &mut desk);
        self.asked += asked.get();
        reply
    }

    /// What a client that has authenticated is answered.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        let line = json!({ "id": 1, "method": method, "params": params }).to_string();
        let mut answer = parsed(&self.answer(&mut Session::new(None), line.as_bytes()));
        assert_eq!((answer["id"].take(), answer["jsonrpc"].take()), (json!(1), json!("2.0")));
        match answer["error"].take() {
            Value::Null => answer["result"].take(),
            error => error,
        }
    }

    /// The code of the error that it is answered.
    fn code(&mut self, method: &str, params: &Value) -> i64 {
        let answer = self.call(method, params);
        answer["code"].as_i64().unwrap_or_else(|| panic!("{method} {params} is answered {answer}"))
    }
}

fn parsed(reply: &Reply) -> Value {
    assert_eq!(reply.text.last(), Some(&b'\n'));
    assert_eq!(reply.text.iter().filter(|&&byte| byte == b'\n').count(), 1);
    serde_json::from_slice(&reply.text).unwrap()
}

fn session() -> Session {
    Session::new(Some(Arc::new(Secret::new(SECRET).unwrap())))
}

/// What is answered to lines said one after the other on a connection that begins as a stranger's.
fn dialogue(lines: &[&str]) -> Vec<(String, bool)> {
    let (mut session, mut server) = (session(), FakeServer::default());
    let mut said = Vec::new();
    for line in lines {
        let reply = server.answer(&mut session, line.as_bytes());
        said.push((String::from_utf8(reply.text).unwrap().trim_end().to_owned(), reply.close));
    }
    said
}

const AUTH: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/apiAuth","params":{"secret":"only-for-this-test"}}"#;

/// The right-hand sides are what Jamulus 3.9.1 answered, byte by byte.
#[test]
fn answers_are_those_of_a_stock_server() {
    let open = |text: &str| (text.to_owned(), false);
    let closed = |text: &str| (text.to_owned(), true);
    let said = dialogue(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/apiAuth","params":{"secret":"wrong"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/apiAuth","params":{"secret":5}}"#,
        r#"{"jsonrpc":"2.0","method":"jamulus/getVersion","params":{}}"#,
        AUTH,
        r#"{"jsonrpc":"2.0","id":"abc","method":"jamulus/getMode","params":{}}"#,
        r#"{"id":{"a":1},"method":"jamulus/getMode","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"jamulus/getMode","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5,"params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"no/such","params":{}}"#,
        "{}",
        "[{}]",
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulusserver/setServerName","params":{"serverName":5}}"#,
        "",
        "  \r",
        "[]",
        "5",
        "null",
        "garbage",
    ]);
    let expected = [
        open(
            r#"{"error":{"code":401,"message":"Unauthenticated: Please authenticate using jamulus/apiAuth first"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(r#"{"error":{"code":400,"message":"Authentication failed."},"id":1,"jsonrpc":"2.0"}"#),
        open(
            r#"{"error":{"code":-32602,"message":"Invalid params: secret is not a string"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(
            r#"{"error":{"code":401,"message":"Unauthenticated: Please authenticate using jamulus/apiAuth first"},"id":null,"jsonrpc":"2.0"}"#,
        ),
        open(r#"{"id":1,"jsonrpc":"2.0","result":"ok"}"#),
        open(r#"{"id":"abc","jsonrpc":"2.0","result":{"mode":"server"}}"#),
        open(r#"{"id":{"a":1},"jsonrpc":"2.0","result":{"mode":"server"}}"#),
        open(r#"{"id":null,"jsonrpc":"2.0","result":{"mode":"server"}}"#),
        open(
            r#"{"error":{"code":-32602,"message":"Invalid params: The `params` member is not an object"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(
            r#"{"error":{"code":-32602,"message":"Invalid params: The `params` member is not an object"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(
            r#"{"error":{"code":-32600,"message":"Invalid request: The `method` member is not a string"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(r#"{"error":{"code":-32601,"message":"Method not found"},"id":null,"jsonrpc":"2.0"}"#),
        open(
            r#"{"error":{"code":-32600,"message":"Invalid request: The `method` member is not a string"},"id":null,"jsonrpc":"2.0"}"#,
        ),
        open(
            r#"[{"error":{"code":-32600,"message":"Invalid request: The `method` member is not a string"},"id":null,"jsonrpc":"2.0"}]"#,
        ),
        open(
            r#"{"error":{"code":-32602,"message":"Invalid params: serverName is not a string"},"id":1,"jsonrpc":"2.0"}"#,
        ),
        open(r#"{"error":{"code":-32700,"message":"Parse error: Blank line received"},"jsonrpc":"2.0"}"#),
        open(r#"{"error":{"code":-32700,"message":"Parse error: Blank line received"},"jsonrpc":"2.0"}"#),
        closed(
            r#"{"error":{"code":-32600,"message":"Invalid request: Empty batch request encountered"},"jsonrpc":"2.0"}"#,
        ),
        closed(r#"{"error":{"code":-32700,"message":"Parse error: Invalid JSON received"},"jsonrpc":"2.0"}"#),
        closed(r#"{"error":{"code":-32700,"message":"Parse error: Invalid JSON received"},"jsonrpc":"2.0"}"#),
        closed(r#"{"error":{"code":-32700,"message":"Parse error: Invalid JSON received"},"jsonrpc":"2.0"}"#),
    ];
    for (line, (said, expected)) in said.iter().zip(&expected).enumerate() {
        assert_eq!(said, expected, "line {line}");
    }
    assert_eq!(said.len(), expected.len());
}

#[test]
fn a_batch_may_begin_with_the_secret_but_tries_only_one() {
    let mode = r#"{"id":2,"method":"jamulus/getMode","params":{}}"#;
    let batch = format!("[{AUTH},{mode},7]");
    let mut trusted = session();
    let reply = FakeServer::default().answer(&mut trusted, batch.as_bytes());
    assert_eq!(reply.calls, 3);
    let answers = parsed(&reply);
    assert_eq!((&answers[0]["result"], &answers[1]["result"]["mode"]), (&json!("ok"), &json!("server")));
    assert_eq!((&answers[2]["error"]["code"], &answers[2]["id"]), (&json!(-32600), &Value::Null));

    let wrong = AUTH.replace("only", "Only");
    let mut guesser = session();
    let reply = FakeServer::default().answer(&mut guesser, format!("[{wrong},{AUTH},{mode}]").as_bytes());
    assert!(reply.guessed_wrong && !guesser.is_authenticated());
    let codes: Vec<_> =
        parsed(&reply).as_array().unwrap().iter().map(|it| it["error"]["code"].clone()).collect();
    assert_eq!(codes, [json!(400), json!(400), json!(401)]);

    // A wrong secret takes back what a right one gave, as in Jamulus.
    FakeServer::default().answer(&mut trusted, wrong.as_bytes());
    assert!(!trusted.is_authenticated());
}

#[test]
fn batches_and_depth_have_limits() {
    let mut server = FakeServer::default();
    let many = format!("[{}]", vec!["{}"; MAX_BATCH + 1].join(","));
    let reply = server.answer(&mut Session::new(None), many.as_bytes());
    assert_eq!((parsed(&reply)["error"]["code"].clone(), reply.close), (json!(-32600), false));
    let deep = [vec![b'['; 30_000], vec![b']'; 30_000]].concat();
    let reply = server.answer(&mut Session::new(None), &deep);
    assert_eq!((parsed(&reply)["error"]["code"].clone(), reply.close), (json!(-32700), true));
    let long = answer_too_long();
    assert_eq!((parsed(&long)["error"]["code"].clone(), long.close), (json!(-32700), true));
}

#[test]
fn questions_are_answered_from_the_status() {
    let mut server = FakeServer::default();
    let none = json!({});
    assert_eq!(server.call("jamulus/getVersion", &none), json!({ "version": VERSION_TEXT }));
    assert_eq!(
        server.call("jamulusserver/getClients", &none),
        json!({
            "connections": 2,
            "clients": [
                {
                    "id": 0, "address": "192.0.2.7:22134", "name": "Ann", "jitterBufferSize": 4, "channels": 2,
                    "instrumentCode": 3, "city": "Leipzig", "countryName": "Germany", "skillLevelCode": 3,
                },
                {
                    "id": 7, "address": "[2001:db8::1]:5", "name": "", "jitterBufferSize": 6, "channels": 1,
                    "instrumentCode": 0, "city": "", "countryName": "", "skillLevelCode": 0,
                },
            ],
        })
    );
    assert_eq!(
        server.call("jamulusserver/getServerProfile", &none),
        json!({
            "name": "Cellar", "city": "Bonn", "countryId": 82, "welcomeMessage": "Hi", "directoryType": "none",
            "directoryAddress": "", "directory": "", "directoryServer": "",
            "registrationStatus": "not_registered",
        })
    );
    assert_eq!(
        server.call("jamulusserver/getRecorderStatus", &none),
        json!({ "initialised": true, "errorMessage": "", "enabled": true, "recordingDirectory": "" })
    );
    assert_eq!(server.call("jamulet/stats", &none)["clients"][0]["codec"], "OPUS64");
    assert_eq!(server.commands, []);
}

#[test]
fn calls_become_commands() {
    let channel = ChannelId(7);
    let text = |text: &str| text.to_owned();
    let directory = |address: &str| Command::SetDirectory(DirectoryChoice::Address(address.to_owned()));
    let ban = |whom, seconds| Command::Ban { whom, duration: Duration::from_secs(seconds) };
    let cases = [
        ("jamulusserver/setServerName", json!({ "serverName": "N" }), Command::SetName(text("N"))),
        (
            "jamulusserver/setWelcomeMessage",
            json!({ "welcomeMessage": "<b>" }),
            Command::SetWelcome(Some(text("<b>"))),
        ),
        ("jamulusserver/setWelcomeMessage", json!({ "welcomeMessage": "" }), Command::SetWelcome(None)),
        (
            "jamulusserver/setDirectory",
            json!({ "directoryType": "none" }),
            Command::SetDirectory(DirectoryChoice::None),
        ),
        (
            "jamulusserver/setDirectory",
            json!({ "directoryType": "genre_jazz", "directoryAddress": "" }),
            directory("jazz.jamulus.app:22324"),
        ),
        (
            "jamulusserver/setDirectory",
            json!({ "directoryType": "polka" }),
            directory("anygenre1.jamulus.app:22124"),
        ),
        (
            "jamulusserver/setDirectory",
            json!({ "directoryType": "custom", "directoryAddress": " d.example:1 " }),
            directory("d.example:1"),
        ),
        (
            "jamulusserver/broadcastChatMessage",
            json!({ "chatMessage": "<i>" }),
            Command::Broadcast(text("<i>")),
        ),
        (
            "jamulusserver/privateChatMessage",
            json!({ "chatMessage": "x", "id": 7 }),
            Command::Whisper { to: channel, text: text("x") },
        ),
        ("jamulet/kick", json!({ "id": 7 }), Command::Kick(channel)),
        ("jamulet/ban", json!({ "id": 7, "minutes": 1.5 }), ban(BanTarget::Client(channel), 90)),
        (
            "jamulet/ban",
            json!({ "address": "::ffff:192.0.2.1", "minutes": 0 }),
            ban(BanTarget::Address([192, 0, 2, 1].into()), 0),
        ),
        (
            "jamulet/ban",
            json!({ "id": 7, "minutes": 1e300 }),
            ban(BanTarget::Client(channel), MAX_BAN.as_secs()),
        ),
    ];
    let mut server = FakeServer::default();
    for (method, params, command) in cases {
        assert_eq!(server.call(method, &params), "ok", "{method} {params}");
        assert_eq!(server.commands.pop(), Some(command), "{method} {params}");
    }
    let recording = [
        ("jamulusserver/startRecording", json!({}), RecordCommand::Start),
        ("jamulusserver/stopRecording", json!({}), RecordCommand::Stop),
        ("jamulusserver/restartRecording", json!({}), RecordCommand::Restart),
        (
            "jamulusserver/setRecordingDirectory",
            json!({ "recordingDirectory": "/r" }),
            RecordCommand::SetDirectory("/r".into()),
        ),
    ];
    for (method, params, command) in recording {
        assert_eq!(server.call(method, &params), "acknowledged", "{method}");
        assert_eq!(server.commands.pop(), Some(Command::Record(command)), "{method}");
    }
}

#[test]
fn wrong_parameters_change_nothing() {
    let mut server = FakeServer::default();
    let too_long = "x".repeat(1601);
    for (method, params) in [
        ("jamulusserver/setServerName", json!({})),
        ("jamulusserver/setWelcomeMessage", json!({ "welcomeMessage": ["x"] })),
        ("jamulusserver/setDirectory", json!({ "directoryType": 1 })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "custom" })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "custom", "directoryAddress": " " })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "none", "directoryAddress": 5 })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "custom", "directoryAddress": "LocalHost" })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "custom", "directoryAddress": "127.0.0.1" })),
        ("jamulusserver/setDirectory", json!({ "directoryType": "custom", "directoryAddress": "two words" })),
        ("jamulusserver/broadcastChatMessage", json!({ "chatMessage": "" })),
        ("jamulusserver/privateChatMessage", json!({ "chatMessage": "", "id": 0 })),
        ("jamulusserver/privateChatMessage", json!({ "chatMessage": too_long, "id": 0 })),
        ("jamulusserver/privateChatMessage", json!({ "chatMessage": "x" })),
        ("jamulusserver/setRecordingDirectory", json!({ "recordingDirectory": null })),
        ("jamulet/kick", json!({ "id": "7" })),
        ("jamulet/kick", json!({ "id": -1 })),
        ("jamulet/kick", json!({ "id": 256 })),
        ("jamulet/ban", json!({ "minutes": 1 })),
        ("jamulet/ban", json!({ "id": 1 })),
        ("jamulet/ban", json!({ "id": 1, "minutes": -1 })),
        ("jamulet/ban", json!({ "id": 1, "address": "192.0.2.1", "minutes": 1 })),
        ("jamulet/ban", json!({ "address": "example.org", "minutes": 1 })),
    ] {
        assert_eq!(server.code(method, &params), -32602, "{method} {params}");
    }
    assert_eq!(server.commands, []);
}

#[test]
fn refusals_are_told_where_jamulus_tells_them() {
    let nobody = FakeServer { refuses_with: Some(CommandError::NoSuchClient(9)), ..FakeServer::default() };
    let mut server = nobody;
    let whisper = json!({ "chatMessage": "x", "id": 9 });
    assert_eq!(server.call("jamulusserver/privateChatMessage", &whisper), "invalid channel ID");
    let whisper = json!({ "chatMessage": "x", "id": 1000 });
    assert_eq!(server.call("jamulusserver/privateChatMessage", &whisper), "invalid channel ID");
    assert_eq!(server.code("jamulet/kick", &json!({ "id": 9 })), -32602);
    server.refuses_with = Some(CommandError::TooManyBans);
    assert_eq!(server.code("jamulet/ban", &json!({ "id": 9, "minutes": 1 })), -32603);
    server.refuses_with = Some(CommandError::IsDirectory);
    assert_eq!(server.code("jamulusserver/setDirectory", &json!({ "directoryType": "none" })), -32603);

    // Everything about recording is acknowledged, and its failure stands in the status until something works.
    server.refuses_with = Some(CommandError::NoRecorder);
    assert_eq!(server.call("jamulusserver/startRecording", &json!({})), "acknowledged");
    let told = |server: &mut FakeServer| {
        server.call("jamulusserver/getRecorderStatus", &json!({}))["errorMessage"].take()
    };
    assert_eq!(told(&mut server), CommandError::NoRecorder.to_string());
    server.refuses_with = None;
    assert_eq!(server.call("jamulusserver/startRecording", &json!({})), "acknowledged");
    assert_eq!(told(&mut server), "");
}

#[test]
fn a_server_that_is_gone_is_asked_once_a_line() {
    let mut server = FakeServer { is_gone: true, ..FakeServer::default() };
    let call = r#"{"id":1,"method":"jamulet/stats","params":{}}"#;
    let start = r#"{"id":1,"method":"jamulusserver/startRecording","params":{}}"#;
    let batch = format!("[{call},{start},{call}]");
    let answers = parsed(&server.answer(&mut Session::new(None), batch.as_bytes()));
    assert!(answers.as_array().unwrap().iter().all(|answer| answer["error"]["code"] == -32603), "{answers}");
    assert_eq!(server.asked, 1);
}

/// JSON that is nearly a call.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!(SECRET)),
        Just(json!({})),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (method(), inner.clone(), inner.clone())
                .prop_map(|(method, id, params)| json!({ "id": id, "method": method, "params": params })),
            (param(), inner.clone(), param(), inner).prop_map(|(a, one, b, two)| json!({ a: one, b: two })),
        ]
    })
}

fn method() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "jamulus/apiAuth",
        "jamulus/getMode",
        "jamulusserver/getClients",
        "jamulusserver/setDirectory",
        "jamulusserver/privateChatMessage",
        "jamulusserver/setRecordingDirectory",
        "jamulet/ban",
        "jamulet/kick",
        "jamulet/stats",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "\\PC{0,20}"]
}

fn param() -> impl Strategy<Value = String> {
    let known =
        vec!["secret", "id", "address", "minutes", "chatMessage", "directoryType", "params", "method"];
    prop::sample::select(known).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn whatever_is_said_is_answered_in_one_line(
        lines in prop::collection::vec(
            prop_oneof![
                value().prop_map(|value| value.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..60),
                "[\\[\\]{}\",:a-z0-9 ]{0,40}".prop_map(String::into_bytes),
            ],
            1..6,
        )
    ) {
        let (mut stranger, mut server) = (session(), FakeServer::default());
        for line in &lines {
            let was_trusted = stranger.is_authenticated();
            let asked = server.asked;
            let reply = server.answer(&mut stranger, line);
            let answer = parsed(&reply);
            prop_assert!(answer.is_object() || answer.is_array());
            prop_assert!(reply.calls >= 1);
            // Nobody is trusted who has not said the secret, and strangers never reach the server.
            let said_it = String::from_utf8_lossy(line).contains(SECRET);
            prop_assert!(was_trusted || said_it || (!stranger.is_authenticated() && server.asked == asked));
        }
    }
}
