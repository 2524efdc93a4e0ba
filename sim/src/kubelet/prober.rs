//! Makes the probes and hooks of a running container.
//!
//! In: what to do. Out: an [`Outcome`] each time. HTTP and gRPC are spoken here; a command runs as a process (`exec`).

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

use tiergate_data_plane::net::Net;
use tokio::time::{Instant, MissedTickBehavior};

use super::probe::{Check, Outcome, Schedule, Verdict};

mod exec;
mod grpc;
mod http;
mod patience;
mod tls;

pub(super) use exec::Commands;
use patience::within;

/// Probes one container.
#[derive(Clone)]
pub(super) struct Prober<N> {
    pub(super) net: N,
    /// The pod's address.
    pub(super) address: IpAddr,
    /// How commands are run in the container.
    pub(super) commands: Commands,
}

/// Why there is no answer to judge.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("dial tcp: lookup {0}: no such host")]
    Host(String),
    #[error("dial tcp {to}: connect: {}", reason_of(.error))]
    Connect {
        to: SocketAddr,
        error: std::io::Error,
    },
    #[error(transparent)]
    Tls(std::io::Error),
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] ::http::Error),
    #[error("stopped after 10 redirects")]
    Redirects,
}

// === impl Prober ===

impl<N: Net> Prober<N> {
    /// Probes until `see` breaks off: it gets every outcome, and the verdict when enough of them agree.
    pub(super) async fn run<B>(
        &self,
        check: &Check,
        schedule: &Schedule,
        began: Instant,
        mut see: impl FnMut(&Outcome, Option<bool>) -> ControlFlow<B>,
    ) -> B {
        let mut verdict = Verdict::default();
        tokio::time::sleep_until(began + schedule.initial_delay).await;
        let mut ticks = tokio::time::interval(schedule.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outcome = self.once(check, schedule.timeout).await;
            let success = outcome.is_success();
            let settled = success.and_then(|success| verdict.take(success, schedule));
            if let ControlFlow::Break(end) = see(&outcome, settled) {
                return end;
            }
        }
    }

    /// Does it once.
    pub(super) async fn once(&self, check: &Check, timeout: Duration) -> Outcome {
        match check {
            Check::Exec(command) => self.commands.probe(command, timeout).await,
            Check::Http(check) => {
                let url = http::url(self.address, check);
                let made = http::probe(&self.net, self.address, check);
                match within(timeout, made).await {
                    Some(Ok(outcome)) => outcome,
                    Some(Err(error)) => Outcome::Failure(format!("Get {url:?}: {error}")),
                    None => Outcome::Failure(format!(
                        "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                    )),
                }
            }
            Check::Grpc { port, service } => {
                let to = SocketAddr::new(self.address, *port);
                grpc::probe(&self.net, to, service, timeout).await
            }
            Check::Tcp { host, port } => {
                let made = async {
                    let to = target(&self.net, self.address, host.as_deref(), *port).await?;
                    connect(&self.net, to).await
                };
                match within(timeout, made).await {
                    Some(Ok(_)) => Outcome::Success,
                    Some(Err(error)) => Outcome::Failure(error.to_string()),
                    None => {
                        let host = host.clone().unwrap_or_else(|| self.address.to_string());
                        Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout"))
                    }
                }
            }
        }
    }
}

async fn target<N: Net>(
    net: &N,
    address: IpAddr,
    host: Option<&str>,
    port: u16,
) -> Result<SocketAddr, ProbeError> {
    let Some(host) = host else {
        return Ok(SocketAddr::new(address, port));
    };
    let unknown = || ProbeError::Host(host.to_owned());
    let found = net.resolve(host, port).await.map_err(|_| unknown())?;
    found.first().copied().ok_or_else(unknown)
}

async fn connect<N: Net>(net: &N, to: SocketAddr) -> Result<N::Stream, ProbeError> {
    let connected = net.connect(to, None).await;
    connected.map_err(|error| ProbeError::Connect { to, error })
}

/// As Go says it: `connection refused`, not `Connection refused (os error 111)`.
fn reason_of(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests;
