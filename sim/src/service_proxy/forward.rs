//! One connection through the proxy, from the connect to its end.
//!
//! In: an accepted stream and its [`Route`]. Out: bytes both ways, and how it ended. A side that has said all can still listen
//! (half-close). What the kernel's packet rules would pass on as a reset arrives as a close: streams here know no more. A
//! connect that fails is not tried elsewhere, as it is not with kube-proxy's rules.

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tiergate_data_plane::net::Net;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::choose::Route;

/// What one direction holds in memory.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long a connection may take or say nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// After one side has said all.
    pub(super) half_closed_timeout: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// Both sides said all.
    Closed,
    /// One side broke off.
    Broken,
    Idle,
    ConnectFailed,
    ConnectTimedOut,
}

/// A connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) ending: Ending,
    /// The client's address was to be kept, and this machine does not have it.
    pub(super) lost_client: bool,
    pub(super) bytes: u64,
}

/// Carries one connection until it ends.
pub(super) async fn forward<N: Net>(
    net: N,
    client: N::Stream,
    route: Route,
    times: Times,
) -> Report {
    let connect = tokio::time::timeout(times.connect_timeout, connect(&net, &route));
    let failed = |ending| Report {
        ending,
        lost_client: false,
        bytes: 0,
    };
    let (endpoint, lost_client) = match connect.await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            tracing::debug!(endpoint = %route.to, %error, reason = "connect_failed", "an endpoint of a Service refuses a connection");
            return failed(Ending::ConnectFailed);
        }
        Err(_) => {
            tracing::debug!(endpoint = %route.to, reason = "connect_timed_out", "an endpoint of a Service does not answer");
            return failed(Ending::ConnectTimedOut);
        }
    };
    let progress = Mutex::new(Progress {
        last: Instant::now(),
        is_half_closed: false,
        bytes: 0,
    });
    let (client_read, client_write) = tokio::io::split(client);
    let (endpoint_read, endpoint_write) = tokio::io::split(endpoint);
    let both = async {
        tokio::try_join!(
            carry(client_read, endpoint_write, &progress),
            carry(endpoint_read, client_write, &progress),
        )
    };
    let ending = tokio::select! {
        carried = both => match carried {
            Ok(_) => Ending::Closed,
            Err(_) => Ending::Broken,
        },
        () = silence(&progress, times) => Ending::Idle,
    };
    Report {
        ending,
        lost_client,
        bytes: seen(&progress).bytes,
    }
}

/// Connects from the first address that this machine has; without one the kernel chooses.
async fn connect<N: Net>(net: &N, route: &Route) -> io::Result<(N::Stream, bool)> {
    let candidates = route.from.iter().copied().map(Some).chain([None]);
    let mut lost_client = false;
    let mut last = None;
    for from in candidates {
        let result: io::Result<N::Stream> = net.connect(route.to, from).await;
        match result {
            Ok(stream) => return Ok((stream, lost_client)),
            Err(error) if is_not_ours(&error, from) => {
                lost_client |= route.keeps_client && from == route.from.first().copied();
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no address to come from")))
}

/// Whether the source address is to blame: it is not of this machine, or leads nowhere from the endpoint's.
fn is_not_ours(error: &io::Error, from: Option<IpAddr>) -> bool {
    let kinds = [io::ErrorKind::AddrNotAvailable, io::ErrorKind::InvalidInput];
    from.is_some() && kinds.contains(&error.kind())
}

struct Progress {
    last: Instant,
    is_half_closed: bool,
    bytes: u64,
}

fn seen(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().expect("no holder of this lock panics")
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    progress: &Mutex<Progress>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            to.shutdown().await?;
            let mut progress = seen(progress);
            progress.is_half_closed = true;
            progress.last = Instant::now();
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        let mut progress = seen(progress);
        progress.last = Instant::now();
        progress.bytes += length as u64;
    }
}

/// Returns when nothing was carried for too long.
async fn silence(progress: &Mutex<Progress>, times: Times) {
    loop {
        let (last, is_half_closed) = {
            let progress = seen(progress);
            (progress.last, progress.is_half_closed)
        };
        let limit = if is_half_closed {
            times.half_closed_timeout
        } else {
            times.idle_timeout
        };
        if last.elapsed() >= limit {
            return;
        }
        // The limit may become the shorter one while this waits.
        let wait = (last + limit).min(Instant::now() + times.half_closed_timeout);
        tokio::time::sleep_until(wait).await;
    }
}

#[cfg(test)]
mod tests;
