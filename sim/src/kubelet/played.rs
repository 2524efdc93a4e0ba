//! A container of an image that we do not have: echo servers on its ports.
//!
//! Ports that the container declares must be free, or it fails. A port that only a Service names is bound when the Service
//! appears and closed when it goes; when it cannot be bound, that is logged and tried again at the next change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Pod;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{Services, ports};
use crate::echo::{self, Identity};
use crate::stop;

/// Ports of one container; a Service with more is not possible anyhow.
const PORTS_MAX: usize = 256;

/// Addresses that echo servers of this node hold. The kernel would let two of them share one.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<BTreeSet<SocketAddr>>>);

/// A held address. Dropping it frees it.
#[derive(Debug)]
struct Claim {
    claims: Claims,
    address: SocketAddr,
}

/// What to play.
pub(super) struct Part {
    pub(super) pod: Arc<Pod>,
    pub(super) identity: Identity,
    pub(super) address: IpAddr,
    pub(super) declared: BTreeSet<u16>,
    /// None: another container of the pod serves the ports that only Services name.
    pub(super) services: Option<watch::Receiver<Services>>,
    pub(super) claims: Claims,
}

/// A played container.
#[derive(Debug)]
pub(super) struct Played {
    task: JoinHandle<()>,
    stop: stop::Handle,
}

/// The servers of one container.
struct Servers<N> {
    net: N,
    part: Part,
    identity: Arc<Identity>,
    running: BTreeMap<u16, stop::Handle>,
    ended: JoinSet<()>,
}

// === impl Played ===

impl Played {
    /// Binds what the container declares, and starts to serve.
    pub(super) async fn start<N: Net>(net: N, part: Part) -> Result<Self, String> {
        let mut servers = Servers {
            net,
            identity: Arc::new(part.identity.clone()),
            running: BTreeMap::new(),
            ended: JoinSet::new(),
            part,
        };
        for port in servers.part.declared.clone() {
            servers.serve(port).await?;
        }
        servers.follow_services().await;
        let (stop, signal) = stop::channel();
        let task = tokio::spawn(servers.run(signal));
        Ok(Self { task, stop })
    }

    /// Waits for its end, as of a process.
    pub(super) async fn ended(&mut self) -> (i32, String) {
        match (&mut self.task).await {
            Ok(()) => (0, String::new()),
            Err(error) if error.is_cancelled() => (137, String::new()),
            Err(error) => (134, error.to_string()),
        }
    }

    pub(super) fn terminate(&self) {
        self.stop.stop();
    }

    pub(super) fn kill(&self) {
        self.task.abort();
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Servers ===

impl<N: Net> Servers<N> {
    async fn run(mut self, mut stop: stop::Signal) {
        loop {
            tokio::select! {
                () = stop.wait() => break,
                () = changed(&mut self.part.services) => self.follow_services().await,
            }
            while self.ended.try_join_next().is_some() {}
        }
        self.running.clear();
        while self.ended.join_next().await.is_some() {}
    }

    async fn follow_services(&mut self) {
        let Some(services) = &mut self.part.services else {
            return;
        };
        let services = services.borrow_and_update().clone();
        let wanted = ports::of_services(&self.part.pod, services.values().map(Arc::as_ref));
        let declared = &self.part.declared;
        self.running
            .retain(|port, _| declared.contains(port) || wanted.contains(port));
        for port in wanted {
            if !self.running.contains_key(&port)
                && let Err(message) = self.serve(port).await
            {
                tracing::warn!(
                    pod = self.identity.pod,
                    namespace = self.identity.namespace,
                    reason = "service_port",
                    "{message}"
                );
            }
        }
    }

    async fn serve(&mut self, port: u16) -> Result<(), String> {
        let address = SocketAddr::new(self.part.address, port);
        if self.running.len() >= PORTS_MAX {
            return Err(format!(
                "cannot listen on {address}: the container has {PORTS_MAX} ports already"
            ));
        }
        let claim = self.part.claims.take(address).ok_or_else(|| {
            format!("cannot listen on {address}: another container has this port")
        })?;
        let listener = self
            .net
            .bind(address)
            .await
            .map_err(|error| bind_message(address, &error))?;
        let (stop, signal) = stop::channel();
        self.running.insert(port, stop);
        let served = echo::serve(listener, Arc::clone(&self.identity), signal);
        self.ended.spawn(async move {
            served.await;
            drop(claim);
        });
        Ok(())
    }
}

async fn changed(services: &mut Option<watch::Receiver<Services>>) {
    let ended = match services {
        Some(services) => services.changed().await.is_err(),
        None => true,
    };
    if ended {
        std::future::pending::<()>().await;
    }
}

fn bind_message(address: SocketAddr, error: &io::Error) -> String {
    let cure = if error.kind() == io::ErrorKind::AddrInUse {
        "; end the program that has this port, or use another --pod-cidr"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need root, or a lower net.ipv4.ip_unprivileged_port_start"
    } else {
        ""
    };
    format!("cannot listen on {address}: {error}{cure}")
}

// === impl Claims ===

impl Claims {
    fn take(&self, address: SocketAddr) -> Option<Claim> {
        let mut taken = self.0.lock().expect("no holder of this lock panics");
        taken.insert(address).then(|| Claim {
            claims: self.clone(),
            address,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.claims.0.lock().expect("no holder of this lock panics");
        taken.remove(&self.address);
    }
}
