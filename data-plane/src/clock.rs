//! The wall clock: the one place that asks for it, and the `Date` field made from it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::Instant;

/// The time of day. Only for what leaves the process as a date; waits use tokio's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that asks for the time of day"
)]
#[must_use]
pub fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// The value of `Date` (RFC 9110 §6.6.1), made anew once a second.
#[derive(Debug, Default)]
pub(crate) struct DateCache(RefCell<Option<(Instant, HeaderValue)>>);

// === impl DateCache ===

impl DateCache {
    /// The date of this second; `now` decides whether the last one still holds.
    pub(crate) fn value(&self, now: Instant) -> HeaderValue {
        let mut cached = self.0.borrow_mut();
        if let Some((until, value)) = &*cached
            && now < *until
        {
            return value.clone();
        }
        let wall = wall_now();
        let value = HeaderValue::try_from(httpdate::fmt_http_date(wall))
            .expect("a date has only printable characters");
        *cached = Some((now + rest_of_second(wall), value.clone()));
        value
    }
}

fn rest_of_second(wall: SystemTime) -> Duration {
    let part = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    Duration::from_secs(1) - Duration::from_nanos(u64::from(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_date_is_kept_for_the_rest_of_its_second() {
        let cache = DateCache::default();
        let now = Instant::now();
        let first = cache.value(now);
        assert_eq!(cache.value(now), first);
        let (until, _) = cache.0.borrow().clone().unwrap();
        assert!(until > now && until <= now + Duration::from_secs(1));
        assert!(httpdate::parse_http_date(first.to_str().unwrap()).is_ok());
    }
}
