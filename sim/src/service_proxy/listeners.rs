//! The open listeners of the proxy, kept equal to the table.
//!
//! In: the table. Out: accepted connections, in one bounded queue, and what could not be opened. What cannot be opened is tried
//! again with growing delays, and without being asked when it leaves the table and comes back.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tiergate_data_plane::net::{Listener as _, Net};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::table::{Listener, Origin, Table};

const RETRY_DELAY_FIRST: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// Accepted connections that wait for the proxy.
const ACCEPTED_MAX: usize = 64;

/// The first port that everybody may bind.
const UNPRIVILEGED_PORT_FIRST: u16 = 1024;

/// A connection that a client opened.
pub(super) struct Accepted<S> {
    pub(super) stream: S,
    pub(super) peer: SocketAddr,
    /// Where it was accepted.
    pub(super) at: SocketAddr,
}

/// An address that cannot be opened.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) at: SocketAddr,
    pub(super) problem: Problem,
    pub(super) error: io::Error,
}

/// Why an address cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Ports below 1024 are for root.
    Privileged,
    /// Another program has it.
    Taken,
    /// It is no address of this machine.
    NotLocal,
    Other,
}

/// All of them. They close when this is dropped.
pub(super) struct Listeners<N: Net> {
    net: N,
    open: BTreeMap<SocketAddr, JoinHandle<()>>,
    failed: BTreeMap<SocketAddr, Failed>,
    accepted: mpsc::Sender<Accepted<N::Stream>>,
}

struct Failed {
    attempts: u32,
    again_at: Instant,
}

// === impl Listeners ===

impl<N: Net> Listeners<N> {
    /// None yet; and where accepted connections come out.
    pub(super) fn new(net: N) -> (Self, mpsc::Receiver<Accepted<N::Stream>>) {
        let (accepted, receiver) = mpsc::channel(ACCEPTED_MAX);
        let listeners = Self {
            net,
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
            accepted,
        };
        (listeners, receiver)
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// When something that failed is due again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.failed.values().map(|failed| failed.again_at).min()
    }

    /// Closes what the table does not hold, and opens what it holds. Returns what failed for the first time.
    pub(super) async fn follow(&mut self, table: &Table) -> Vec<Refused> {
        self.failed.retain(|at, _| table.listeners.contains_key(at));
        let gone: Vec<SocketAddr> = self
            .open
            .keys()
            .filter(|at| !table.listeners.contains_key(at))
            .copied()
            .collect();
        for at in gone {
            if let Some(task) = self.open.remove(&at) {
                close(task).await;
            }
        }
        let mut refused = Vec::new();
        for at in table.listeners.keys() {
            if !self.open.contains_key(at) {
                refused.extend(self.try_open(*at).await);
            }
        }
        refused
    }

    async fn try_open(&mut self, at: SocketAddr) -> Option<Refused> {
        let now = Instant::now();
        let before = self.failed.get(&at);
        if before.is_some_and(|failed| failed.again_at > now) {
            return None;
        }
        match self.net.bind(at).await {
            Ok(listener) => {
                self.failed.remove(&at);
                let accepting = accept::<N>(listener, at, self.accepted.clone());
                self.open.insert(at, tokio::spawn(accepting));
                None
            }
            Err(error) => {
                let attempts = before.map_or(0, |failed| failed.attempts);
                let doubled = 2_u32.saturating_pow(attempts.min(16));
                let delay = RETRY_DELAY_FIRST
                    .saturating_mul(doubled)
                    .min(RETRY_DELAY_MAX);
                let failed = Failed {
                    attempts: attempts + 1,
                    again_at: now + delay,
                };
                self.failed.insert(at, failed);
                (attempts == 0).then(|| Refused {
                    at,
                    problem: Problem::of(&error, at),
                    error,
                })
            }
        }
    }
}

impl<N: Net> Drop for Listeners<N> {
    fn drop(&mut self) {
        self.open.values().for_each(JoinHandle::abort);
    }
}

/// Ends a task and waits until its socket is closed: the same address may be opened next.
async fn close(task: JoinHandle<()>) {
    task.abort();
    // It ends as cancelled, which is what was asked for.
    let _ = task.await;
}

async fn accept<N: Net>(
    mut listener: N::Listener,
    at: SocketAddr,
    accepted: mpsc::Sender<Accepted<N::Stream>>,
) {
    loop {
        let (stream, peer) = listener.accept().await;
        if accepted.send(Accepted { stream, peer, at }).await.is_err() {
            return;
        }
    }
}

// === impl Problem ===

impl Problem {
    fn of(error: &io::Error, at: SocketAddr) -> Self {
        let kind = error.kind();
        let is_privileged = at.port() < UNPRIVILEGED_PORT_FIRST;
        if kind == io::ErrorKind::PermissionDenied && is_privileged {
            Self::Privileged
        } else if kind == io::ErrorKind::AddrInUse {
            Self::Taken
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NotLocal
        } else {
            Self::Other
        }
    }

    /// As `reason` of a log line.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Privileged => "privileged_port",
            Self::Taken => "address_taken",
            Self::NotLocal => "address_not_local",
            Self::Other => "listen_failed",
        }
    }

    /// Whether the owner of the Service has to know: addresses of other machines are ordinary `externalIPs`.
    pub(super) fn concerns_owner(self, listener: &Listener) -> bool {
        let is_external = match listener {
            Listener::Forward(frontend) => frontend.origin == Origin::ExternalIp,
            Listener::Health(_) => false,
        };
        !(self == Self::NotLocal && is_external)
    }

    /// What to do, as the rest of a sentence.
    pub(super) fn cure(self, ip: Ipv4Addr) -> String {
        match self {
            Self::Privileged => {
                "a port below 1024 needs root, or `sysctl net.ipv4.ip_unprivileged_port_start=0`"
                    .to_owned()
            }
            Self::Taken => "another program has it".to_owned(),
            Self::NotLocal => {
                format!(
                    "it is no address of this machine; `ip route add local {ip} dev lo` makes it one"
                )
            }
            Self::Other => "it is tried again".to_owned(),
        }
    }
}
