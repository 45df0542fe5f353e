//! The ways into a running server for admins: remote control, the local socket, and figures.

use std::net::SocketAddr;

#[cfg(unix)]
use jamulet::server::admin::{LocalConsole, default_console_path};
use jamulet::server::admin::{MetricsServer, RpcOptions, RpcServer, Secret};
use jamulet::server::{Event, Handle};

use crate::effective::RpcPlan;
use crate::log::Log;

/// What is to be opened, with everything that can be wrong about it found out before the jam begins.
pub(crate) struct DoorPlan {
    rpc: Option<RpcOptions>,
    metrics: Option<SocketAddr>,
}

/// Open doors.
pub(crate) struct Doors {
    /// The first to be closed: it leaves a file behind if there is no time for that.
    #[cfg(unix)]
    console: Option<LocalConsole>,
    rpc: Option<RpcServer>,
    metrics: Option<MetricsServer>,
}

impl DoorPlan {
    /// Reads the secret.
    ///
    /// # Errors
    /// When there is none to read, or it is too short.
    pub(crate) fn new(rpc: Option<&RpcPlan>, metrics: Option<SocketAddr>) -> anyhow::Result<Self> {
        let rpc = rpc.map(|rpc| {
            Ok::<_, anyhow::Error>(RpcOptions {
                address: rpc.address,
                secret: Secret::from_file(&rpc.secret_file)?,
            })
        });
        Ok(Self { rpc: rpc.transpose()?, metrics })
    }
}

impl Doors {
    /// Opens the doors to the server behind `handle`, which listens on UDP port `port`.
    ///
    /// # Errors
    /// When an address cannot be used. A local socket that cannot be made is only told: containers have no
    /// place for one.
    #[cfg_attr(
        not(unix),
        expect(unused_variables, reason = "there is no local socket to name or to tell of")
    )]
    pub(crate) fn open(plan: DoorPlan, port: u16, handle: &Handle, log: &Log) -> anyhow::Result<Self> {
        Ok(Self {
            rpc: plan.rpc.map(|options| RpcServer::start(options, handle.clone())).transpose()?,
            metrics: plan.metrics.map(|address| MetricsServer::start(address, handle.clone())).transpose()?,
            #[cfg(unix)]
            console: open_console(port, handle, log),
        })
    }

    /// Tells those who listen what happens.
    pub(crate) fn notify(&self, event: &Event) {
        if let Some(rpc) = &self.rpc {
            rpc.notify(event);
        }
        #[cfg(unix)]
        if let Some(console) = &self.console {
            console.notify(event);
        }
    }

    /// Where remote control listens.
    pub(crate) fn rpc_address(&self) -> Option<SocketAddr> {
        self.rpc.as_ref().map(RpcServer::local_addr)
    }

    /// Where figures are served.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(MetricsServer::local_addr)
    }
}

#[cfg(unix)]
fn open_console(port: u16, handle: &Handle, log: &Log) -> Option<LocalConsole> {
    match LocalConsole::start(&default_console_path(port), handle.clone()) {
        Ok(console) => Some(console),
        Err(error) => {
            log.warn("note", format!("`jamulet-server status` needs --rpc for this server. {error}"));
            None
        }
    }
}
