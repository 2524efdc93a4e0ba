//! How the endpoint of a request is chosen: what an Ingress may ask for. Pure.
//!
//! In: values that the control plane has checked. Out: what `balance` goes by. Cookie affinity goes before the hash, the hash
//! before the algorithm, as in ingress-nginx.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;

/// How requests that belong to no endpoint are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// One after another.
    #[default]
    RoundRobin,
    /// Of two endpoints at random, the one with fewer requests under way.
    LeastRequest,
    /// Of two endpoints at random, the one that is expected to answer sooner: the latency of its answers of the last seconds, of
    /// which peaks count at once, times its requests under way.
    Ewma,
}

/// Text that names no [`Algorithm`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `round_robin`, `least_request`, `ewma`")]
pub struct InvalidAlgorithm(String);

/// What requests have in common that go to the same endpoint: these texts, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBy(pub Box<[HashPart]>);

/// A part of what is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashPart {
    /// The same for all requests.
    Text(Box<str>),
    /// The host without its port, in small letters.
    Host,
    /// Path and query, as the client wrote them.
    RequestUri,
    /// The path, as rules are compared with it.
    Uri,
    /// The query, without its question mark.
    Query,
    /// The method.
    Method,
    /// `http` or `https`, as the client spoke to the first of us.
    Scheme,
    /// The client's address: the peer's, or what a trusted one says (`trusted_proxies`).
    RemoteAddress,
    /// A field of the head.
    Header(HeaderName),
    /// An argument of the query.
    Argument(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// Sessions that stay with their endpoint, by a cookie that we give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// What the cookie says.
    pub mode: AffinityMode,
    /// The name of the cookie: a token (RFC 6265 §4.1.1).
    pub cookie: Box<str>,
    /// `Path` of the cookie. None: the path of the rule that the request met.
    pub path: Option<Box<str>>,
    /// Further attributes, each behind `; `: what does not depend on the request.
    pub attributes: Box<str>,
    /// `Expires`, counted from the answer.
    pub expires: Option<Duration>,
    /// `Secure`. None: when the client speaks HTTPS.
    pub is_secure: Option<bool>,
    /// Whether a session whose endpoint fails gets a new one for good, or only until that one is back.
    pub changes_on_failure: bool,
}

/// What the cookie of a session says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AffinityMode {
    /// A number of its own, hashed to an endpoint: when endpoints come, some sessions move to them.
    #[default]
    Balanced,
    /// An endpoint, by a hash: a session never moves as long as that is there.
    Persistent,
}

// === impl Algorithm ===

impl Algorithm {
    /// Its name in settings and annotations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Ewma => "ewma",
        }
    }

    /// Whether it asks how busy endpoints are.
    pub(crate) fn counts(self) -> bool {
        match self {
            Self::RoundRobin => false,
            Self::LeastRequest | Self::Ewma => true,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, InvalidAlgorithm> {
        [Self::RoundRobin, Self::LeastRequest, Self::Ewma]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| InvalidAlgorithm(text.to_owned()))
    }
}
