//! Ends a process without a failed request: stop accepting, finish what runs, cut what is left at the deadline.
//!
//! In: one call of [`Handle::start`]. Out: every clone of the [`Signal`] learns of it. What to do then is decided where
//! it is done: `listener` stops accepting, `http` closes connections after their answer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Starts to drain.
#[derive(Debug)]
pub struct Handle(watch::Sender<Option<Instant>>);

/// Tells when to drain, and until when.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<Option<Instant>>);

/// A handle with its signal. A handle that is dropped never starts to drain.
#[must_use]
pub fn channel() -> (Handle, Signal) {
    let (sender, receiver) = watch::channel(None);
    (Handle(sender), Signal(receiver))
}

// === impl Handle ===

impl Handle {
    /// Starts to drain; what still runs after `deadline` is cut. Later calls can only shorten it.
    pub fn start(&self, deadline: Duration) {
        let at = Instant::now() + deadline;
        self.0.send_modify(|current| {
            *current = Some(current.map_or(at, |earlier| earlier.min(at)));
        });
    }
}

// === impl Signal ===

impl Signal {
    /// Whether draining has started.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until draining has started.
    pub async fn started(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until draining has started and its deadline has passed.
    pub async fn deadline(&mut self) {
        self.started().await;
        loop {
            let at = self.0.borrow_and_update().unwrap_or_else(Instant::now);
            tokio::select! {
                () = tokio::time::sleep_until(at) => return,
                Ok(()) = self.0.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_start_and_can_only_be_shortened() {
        let (handle, mut signal) = channel();
        assert!(!signal.has_started());
        let begin = Instant::now();
        handle.start(Duration::from_secs(10));
        assert!(signal.has_started());
        handle.start(Duration::from_secs(60));
        handle.start(Duration::from_secs(4));
        signal.deadline().await;
        assert_eq!(begin.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_handle_never_starts() {
        let (handle, mut signal) = channel();
        drop(handle);
        let waited = tokio::time::timeout(Duration::from_secs(3600), signal.started()).await;
        assert!(waited.is_err());
    }
}
