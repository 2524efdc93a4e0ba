//! Who of one HTTP/2 connection has been woken: the connection itself, and which of its seats.
//!
//! All of them run in one task. While it has its turn, a wake-up is only noted, for the turn sees it before it ends; at any other
//! time the first one wakes the task. So a hundred answers that arrive together are one turn, and what a stream sends does
//! not wake the task that sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

/// Seats that share one word of marks.
pub(super) const BLOCK: usize = u64::BITS as usize;

/// The marks of one connection.
pub(super) struct Wakes {
    shared: Arc<Shared>,
    connection: Waker,
}

struct Shared {
    task: AtomicWaker,
    is_turn: AtomicBool,
    is_connection_woken: AtomicBool,
}

/// The marks of up to [`BLOCK`] seats.
pub(super) struct Block {
    shared: Arc<Shared>,
    woken: AtomicU64,
}

/// Wakes one seat.
struct SeatWaker {
    block: Arc<Block>,
    mark: u64,
}

// === impl Wakes ===

impl Wakes {
    /// The connection is marked: it is to be looked at first.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared {
            task: AtomicWaker::new(),
            is_turn: AtomicBool::new(false),
            is_connection_woken: AtomicBool::new(true),
        });
        let connection = Waker::from(shared.clone());
        Self { shared, connection }
    }

    /// The waker of the connection.
    pub(super) fn connection(&self) -> &Waker {
        &self.connection
    }

    /// Marks for further seats.
    pub(super) fn block(&self) -> Arc<Block> {
        Arc::new(Block {
            shared: self.shared.clone(),
            woken: AtomicU64::new(0),
        })
    }

    /// The task's turn begins.
    pub(super) fn begin(&self, cx: &Context<'_>) {
        self.shared.task.register(cx.waker());
        self.shared.is_turn.store(true, Ordering::SeqCst);
    }

    /// The task's turn ends. Whoever is marked from now on wakes it; the caller looks once more who was before.
    pub(super) fn end(&self) {
        self.shared.is_turn.store(false, Ordering::SeqCst);
    }

    /// Whether the connection is marked. Takes the mark.
    pub(super) fn take_connection(&self) -> bool {
        let woken = &self.shared.is_connection_woken;
        woken.load(Ordering::SeqCst) && woken.swap(false, Ordering::SeqCst)
    }

    /// Whether the connection is marked.
    pub(super) fn is_connection_woken(&self) -> bool {
        self.shared.is_connection_woken.load(Ordering::SeqCst)
    }
}

// === impl Shared ===

impl Shared {
    fn woken(&self) {
        if !self.is_turn.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_connection_woken.store(true, Ordering::SeqCst);
        self.woken();
    }
}

// === impl Block ===

impl Block {
    /// The waker of one seat.
    pub(super) fn waker(self: &Arc<Self>, place: usize) -> Waker {
        Waker::from(Arc::new(SeatWaker {
            block: self.clone(),
            mark: 1 << place,
        }))
    }

    /// Marks a seat.
    pub(super) fn mark(&self, place: usize) {
        self.woken.fetch_or(1 << place, Ordering::SeqCst);
    }

    /// Which seats are marked. Takes the marks.
    pub(super) fn take(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.woken.swap(0, Ordering::SeqCst)
    }

    /// Whether no seat is marked.
    pub(super) fn is_empty(&self) -> bool {
        self.woken.load(Ordering::SeqCst) == 0
    }
}

// === impl SeatWaker ===

impl Wake for SeatWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.block.mark(self.mark.trailing_zeros() as usize);
        self.block.shared.woken();
    }
}
