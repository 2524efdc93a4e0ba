//! Carries bytes both ways after 101 (WebSocket and other upgrades), until both sides have ended, nothing moves for too long, or we drain.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::io::ClientIo;
use super::pulse::Pulse;
use crate::connections::{Connections, Stage};
use crate::metrics::Owner;
use crate::upstream::Lease;

/// What is needed to go on after the response with 101 has been written.
pub(crate) struct Tunnel<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    pub(crate) lease: Lease<S>,
    pub(crate) owner: Owner,
    /// How long nothing may move.
    pub(crate) pause_max: Duration,
}

// === impl Tunnel ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Tunnel<S> {
    /// Runs until it ends. `ahead` is what the client sent after its request.
    pub(super) async fn run<C: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut client: ClientIo<C>,
        ahead: Bytes,
        pulse: Rc<Pulse>,
        connections: &Connections,
    ) {
        let pause_max = self.pause_max;
        let bare = tokio::time::timeout(pause_max, self.lease.into_raw());
        let bare = tokio::select! {
            bare = bare => bare,
            () = connections.reached(Stage::Deadline) => return,
        };
        let Ok(Some((mut raw, _in_flight))) = bare else {
            return;
        };
        let upgraded = self.owner.upgraded();
        upgraded.inc();
        pulse.tunnel();
        client.ends_by_itself();
        let carry = async {
            raw.stream.write_all(&ahead).await?;
            client.write_all(&raw.read).await?;
            tokio::io::copy_bidirectional(&mut client, &mut raw.stream).await
        };
        let reason = tokio::select! {
            carried = carry => if carried.is_ok() { "closed" } else { "reset" },
            () = paused(&pulse, pause_max) => "idle",
            () = connections.reached(Stage::Deadline) => "drained",
        };
        tracing::debug!(reason, "an upgraded connection ended");
        upgraded.dec();
    }
}

/// Ends when nothing has moved for so long.
async fn paused(pulse: &Pulse, pause_max: Duration) {
    loop {
        let until = pulse.since() + pause_max;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}
