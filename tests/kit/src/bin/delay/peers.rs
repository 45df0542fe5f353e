//! Who is measured: two clients and two servers, each in a process of its own.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use jamulet::units::{BufferSize, Quality};
use jamulet_testkit::pace;
use jamulet_testkit::stock::{
    JackServer, Process, StockClient, StockLayout, StockServer, StockSettings, free_port,
};

/// How long a program of ours may take to start …
const PATIENCE: Duration = Duration::from_secs(20);
/// … and to end.
const GOODBYE: Duration = Duration::from_secs(1);
/// JACK name of our app.
const APP: &str = "jamulet";

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Debian's Jamulus.
    Stock,
    /// `jamulet-server`.
    Ours,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "Jamulus 3.9.1",
            Self::Ours => "jamulet-server",
        })
    }
}

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Debian's Jamulus.
    Stock,
    /// Our standalone app.
    Ours,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stock => "Jamulus 3.9.1",
            Self::Ours => "Jamulet",
        })
    }
}

/// What stays the same while clients take turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) server: Server,
    /// JACK's block, in samples.
    pub(crate) period: u32,
    /// The server ticks every 64 samples.
    pub(crate) fast: bool,
}

impl Setting {
    /// Samples in the clients' frames: both send short ones where the block is short.
    pub(crate) fn frame_samples(self) -> u32 {
        if self.period <= 64 { 64 } else { 128 }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fast = if self.fast { " -F" } else { "" };
        write!(f, "{}{fast}, blocks of {}", self.server, self.period)
    }
}

/// A running server.
pub(crate) enum RunningServer {
    Stock(StockServer),
    Ours(Process, SocketAddr),
}

impl RunningServer {
    pub(crate) fn start(setting: Setting) -> Result<Self> {
        let options: &[&str] = if setting.fast { &["-F"] } else { &[] };
        Ok(match setting.server {
            Server::Stock => Self::Stock(StockServer::start(options)?),
            Server::Ours => {
                let port = free_port();
                let mut command = Command::new(program("JAMULET_SERVER")?);
                command.args(["--logformat", "text", "--serverbindip4", "127.0.0.1", "--port"]);
                command.arg(port.to_string()).args(options);
                let mut process = Process::start("jamulet-server", command)?;
                // It prints where others can connect once they can.
                process.wait_for_log(&port.to_string(), PATIENCE)?;
                Self::Ours(process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Stock(server) => server.address(),
            Self::Ours(_, address) => *address,
        }
    }

    pub(crate) fn process(&self) -> &Process {
        match self {
            Self::Stock(server) => server.process(),
            Self::Ours(process, _) => process,
        }
    }
}

/// A running client on its way into the session.
pub(crate) enum RunningClient {
    Stock(StockClient),
    Ours(Process),
}

impl RunningClient {
    /// Both play in stereo at normal quality, with both jitter buffers on auto and no window.
    pub(crate) fn start(client: Client, jack: &JackServer, server: SocketAddr) -> Result<Self> {
        Ok(match client {
            Client::Stock => {
                let settings = StockSettings {
                    layout: StockLayout::Stereo,
                    quality: Quality::Normal,
                    small_frames: true,
                    client_buffer: BufferSize::Auto,
                    server_buffer: BufferSize::Auto,
                };
                Self::Stock(StockClient::start(jack, "bench", server, settings)?)
            }
            Client::Ours => {
                // What a fresh installation does: it has no state file yet.
                let mut command = Command::new(program("JAMULET_APP")?);
                command.args(["--backend", "jack", "--connect"]).arg(server.to_string());
                command.env_remove("DISPLAY").env_remove("XDG_CONFIG_HOME");
                Self::Ours(Process::start("Jamulet", command)?)
            }
        })
    }

    pub(crate) fn jack_name(&self) -> &str {
        match self {
            Self::Stock(client) => client.jack_name(),
            Self::Ours(_) => APP,
        }
    }

    pub(crate) fn process(&self) -> &Process {
        match self {
            Self::Stock(client) => client.process(),
            Self::Ours(process) => process,
        }
    }

    /// Ends it as Ctrl+C does. What does not end soon is killed: nice-plug 0.4.2 and JACK sometimes wait for each
    /// other for ever.
    pub(crate) fn stop(mut self) -> Result<()> {
        let process = match &mut self {
            Self::Stock(client) => client.process_mut(),
            Self::Ours(process) => process,
        };
        process.signal(libc::SIGINT);
        let start = pace::now();
        while process.exited()?.is_none() {
            if start.elapsed() > GOODBYE {
                process.kill();
                return Ok(());
            }
            pace::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn program(variable: &str) -> Result<PathBuf> {
    Ok(std::env::var_os(variable).context("start this with `cargo xtask bench delay`")?.into())
}
