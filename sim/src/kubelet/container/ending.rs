//! When a container has to end.

use tokio::sync::watch;
use tokio::time::Instant;

/// When the pod has to be gone. None: not at all. It may come nearer.
pub(in crate::kubelet) type Deadline = watch::Receiver<Option<Instant>>;

/// When a container that is being ended is killed: at the pod's deadline, or at one of its own, whichever is first.
pub(super) struct Limit {
    pub(super) pod: Deadline,
    pub(super) own: Option<Instant>,
}

// === impl Limit ===

impl Limit {
    /// Returns when it is over, wherever it moves meanwhile.
    pub(super) async fn passed(&mut self) {
        tokio::select! {
            () = at(self.own) => {}
            () = passed(&mut self.pod) => {}
        }
    }
}

/// Returns when there is a deadline.
pub(in crate::kubelet) async fn asked_to_end(deadline: &mut Deadline) {
    if deadline.wait_for(Option::is_some).await.is_err() {
        // Nobody is left to ask: the pod's task is being dropped, and this one with it.
        std::future::pending().await
    }
}

async fn passed(deadline: &mut Deadline) {
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            () = at(until) => return,
            moved = deadline.changed() => if moved.is_err() { return },
        }
    }
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
