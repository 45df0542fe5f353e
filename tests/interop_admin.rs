//! JSON-RPC of Debian's Jamulus 3.9.1 beside ours: the same calls are answered in the same shape, the same
//! mistakes with the same codes and words, and connections end for the same reasons.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "two real servers need real sockets")]

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jamulet::server::admin::{RpcOptions, RpcServer, Secret};
use jamulet::server::{Config, Options, Server, ServerProfile};
use jamulet_testkit::stock::{RPC_SECRET, StockServer};
use serde_json::{Value, json};

/// Fails a broken server's test instead of hanging; no working one comes near it.
const PATIENCE: Duration = Duration::from_secs(25);

/// A stock server and ours with the same settings. Addresses: stock first.
struct Pair {
    _stock: StockServer,
    _ours: Server,
    _rpc: RpcServer,
    sessions: [SocketAddr; 2],
    rpcs: [SocketAddr; 2],
}

impl Pair {
    fn start() -> Result<Self> {
        let stock = StockServer::start(&["-w", "Hello", "-o", "Cellar;Bonn;82"])?;
        let profile = ServerProfile { name: "Cellar".into(), city: "Bonn".into(), country: 82 };
        let config = Config { welcome: Some("Hello".into()), profile, ..Config::default() };
        let bind_ip4 = Some(Ipv4Addr::LOCALHOST);
        let ours = Server::start(Options { port: 0, bind_ip4, config, ..Options::default() })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let rpc = RpcServer::start(RpcOptions { address, secret: Secret::new(RPC_SECRET)? }, ours.handle())?;
        Ok(Self {
            sessions: [stock.address(), ours.local_addr()],
            rpcs: [stock.rpc_address(), rpc.local_addr()],
            _stock: stock,
            _ours: ours,
            _rpc: rpc,
        })
    }

    /// What both answer to `line` on a connection that has authenticated.
    fn answers(&self, line: &str) -> Result<[Value; 2]> {
        let [stock, ours] = self.rpcs.map(|address| Talk::authenticated(address)?.ask(line));
        Ok([stock?, ours?])
    }
}

/// A connection to either server.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn authenticated(address: SocketAddr) -> Result<Self> {
        let mut talk = Self::open(address)?;
        let answer = talk.ask(&call("jamulus/apiAuth", json!({ "secret": RPC_SECRET })))?;
        ensure!(answer["result"] == "ok", "{answer}");
        Ok(talk)
    }

    fn ask(&mut self, line: &str) -> Result<Value> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        self.read_line()?.with_context(|| format!("closed without a word after {line}"))
    }

    fn read_line(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(serde_json::from_str(&line)?)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the connection is over, rather than ready for another call.
    fn is_closed(&mut self) -> Result<bool> {
        let line = format!("{}\n", call("jamulus/getMode", json!({})));
        Ok(self.0.get_mut().write_all(line.as_bytes()).is_err() || self.read_line()?.is_none())
    }
}

fn call(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

/// Everything in `stock` is in `ours`, with the same type. Ours may have more members: those of 4.0.
fn has_shape_of(ours: &Value, stock: &Value) -> bool {
    match (stock, ours) {
        (Value::Object(stock), Value::Object(ours)) => {
            stock.iter().all(|(name, stock)| ours.get(name).is_some_and(|ours| has_shape_of(ours, stock)))
        }
        (Value::Array(stock), Value::Array(ours)) => {
            stock.len() == ours.len() && stock.iter().zip(ours).all(|(stock, ours)| has_shape_of(ours, stock))
        }
        (Value::Number(stock), Value::Number(ours)) => stock.is_f64() == ours.is_f64(),
        (stock, ours) => std::mem::discriminant(stock) == std::mem::discriminant(ours),
    }
}

#[test]
fn results_have_the_shape_of_a_stock_servers() -> Result<()> {
    let pair = Pair::start()?;
    // Both open a channel for the first datagram of a stranger.
    let musician = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for (session, rpc) in pair.sessions.into_iter().zip(pair.rpcs) {
        musician.send_to(b"x", session)?;
        let (mut talk, deadline) = (Talk::authenticated(rpc)?, Instant::now() + PATIENCE);
        while talk.ask(&call("jamulusserver/getClients", json!({})))?["result"]["clients"] == json!([]) {
            ensure!(Instant::now() < deadline, "{session} knows nobody");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let folder = tempfile::tempdir()?;
    let calls = [
        ("jamulus/getMode", json!({})),
        ("jamulus/getVersion", json!({})),
        ("jamulus/apiAuth", json!({ "secret": RPC_SECRET })),
        ("jamulusserver/getClients", json!({})),
        ("jamulusserver/getRecorderStatus", json!({})),
        ("jamulusserver/getServerProfile", json!({})),
        ("jamulusserver/setServerName", json!({ "serverName": "Attic" })),
        ("jamulusserver/setServerName", json!({ "serverName": "" })),
        ("jamulusserver/setWelcomeMessage", json!({ "welcomeMessage": "<b>Hi</b>" })),
        ("jamulusserver/setRecordingDirectory", json!({ "recordingDirectory": folder.path() })),
        ("jamulusserver/setRecordingDirectory", json!({ "recordingDirectory": "/proc/none" })),
        ("jamulusserver/setRecordingDirectory", json!({ "recordingDirectory": "" })),
        ("jamulusserver/startRecording", json!({})),
        ("jamulusserver/restartRecording", json!({})),
        ("jamulusserver/stopRecording", json!({})),
    ];
    for (method, params) in calls {
        let [stock, ours] = pair.answers(&call(method, params.clone()))?;
        ensure!(has_shape_of(&ours, &stock), "{method} {params}:\n{stock}\n{ours}");
        if stock["result"].is_string() {
            ensure!(ours == stock, "{method} {params}:\n{stock}\n{ours}");
        }
    }
    // What was set is told, and a channel that nothing is known of looks the same.
    let [stock, ours] = pair.answers(&call("jamulusserver/getServerProfile", json!({})))?;
    for (name, stock) in stock["result"].as_object().context("a profile")? {
        ensure!(ours["result"][name] == *stock, "{name}: {stock} and {}", ours["result"][name]);
    }
    let [stock, ours] = pair.answers(&call("jamulusserver/getClients", json!({})))?;
    for (name, stock) in stock["result"]["clients"][0].as_object().context("a client")? {
        let ours = &ours["result"]["clients"][0][name];
        ensure!(ours == stock, "{name}: {stock} and {ours}");
    }
    Ok(())
}

#[test]
fn mistakes_are_answered_as_by_a_stock_server() -> Result<()> {
    let pair = Pair::start()?;
    let mistakes = [
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getVersion","params":null}"#,
        r#"{"jsonrpc":"2.0","id":[1],"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5,"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"no/such","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"no/such","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulusserver/setServerName","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulusserver/setServerName","params":{"serverName":5}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulusserver/setWelcomeMessage","params":{"welcomeMessage":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulusserver/setRecordingDirectory","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/apiAuth","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/apiAuth","params":{"secret":"wrong"}}"#,
        "{}",
        "[{}]",
        r#"[{"id":1,"method":"no/such","params":{}},{"id":2,"method":"jamulus/getMode","params":{}}]"#,
        "",
        "   ",
    ];
    for mistake in mistakes {
        let [stock, ours] = pair.answers(mistake)?;
        ensure!(ours == stock, "{mistake}\n{stock}\n{ours}");
    }
    Ok(())
}

#[test]
fn connections_end_for_the_same_reasons() -> Result<()> {
    let pair = Pair::start()?;
    for (line, is_closed) in [
        ("garbage", true),
        ("{\"id\":1", true),
        ("5", true),
        ("null", true),
        ("[]", true),
        ("", false),
        ("{}", false),
    ] {
        let mut answers = Vec::new();
        for rpc in pair.rpcs {
            let mut talk = Talk::authenticated(rpc)?;
            answers.push(talk.ask(line)?);
            ensure!(talk.is_closed()? == is_closed, "{line} at {rpc}");
        }
        ensure!(answers[0] == answers[1], "{line}\n{answers:?}");
    }
    Ok(())
}

#[test]
fn strangers_are_answered_as_by_a_stock_server() -> Result<()> {
    let pair = Pair::start()?;
    let lines = [
        call("jamulus/getMode", json!({})),
        call("no/such", json!({})),
        r#"{"jsonrpc":"2.0","method":"jamulus/getMode","params":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"jamulus/getMode"}"#.to_owned(),
        "{}".to_owned(),
        call("jamulus/apiAuth", json!({ "secret": "wrong" })),
        call("jamulus/apiAuth", json!({ "secret": RPC_SECRET })),
        call("jamulus/getMode", json!({})),
    ];
    let [mut stock, mut ours] = [Talk::open(pair.rpcs[0])?, Talk::open(pair.rpcs[1])?];
    for line in lines {
        let (stock, ours) = (stock.ask(&line)?, ours.ask(&line)?);
        ensure!(ours == stock, "{line}\n{stock}\n{ours}");
    }
    Ok(())
}

/// By value: remote control can give a server a recording folder, another one, a bad one and none.
#[test]
fn recording_folders_come_and_go_as_with_a_stock_server() -> Result<()> {
    let pair = Pair::start()?;
    let folder = tempfile::tempdir()?;
    let (good, other) = (folder.path().join("good"), folder.path().join("other/one"));
    let set = |path: &std::path::Path| ("setRecordingDirectory", json!({ "recordingDirectory": path }));
    let (none, bad) = (std::path::Path::new(""), std::path::Path::new("/proc/none"));
    let calls = [
        ("startRecording", json!({})),
        ("stopRecording", json!({})),
        set(none),
        set(&good),
        ("startRecording", json!({})),
        set(&other),
        set(bad),
        ("startRecording", json!({})),
        set(&good),
        ("restartRecording", json!({})),
        ("stopRecording", json!({})),
        set(&other),
        set(none),
        set(none),
        set(&good),
    ];
    for (method, params) in calls {
        let line = call(&format!("jamulusserver/{method}"), params.clone());
        let [stock, ours] = pair.answers(&line)?;
        ensure!(ours == stock, "{method} {params}:\n{stock}\n{ours}");
        let status = call("jamulusserver/getRecorderStatus", json!({}));
        let deadline = Instant::now() + PATIENCE;
        // Stock acknowledges first and then does it.
        loop {
            let [stock, ours] = pair.answers(&status)?.map(|mut answer| answer["result"].take());
            let is_same = |name: &str| ours[name] == stock[name];
            let has_error = |status: &Value| status["errorMessage"] != "";
            // Ours also says why starting without a folder has no effect.
            let same_error = method != "setRecordingDirectory" || has_error(&ours) == has_error(&stock);
            if ["initialised", "enabled", "recordingDirectory"].into_iter().all(is_same) && same_error {
                break;
            }
            ensure!(Instant::now() < deadline, "after {method} {params}:\n{stock}\n{ours}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}
