//! What an Ingress asks for beyond where its requests go. Pure.

use std::time::Duration;

use super::{Affinity, Algorithm, HashBy, Protocol, UpstreamTls};

/// What is other than the tier's settings for the requests of one Ingress. Nothing set: as the tier is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of a request body in place of `limits.body_bytes_max`; 0 is no limit.
    pub body_bytes_max: Option<u64>,
    /// In place of `timeouts.connect`. A connection that many requests share is opened with the tier's.
    pub connect: Option<Duration>,
    /// How long the endpoint may take no more of a request body, in place of `timeouts.response_head`.
    pub send: Option<Duration>,
    /// In place of `timeouts.response_head` and `timeouts.response_body`.
    pub read: Option<Duration>,
    /// How the endpoints are spoken to, in place of what their Service says.
    pub protocol: Option<Protocol>,
    /// What is asked of TLS to the endpoints, where it is spoken.
    pub tls: Option<Box<UpstreamTls>>,
    /// How requests are spread, in place of the tier's.
    pub algorithm: Option<Algorithm>,
    /// What decides on the endpoint in place of that.
    pub hash_by: Option<HashBy>,
    /// Sessions that stay with their endpoint: goes before both.
    pub affinity: Option<Box<Affinity>>,
    /// The backend is a tier of ours, which is told of requests that are sent again.
    pub delegates: bool,
    /// What it asks for cannot be given, and to serve its requests without would do harm: they are answered with 503.
    pub is_closed: bool,
}

// === impl Policy ===

impl Policy {
    /// As the tier is set.
    pub const NONE: &'static Self = &Self {
        body_bytes_max: None,
        connect: None,
        send: None,
        read: None,
        protocol: None,
        tls: None,
        algorithm: None,
        hash_by: None,
        affinity: None,
        delegates: false,
        is_closed: false,
    };

    /// How the endpoints of a backend that says so are spoken to.
    #[must_use]
    pub fn protocol_of(&self, backend: Protocol) -> Protocol {
        self.protocol.unwrap_or(backend)
    }

    /// Whether requests for a backend that says so are answered with 503 in place of it.
    #[must_use]
    pub fn refuses(&self, backend: Protocol) -> bool {
        let tls_is_refused = self.tls.as_ref().is_some_and(|tls| tls.is_refused);
        self.is_closed || (tls_is_refused && self.protocol_of(backend).is_tls())
    }
}
