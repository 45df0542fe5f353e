//! The configuration file, `jamulet-server config`, and reading it again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use jamulet::protocol::ConnlessMessage;

use crate::running::{Running, command, listens, refusal, wait_for};

fn welcome(server: &Running) -> String {
    match server.ask(&ConnlessMessage::RequestWelcomeMessage) {
        ConnlessMessage::WelcomeMessage(text) => text,
        other => panic!("{other:?}"),
    }
}

fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("jam.toml");
    fs::write(&path, text).unwrap();
    path
}

fn start(path: &Path, more: &[&str]) -> Running {
    let always = ["--serverbindip4", "127.0.0.1", "--config", path.to_str().unwrap()];
    Running::start(&[&always, more].concat())
}

fn printed(arguments: &[&str]) -> String {
    let output = command().arg("config").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_file_counts_and_the_command_line_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "numchannels = 3\nwelcomemessage = \"from the file\"\n");
    let server = start(&path, &[]);
    assert!(server.greeting.contains("ready for 3 musicians"), "{}", server.greeting);
    assert_eq!(welcome(&server), "from the file");
    let server = start(&path, &["-u", "5"]);
    assert!(server.greeting.contains("ready for 5 musicians"), "{}", server.greeting);
    assert_eq!(welcome(&server), "from the file");
}

#[test]
fn mistakes_are_refused_with_file_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let told = |text: &str| {
        let path = file(&folder, text);
        let told = refusal(&["--config", path.to_str().unwrap()]);
        assert!(told.starts_with(path.to_str().unwrap()), "{told}");
        told
    };
    assert!(
        told("# hi\n\nnumchanels = 3\n")
            .contains(", line 3: there is no option `numchanels`. Did you mean `numchannels`?")
    );
    assert!(told("port = \"x\"").contains("line 1: `port` is a string"));
    assert!(told("\nnumchannels = 151").contains("line 2: "));
    assert!(told("port 5").contains("line 1: this is not TOML"));
    assert!(told("welcomemessage = \"no-such-file.txt\"\nport=").contains("line 2"));
    let missing = refusal(&["--config", "/no/such/file.toml"]);
    assert!(missing.contains("/no/such/file.toml cannot be read"), "{missing}");
    let folder = folder.path().to_str().unwrap();
    assert!(refusal(&["--config", folder]).contains("not a file"));
    let long = file(&tempfile::tempdir().unwrap(), "");
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::write(&long, "#".repeat(70_000)).unwrap();
    assert!(refusal(&["--config", long.to_str().unwrap()]).contains("longer than 64 KiB"));
    fs::remove_dir_all(long.parent().unwrap()).unwrap();
}

#[test]
fn the_printed_configuration_gives_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "numchannels = 3\nlicence = true\nwelcomemessage = \"a \\\"b\\\"\\nü\"\n");
    let name = path.to_str().unwrap();
    let first = printed(&["--config", name, "-F", "-o", "Band;Berlin;DE", "-s", "-n", "-e", "localhost"]);
    for line in ["numchannels = 3", "licence = true", "fastupdate = true", "serverinfo = \"Band;Berlin;DE\""]
    {
        assert!(first.lines().any(|found| found == line), "{line}: {first}");
    }
    fs::write(&path, &first).unwrap();
    assert_eq!(printed(&["--config", name]), first);
    assert!(refusal(&["config", "--prot", "5"]).contains("--port"));
}

#[test]
fn sighup_changes_what_can_change_and_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "welcomemessage = \"one\"\n");
    let mut server = start(&path, &[]);
    assert_eq!(welcome(&server), "one");
    file(&folder, "welcomemessage = \"two\"\nnumchannels = 7\nfastupdate = true\n");
    server.signal(libc::SIGHUP);
    assert!(server.line_with("--numchannels").contains("started again"));
    assert!(server.line_with("--fastupdate").contains("started again"));
    server.line_with("has been read again");
    assert_eq!(welcome(&server), "two");
    assert!(listens(server.address()));
}

#[test]
fn a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "welcomemessage = \"one\"\n");
    let mut server = start(&path, &[]);
    file(&folder, "welcomemessage = \"two\"\nnumchanels = 7\n");
    server.signal(libc::SIGHUP);
    let told = server.line_with("stays as it was");
    assert!(told.contains("line 2") && told.contains("numchannels"), "{told}");
    assert_eq!(welcome(&server), "one");
    file(&folder, "welcomemessage = \"three\"\n");
    server.signal(libc::SIGHUP);
    wait_for("the third welcome", || welcome(&server) == "three");
}

#[test]
fn the_welcome_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("welcome.txt");
    fs::write(&path, "one").unwrap();
    let server = Running::start(&["-w", path.to_str().unwrap()]);
    assert_eq!(welcome(&server), "one");
    fs::write(&path, "two").unwrap();
    server.signal(libc::SIGHUP);
    wait_for("the second welcome", || welcome(&server) == "two");
}

/// Calls `method` and waits for its answer.
fn remote(server: &Running, secret: &str, method: &str, params: &serde_json::Value) {
    let address = server.greeting.split("listens on TCP ").nth(1).unwrap().split(".\n").next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let auth = serde_json::json!({ "id": 1, "method": "jamulus/apiAuth", "params": { "secret": secret } });
    let call = serde_json::json!({ "id": 2, "method": method, "params": params });
    stream.write_all(format!("{auth}\n{call}\n").as_bytes()).unwrap();
    let mut answers = BufReader::new(stream).lines().map(|line| line.unwrap());
    assert!(answers.next().unwrap().contains("\"ok\""));
    assert!(answers.next().unwrap().contains("\"ok\""));
}

#[test]
fn sighup_leaves_alone_what_was_set_by_remote_control_and_stands_unchanged_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0123456789abcdef\n").unwrap();
    let path = file(&folder, "welcomemessage = \"one\"\n");
    let mut server = start(&path, &["--jsonrpcport", "0", "--jsonrpcsecretfile", secret.to_str().unwrap()]);
    let set = serde_json::json!({ "welcomeMessage": "remote" });
    remote(&server, "0123456789abcdef", "jamulusserver/setWelcomeMessage", &set);
    assert_eq!(welcome(&server), "remote");
    server.signal(libc::SIGHUP);
    server.line_with("has been read again");
    assert_eq!(welcome(&server), "remote");
    file(&folder, "welcomemessage = \"two\"\n");
    server.signal(libc::SIGHUP);
    server.line_with("has been read again");
    assert_eq!(welcome(&server), "two");
}

#[test]
fn becoming_a_directory_waits_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "");
    let mut server = start(&path, &[]);
    file(&folder, "directoryaddress = \"localhost\"\n");
    server.signal(libc::SIGHUP);
    let told = server.line_with("--directoryaddress");
    assert!(told.contains("started again"), "{told}");
    server.line_with("has been read again");
}
