//! What is known of the peer of a downstream connection, from its address alone. Pure.
//!
//! The values that requests of this connection carry upstream are made here once, so a request only clones them.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use crate::config::Config;

/// Clients that are remembered.
const RECENT: usize = 8;
/// The longest address: eight groups of four digits, the last two perhaps as IPv4.
const TEXT_BYTES_MAX: usize = 45;

/// The peer of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its address; IPv4 in the form of IPv4 even on an IPv6 socket.
    pub(crate) ip: IpAddr,
    /// [`Self::ip`] as the value of a field. Sensitive when it is not expected again soon.
    pub(crate) ip_value: HeaderValue,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) is_tls: bool,
    /// Whether it may speak for another client (`trusted_proxies`).
    pub(crate) is_trusted: bool,
}

/// The clients that connected last, each once.
///
/// HTTP/2 keeps the fields that it sends in a table (HPACK, RFC 7541 §2.3.2), which has room for some seventy of them. Addresses of
/// many clients would push out what comes with each request, and each new one is compared with all that are kept: as sensitive
/// values they are sent without being kept.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    clients: [Option<IpAddr>; RECENT],
    next: usize,
}

/// An address as text, on the stack.
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(
        peer: SocketAddr,
        local: SocketAddr,
        is_tls: bool,
        config: &Config,
        recent: &mut Recent,
    ) -> Self {
        let ip = peer.ip().to_canonical();
        let mut ip_value = value(&ip);
        ip_value.set_sensitive(!recent.knows(ip));
        let trusted = &config.trusted_proxies;
        Self {
            ip,
            ip_value,
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
    let mut text = Text {
        bytes: [0; TEXT_BYTES_MAX],
        length: 0,
    };
    write!(text, "{ip}").expect("the longest address has room");
    HeaderValue::from_bytes(&text.bytes[..text.length]).expect("addresses are printable")
}

// === impl Recent ===

impl Recent {
    /// Whether this one has connected lately. From now on it has.
    fn knows(&mut self, ip: IpAddr) -> bool {
        if self.clients.contains(&Some(ip)) {
            return true;
        }
        self.clients[self.next] = Some(ip);
        self.next = (self.next + 1) % RECENT;
        false
    }
}

// === impl Text ===

impl fmt::Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self.length + piece.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(piece.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_where_few_clients_connect_again_and_again() {
        let (config, local) = (Config::new("tier"), "192.0.2.1:80".parse().unwrap());
        for (clients, kept) in [(1, 9), (8, 9 * 8), (9, 0), (64, 0)] {
            let mut recent = Recent::default();
            let connect = |number: u8| {
                let peer = SocketAddr::from(([198, 51, 100, number % clients], 1));
                let client = Client::new(peer, local, false, &config, &mut recent);
                assert_eq!(client.ip_value, client.ip.to_string().as_str());
                client
            };
            let ten_each = (0..10).flat_map(|_| 0..clients).map(connect);
            let of_kept = ten_each.filter(|client| !client.ip_value.is_sensitive());
            assert_eq!(of_kept.count(), kept, "{clients} clients");
        }
    }

    #[test]
    fn every_address_has_room_as_a_value() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "1:2:3:4:5:6:7:8",
            "2001:db8::1",
        ] {
            assert_eq!(value(&text.parse().unwrap()), text);
        }
        let longest = IpAddr::from([0xffff_u16; 8]);
        assert_eq!(value(&longest), longest.to_string().as_str());
    }
}
