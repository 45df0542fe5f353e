//! `jamulet-server status`.

use std::process::Command;

use crate::running::{Running, command, join, refusal, wait_for};

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A server with doors of its own, and commands that look for it there.
fn with_doors(more: &[&str]) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = command();
    server.env("XDG_RUNTIME_DIR", folder.path()).env_remove("RUNTIME_DIRECTORY");
    server.args(["--port", "0", "--logformat", "text", "--serverbindip4", "127.0.0.1"]).args(more);
    (folder, Running::spawn(&mut server))
}

fn asked(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut status = command();
    status.env("XDG_RUNTIME_DIR", folder.path()).env_remove("RUNTIME_DIRECTORY");
    status.arg("status").args(arguments);
    status
}

#[test]
fn it_shows_who_plays() {
    let (folder, mut server) = with_doors(&["-u", "7"]);
    let _ann = join(server.port, "Ann");
    server.line_with("Ann joined");
    let port = server.port.to_string();
    let (success, text) = run(&mut asked(&folder, &["--port", &port]));
    assert!(success && text.contains("1 of 7 musicians") && text.contains("Ann"), "{text}");
    let (success, text) = run(&mut asked(&folder, &["--port", &port, "--json"]));
    let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(success && stats["clients"][0]["name"] == "Ann" && stats["maxClients"] == 7, "{text}");
    let socket =
        std::fs::read_dir(folder.path().join("jamulet-server")).unwrap().next().unwrap().unwrap().path();
    let (success, text) = run(&mut asked(&folder, &["--console", socket.to_str().unwrap()]));
    assert!(success && text.contains("Ann"), "{text}");
    server.stop_by(libc::SIGTERM);
    wait_for("the end of the socket", || !socket.exists());
    let (success, text) = run(&mut asked(&folder, &["--port", &port]));
    assert!(!success && text.contains("No server answers"), "{text}");
}

#[test]
fn it_asks_through_remote_control() {
    let secrets = tempfile::tempdir().unwrap();
    let (good, bad) = (secrets.path().join("good"), secrets.path().join("bad"));
    std::fs::write(&good, "0123456789abcdef\n").unwrap();
    std::fs::write(&bad, "fedcba9876543210\n").unwrap();
    let words = ["--jsonrpcport", "0", "--jsonrpcsecretfile", good.to_str().unwrap()];
    let (folder, mut server) = with_doors(&words);
    let address =
        server.greeting.split("listens on TCP ").nth(1).unwrap().split(".\n").next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let _ann = join(server.port, "Ann");
    server.line_with("Ann joined");
    let ask = |secret: &std::path::Path| {
        run(&mut asked(&folder, &["--rpc", &address, "--secretfile", secret.to_str().unwrap()]))
    };
    let (success, text) = ask(&good);
    assert!(success && text.contains("Ann"), "{text}");
    let (success, text) = ask(&bad);
    assert!(!success && text.contains("does not accept this secret"), "{text}");
}

#[test]
fn watching_shows_it_again_and_again() {
    use std::io::BufRead;
    let (folder, mut server) = with_doors(&[]);
    let port = server.port.to_string();
    let mut watch = asked(&folder, &["--watch", "--json", "--port", &port]).spawn().unwrap();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["clients"].as_array().unwrap().len(), 0);
    let _ann = join(server.port, "Ann");
    server.line_with("Ann joined");
    wait_for("the musician", || next()["clients"][0]["name"] == "Ann");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn wrong_questions_are_refused() {
    assert!(refusal(&["status", "--rpc", "127.0.0.1:1"]).contains("--jsonrpcsecretfile"));
    assert!(refusal(&["status", "--prot", "1"]).contains("--port"));
    assert!(
        refusal(&["status", "--console", "/no/such/socket"]).contains("No server answers on /no/such/socket")
    );
}

#[test]
fn figures_are_served_where_asked() {
    use std::io::{Read, Write};
    let (_folder, server) = with_doors(&["--metrics", "127.0.0.1:0"]);
    let address = server.greeting.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
