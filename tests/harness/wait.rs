//! Waiting for a condition, with a limit. The one place that may sleep: a test never waits for a time.

use std::time::Duration;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Before a request is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a change may take to be seen on a slow machine before it counts as lost.
pub const CHANGE_SECONDS: u64 = 60;

/// Looks until the probe returns a value, and gives up with its last complaint.
///
/// # Panics
/// When the probe still complains after so many seconds.
pub fn until<T>(what: &str, seconds: u64, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let pauses = seconds * 1000 / u64::try_from(PAUSE.as_millis()).expect("50 fits");
    let mut complaint = String::new();
    for _ in 0..pauses.max(1) {
        match probe() {
            Ok(value) => return value,
            Err(text) => complaint = text,
        }
        pause();
    }
    panic!("{what}: not within {seconds} s; last: {complaint}");
}

/// Between two looks, or two requests of a bounded rate.
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// A shorter pause, to bound the rate of a load.
pub fn breathe() {
    std::thread::sleep(PAUSE / 5);
}

/// Before a request is repeated: what `curl --retry` waits, too.
pub fn before_retry() {
    std::thread::sleep(RETRY_PAUSE);
}

/// A condition as a probe: complains with what was seen.
///
/// # Errors
/// When the condition does not hold.
pub fn seen(holds: bool, what: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// How long something takes, for the numbers that a test shows.
#[derive(Debug)]
#[expect(
    clippy::disallowed_types,
    reason = "what is measured is the time of this machine"
)]
pub struct Stopwatch(std::time::Instant);

// === impl Stopwatch ===

impl Stopwatch {
    /// Begins now.
    #[must_use]
    #[expect(
        clippy::disallowed_types,
        reason = "what is measured is the time of this machine"
    )]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since then.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
