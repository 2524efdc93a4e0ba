//! Single steps of a request, for the benchmarks alone (`benches/`): to the product they are private.
//!
//! In: heads, or a connection that brings them. Out: what the codec and the modules of `head` make of them, by the code that
//! serves. Each step walks over the head for itself, which a request does once.

use std::future::{poll_fn, ready};
use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Empty;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::{Client, Recent};
use crate::codec::{Codec, HeadLimits, Http1, Server};
use crate::config::{Config, Limits};
use crate::error::ProxyError;
use crate::head::present::Present;
use crate::head::{admit, forwarded, hop, via};

/// What the steps need to know.
#[derive(Debug)]
pub struct Steps {
    config: Config,
    client: Client,
    via: via::Entries,
}

/// Reads the requests of a connection until its client closes it. Each is answered at once, with 204.
pub async fn read<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, limits: Limits) {
    let limits = HeadLimits {
        bytes_max: limits.head_bytes_max,
        fields_max: limits.headers_max,
    };
    let answer = |_: Request<<Http1 as Codec>::Incoming>| {
        let mut answer = Response::new(Empty::<Bytes>::new());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        ready(Ok(answer))
    };
    let mut server = Http1::serve(stream, limits, answer);
    // However it ends: the client has had its answers, or says so.
    drop(poll_fn(|cx| server.poll(cx)).await);
}

// === impl Steps ===

impl Steps {
    /// For requests of one client's connection.
    #[must_use]
    pub fn new(config: Config, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            client: Client::new(peer, local, false, &config, &mut Recent::default()),
            via: via::Entries::new(config.tier),
            config,
        }
    }

    /// Refuses what is not served.
    ///
    /// # Errors
    /// What the client would be told.
    pub fn admit(&self, parts: &Parts) -> Result<(), ProxyError> {
        admit::admit(
            parts,
            Present::of(&parts.headers),
            &self.config.limits,
            false,
        )
    }

    /// Removes the fields of the client's connection.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let present = Present::of(headers);
        hop::strip_request(headers, present);
    }

    /// Writes the fields about the client.
    pub fn forwarded(&self, headers: &mut HeaderMap, host: &HeaderValue, id: &HeaderValue) {
        let present = Present::of(headers);
        forwarded::rewrite(headers, present, &self.client, host, || id.clone());
    }

    /// Refuses loops, and adds this tier.
    ///
    /// # Errors
    /// When the request has been here too often.
    pub fn via(&self, headers: &mut HeaderMap) -> Result<(), ProxyError> {
        via::check(headers, Present::of(headers), self.config.tier)?;
        self.via.add(headers, Version::HTTP_11);
        Ok(())
    }

    /// Removes the fields of the endpoint's connection.
    pub fn strip_answer(&self, headers: &mut HeaderMap) {
        let present = Present::of(headers);
        hop::strip_response(headers, present);
    }
}
