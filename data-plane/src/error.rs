//! What can go wrong with a request: what the client sees, and what it is called in metrics, logs and `docs/reasons.md`.
//!
//! Every error is one variant; the words for it stand once, in `reasons`.

mod reasons;

use std::io;
use std::net::SocketAddr;

use http::StatusCode;

pub use crate::codec::CodecError;
use crate::host::InvalidHostName;
pub use crate::upstream::UpstreamError;
pub(crate) use reasons::REASONS;
pub use reasons::Reason;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's, or the way there.
    Upstream,
    /// Ours, or our configuration's.
    Internal,
}

/// Why a request got an answer of our own, or a broken body.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The bytes are no HTTP request. The codec has answered already, unless it let them pass.
    #[error("the request cannot be parsed: {0}")]
    BadRequest(CodecError),
    /// Host is missing, doubled, invalid, or differs from `:authority`.
    #[error("the host is not usable: {0}")]
    BadHost(BadHost),
    /// The request target is neither a path nor an absolute http(s) URL, or its path is ambiguous.
    #[error("the request target is not usable: {0}")]
    BadTarget(&'static str),
    /// `Transfer-Encoding` is something else than `chunked`.
    #[error("the transfer coding is not `chunked`")]
    TransferCoding,
    /// CONNECT.
    #[error("CONNECT is for forward proxies")]
    MethodRefused,
    /// `Expect` is something else than `100-continue`.
    #[error("the expectation is not `100-continue`")]
    Expectation,
    /// The head has more bytes or fields than allowed.
    #[error("the request head is larger than allowed")]
    HeadTooLarge,
    /// The body has more bytes than allowed.
    #[error("the request body is larger than allowed")]
    BodyTooLarge,
    /// The head did not arrive in time; the connection was closed.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// The body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// The body's framing is broken, or the client closed the connection within it.
    #[error("the request body is broken")]
    BodyBroken,
    /// The client went away before the answer was complete.
    #[error("the client went away")]
    ClientAborted,
    /// The client stopped taking the answer.
    #[error("the client stopped taking the answer")]
    ClientStalled,
    /// This tier stands in `Via` too often.
    #[error("the request has passed this tier too often")]
    LoopDetected,
    /// Nothing has been published yet.
    #[error("no configuration has been published yet")]
    NotReady,
    /// No rule matches host and path, and there is no default backend.
    #[error("no rule matches the host and the path")]
    NoRoute,
    /// The Ingress asks for something that is not supported and without which its requests must not be served.
    #[error("the Ingress asks for what this tier cannot give")]
    RouteClosed,
    /// The backend has no endpoint that takes requests.
    #[error("the backend has no ready endpoint")]
    NoEndpoints,
    /// No connection could be opened.
    #[error("connecting to {endpoint} failed")]
    ConnectFailed {
        /// Where to.
        endpoint: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No connection was opened in time.
    #[error("connecting to {endpoint} took too long")]
    ConnectTimeout {
        /// Where to.
        endpoint: SocketAddr,
    },
    /// The endpoint accepted the connection, and no TLS came of it.
    #[error("the TLS handshake with {endpoint} failed")]
    TlsFailed {
        /// Who.
        endpoint: SocketAddr,
        /// What was wrong: it speaks no TLS, or its certificate is not believed, or ours is not.
        #[source]
        source: io::Error,
    },
    /// No connection could be opened because this process, or its node, has no descriptor or memory for it.
    #[error("there is no descriptor or memory for a connection to {endpoint}")]
    NoDescriptors {
        /// Where to. It has done nothing wrong.
        endpoint: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The head of the response did not arrive in time.
    #[error("{endpoint} did not answer in time")]
    ResponseTimeout {
        /// Who.
        endpoint: SocketAddr,
    },
    /// The endpoint closed the connection instead of answering.
    #[error("{endpoint} closed the connection without an answer")]
    UpstreamReset {
        /// Who.
        endpoint: SocketAddr,
        /// What the connection saw.
        #[source]
        source: UpstreamError,
    },
    /// The endpoint's answer is no HTTP, or not the HTTP that was agreed.
    #[error("{endpoint} answered something that is not the HTTP expected of it")]
    UpstreamProtocol {
        /// Who.
        endpoint: SocketAddr,
        /// What the connection saw, when it was there.
        #[source]
        source: Option<UpstreamError>,
    },
    /// The body of the response ended early; the client sees a broken body.
    #[error("the body of the response ended early")]
    ResponseBroken,
    /// The body of the response stopped arriving; the client sees a broken body.
    #[error("the body of the response stopped arriving")]
    ResponseStalled,
    /// The time to finish requests at shutdown was over.
    #[error("the time to drain was over")]
    DrainDeadline,
}

/// What is wrong with a host.
#[derive(Debug, thiserror::Error)]
pub enum BadHost {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// There is more than one field.
    #[error("there is more than one Host field")]
    Doubled,
    /// `:authority` and Host are not equal.
    #[error(":authority and Host differ")]
    Differs,
    /// It is no host name.
    #[error("{0}")]
    Invalid(#[from] InvalidHostName),
}

// === impl ProxyError ===

impl ProxyError {
    /// Every reason there is, in the order in which a request can meet them.
    #[must_use]
    pub fn reasons() -> &'static [Reason] {
        &REASONS
    }

    /// What the client sees.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// Metric label, field of the access log, row of `docs/reasons.md`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.row().name
    }

    /// What happened, in words that a client may read.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.row().meaning
    }

    /// Whose fault it is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.row().side
    }

    /// Whether another endpoint may do better, provided that nothing of the request has been processed.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(
            self,
            Self::ConnectFailed { .. }
                | Self::ConnectTimeout { .. }
                | Self::TlsFailed { .. }
                | Self::UpstreamReset { .. }
        )
    }

    /// Whether the rest of the connection cannot be trusted, so that it ends after the answer.
    #[must_use]
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::BadHost(_)
                | Self::BadTarget(_)
                | Self::TransferCoding
                | Self::MethodRefused
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::BodyTimeout
                | Self::BodyBroken
        )
    }

    fn row(&self) -> &'static Reason {
        &REASONS[self.number()]
    }

    /// Position in [`Self::reasons`]; the test beside the table holds it.
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::BadRequest(_) => 0,
            Self::HeadTooLarge => 1,
            Self::HeadTimeout => 2,
            Self::BadHost(_) => 3,
            Self::BadTarget(_) => 4,
            Self::TransferCoding => 5,
            Self::MethodRefused => 6,
            Self::Expectation => 7,
            Self::BodyTooLarge => 8,
            Self::BodyTimeout => 9,
            Self::BodyBroken => 10,
            Self::LoopDetected => 11,
            Self::NotReady => 12,
            Self::NoRoute => 13,
            Self::RouteClosed => 14,
            Self::NoEndpoints => 15,
            Self::ConnectFailed { .. } => 16,
            Self::ConnectTimeout { .. } => 17,
            Self::TlsFailed { .. } => 18,
            Self::NoDescriptors { .. } => 19,
            Self::ResponseTimeout { .. } => 20,
            Self::UpstreamReset { .. } => 21,
            Self::UpstreamProtocol { .. } => 22,
            Self::ResponseBroken => 23,
            Self::ResponseStalled => 24,
            Self::ClientAborted => 25,
            Self::ClientStalled => 26,
            Self::DrainDeadline => 27,
        }
    }
}

impl From<BadHost> for ProxyError {
    fn from(why: BadHost) -> Self {
        Self::BadHost(why)
    }
}
