//! One structured event per request, switchable while running.
//!
//! In: what `account` knows when a request ends. Out: a `tracing` event with the target `tiergate::access`. Whether a
//! request is logged is decided when it begins, so that one that is not costs nothing. Query strings are left out: they
//! often hold secrets.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Uri, Version};

use crate::table::{BackendName, RouteOwner};

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// None.
    Off,
    /// One in so many.
    Sampled(u32),
    /// All.
    All,
}

/// Text that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `off`, `all`, `sampled:N` (one request in N)")]
pub struct InvalidLevel(String);

/// The level of all workers. Cheap to clone; a change holds for the next request.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicU32>);

/// Counts requests of one worker, to sample them.
#[derive(Debug, Default)]
pub(crate) struct Sampler(Cell<u32>);

/// What the log tells about one request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) client: IpAddr,
    pub(crate) method: Method,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) owner: Option<RouteOwner>,
    pub(crate) backend: Option<BackendName>,
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    pub(crate) tries: u32,
    pub(crate) upstream: Option<Duration>,
}

/// How the request ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: u16,
    pub(crate) reason: Option<&'static str>,
    pub(crate) duration: Duration,
    pub(crate) request_body_bytes: u64,
    pub(crate) response_body_bytes: u64,
}

// === impl Level ===

impl Level {
    fn one_in(self) -> u32 {
        match self {
            Self::Off => 0,
            Self::Sampled(n) => n.max(1),
            Self::All => 1,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Sampled(n) => write!(f, "sampled:{n}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        let one_in = |text: &str| text.parse().ok().filter(|&n: &u32| n > 0);
        match text {
            "off" => Ok(Self::Off),
            "all" => Ok(Self::All),
            _ => text
                .strip_prefix("sampled:")
                .and_then(one_in)
                .map(Self::Sampled)
                .ok_or_else(|| InvalidLevel(text.to_owned())),
        }
    }
}

// === impl Switch ===

impl Switch {
    /// A switch that stands at `level`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self(Arc::new(AtomicU32::new(level.one_in())))
    }

    /// Changes the level for all requests that begin from here on.
    pub fn set(&self, level: Level) {
        self.0.store(level.one_in(), Ordering::Relaxed);
    }

    /// The level.
    #[must_use]
    pub fn get(&self) -> Level {
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Off,
            1 => Level::All,
            n => Level::Sampled(n),
        }
    }
}

// === impl Sampler ===

impl Sampler {
    /// Whether this request is one to log.
    pub(crate) fn takes(&self, switch: &Switch) -> bool {
        match switch.0.load(Ordering::Relaxed) {
            0 => false,
            1 => true,
            n => {
                let seen = self.0.get().wrapping_add(1);
                self.0.set(seen);
                seen.is_multiple_of(n)
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Writes the event.
    pub(crate) fn write(&self, end: &End) {
        let owner = self.owner.as_ref();
        tracing::info!(
            target: "tiergate::access",
            client = %self.client,
            method = %self.method,
            host = self.host.as_ref().and_then(|host| host.to_str().ok()),
            path = self.uri.path(),
            protocol = ?self.version,
            code = end.code,
            reason = end.reason,
            tenant = owner.map(|owner| &*owner.tenant),
            ingress = owner.map(|owner| &*owner.ingress),
            backend = self.backend.as_ref().map(tracing::field::display),
            endpoint = self.endpoint.map(tracing::field::display),
            tries = self.tries,
            duration_ms = milliseconds(end.duration),
            upstream_ms = self.upstream.map(milliseconds),
            request_body_bytes = end.request_body_bytes,
            response_body_bytes = end.response_body_bytes,
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            "request"
        );
    }
}

/// Three digits behind the point; more is noise to whoever reads the log.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_as_it_is_written() {
        for level in [Level::Off, Level::All, Level::Sampled(7)] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for text in ["", "on", "sampled", "sampled:", "sampled:0", "sampled:-1"] {
            assert_eq!(text.parse::<Level>(), Err(InvalidLevel(text.to_owned())));
        }
    }

    #[test]
    fn times_are_milliseconds_with_three_digits() {
        for (duration, text) in [
            (Duration::from_nanos(7_143_896), "7.144"),
            (Duration::from_micros(250), "0.25"),
            (Duration::from_secs(60), "60000"),
            (Duration::ZERO, "0"),
        ] {
            assert_eq!(milliseconds(duration).to_string(), text);
        }
    }

    #[test]
    fn the_switch_decides_which_requests_are_logged() {
        let switch = Switch::new(Level::Off);
        let sampler = Sampler::default();
        let taken = |level| {
            switch.set(level);
            (0..12).filter(|_| sampler.takes(&switch)).count()
        };
        assert_eq!(taken(Level::Off), 0);
        assert_eq!(taken(Level::All), 12);
        assert_eq!(taken(Level::Sampled(4)), 3);
    }
}
