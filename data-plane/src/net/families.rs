//! The families of IP addresses that connections can be opened to.

use std::fmt;
use std::net::IpAddr;

/// The families of IP addresses that connections can be opened to. At least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// Both.
    #[default]
    Both,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

// === impl Families ===

impl Families {
    /// Whether connections can be opened to addresses of this one's family.
    #[must_use]
    pub fn reach(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }

    /// Those that whoever has these addresses can reach: a pod has one of each family of its cluster. An address that every host
    /// has, of loopback or of the link, tells nothing; where no other is, nothing is known, and both are tried.
    pub(super) fn of(own: impl IntoIterator<Item = IpAddr>) -> Self {
        let (mut ipv4, mut ipv6) = (false, false);
        for address in own {
            match address {
                IpAddr::V4(address) => ipv4 |= !address.is_loopback() && !address.is_link_local(),
                IpAddr::V6(address) => {
                    ipv6 |= !address.is_loopback() && !address.is_unicast_link_local();
                }
            }
        }
        match (ipv4, ipv6) {
            (true, false) => Self::Ipv4,
            (false, true) => Self::Ipv6,
            (true, true) | (false, false) => Self::Both,
        }
    }
}

/// In the words of Kubernetes (`spec.ipFamilies`).
impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "IPv4 and IPv6",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// Those that this process can reach, as the addresses of its interfaces tell.
#[cfg(target_os = "linux")]
pub(super) fn families() -> Families {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Families::Both;
    };
    Families::of(interfaces.filter_map(|interface| {
        let address = interface.address?;
        let ipv4 = address.as_sockaddr_in().map(|ipv4| IpAddr::V4(ipv4.ip()));
        let ipv6 = || address.as_sockaddr_in6().map(|ipv6| IpAddr::V6(ipv6.ip()));
        ipv4.or_else(ipv6)
    }))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn families() -> Families {
    Families::Both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_reached_by_whoever_has_an_address_of_it() {
        for (own, families) in [
            (vec![], Families::Both),
            (vec!["127.0.0.1", "::1"], Families::Both),
            (vec!["127.0.0.1", "::1", "fe80::1"], Families::Both),
            (
                vec!["127.0.0.1", "::1", "10.244.1.7", "fe80::1"],
                Families::Ipv4,
            ),
            (vec!["127.0.0.1", "169.254.3.4", "fd00::7"], Families::Ipv6),
            (vec!["10.244.1.7", "fd00::7"], Families::Both),
        ] {
            let addresses = own.iter().map(|text| text.parse().unwrap());
            assert_eq!(Families::of(addresses), families, "{own:?}");
        }
        let [ipv4, ipv6] = ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let reached = |families: Families| [families.reach(ipv4), families.reach(ipv6)];
        assert_eq!(reached(Families::Both), [true, true]);
        assert_eq!(reached(Families::Ipv4), [true, false]);
        assert_eq!(reached(Families::Ipv6), [false, true]);
    }
}
