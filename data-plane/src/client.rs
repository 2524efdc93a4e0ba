//! What is known of the peer of a downstream connection, from its address alone. Pure.
//!
//! The values that requests of this connection carry upstream are made here once, so a request only clones them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use crate::config::Config;

/// The longest address: eight groups of four digits, the last two perhaps as IPv4.
const TEXT_BYTES_MAX: usize = 45;

/// The peer of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its address; IPv4 in the form of IPv4 even on an IPv6 socket.
    pub(crate) ip: IpAddr,
    /// [`Self::ip`] as the value of a field.
    pub(crate) ip_value: HeaderValue,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) is_tls: bool,
    /// Whether it may speak for another client (`trusted_proxies`).
    pub(crate) is_trusted: bool,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, is_tls: bool, config: &Config) -> Self {
        let ip = peer.ip().to_canonical();
        let trusted = &config.trusted_proxies;
        Self {
            ip,
            ip_value: value(&ip),
            local,
            is_tls,
            is_trusted: trusted.iter().any(|network| network.contains(&ip)),
        }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.is_tls { "https" } else { "http" })
    }
}

fn value(ip: &IpAddr) -> HeaderValue {
    let mut text = [0; TEXT_BYTES_MAX];
    let mut rest = &mut text[..];
    write!(rest, "{ip}").expect("the longest address has room");
    let length = TEXT_BYTES_MAX - rest.len();
    HeaderValue::from_bytes(&text[..length]).expect("addresses are printable")
}
