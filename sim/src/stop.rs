//! Tells tasks to end: one [`Handle`] sets it, any number of [`Signal`]s see it. And hears when we shall end ourselves.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Ends what listens to its signals. Dropping it is a stop as well: nothing outlives its owner.
#[derive(Debug)]
pub struct Handle(watch::Sender<bool>);

/// Sees the stop.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<bool>);

/// A handle with its first signal.
#[must_use]
pub fn channel() -> (Handle, Signal) {
    let (sender, receiver) = watch::channel(false);
    (Handle(sender), Signal(receiver))
}

/// Returns when somebody asks this process to end: SIGINT, SIGTERM, SIGHUP.
///
/// # Errors
/// When signals cannot be received.
pub(crate) fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

// === impl Handle ===

impl Handle {
    /// Sets the signal. Further calls change nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

// === impl Signal ===

impl Signal {
    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns as soon as it is set.
    pub async fn wait(&mut self) {
        // An error means that the handle is gone, which is a stop.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
