//! A name in DNS that stands for a Service (`type: ExternalName`), and the addresses that it may lead to. Pure.
//!
//! Whoever may write a Service chooses the name, and whoever owns the name chooses its addresses, anew at any time. So both are judged,
//! the addresses whenever they are looked up: a tier must not be led to itself, to the node, to the cloud's metadata, or to what
//! belongs to another namespace. Some addresses are never right; private ones are when the operator names their network
//! (`external_name_networks`), because Services and pods have such addresses too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;

/// A name that may be looked up: lower case, at least two labels, no trailing dot. It is absolute: no search domain is added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalName(Arc<str>);

/// Why a name is not looked up, or an alias that it has is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExternalName {
    /// No DNS name (RFC 1123).
    #[error("{0:?} is no DNS name")]
    Syntax(String),
    /// A name of one label means another host in every place.
    #[error("{0} has one label: a name must be whole, such as db.example.com")]
    OneLabel(String),
    /// An address in place of a name.
    #[error("{0} is an address and no name")]
    Address(String),
    /// A name of whoever looks it up (RFC 6761 §6.3).
    #[error("{0} is a name of this host itself")]
    Local(String),
    /// A Service, or a pod, that is not of this namespace.
    #[error("{0} is a name of the cluster that is not of the namespace {1}")]
    OtherNamespace(String, String),
}

/// Why an address that a name has gets no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedAddress {
    /// Never the address of another host, or one that answers every host with secrets.
    #[error("{0} is an address of {1}")]
    Never(IpAddr, &'static str),
    /// An address of a network that only the operator can allow.
    #[error("{0} is not public, and no network of external_name_networks has it")]
    NotPublic(IpAddr),
}

/// Addresses that nothing may lead to, and whose they are.
static NEVER: LazyLock<Vec<(IpNet, &'static str)>> = LazyLock::new(|| {
    let networks = [
        ("0.0.0.0/8", "this host"),
        ("127.0.0.0/8", "this host"),
        (
            "169.254.0.0/16",
            "the link, where clouds keep their metadata",
        ),
        ("100.100.100.200/32", "the metadata of a cloud"),
        ("168.63.129.16/32", "the metadata of a cloud"),
        ("192.0.0.192/32", "the metadata of a cloud"),
        ("224.0.0.0/4", "no single host"),
        ("240.0.0.0/4", "no single host"),
        // Unspecified, loopback, and IPv4 addresses in a form that is not in use any more (RFC 4291 §2.5.5.1).
        ("::/96", "this host"),
        ("fe80::/10", "the link"),
        ("fec0::/10", "a site, which RFC 3879 has ended"),
        ("ff00::/8", "no single host"),
        // They hold an IPv4 address of anybody's choice, by ways that have been ended (RFC 7526) or have no relays.
        ("2001::/32", "a tunnel"),
        ("2002::/16", "a tunnel"),
        ("fd00:ec2::/32", "the metadata of a cloud"),
        ("fd20:ce::254/128", "the metadata of a cloud"),
    ];
    parsed(&networks)
});

/// Addresses of the special-purpose registries of IANA that the Internet does not route.
static NOT_PUBLIC: LazyLock<Vec<(IpNet, &'static str)>> = LazyLock::new(|| {
    let networks = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:2::/48",
        "2001:10::/28",
        "2001:db8::/32",
        "3fff::/20",
    ];
    parsed(&networks.map(|network| (network, "")))
});

fn parsed(networks: &[(&str, &'static str)]) -> Vec<(IpNet, &'static str)> {
    let parse = |(network, whose): &(&str, &'static str)| Some((network.parse().ok()?, *whose));
    networks.iter().filter_map(parse).collect()
}

// === impl ExternalName ===

impl ExternalName {
    /// Judges a name that a Service of this namespace stands for.
    ///
    /// # Errors
    /// When it is no name, or one that a Service of this namespace must not lead to.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, InvalidExternalName> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let is_name = |label: &&str| !label.is_empty() && label.len() <= 63 && is_label(label);
        if name.len() > 253 || !labels.iter().all(is_name) {
            return Err(InvalidExternalName::Syntax(name));
        }
        match labels.last() {
            Some(last) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(InvalidExternalName::Address(name));
            }
            Some(&("localhost" | "localdomain")) => return Err(InvalidExternalName::Local(name)),
            Some(_) | None => {}
        }
        if labels.len() < 2 {
            return Err(InvalidExternalName::OneLabel(name));
        }
        if is_of_cluster(&labels) && !is_of(&labels, namespace) {
            let namespace = namespace.to_owned();
            return Err(InvalidExternalName::OtherNamespace(name, namespace));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a Service of this namespace may be led on to an alias of its name.
    ///
    /// # Errors
    /// As [`Self::parse`]; names of zones may have an underscore, which is no trouble here.
    pub fn follows(alias: &str, namespace: &str) -> Result<(), InvalidExternalName> {
        Self::parse(&alias.replace('_', "x"), namespace).map(drop)
    }
}

impl fmt::Display for ExternalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As Kubernetes writes it; a name of the cluster may begin a label with a digit or an underscore.
fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// Whatever the domain of the cluster is called, `svc` is the label behind the namespace (Kubernetes, "DNS for Services and Pods").
fn is_of_cluster(labels: &[&str]) -> bool {
    labels.ends_with(&["cluster", "local"]) || labels.iter().skip(1).any(|label| *label == "svc")
}

/// `SERVICE.NAMESPACE.svc.…`, or a name below that. Whichever `svc` is the one that counts, each is behind this namespace.
fn is_of(labels: &[&str], namespace: &str) -> bool {
    let mut found = labels.iter().enumerate().skip(1);
    let has_svc = labels.iter().skip(2).any(|label| *label == "svc");
    has_svc && found.all(|(at, label)| *label != "svc" || (at > 1 && labels[at - 1] == namespace))
}

/// Judges an address that a name has; gives it in the form in which it is connected to.
///
/// # Errors
/// When no request may go there.
pub fn judge(address: IpAddr, networks: &[IpNet]) -> Result<IpAddr, RefusedAddress> {
    let address = address.to_canonical();
    let among = |list: &[(IpNet, &'static str)], address: IpAddr| {
        let network = list.iter().find(|(network, _)| network.contains(&address));
        network.map(|(_, whose)| *whose)
    };
    if let Some(whose) = among(&NEVER, address) {
        return Err(RefusedAddress::Never(address, whose));
    }
    // Who connects to it connects to the IPv4 address that is in it (RFC 6052).
    if let Some(behind) = behind_nat64(address) {
        return judge(IpAddr::V4(behind), networks).map(|_| address);
    }
    let is_public = match address {
        IpAddr::V4(_) => true,
        // All that is global unicast today (IANA, IPv6 address space).
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000,
    };
    let is_public = is_public && among(&NOT_PUBLIC, address).is_none();
    if is_public || networks.iter().any(|network| network.contains(&address)) {
        Ok(address)
    } else {
        Err(RefusedAddress::NotPublic(address))
    }
}

fn behind_nat64(address: IpAddr) -> Option<Ipv4Addr> {
    const PREFIX: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let IpAddr::V6(address) = address else {
        return None;
    };
    let [prefix @ .., high, low] = address.segments();
    let bits = (u32::from(high) << 16) | u32::from(low);
    (prefix == PREFIX).then(|| Ipv4Addr::from_bits(bits))
}

#[cfg(test)]
mod tests;
