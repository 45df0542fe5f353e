//! The binary of docs/hosting/Containerfile: static, alone in an empty read-only root, without privileges.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "clients of a real program need real sockets and threads")]

#[path = "server_binary/running.rs"]
#[expect(dead_code, reason = "shared with server_binary, which uses all of it")]
mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jamulet::protocol::ConnlessMessage;
use jamulet_testkit::pace;

use self::running::{Running, join};

const CONTAINERFILE: &str = include_str!("../docs/hosting/Containerfile");

/// Nobody.
const USER: &str = "65534";

/// Makes `$ROOT` read-only for this process alone, leaves everything else behind, and becomes nobody.
const ENTER: &str = r#"
mount --bind "$ROOT" "$ROOT" && mount -o remount,ro,bind "$ROOT" && exec setpriv --no-new-privs \
    chroot --userspec=65534:65534 "$ROOT" /jamulet-server "$@"
"#;

/// Built with the Containerfile's words, but without optimisation: what is to be shown does not need it.
fn build() -> PathBuf {
    let flags = "-C target-feature=+crt-static";
    assert!(CONTAINERFILE.contains(&format!("RUSTFLAGS='{flags}'")));
    let words =
        ["--target-dir target/static", "--no-default-features --features server --bin jamulet-server"];
    for word in words {
        assert!(CONTAINERFILE.contains(word), "{word}");
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let start = pace::now();
    let status = Command::new(env!("CARGO"))
        .current_dir(project)
        .args(["build", "--quiet", "--package", "jamulet", "--target", &target, "--target-dir"])
        .arg(project.join("target/static"))
        .args(words[1].split(' '))
        .env("RUSTFLAGS", flags)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status()
        .unwrap();
    assert!(status.success());
    println!("built in {:.0?}", start.elapsed());
    project.join("target/static").join(target).join("debug/jamulet-server")
}

/// The program alone in `root`.
fn alone(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "jamulet-server"]);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("ROOT", root);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_static_binary_needs_nothing_but_itself() {
    // SAFETY: plain call.
    assert_eq!(unsafe { libc::geteuid() }, 0, "this test changes its root directory: run it as root");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::copy(build(), root.join("jamulet-server")).unwrap();
    // The folder is open to its maker only; nobody must reach the binary.
    fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let mut server = Running::spawn(
        alone(root, &["--port", "0", "--serverbindip4", "127.0.0.1", "-w", "Hi"]).stderr(Stdio::inherit()),
    );
    let process = PathBuf::from(format!("/proc/{}", server.child.id()));
    let status = fs::read_to_string(process.join("status")).unwrap();
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(line("Uid:"), [USER; 4].join("\t"));
    assert_eq!(u64::from_str_radix(&line("CapEff:"), 16).unwrap(), 0);
    assert_eq!(line("NoNewPrivs:"), "1");
    let seen: Vec<_> =
        fs::read_dir(process.join("root")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(seen, ["jamulet-server"]);

    let answer = server.ask(&ConnlessMessage::RequestWelcomeMessage);
    assert_eq!(answer, ConnlessMessage::WelcomeMessage("Hi".to_owned()));
    let _ann = join(server.port, "Ann");
    server.line_with("name=Ann");
    server.signal(libc::SIGTERM);
    let (ended, rest) = server.end();
    assert!(ended.success() && rest.contains("event=stopped"), "{rest}");

    let refused = alone(root, &["--port", "0", "--log", "/x.log"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("Read-only"), "{said}");
}
