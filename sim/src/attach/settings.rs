//! What `attach` was asked for, checked as far as that needs no API server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use tracing::level_filters::LevelFilter;

use super::error::AttachError;
use crate::api::validate::name_faults;
use crate::images::{Image, Images};
use crate::kubelet::KUBELET_PORT;
use crate::kubelet::addresses::{self, Pool};

/// Longest prefix of node names: with the number a name still is a label's value.
const PREFIX_BYTES_MAX: usize = 60;

/// Arguments of `tiergate-sim attach`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The kubeconfig of the API server. Its user needs the rights of an administrator.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// A context of the kubeconfig other than the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64), allow_negative_numbers = true)]
    nodes: u16,
    /// Addresses of pods: each node gets a part. They have to be local: `ip route add local CIDR dev lo`.
    #[arg(long, value_name = "CIDR", default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16))]
    pod_cidr: Ipv4Net,
    /// Addresses of nodes. Without it each node has the first address of its part of --pod-cidr.
    #[arg(long, value_name = "CIDR")]
    node_cidr: Option<Ipv4Net>,
    /// What the names of the nodes begin with; a number follows.
    #[arg(long, value_name = "TEXT", default_value = "node-")]
    node_prefix: String,
    /// Whether cluster IPs, node ports and load balancers lead to pods. `on` needs the range of Services to be local:
    /// `ip route add local CIDR dev lo`.
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = ["on", "off"])]
    service_proxy: String,
    /// Give Services of type LoadBalancer addresses of this network, as MetalLB does. It has to be local. Without it somebody
    /// else gives them, or nobody.
    #[arg(long, value_name = "CIDR")]
    load_balancer_pool: Option<Ipv4Net>,
    /// Run pods of this image from the programs in a folder. Repeatable; without a tag it means every tag.
    #[arg(long = "image", value_name = "NAME:TAG=FOLDER")]
    images: Vec<Image>,
    /// Which log events of the nodes are written to standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: LevelFilter,
}

/// Arguments that fit together.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) kubeconfig: PathBuf,
    pub(super) context: Option<String>,
    pub(super) images: Vec<Image>,
    pub(super) pod_network: Ipv4Net,
    pub(super) node_network: Option<Ipv4Net>,
    pub(super) nodes: Vec<Place>,
    pub(super) has_service_proxy: bool,
    pub(super) load_balancer_pool: Option<Ipv4Net>,
}

/// One node: its name and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) slice: Ipv4Net,
}

// === impl Settings ===

impl Settings {
    pub(super) fn new(arguments: Arguments) -> Result<Self, AttachError> {
        let wrong = |sentence: String| Err(AttachError::Argument(sentence));
        let pod_network = arguments.pod_cidr.trunc();
        let node_network = arguments.node_cidr.map(|network| network.trunc());
        if let Some(network) = node_network
            && overlap(network, pod_network)
        {
            return wrong(format!(
                "--node-cidr {network} overlaps --pod-cidr {pod_network}; change one of them"
            ));
        }
        let load_balancer_pool = arguments.load_balancer_pool.map(|pool| pool.trunc());
        let has_service_proxy = arguments.service_proxy == "on";
        if let Some(pool) = load_balancer_pool {
            let nodes = node_network.map(|network| ("--node-cidr", network));
            let taken = nodes.into_iter().chain([("--pod-cidr", pod_network)]);
            check_pool(pool, taken, has_service_proxy).map_err(AttachError::Argument)?;
        }
        let prefix = &arguments.node_prefix;
        let faults = name_faults("Node", &format!("{prefix}1"));
        if prefix.len() > PREFIX_BYTES_MAX || !faults.is_empty() {
            return wrong(format!(
                "--node-prefix {prefix:?} makes no name of a node; use at most {PREFIX_BYTES_MAX} lower-case letters, digits, '-' and '.', such as node-"
            ));
        }
        let slices = addresses::slices(pod_network, arguments.nodes)
            .map_err(|error| AttachError::Argument(format!("--pod-cidr {error}")))?;
        let own: Vec<Ipv4Addr> = match node_network {
            Some(network) => network.hosts().take(slices.len()).collect(),
            None => slices
                .iter()
                .map(|slice| Pool::new(*slice).node_address())
                .collect(),
        };
        if let Some(network) = node_network
            && own.len() < slices.len()
        {
            return wrong(format!(
                "--node-cidr {network} has no room for {} nodes; use a shorter prefix, or fewer nodes",
                slices.len()
            ));
        }
        let nodes = own.into_iter().zip(slices).zip(1..);
        let nodes = nodes
            .map(|((address, slice), number)| Place {
                name: format!("{prefix}{number}"),
                address,
                slice,
            })
            .collect();
        // Images are looked at before anything starts, so that a wrong one costs nobody a wait.
        Images::new(arguments.images.clone(), None)?;
        Ok(Self {
            kubeconfig: arguments.kubeconfig,
            context: arguments.context,
            images: arguments.images,
            pod_network,
            node_network,
            nodes,
            has_service_proxy,
            load_balancer_pool,
        })
    }

    /// The networks that have to be ours alone, with the flag that names each.
    pub(super) fn networks(&self) -> Vec<(&'static str, Ipv4Net)> {
        let node = self.node_network.map(|network| ("--node-cidr", network));
        let pool = self.load_balancer_pool;
        [("--pod-cidr", self.pod_network)]
            .into_iter()
            .chain(node)
            .chain(pool.map(|pool| ("--load-balancer-pool", pool)))
            .collect()
    }

    /// Holds one port of each node, and finds out whether the addresses of pods can be bound on this machine.
    pub(super) fn claim_addresses(&self) -> Result<Vec<TcpListener>, AttachError> {
        for place in &self.nodes {
            // The last address tells whether all of the part is local, and not only an address that somebody gave to a device.
            let last = place.slice.hosts().last().unwrap_or(place.address);
            listen(SocketAddr::from((last, 0)), self.pod_network)?;
        }
        let network = self.node_network.unwrap_or(self.pod_network);
        let claim = |place: &Place| listen((place.address, KUBELET_PORT).into(), network);
        self.nodes.iter().map(claim).collect()
    }
}

/// Whether the pool of load balancers is clear of other networks, and served.
fn check_pool(
    pool: Ipv4Net,
    taken: impl IntoIterator<Item = (&'static str, Ipv4Net)>,
    is_served: bool,
) -> Result<(), String> {
    for (flag, network) in taken {
        if overlap(pool, network) {
            return Err(format!(
                "--load-balancer-pool {pool} overlaps {flag} {network}; change one of them"
            ));
        }
    }
    if is_served {
        Ok(())
    } else {
        Err(format!(
            "--load-balancer-pool {pool} gives addresses that nobody serves with --service-proxy off; leave one of them out"
        ))
    }
}

/// Whether two networks have an address in common.
pub(super) fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Binds an address that nobody else may have.
fn listen(address: SocketAddr, network: Ipv4Net) -> Result<TcpListener, AttachError> {
    TcpListener::bind(address).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrNotAvailable {
            AttachError::NotLocal { address, network }
        } else {
            AttachError::Bind { address, error }
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let line = format!("attach --kubeconfig k {line}");
        let line =
            Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        Settings::new(line.arguments).map_err(|error| {
            assert_eq!(error.exit_code(), 3, "{error}");
            error.to_string()
        })
    }

    fn places(settings: &Settings) -> String {
        let text = |place: &Place| format!("{} {} {}", place.name, place.address, place.slice);
        let nodes: Vec<_> = settings.nodes.iter().map(text).collect();
        nodes.join(", ")
    }

    #[test]
    fn each_node_has_a_name_an_address_and_a_part_of_the_pod_network() {
        for (line, expected) in [
            (
                "--nodes 2",
                "node-1 10.244.0.1 10.244.0.0/24, node-2 10.244.1.1 10.244.1.0/24",
            ),
            (
                "--nodes 2 --node-cidr 10.245.0.0/16 --node-prefix worker",
                "worker1 10.245.0.1 10.244.0.0/24, worker2 10.245.0.2 10.244.1.0/24",
            ),
        ] {
            assert_eq!(places(&settings(line).unwrap()), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_cure() {
        for (line, expected) in [
            ("--nodes 0", "--nodes"),
            ("--pod-cidr nonsense", "--pod-cidr"),
            ("--pod-cidr 10.244.0.0/26", "has no room for 3 nodes"),
            (
                "--node-cidr 10.244.9.0/24",
                "--node-cidr 10.244.9.0/24 overlaps --pod-cidr 10.244.0.0/16; change one of them",
            ),
            (
                "--node-cidr 10.245.0.0/31",
                "--node-cidr 10.245.0.0/31 has no room for 3 nodes; use a shorter prefix",
            ),
            (
                "--load-balancer-pool 10.244.9.0/24",
                "--load-balancer-pool 10.244.9.0/24 overlaps --pod-cidr 10.244.0.0/16; change one of them",
            ),
            (
                "--load-balancer-pool 192.0.2.0/25 --service-proxy off",
                "gives addresses that nobody serves with --service-proxy off",
            ),
            ("--service-proxy maybe", "on, off"),
            ("--node-prefix Node_", "use at most 60 lower-case letters"),
            (
                "--image a:1=/nowhere/at/all",
                "cannot read the folder /nowhere/at/all",
            ),
        ] {
            let error = settings(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn addresses_that_are_not_local_and_those_that_are_taken_are_named_with_the_cure() {
        let settings = |line: &str| settings(line).unwrap();
        // TEST-NET-3 is nobody's.
        let error = settings("--pod-cidr 203.0.113.0/24").claim_addresses();
        let error = error.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let cure = "`ip route add local 203.0.113.0/24 dev lo`";
        assert!(error.to_string().contains(cure), "{error}");

        let line = "--pod-cidr 127.62.0.0/24 --nodes 1";
        let held = settings(line).claim_addresses().unwrap();
        let error = settings(line).claim_addresses().unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let sentence = error.to_string();
        assert!(sentence.contains("127.62.0.1:10250"), "{sentence}");
        assert!(sentence.contains("--pod-cidr"), "{sentence}");
        drop(held);
    }
}
