//! The wall clock: the one place of this crate that asks for it. Waits and delays follow tokio's clock.

use jiff::Timestamp;

/// The time of day, as objects hold it. Decisions take it as an argument.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks for the time of day"
)]
pub(crate) fn wall_now() -> Timestamp {
    Timestamp::now()
}

/// The time of day in whole seconds, as most fields hold it.
pub(crate) fn wall_seconds() -> Timestamp {
    let now = wall_now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
