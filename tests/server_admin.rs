//! JSON-RPC, the local socket and the metrics of a running server, over real connections.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "admins of a real server need real sockets and patience")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use jamulet::protocol::{ChannelInfo, ConnlessMessage, Datagram, Message, classify, write_frame};
use jamulet::server::admin::{
    AdminError, MetricsServer, RpcOptions, RpcServer, Secret, Stats, StatusClient, StatusError, StatusSource,
};
use jamulet::server::{Config, DropReason, Options, Server};
use serde_json::{Value, json};

/// Fails a broken server's test instead of hanging; no working one comes near it.
const PATIENCE: Duration = Duration::from_secs(25);
/// Stopping takes less than a second; a busy machine may need longer, but waiting for any client would take ten.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
const SECRET: &str = "only-for-this-test";

fn server() -> Server {
    let config = Config { welcome: Some("Hello".to_owned()), ..Config::default() };
    Server::start(Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() })
        .unwrap()
}

fn rpc(server: &Server) -> RpcServer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    RpcServer::start(RpcOptions { address, secret: Secret::new(SECRET).unwrap() }, server.handle()).unwrap()
}

/// Passes on everything that has happened, as the program does.
fn pass_on(server: &Server, rpc: &RpcServer, events: usize) {
    for _ in 0..events {
        rpc.notify(&server.events().recv_timeout(PATIENCE).unwrap());
    }
}

/// A JSON-RPC client.
struct Admin<S: Read + Write>(BufReader<S>);

impl Admin<TcpStream> {
    /// A connection that has said nothing.
    fn stranger(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn new(address: SocketAddr) -> Self {
        let mut admin = Self::stranger(address);
        assert_eq!(admin.call("jamulus/apiAuth", json!({ "secret": SECRET })), "ok");
        admin
    }
}

impl<S: Read + Write> Admin<S> {
    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; `None` when the connection is closed.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// The next whole line; `None` at the end, however it comes.
    fn hear_all_or_nothing(&mut self) -> Option<()> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).ok().filter(|_| line.ends_with(b"\n")).map(|_| ())
    }

    /// The result, or the error.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.say(&json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params }).to_string());
        let mut answer = self.hear().expect("an open connection");
        assert_eq!(answer["id"], 5, "{answer}");
        let part = if answer["error"].is_null() { "result" } else { "error" };
        answer[part].take()
    }

    fn code(&mut self, method: &str, params: Value) -> i64 {
        self.call(method, params)["code"].as_i64().unwrap()
    }
}

/// A client of the session that has told its name.
struct Musician(UdpSocket);

impl Musician {
    fn join(server: SocketAddr, name: &str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"x").unwrap();
        let musician = Self(socket);
        let info = ChannelInfo { name: name.to_owned(), city: "Bonn".to_owned(), ..ChannelInfo::default() };
        musician.tell(0, &Message::ChannelInfo(info));
        musician
    }

    fn tell(&self, counter: u8, message: &Message) {
        let (mut body, mut datagram) = (Vec::new(), Vec::new());
        message.write_body(&mut body);
        write_frame(message.id(), counter, &body, &mut datagram);
        self.0.send(&datagram).unwrap();
    }

    /// Acknowledges everything until `wanted` arrives.
    fn wait_for<T>(&self, mut wanted: impl FnMut(&Frame<'_>) -> Option<T>) -> T {
        let mut buffer = [0; 20_000];
        loop {
            let length = self.0.recv(&mut buffer).unwrap();
            let Datagram::Frame(frame) = classify(&buffer[..length]) else { continue };
            if frame.id < 1000 && frame.id != 1 {
                let mut datagram = Vec::new();
                write_frame(1, frame.counter, &frame.id.to_le_bytes(), &mut datagram);
                self.0.send(&datagram).unwrap();
            }
            if let Some(found) = wanted(&Frame { id: frame.id, body: frame.body }) {
                return found;
            }
        }
    }

    fn next_chat(&self) -> String {
        self.wait_for(|frame| match Message::parse(frame.id, frame.body) {
            Ok(Message::ChatText(text)) => Some(text),
            _ => None,
        })
    }

    fn wait_for_dismissal(&self) {
        let farewell = ConnlessMessage::Disconnection.id();
        self.wait_for(|frame| (frame.id == farewell).then_some(()));
    }
}

struct Frame<'a> {
    id: u16,
    body: &'a [u8],
}

/// Asks again and again until `wanted` is true of the answer.
fn eventually(mut ask: impl FnMut() -> Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it stays {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_call_does_what_it_says() {
    let server = server();
    let rpc = rpc(&server);
    let mut admin = Admin::new(rpc.local_addr());
    let none = || json!({});

    assert_eq!(admin.call("jamulus/getMode", none()), json!({ "mode": "server" }));
    assert!(admin.call("jamulus/getVersion", none())["version"].as_str().unwrap().starts_with("4.0.0"));
    assert_eq!(admin.call("jamulusserver/getClients", none()), json!({ "clients": [], "connections": 0 }));

    assert_eq!(admin.call("jamulusserver/setServerName", json!({ "serverName": "Cellar" })), "ok");
    let welcome = json!({ "welcomeMessage": "<b>Hi</b>" });
    assert_eq!(admin.call("jamulusserver/setWelcomeMessage", welcome), "ok");
    let profile = admin.call("jamulusserver/getServerProfile", none());
    assert_eq!((&profile["name"], &profile["welcomeMessage"]), (&json!("Cellar"), &json!("<b>Hi</b>")));
    assert_eq!(
        (&profile["directoryType"], &profile["registrationStatus"]),
        (&json!("none"), &json!("not_registered"))
    );

    let ann = Musician::join(server.local_addr(), "Ann");
    assert!(ann.next_chat().ends_with("<b>Hi</b>"));
    let clients =
        eventually(|| admin.call("jamulusserver/getClients", none()), |it| it["clients"][0]["name"] == "Ann");
    assert_eq!(clients["connections"], 1);
    assert_eq!(clients["clients"][0]["address"], ann.0.local_addr().unwrap().to_string());
    assert_eq!(clients["clients"][0]["city"], "Bonn");

    assert_eq!(
        admin.call("jamulusserver/broadcastChatMessage", json!({ "chatMessage": "<i>all</i>" })),
        "ok"
    );
    assert_eq!(ann.next_chat(), "<i>all</i>");
    let whisper = json!({ "chatMessage": "psst", "id": clients["clients"][0]["id"] });
    assert_eq!(admin.call("jamulusserver/privateChatMessage", whisper), "ok");
    assert_eq!(ann.next_chat(), "psst");
    let nobody = json!({ "chatMessage": "psst", "id": 77 });
    assert_eq!(admin.call("jamulusserver/privateChatMessage", nobody), "invalid channel ID");

    assert_eq!(admin.call("jamulusserver/setDirectory", json!({ "directoryType": "none" })), "ok");
    assert_eq!(admin.code("jamulusserver/setDirectory", json!({ "directoryType": "custom" })), -32602);

    // Without a recorder everything is acknowledged and nothing happens.
    for call in ["startRecording", "restartRecording", "stopRecording"] {
        assert_eq!(admin.call(&format!("jamulusserver/{call}"), none()), "acknowledged");
    }
    let folder = json!({ "recordingDirectory": "/proc/none" });
    assert_eq!(admin.call("jamulusserver/setRecordingDirectory", folder), "acknowledged");
    let recorder = admin.call("jamulusserver/getRecorderStatus", none());
    assert_eq!((&recorder["initialised"], &recorder["enabled"]), (&json!(false), &json!(false)));
    assert_ne!(recorder["errorMessage"], "");

    let stats: Stats = serde_json::from_value(admin.call("jamulet/stats", none())).unwrap();
    assert_eq!((stats.clients.len(), stats.clients[0].name.as_deref()), (1, Some("Ann")));

    assert_eq!(admin.code("jamulet/kick", json!({ "id": 77 })), -32602);
    assert_eq!(admin.call("jamulet/kick", json!({ "id": clients["clients"][0]["id"] })), "ok");
    ann.wait_for_dismissal();
    assert_eq!(admin.call("jamulusserver/getClients", none())["connections"], 0);
}

#[test]
fn a_banned_address_stays_out_until_the_ban_is_lifted() {
    let server = server();
    let rpc = rpc(&server);
    let mut admin = Admin::new(rpc.local_addr());
    let ann = Musician::join(server.local_addr(), "Ann");
    let clients =
        eventually(|| admin.call("jamulusserver/getClients", json!({})), |answer| answer["connections"] == 1);
    let id = clients["clients"][0]["id"].clone();
    assert_eq!(admin.call("jamulet/ban", json!({ "id": id, "minutes": 5 })), "ok");
    ann.wait_for_dismissal();
    let stats = admin.call("jamulet/stats", json!({}));
    assert_eq!(stats["bans"][0]["address"], "127.0.0.1");
    let left = stats["bans"][0]["secondsLeft"].as_f64().unwrap();
    assert!((240.0..=300.0).contains(&left), "{left}");

    let banned = |stats: &Value| {
        let dropped = stats["droppedDatagrams"].as_array().unwrap().iter();
        dropped
            .filter(|it| it["reason"] == DropReason::Banned.name())
            .map(|it| it["count"].as_u64().unwrap())
            .sum()
    };
    let before: u64 = banned(&stats);
    let _again = Musician::join(server.local_addr(), "Ann");
    let stats = eventually(|| admin.call("jamulet/stats", json!({})), |stats| banned(stats) > before);
    assert_eq!(stats["clients"], json!([]));

    assert_eq!(admin.call("jamulet/ban", json!({ "address": "127.0.0.1", "minutes": 0 })), "ok");
    let _back = Musician::join(server.local_addr(), "Ann");
    eventually(|| admin.call("jamulusserver/getClients", json!({})), |answer| answer["connections"] == 1);
}

#[test]
fn strangers_are_refused_and_guessing_becomes_slow() {
    let server = server();
    let rpc = rpc(&server);
    let mut stranger = Admin::stranger(rpc.local_addr());
    assert_eq!(stranger.code("jamulusserver/getClients", json!({})), 401);
    assert_eq!(stranger.code("jamulet/kick", json!({ "id": 0 })), 401);
    let start = Instant::now();
    for _ in 0..2 {
        // From one address, over many connections as over one.
        for admin in [&mut stranger, &mut Admin::stranger(rpc.local_addr())] {
            assert_eq!(admin.code("jamulus/apiAuth", json!({ "secret": "only-for-this-tesT" })), 400);
        }
    }
    // 100, 200 and 400 ms between the four, and 800 ms before the right one.
    assert_eq!(stranger.call("jamulus/apiAuth", json!({ "secret": SECRET })), "ok");
    assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
    assert_eq!(stranger.call("jamulus/getMode", json!({}))["mode"], "server");
}

#[test]
fn nonsense_closes_its_own_connection_and_no_other() {
    let server = server();
    let rpc = rpc(&server);
    let mut admin = Admin::new(rpc.local_addr());
    for nonsense in ["garbage", "{\"id\":1", "GET / HTTP/1.1\r", "\u{0}\u{1}", "5"] {
        let mut other = Admin::new(rpc.local_addr());
        other.say(nonsense);
        assert_eq!(other.hear().unwrap()["error"]["code"], -32700, "{nonsense:?}");
        assert!(other.hear().is_none(), "{nonsense:?}");
    }
    // An empty line is no reason to hang up, nor is a half line, however long it waits.
    admin.say("");
    assert_eq!(admin.hear().unwrap()["error"]["code"], -32700);
    admin.0.get_mut().write_all(b"{\"id\":1,\"method\":\"jamulus/get").unwrap();
    let mut other = Admin::new(rpc.local_addr());
    assert_eq!(other.call("jamulus/getMode", json!({}))["mode"], "server");
    admin.say("Mode\",\"params\":{}}");
    assert_eq!(admin.hear().unwrap()["result"]["mode"], "server");
}

#[test]
fn a_line_of_ten_megabytes_is_cut_off() {
    let server = server();
    let rpc = rpc(&server);
    let before = resident_bytes();
    for number in 0..16 {
        let is_trusted = number % 2 == 0;
        let mut admin =
            if is_trusted { Admin::new(rpc.local_addr()) } else { Admin::stranger(rpc.local_addr()) };
        let chunk = [b'x'; 10_000];
        let mut sent = 0;
        // Written in full only if somebody reads it all.
        let cut_off = (0..1000).any(|_| {
            sent += chunk.len();
            admin.0.get_mut().write_all(&chunk).is_err()
        });
        // Either the rest was refused, or it is thrown away until the answer has been read.
        assert!(cut_off || sent == 10_000_000);
        match admin.0.fill_buf() {
            Ok([]) | Err(_) => {}
            Ok(_) => assert_eq!(admin.hear().unwrap()["error"]["code"], -32700),
        }
        assert!(!matches!(admin.0.read(&mut [0; 10]), Ok(1..)));
    }
    // 160 MB were offered; the other tests in this process need a few.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 60_000_000, "{grown} bytes");
    let mut admin = Admin::new(rpc.local_addr());
    assert_eq!(admin.call("jamulus/getMode", json!({}))["mode"], "server");
}

/// Memory of this process, where the system tells it so simply; else 0.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

#[test]
fn batches_are_answered_in_order_and_in_one_line() {
    let server = server();
    let rpc = rpc(&server);
    let mut stranger = Admin::stranger(rpc.local_addr());
    let call = |id: u32, method: &str, params: Value| json!({ "id": id, "method": method, "params": params });
    let batch = json!([
        call(1, "jamulus/getMode", json!({})),
        call(2, "jamulus/apiAuth", json!({ "secret": SECRET })),
        call(3, "jamulus/getMode", json!({})),
        call(4, "no/such", json!({})),
    ]);
    stranger.say(&batch.to_string());
    let answers = stranger.hear().unwrap();
    let ids: Vec<u64> =
        answers.as_array().unwrap().iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(answers[0]["error"]["code"], 401);
    assert_eq!((&answers[1]["result"], &answers[2]["result"]["mode"]), (&json!("ok"), &json!("server")));
    assert_eq!(answers[3]["error"]["code"], -32601);
    stranger.say("[]");
    assert_eq!(stranger.hear().unwrap()["error"]["code"], -32600);
    assert!(stranger.hear().is_none());
}

#[test]
fn news_come_in_order_to_those_who_have_authenticated() {
    let server = server();
    let rpc = rpc(&server);
    let mut admin = Admin::new(rpc.local_addr());
    let mut stranger = Admin::stranger(rpc.local_addr());
    assert_eq!(stranger.code("jamulus/getMode", json!({})), 401);

    let ann = Musician::join(server.local_addr(), "Ann");
    // Connected and joined.
    pass_on(&server, &rpc, 2);
    let connected = admin.hear().unwrap();
    assert_eq!(
        connected,
        json!({ "jsonrpc": "2.0", "method": "jamulusserver/clientConnected",
                "params": { "id": 0, "address": "127.0.0.1", "totalChannels": 1 } })
    );
    ann.tell(1, &Message::ChatText("hi <all>".to_owned()));
    pass_on(&server, &rpc, 1);
    let chat = admin.hear().unwrap();
    assert_eq!(
        (&chat["method"], &chat["params"]["id"]),
        (&json!("jamulusserver/chatMessageReceived"), &json!(0))
    );
    let line = chat["params"]["chatMessage"].as_str().unwrap();
    assert!(line.ends_with("<b>Ann</b></font> hi &lt;all&gt;"), "{line}");

    assert_eq!(admin.call("jamulusserver/broadcastChatMessage", json!({ "chatMessage": "<u>x</u>" })), "ok");
    ann.0.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    pass_on(&server, &rpc, 2);
    assert_eq!(admin.hear().unwrap()["params"], json!({ "id": -1, "chatMessage": "<u>x</u>" }));
    let gone = admin.hear().unwrap();
    assert_eq!(
        (&gone["method"], &gone["params"]),
        (&json!("jamulusserver/clientDisconnected"), &json!({ "id": 0 }))
    );

    // The stranger has heard nothing of all that.
    assert_eq!(stranger.code("jamulus/getMode", json!({})), 401);
}

#[test]
fn crowds_of_strangers_keep_nobody_out() {
    let server = server();
    let rpc = rpc(&server);
    let mut early = Admin::new(rpc.local_addr());
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(rpc.local_addr()).unwrap()).collect();
    let mut late = Admin::new(rpc.local_addr());
    for admin in [&mut early, &mut late] {
        assert_eq!(admin.call("jamulus/getMode", json!({}))["mode"], "server");
    }
    // Those who came first had to give way.
    crowd[0].set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!((&crowd[0]).read(&mut [0; 1]), Ok(1..)));
}

/// What a reader does not take is bounded: whoever only asks is not listened to any more, and whoever takes no news
/// is dropped in the end.
#[test]
fn those_who_never_read_are_dropped_and_others_do_not_wait() {
    let server = server();
    let rpc = rpc(&server);
    let mut deaf = Admin::new(rpc.local_addr());
    let mut admin = Admin::new(rpc.local_addr());
    // News that would fill any buffer of the system's; nobody but the deaf one is behind.
    let event = jamulet::server::Event::Chat { channel: None, line: "x".repeat(100_000) };
    for _ in 0..300 {
        rpc.notify(&event);
        assert_eq!(admin.hear().unwrap()["params"]["id"], -1);
    }
    assert_eq!(admin.call("jamulus/getMode", json!({}))["mode"], "server");
    // What the system had taken still comes, and then the end: not all 300.
    let heard = std::iter::from_fn(|| deaf.hear_all_or_nothing()).count();
    assert!(heard < 300, "{heard}");
}

#[test]
fn stopping_takes_no_time_whatever_clients_do() {
    let server = server();
    let rpc = rpc(&server);
    let address = rpc.local_addr();
    let mut admins: Vec<_> = (0..5).map(|_| Admin::new(address)).collect();
    let _silent = TcpStream::connect(address).unwrap();
    // One asks and asks and never reads; one has said half a line.
    let question = format!("{}\n", json!({ "id": 1, "method": "jamulet/stats", "params": {} }));
    admins[0].0.get_ref().set_nonblocking(true).unwrap();
    while admins[0].0.get_mut().write_all(question.as_bytes()).is_ok() {}
    admins[1].0.get_mut().write_all(b"{").unwrap();
    let start = Instant::now();
    rpc.stop();
    assert!(start.elapsed() < STOPS_WITHIN, "{:?}", start.elapsed());
    assert!(admins[2].hear().is_none());
    let again =
        RpcServer::start(RpcOptions { address, secret: Secret::new(SECRET).unwrap() }, server.handle());
    assert_eq!(again.unwrap().local_addr(), address);
}

#[test]
fn a_port_in_use_is_said_in_a_sentence() {
    let server = server();
    let first = rpc(&server);
    let taken = first.local_addr();
    let error = MetricsServer::start(taken, server.handle()).err().unwrap();
    assert!(matches!(error, AdminError::PortInUse { address, .. } if address == taken));
    assert!(error.to_string().contains(&taken.port().to_string()), "{error}");
    // Reserved for documentation (RFC 5737).
    let foreign = MetricsServer::start("203.0.113.9:0".parse().unwrap(), server.handle()).err().unwrap();
    assert!(foreign.to_string().contains("203.0.113.9 is not an address"), "{foreign}");
}

#[test]
fn the_status_client_gets_what_the_server_knows() {
    let server = server();
    let rpc = rpc(&server);
    let _ann = Musician::join(server.local_addr(), "Ann");
    let source =
        |secret: &str| StatusSource::Rpc { address: rpc.local_addr(), secret: Secret::new(secret).unwrap() };
    let mut client = StatusClient::connect(&source(SECRET)).unwrap();
    let mut stats = client.fetch().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while stats.clients.first().is_none_or(|client| client.name.is_none()) {
        assert!(Instant::now() < deadline);
        // News between question and answer do not disturb.
        if let Ok(event) = server.events().try_recv() {
            rpc.notify(&event);
        }
        stats = client.fetch().unwrap();
    }
    assert_eq!(stats.clients[0].name.as_deref(), Some("Ann"));
    let shown = jamulet::server::admin::render(&stats, &"2026-03-01T12:00:00[UTC]".parse().unwrap());
    assert!(shown.contains("1 of 10 musicians") && shown.contains("  Ann  "), "{shown}");

    let wrong = StatusClient::connect(&source("something-different")).err().unwrap();
    assert!(matches!(wrong, StatusError::WrongSecret), "{wrong}");
    let address = rpc.local_addr();
    rpc.stop();
    assert!(matches!(client.fetch(), Err(StatusError::Connection(_))));
    let gone = StatusClient::connect(&StatusSource::Rpc { address, secret: Secret::new(SECRET).unwrap() });
    assert!(matches!(gone, Err(StatusError::NoRpc(_))));
}

/// A server that has stopped is no longer healthy, and admins are told.
#[test]
fn a_stopped_server_is_told_apart_from_a_running_one() {
    let server = server();
    let rpc = rpc(&server);
    let metrics = MetricsServer::start((Ipv4Addr::LOCALHOST, 0).into(), server.handle()).unwrap();
    let mut admin = Admin::new(rpc.local_addr());
    let health = |metrics: &MetricsServer| get(metrics.local_addr(), "GET /healthz HTTP/1.1\r\n\r\n");
    assert!(health(&metrics).starts_with("HTTP/1.1 200 OK\r\n"));
    server.stop();
    assert!(health(&metrics).starts_with("HTTP/1.1 503 "));
    assert_eq!(admin.code("jamulet/stats", json!({})), -32603);
}

/// Everything that is answered to `request` until the connection is closed.
fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[cfg(unix)]
mod console {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use jamulet::server::admin::LocalConsole;

    use super::*;

    fn admin(path: &Path) -> Admin<UnixStream> {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Admin(BufReader::new(stream))
    }

    #[test]
    fn the_local_socket_is_for_its_owner_and_needs_no_secret() {
        let server = server();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("folder/1.sock");
        let console = LocalConsole::start(&path, server.handle()).unwrap();
        assert_eq!(console.path(), path);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        let mut admin = admin(&path);
        assert_eq!(admin.call("jamulus/getMode", json!({}))["mode"], "server");
        assert_eq!(admin.call("jamulus/apiAuth", json!({ "secret": "" })), "ok");
        assert_eq!(admin.call("jamulusserver/setServerName", json!({ "serverName": "Cellar" })), "ok");
        let mut client = StatusClient::connect(&StatusSource::Console(path.clone())).unwrap();
        assert_eq!(client.fetch().unwrap().name, "Cellar");

        let _ann = Musician::join(server.local_addr(), "Ann");
        console.notify(&server.events().recv_timeout(PATIENCE).unwrap());
        assert_eq!(admin.hear().unwrap()["method"], "jamulusserver/clientConnected");

        let start = Instant::now();
        console.stop();
        assert!(start.elapsed() < STOPS_WITHIN);
        assert!(admin.hear().is_none());
        assert!(!path.exists());
        let gone = StatusClient::connect(&StatusSource::Console(path)).err().unwrap();
        assert!(matches!(gone, StatusError::NoConsole(_)), "{gone}");
    }

    #[test]
    fn what_a_killed_server_left_is_replaced_and_nothing_else() {
        let server = server();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("1.sock");
        // The system keeps a socket whose program is gone.
        drop(UnixListener::bind(&path).unwrap());
        let console = LocalConsole::start(&path, server.handle()).unwrap();
        let second = LocalConsole::start(&path, server.handle()).err().unwrap();
        assert!(matches!(second, AdminError::ConsoleInUse(_)), "{second}");
        assert_eq!(admin(&path).call("jamulus/getMode", json!({}))["mode"], "server");

        // Another server's socket in the same place survives our end.
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        console.stop();
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
        drop(other);

        let file = scratch.path().join("2.sock");
        fs::write(&file, "precious").unwrap();
        let error = LocalConsole::start(&file, server.handle()).err().unwrap();
        assert!(matches!(error, AdminError::NotASocket(_)), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
