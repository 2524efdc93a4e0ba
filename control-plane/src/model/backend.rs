//! What is behind a Service port. Pure.

use std::net::{IpAddr, SocketAddr};

use tiergate_data_plane::table::{Endpoint, Protocol};

/// A Service port: how it is spoken to, and who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// How its endpoints are spoken to.
    pub protocol: Protocol,
    /// The endpoints that may get requests. None: requests are answered with 503.
    pub endpoints: Endpoints,
}

/// Endpoints in order, each address once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(Vec<Endpoint>);

/// Why there is no such endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// No IP address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// An address that no single pod has.
    #[error("{0} is not the address of one host")]
    NotUnicast(IpAddr),
    /// No port of TCP.
    #[error("{0} is not a port number from 1 to 65535")]
    Port(i32),
}

/// Makes an endpoint of what a slice says.
///
/// # Errors
/// When nothing can be connected to there.
pub fn endpoint(address: &str, port: i32, identity: &str) -> Result<Endpoint, InvalidAddress> {
    let ip: IpAddr = address
        .parse()
        .map_err(|_| InvalidAddress::Address(address.to_owned()))?;
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Err(InvalidAddress::NotUnicast(ip));
    }
    let port = u16::try_from(port)
        .ok()
        .filter(|&port| port != 0)
        .ok_or(InvalidAddress::Port(port))?;
    Ok(Endpoint {
        address: SocketAddr::new(ip, port),
        identity: identity.into(),
    })
}

// === impl Endpoints ===

impl Endpoints {
    /// The endpoints, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.0
    }
}

impl FromIterator<Endpoint> for Endpoints {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        endpoints.sort();
        endpoints.dedup_by(|a, b| a.address == b.address);
        Self(endpoints)
    }
}
