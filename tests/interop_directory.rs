//! Debian's Jamulus 3.9.1 and ours as each other's directories: servers register, are listed, and a stock client
//! joins where the list says.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "real peers are asked in real time, and given scratch files")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jamulet::protocol::{ConnlessMessage, RegistrationResult, ServerEntry};
use jamulet::server::{
    Config, DirectoryChoice, Options, OwnDirectory, RegistrationStatus, Server, ServerProfile,
};
use jamulet_testkit::probe::{PATIENCE, Probe};
use jamulet_testkit::stock::{JackServer, StockClient, StockServer, StockSettings, require};
use jamulet_testkit::window::Screen;
use serde_json::{Value, json};

/// One look at a peer.
const POLL: Duration = Duration::from_millis(20);

#[test]
fn our_server_is_listed_by_a_stock_directory_and_found_by_a_stock_client() -> Result<()> {
    let directory = StockServer::start(&["-e", "localhost", "-o", "Stock directory;Ulm;DE"])?;
    let server = our_server("Zoë's jam", directory.address())?;
    wait_for_registration(&server, RegistrationStatus::Answered(RegistrationResult::Registered))?;
    let listed = find(directory.address(), "Zoë's jam")?.context("not listed")?;
    ensure!(address_of(&listed) == server.local_addr());
    let told = &listed.registration;
    ensure!((told.city.as_str(), told.country, told.max_clients, told.permanent) == ("Köln", 82, 10, false));

    let jack = JackServer::start(128)?;
    let mut client = StockClient::start(&jack, "Guest", address_of(&listed), StockSettings::default())?;
    client.rpc()?.call("jamulusclient/setName", json!({ "name": "Guest" }))?;
    let is_there = |server: &Server| -> Result<bool> {
        let status = server.handle().status()?;
        Ok(status.clients.iter().any(|client| client.info.as_ref().is_some_and(|info| info.name == "Guest")))
    };
    wait_until("a stock client at the listed address", || is_there(&server))?;
    drop((client, jack));
    server.stop();
    wait_until("our server's leaving the list", || Ok(find(directory.address(), "Zoë's jam")?.is_none()))
}

#[test]
fn a_stock_server_is_listed_by_our_directory_and_found_by_a_stock_client() -> Result<()> {
    let directory = our_directory(OwnDirectory::default(), None)?;
    let address = directory.local_addr();
    let mut server = stock_server_in(address)?;
    wait_until("its registration here", || Ok(directory.handle().status()?.listed_servers == Some(1)))?;
    wait_for_verdict(&mut server, "registered")?;
    let listed = find(address, "Stock")?.context("not listed")?;
    ensure!(address_of(&listed) == server.address());
    ensure!((listed.registration.city.as_str(), listed.registration.max_clients) == ("Ulm", 10));

    let jack = JackServer::start(128)?;
    let client = StockClient::start(&jack, "Guest", address_of(&listed), StockSettings::default())?;
    let mut rpc = server.rpc()?;
    wait_until("a stock client at the listed address", || {
        let clients = rpc.call("jamulusserver/getClients", json!({}))?;
        Ok(clients["clients"].as_array().is_some_and(|clients| clients.len() == 1))
    })?;
    drop((client, jack));
    ensure!(server.process_mut().stop(), "it obeys SIGTERM");
    wait_until("its leaving the list", || Ok(directory.handle().status()?.listed_servers == Some(0)))
}

#[test]
fn a_stock_client_lists_our_directorys_servers_in_its_window_and_joins_one_there() -> Result<()> {
    require("xdotool", "xdotool")?;
    let directory = our_directory(OwnDirectory::default(), None)?;
    let mut server = stock_server_in(directory.local_addr())?;
    wait_until("its registration here", || Ok(directory.handle().status()?.listed_servers == Some(1)))?;
    let screen = Screen::start([1280, 900])?;
    let mouse = Mouse { display: screen.name() };
    let jack = JackServer::start(128)?;
    let client = StockClient::start_unconnected(&jack, "Guest", directory.local_addr(), &screen)?;

    // The button that opens the list, and ends a session, is at the bottom left of the main window.
    wait_until("the main window", || Ok(mouse.windows()?.len() == 2))?;
    let main = mouse.windows()?;
    let [left, top, _, height] = mouse.place_of(&main[1])?;
    let button = [left + 100, top + height - 65];
    let mut rpc = server.rpc()?;
    let mut row = (9..25).rev().cycle();
    let mut has_seen_list = false;
    wait_until("a stock client that has chosen the server", || {
        let clients = rpc.call("jamulusserver/getClients", json!({}))?;
        if clients["clients"].as_array().is_some_and(|clients| clients.len() == 1) {
            return Ok(true);
        }
        match mouse.windows()?.into_iter().find(|window| !main.contains(window)) {
            // Whoever has answered a ping stands there: first the directory, then the server. From the empty
            // space below, the first that a double click meets is the server.
            Some(list) => {
                has_seen_list = true;
                let [left, top, ..] = mouse.place_of(&list)?;
                mouse.click([left + 60, top + row.next().unwrap_or_default() * 8], 2)?;
            }
            // The list is yet to open; or the server was late to answer, and the click met the directory.
            None if !has_seen_list || !directory.handle().status()?.clients.is_empty() => {
                has_seen_list = false;
                mouse.click(button, 1)?;
            }
            // The client is joining.
            None => {}
        }
        Ok(false)
    })?;
    ensure!(directory.handle().status()?.clients.is_empty(), "it plays on the server, not on the directory");
    drop((client, jack));
    Ok(())
}

#[test]
fn a_stock_server_hears_why_our_directory_refuses_it() -> Result<()> {
    let minimum_version = Some("3.9.2".to_owned());
    let strict = OwnDirectory { minimum_version, ..OwnDirectory::default() };
    let closed = OwnDirectory { whitelist: vec![Ipv4Addr::new(192, 0, 2, 1)], minimum_version: None };
    for (rules, verdict) in [(strict, "server_version_too_old"), (closed, "requirements_not_fulfilled")] {
        let directory = our_directory(rules, None)?;
        let mut server = stock_server_in(directory.local_addr())?;
        wait_for_verdict(&mut server, verdict)?;
        ensure!(directory.handle().status()?.listed_servers == Some(0));
    }
    Ok(())
}

#[test]
fn our_server_hears_why_a_stock_directory_refuses_it() -> Result<()> {
    for (filter, verdict) in [
        ("[99.0.0]", RegistrationResult::VersionTooOld),
        ("192.0.2.1;", RegistrationResult::RequirementsNotFulfilled),
    ] {
        let directory = StockServer::start(&["-e", "localhost", "-f", filter])?;
        let server = our_server("Jam", directory.address())?;
        wait_for_registration(&server, RegistrationStatus::Answered(verdict))?;
        ensure!(find(directory.address(), "Jam")?.is_none());
    }
    Ok(())
}

#[test]
fn a_directorys_file_passes_from_one_to_the_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("directory.txt");
    let path = file.to_str().context("a path of plain text")?;
    let options = ["-e", "localhost", "--directoryfile", path];

    let mut before = StockServer::start(&options)?;
    let server = our_server("Zoë's jam", before.address())?;
    wait_for_registration(&server, RegistrationStatus::Answered(RegistrationResult::Registered))?;
    ensure!(before.process_mut().stop(), "it obeys SIGTERM");
    let written_by_stock = std::fs::read_to_string(&file)?;

    let between = our_directory(OwnDirectory::default(), Some(file.clone()))?;
    let listed =
        find(between.local_addr(), "Zoë's jam")?.context("the stock directory's file is not read")?;
    ensure!(address_of(&listed) == server.local_addr());
    between.stop();
    let written_by_us = std::fs::read_to_string(&file)?;
    ensure!(written_by_us == written_by_stock, "{written_by_us:?} for {written_by_stock:?}");

    let after = StockServer::start(&options)?;
    let listed = find(after.address(), "Zoë's jam")?.context("our file is not read")?;
    ensure!(address_of(&listed) == server.local_addr());
    Ok(())
}

fn our_server(name: &str, directory: SocketAddr) -> Result<Server> {
    start(name, DirectoryChoice::Address(directory.to_string()), None, None)
}

fn our_directory(rules: OwnDirectory, file: Option<PathBuf>) -> Result<Server> {
    start("Our directory", DirectoryChoice::None, Some(rules), file)
}

fn start(
    name: &str,
    directory: DirectoryChoice,
    own_directory: Option<OwnDirectory>,
    directory_file: Option<PathBuf>,
) -> Result<Server> {
    let profile = ServerProfile { name: name.to_owned(), city: "Köln".to_owned(), country: 82 };
    let config = Config { profile, directory, own_directory, ..Config::default() };
    let bind_ip4 = Some(Ipv4Addr::LOCALHOST);
    Ok(Server::start(Options { port: 0, bind_ip4, directory_file, config, ..Options::default() })?)
}

/// A stock server that wants to be listed in `directory`.
fn stock_server_in(directory: SocketAddr) -> Result<StockServer> {
    StockServer::start(&["-e", &directory.to_string(), "-o", "Stock;Ulm;DE"])
}

/// Waits for what the stock server is told by its directory.
fn wait_for_verdict(server: &mut StockServer, verdict: &str) -> Result<()> {
    let mut rpc = server.rpc()?;
    let mut last = Value::Null;
    wait_until(verdict, || {
        last = rpc.call("jamulusserver/getServerProfile", json!({}))?;
        Ok(last["registrationStatus"] == verdict)
    })
    .with_context(|| format!("{last}"))
}

fn wait_for_registration(server: &Server, wanted: RegistrationStatus) -> Result<()> {
    wait_until(&format!("{wanted:?}"), || Ok(server.handle().status()?.directory.registration == wanted))
        .with_context(|| format!("{:?}", server.handle().status().map(|status| status.directory)))
}

/// The entry of a directory's list with this name.
fn find(directory: SocketAddr, name: &str) -> Result<Option<ServerEntry>> {
    let mut probe = Probe::open(directory)?;
    let Some(ConnlessMessage::ServerList(entries)) =
        probe.ask(&ConnlessMessage::RequestServerList, 1006, PATIENCE)?
    else {
        bail!("{directory} tells no list");
    };
    Ok(entries.into_iter().find(|entry| entry.registration.name == name))
}

fn address_of(entry: &ServerEntry) -> SocketAddr {
    SocketAddr::from((entry.ip, entry.registration.internal_port))
}

/// A hand at the mouse of a display.
struct Mouse<'a> {
    display: &'a str,
}

impl Mouse<'_> {
    /// Clicks this many times at a place in pixels.
    fn click(&self, [x, y]: [i32; 2], times: u32) -> Result<()> {
        let (x, y, times) = (x.to_string(), y.to_string(), times.to_string());
        self.xdotool(&["mousemove", &x, &y, "click", "--repeat", &times, "--delay", "50", "1"])?;
        // A hand takes its time.
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    /// All visible windows, the screen itself first.
    fn windows(&self) -> Result<Vec<String>> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", ".*"])?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// Left, top, width and height of a window, in pixels.
    fn place_of(&self, window: &str) -> Result<[i32; 4]> {
        let told = self.xdotool(&["getwindowgeometry", "--shell", window])?;
        let value = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.and_then(|text| text.parse().ok()).with_context(|| format!("no {name} in {told}"))
        };
        Ok([value("X")?, value("Y")?, value("WIDTH")?, value("HEIGHT")?])
    }

    fn xdotool(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("xdotool").env("DISPLAY", self.display).args(arguments).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done()? {
        ensure!(Instant::now() < deadline, "{what} did not happen within 30 s");
        std::thread::sleep(POLL);
    }
    Ok(())
}
