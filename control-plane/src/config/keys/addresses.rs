//! Where requests come in, and where they go out. Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use tiergate_data_plane::net::Families;

use super::super::key::{About, Arity, Default, Key, Place, Tier, Tiers, Unfit};
use super::super::value;
use super::{ABOUT, EXPLAINED, NOT_YET};
use crate::objects::ingress::Address;
use crate::scope::ObjectName;
use crate::status::address;

/// Where plain HTTP is served.
pub const HTTP_ADDRESS: Key<SocketAddr> = Key {
    about: About {
        name: "http_address",
        arity: Arity::List,
        placeholder: "IP:PORT",
        form: "IP:PORT",
        example: "0.0.0.0:8080",
        default: Default::Value("0.0.0.0:8080"),
        meaning: "Addresses that serve plain HTTP, HTTP/1.1 and HTTP/2 with prior knowledge. `none`: not at all. Port 0: \
                  a free one.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Where HTTPS is served.
pub const HTTPS_ADDRESS: Key<SocketAddr> = Key {
    about: About {
        name: "https_address",
        arity: Arity::List,
        placeholder: "IP:PORT",
        form: "IP:PORT",
        example: "0.0.0.0:8443",
        default: Default::Value("0.0.0.0:8443"),
        meaning: "Addresses that serve HTTPS, HTTP/1.1 and HTTP/2 by ALPN. `none`: not at all. Port 0: a free one.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Whether these addresses may be absent.
pub const FREE_BIND: Key<bool> = Key {
    about: About {
        name: "free_bind",
        arity: Arity::Switch,
        placeholder: "BOOL",
        form: "true or false",
        example: "true",
        default: Default::Value("false"),
        meaning: "Whether http_address and https_address may be addresses that no interface has yet, such as one that moves \
                  between nodes (IP_FREEBIND). Without it such an address ends the start.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// The admin port.
pub const ADMIN_ADDRESS: Key<SocketAddr> = Key {
    about: About {
        name: "admin_address",
        placeholder: "IP:PORT",
        form: "IP:PORT",
        example: "0.0.0.0:10254",
        default: Default::Value("0.0.0.0:10254"),
        meaning: "Address of /livez, /readyz, /metrics and /debug. Whoever reaches it may read all routes and change the \
                  log level: keep it inside the cluster. Processes of one user may share it; chance then decides which of \
                  them answers, so let probes use admin_socket.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// The admin port's twin in the file system.
pub const ADMIN_SOCKET: Key<PathBuf> = Key {
    about: About {
        name: "admin_socket",
        placeholder: "PATH",
        form: "a path",
        example: "/run/tiergate/admin.sock",
        default: Default::Nothing("there is none"),
        meaning: "Unix socket that answers as admin_address does, for this process alone: only its user may connect. The \
                  socket of a process that is gone is replaced.",
        ..ABOUT
    },
    parse: value::path,
};

/// Peers that may speak for a client.
pub const TRUSTED_PROXIES: Key<IpNet> = Key {
    about: About {
        name: "trusted_proxies",
        arity: Arity::List,
        placeholder: "CIDR",
        form: "a network such as 10.0.0.0/8 or an address",
        example: "10.244.0.0/16",
        default: Default::Value("none"),
        meaning: "Peers whose X-Forwarded-*, X-Real-IP and X-Request-ID are continued. Those of all others are replaced.",
        ..ABOUT
    },
    parse: value::network,
};

/// Where upstream connections come from.
pub const UPSTREAM_SOURCE_ADDRESS: Key<IpAddr> = Key {
    about: About {
        name: "upstream_source_address",
        placeholder: "IP",
        form: "an IP address",
        example: "10.244.1.7",
        default: Default::Nothing("the kernel chooses"),
        meaning: "Address that connections to upstreams come from.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// The families of addresses that endpoints may have.
pub const UPSTREAM_FAMILIES: Key<Option<Families>> = Key {
    about: About {
        name: "upstream_families",
        place: EXPLAINED,
        placeholder: "FAMILIES",
        form: "auto, ipv4, ipv6 or both",
        example: "ipv4",
        default: Default::Value("auto"),
        meaning: "Families of IP addresses that endpoints may have; endpoints of another one are left out. `auto`: those of \
                  which an interface of this process has an address, besides loopback and link-local ones; both where it has none.",
        ..ABOUT
    },
    parse: families,
};

/// Whether requests say which way they took.
pub const VIA: Key<bool> = Key {
    about: About {
        name: "via",
        place: Place::File,
        form: "true or false",
        example: "true",
        default: Default::Value("true"),
        meaning: "Whether requests to upstreams carry Via (RFC 9110 §7.6.3).",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Who owns the address of the cluster.
pub const VIP_MODE: Key<()> = Key {
    about: About {
        name: "vip_mode",
        tiers: Tiers::Only(Tier::Cluster),
        placeholder: "MODE",
        form: "none, external, routed, l2 or keepalived",
        example: "none",
        default: Default::Value("none"),
        meaning: "Who moves the address of the cluster between nodes. This version has `none`: it binds the addresses it is \
                  given, and who moves them is not its affair.",
        ..ABOUT
    },
    parse: |_, text| match text {
        "none" => Ok(()),
        "external" | "routed" | "l2" | "keepalived" => Err(NOT_YET),
        _ => Err(Unfit::Form),
    },
};

/// The address that a later version moves.
pub const VIP_ADDRESS: Key<()> = Key {
    about: About {
        name: "vip_address",
        tiers: Tiers::Only(Tier::Cluster),
        arity: Arity::List,
        placeholder: "CIDR",
        form: "none",
        example: "none",
        default: Default::Value("none"),
        meaning: "The address that vip_mode moves. Not available in this version.",
        ..ABOUT
    },
    parse: |_, _| Err(NOT_YET),
};

/// The interface of that address.
pub const VIP_INTERFACE: Key<()> = Key {
    about: About {
        name: "vip_interface",
        tiers: Tiers::Only(Tier::Cluster),
        placeholder: "NAME",
        form: "nothing",
        example: "",
        default: Default::Nothing("none"),
        meaning: "The network interface that gets vip_address. Not available in this version.",
        ..ABOUT
    },
    parse: |_, _| Err(NOT_YET),
};

/// Addresses for the status of Ingresses.
pub const PUBLISH_ADDRESS: Key<Address> = Key {
    about: About {
        name: "publish_address",
        arity: Arity::List,
        placeholder: "ADDRESS",
        form: "an IP address or a DNS name",
        example: "192.0.2.1",
        default: Default::Value("none"),
        meaning: "Addresses for status.loadBalancer of each Ingress, published when every replica serves it. `none`: those of \
                  publish_service.",
        ..ABOUT
    },
    parse: |_, text| address(text).ok_or(Unfit::Form),
};

/// The Service whose address is published.
pub const PUBLISH_SERVICE: Key<ObjectName> = Key {
    about: About {
        name: "publish_service",
        placeholder: "NAMESPACE/NAME",
        form: "NAMESPACE/NAME",
        example: "kube-system/tiergate-cluster",
        default: Default::Nothing("without publish_address either, no status is written"),
        meaning: "Service of this tier, whose addresses are published in place of publish_address: those of its load \
                  balancer, else its external ones, else those of the cluster.",
        ..ABOUT
    },
    parse: super::objects::object_name,
};

fn families(_: &About, text: &str) -> Result<Option<Families>, Unfit> {
    match text {
        "auto" => Ok(None),
        "ipv4" => Ok(Some(Families::Ipv4)),
        "ipv6" => Ok(Some(Families::Ipv6)),
        "both" => Ok(Some(Families::Both)),
        _ => Err(Unfit::Form),
    }
}
