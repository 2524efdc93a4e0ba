//! Single steps of a request, for the benchmarks alone (`benches/`): to the product they are private. Pure.
//!
//! In: heads. Out: what the modules of `head` make of them, by the code that serves. Each step walks over the head
//! for itself, which a request does once.

use std::net::SocketAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};

use crate::client::Client;
use crate::config::Config;
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

// === impl Steps ===

impl Steps {
    /// For requests of one client's connection.
    #[must_use]
    pub fn new(config: Config, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            client: Client::new(peer, local, false, &config),
            via: via::Entries::new(config.tier),
            config,
        }
    }

    /// Refuses what is not served.
    ///
    /// # Errors
    /// What the client would be told.
    pub fn admit(&self, parts: &Parts) -> Result<(), ProxyError> {
        admit::admit(parts, Present::of(&parts.headers), &self.config.limits)
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
