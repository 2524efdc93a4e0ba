//! The clocks of the hosts.
//!
//! Each host has two: one that only goes forward, at a rate of its own, which is what its tokio runtime counts; and the time of day, which is that one
//! and an offset. What a thread is told of the time depends on the host that runs on it at the moment.

use std::cell::Cell;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

/// The time of day at which every world begins: 2026-01-01T00:00:00Z, in seconds since 1970. Certificates that are made in a world are valid then.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// What the clock that only goes forward says at the beginning. Not 0: code that goes back from now would end before it.
const BOOT: Duration = Duration::from_secs(1_000_000);

/// How far a host's time of day may be off: an hour and a day of drift are within it.
pub const OFFSET_MAX: Duration = Duration::from_secs(2 * 86_400);

/// How a host's clock differs from the world's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skew {
    /// Seconds that pass on the host in one of the world, 0.5 to 2.
    pub rate: f64,
    /// The time of day is ahead by so many milliseconds.
    pub offset_ms: i64,
}

/// The clock of the host that runs on this thread.
#[derive(Clone, Copy)]
struct Running {
    /// What its clock said when its runtime began, and what tokio said.
    since: Option<(Duration, Instant)>,
    /// What its clock says while it does not run.
    elapsed: Duration,
    offset_ms: i64,
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running { since: None, elapsed: Duration::ZERO, offset_ms: 0 }) };
}

// === impl Skew ===

impl Default for Skew {
    /// A clock that is right.
    fn default() -> Self {
        Self {
            rate: 1.0,
            offset_ms: 0,
        }
    }
}

/// From now on this thread's time is that of a host whose clock said `elapsed` when its runtime began, `began` as tokio says it.
pub(super) fn enter(elapsed: Duration, began: Instant, skew: Skew) {
    RUNNING.set(Running {
        since: Some((elapsed, began)),
        elapsed,
        offset_ms: skew.offset_ms,
    });
}

/// No host runs: the time is the world's.
pub(super) fn leave(world: Duration) {
    RUNNING.set(Running {
        since: None,
        elapsed: world,
        offset_ms: 0,
    });
}

/// What the clock of this thread's host says, since the beginning of the world.
pub(super) fn elapsed() -> Duration {
    let running = RUNNING.get();
    match running.since {
        // tokio's clock can be asked only within a runtime; between two of them time stands.
        Some((elapsed, began)) if Handle::try_current().is_ok() => elapsed + began.elapsed(),
        Some((elapsed, _)) => elapsed,
        None => running.elapsed,
    }
}

/// What `CLOCK_MONOTONIC` says.
pub(super) fn monotonic() -> Duration {
    BOOT + elapsed()
}

/// What `CLOCK_REALTIME` says.
pub(super) fn wall() -> Duration {
    let offset = RUNNING.get().offset_ms;
    let right = EPOCH + elapsed();
    let by = Duration::from_millis(offset.unsigned_abs()).min(OFFSET_MAX);
    if offset < 0 { right - by } else { right + by }
}
