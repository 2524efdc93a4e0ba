//! Wakes who drives a connection, except for what it does itself.
//!
//! A body that is asked for a frame tells its connection that there is room, and so wakes who drives the connection: the
//! one who has just asked, and who drives the connection next. Each answer would cost a turn of its task for nothing.
//!
//! The connection has one waker for all its holders, so that a stream knows it again and keeps no new one per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

/// The waker of a connection.
pub(super) struct Wakeup {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    /// Who drives it, since the last time that it was driven.
    holder: AtomicWaker,
    is_quiet: AtomicBool,
    /// Something has happened since it was driven, besides what its holder did.
    is_woken: AtomicBool,
}

// === impl Wakeup ===

impl Default for Wakeup {
    fn default() -> Self {
        let shared = Arc::new(Shared {
            holder: AtomicWaker::new(),
            is_quiet: AtomicBool::new(false),
            is_woken: AtomicBool::new(false),
        });
        let waker = Waker::from(shared.clone());
        Self { shared, waker }
    }
}

impl Wakeup {
    /// The connection's waker, which wakes the task of `cx` from now on.
    pub(super) fn of(&self, cx: &Context<'_>) -> &Waker {
        self.shared.is_woken.store(false, Ordering::Relaxed);
        self.shared.holder.register(cx.waker());
        &self.waker
    }

    /// The connection's waker, which wakes nobody until it is driven again.
    pub(super) fn of_nobody(&self) -> &Waker {
        self.shared.is_woken.store(false, Ordering::Relaxed);
        drop(self.shared.holder.take());
        &self.waker
    }

    /// Whether anything has happened since it was driven last, besides what its holder did: that is work on a body, which
    /// does not bring the stream on.
    pub(super) fn was_woken(&self) -> bool {
        self.shared.is_woken.load(Ordering::Relaxed)
    }

    /// Does work of the holder, which it need not be woken for.
    pub(super) fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.is_quiet.store(true, Ordering::Relaxed);
        let done = work();
        self.shared.is_quiet.store(false, Ordering::Relaxed);
        done
    }
}

// === impl Shared ===

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_quiet.load(Ordering::Relaxed) {
            self.is_woken.store(true, Ordering::Relaxed);
            self.holder.wake();
        }
    }
}
