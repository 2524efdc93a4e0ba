//! What `up` was asked for, checked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use tracing::level_filters::LevelFilter;

use super::error::UpError;
use super::ranges::{self, ServiceRanges, Surroundings};
use crate::actors::NodeMonitor;
use crate::images::Image;
use crate::kubelet::KUBELET_PORT;
use crate::kubelet::addresses::{self, Pool};
use crate::story::Values;

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// A lease is renewed every 10 s, and up to 4 % later.
const NODE_GRACE_MIN: Duration = Duration::from_secs(11);

/// The longest time that an argument may name.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Arguments of `tiergate-sim up`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Without the story: a cluster tier for the classes tiergate-cluster and nginx, and nothing else.
    #[arg(long, group = "content")]
    empty: bool,
    /// Without the story, any tier and any class: nodes for whatever is installed.
    #[arg(long, group = "content")]
    bare: bool,
    /// Only the API server: no controllers, no nodes.
    #[arg(long, group = "content")]
    api_only: bool,
    /// Only the API server and the controllers: no nodes, so that every pod stays Pending.
    #[arg(long, group = "content")]
    control_plane_only: bool,
    /// Run pods of this image from the programs in a folder. Repeatable; without a tag it means every tag.
    #[arg(long = "image", value_name = "NAME:TAG=FOLDER")]
    images: Vec<Image>,
    /// Where the kubeconfig is written.
    #[arg(long, value_name = "FILE", default_value = ".tiergate/kubeconfig")]
    kubeconfig: PathBuf,
    /// Port of plain HTTP at the VIP.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    http_port: u16,
    /// Port of HTTPS at the VIP.
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    https_port: u16,
    /// The address of the cluster, in 127.0.0.0/8.
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::new(127, 0, 0, 254))]
    vip: Ipv4Addr,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64), allow_negative_numbers = true)]
    nodes: u16,
    /// Addresses of nodes and pods, in 127.0.0.0/8: each node gets a part. Another one for each cluster on this machine.
    #[arg(long, value_name = "CIDR", default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(127, 10, 0, 0), 16))]
    pod_cidr: Ipv4Net,
    /// Addresses of Services, in 127.0.0.0/8. By default the first of 127.96.0.0/16, 127.94.0.0/16, … that no other cluster
    /// has; with --api-only 10.96.0.0/16, since nobody serves them then.
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<Ipv4Net>,
    /// Addresses of Services of type LoadBalancer, in 127.0.0.0/8. By default the first of 127.97.0.0/24, 127.95.0.0/24, …
    /// that no other cluster has.
    #[arg(long, value_name = "CIDR")]
    load_balancer_pool: Option<Ipv4Net>,
    /// Where the API server listens. Port 0: a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    api_address: SocketAddr,
    /// Write who asked the API server for what into this file: a JSON object for each request.
    #[arg(long, value_name = "FILE")]
    request_log: Option<PathBuf>,
    /// After how long without a sign of life a node is unknown and its pods are not ready.
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = time)]
    node_monitor_grace_period: Duration,
    /// How often nodes are looked at.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    node_monitor_period: Duration,
    /// Which log events of the cluster itself are written to standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: LevelFilter,
}

/// What the cluster holds at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Story,
    Empty,
    Bare,
    ControlPlane,
    ApiOnly,
}

/// Arguments that fit together.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) content: Content,
    pub(super) images: Vec<Image>,
    pub(super) kubeconfig: PathBuf,
    pub(super) vip: Ipv4Addr,
    pub(super) http_port: u16,
    pub(super) https_port: u16,
    pub(super) pod_network: Ipv4Net,
    pub(super) slices: Vec<Ipv4Net>,
    /// Where Services have their addresses. None: nobody serves them.
    pub(super) ranges: Option<ServiceRanges>,
    /// Addresses of Services when nobody serves them.
    pub(super) service_range_unserved: Option<Ipv4Net>,
    /// What `ranges` may become.
    ranges_to_try: Vec<ServiceRanges>,
    pub(super) api_address: SocketAddr,
    pub(super) request_log: Option<PathBuf>,
    pub(super) node_monitor: NodeMonitor,
}

// === impl Arguments ===

impl Arguments {
    fn node_monitor(&self) -> Result<NodeMonitor, UpError> {
        let grace_period = self.node_monitor_grace_period;
        if grace_period < NODE_GRACE_MIN {
            return Err(UpError::Argument(format!(
                "--node-monitor-grace-period {grace_period:?} is less than {NODE_GRACE_MIN:?}: a healthy node shows a sign of life only every 10 s; use a longer time"
            )));
        }
        Ok(NodeMonitor {
            period: self.node_monitor_period,
            grace_period,
        })
    }

    fn content(&self) -> Content {
        if self.api_only {
            Content::ApiOnly
        } else if self.control_plane_only {
            Content::ControlPlane
        } else if self.empty {
            Content::Empty
        } else if self.bare {
            Content::Bare
        } else {
            Content::Story
        }
    }
}

// === impl Content ===

impl Content {
    /// Whether pods run: nodes, and what is to run on them.
    pub(super) fn has_nodes(self) -> bool {
        match self {
            Self::Story | Self::Empty | Self::Bare => true,
            Self::ControlPlane | Self::ApiOnly => false,
        }
    }

    /// Whether a cluster tier of the story is there from the start.
    pub(super) fn has_cluster_tier(self) -> bool {
        match self {
            Self::Story | Self::Empty => true,
            Self::Bare | Self::ControlPlane | Self::ApiOnly => false,
        }
    }

    /// Whether Services get endpoints, so that nodes, ours or attached ones, can serve them.
    pub(super) fn has_controllers(self) -> bool {
        match self {
            Self::Story | Self::Empty | Self::Bare | Self::ControlPlane => true,
            Self::ApiOnly => false,
        }
    }
}

/// Pods and the VIP have loopback addresses of their own.
fn check_pod_network(pod_network: Ipv4Net, vip: Ipv4Addr) -> Result<(), UpError> {
    let wrong = |sentence: String| Err(UpError::Argument(sentence));
    if !LOOPBACK.contains(&pod_network) {
        return wrong(format!(
            "--pod-cidr {pod_network} is not in 127.0.0.0/8; use a part of it, such as 127.10.0.0/16"
        ));
    }
    if !LOOPBACK.contains(&vip) {
        return wrong(format!(
            "--vip {vip} is not in 127.0.0.0/8; use an address of it, such as 127.0.0.254"
        ));
    }
    if pod_network.contains(&vip) {
        return wrong(format!(
            "--vip {vip} lies in --pod-cidr {pod_network}; change one of them"
        ));
    }
    if pod_network.contains(&Ipv4Addr::LOCALHOST) {
        return wrong(format!(
            "--pod-cidr {pod_network} holds 127.0.0.1, which other programs use; use another one, such as 127.10.0.0/16"
        ));
    }
    Ok(())
}

// === impl Settings ===

impl Settings {
    pub(super) fn new(arguments: Arguments) -> Result<Self, UpError> {
        let pod_network = arguments.pod_cidr.trunc();
        let vip = arguments.vip;
        let wrong = |sentence: String| Err(UpError::Argument(sentence));
        check_pod_network(pod_network, vip)?;
        if let IpAddr::V4(api) = arguments.api_address.ip()
            && pod_network.contains(&api)
        {
            return wrong(format!(
                "--api-address {api} lies in --pod-cidr {pod_network}; change one of them"
            ));
        }
        if arguments.http_port == arguments.https_port {
            return wrong(format!(
                "--http-port and --https-port are both {}; change one of them",
                arguments.http_port
            ));
        }
        let node_monitor = arguments.node_monitor()?;
        let slices = addresses::slices(pod_network, arguments.nodes)
            .map_err(|error| UpError::Argument(format!("--pod-cidr {error}")))?;
        let content = arguments.content();
        let api = match arguments.api_address.ip() {
            IpAddr::V4(api) => Some(api),
            IpAddr::V6(_) => None,
        };
        let around = Surroundings {
            pods: pod_network,
            vip,
            api,
        };
        let ranges_to_try = if content.has_controllers() {
            ranges::choices(arguments.service_cidr, arguments.load_balancer_pool, around)
                .map_err(UpError::Argument)?
        } else {
            Vec::new()
        };
        // Images are looked at before anything starts, so that a wrong one costs nobody a wait.
        crate::images::Images::new(arguments.images.clone(), None)?;
        Ok(Self {
            content,
            images: arguments.images,
            kubeconfig: arguments.kubeconfig,
            vip,
            http_port: arguments.http_port,
            https_port: arguments.https_port,
            pod_network,
            slices,
            ranges: None,
            service_range_unserved: arguments.service_cidr.map(|range| range.trunc()),
            ranges_to_try,
            api_address: arguments.api_address,
            request_log: arguments.request_log,
            node_monitor,
        })
    }

    /// Holds one port of each node and of each range, and finds out whether those of the VIP are free.
    pub(super) fn claim_addresses(&mut self) -> Result<Vec<TcpListener>, UpError> {
        let mut held = self.claim_ranges()?;
        if !self.content.has_nodes() {
            return Ok(held);
        }
        for (port, cure) in [
            (
                self.http_port,
                "choose another port with --http-port, or another address with --vip",
            ),
            (
                self.https_port,
                "choose another port with --https-port, or another address with --vip",
            ),
        ] {
            // The tier binds it itself, and may share it with its successor: here we only look.
            drop(claim(SocketAddr::from((self.vip, port)), cure)?);
        }
        let cure = "another cluster runs here: give this one a --pod-cidr of its own";
        let nodes = self.slices.iter();
        for node in nodes.map(|slice| Pool::new(*slice).node_address()) {
            held.push(claim(SocketAddr::from((node, KUBELET_PORT)), cure)?);
        }
        Ok(held)
    }

    /// Takes the first ranges that no other cluster has. The address of a network itself is no Service's.
    fn claim_ranges(&mut self) -> Result<Vec<TcpListener>, UpError> {
        let cure = "another cluster runs here: give this one a --service-cidr and a --load-balancer-pool of its own";
        let mut last = Ok(Vec::new());
        for ranges in &self.ranges_to_try {
            let networks = [ranges.services, ranges.load_balancers].into_iter();
            last = networks
                .map(|range| claim(SocketAddr::from((range.network(), KUBELET_PORT)), cure))
                .collect();
            if last.is_ok() {
                self.ranges = Some(*ranges);
                break;
            }
        }
        last
    }

    /// What the manifests leave open.
    pub(super) fn values(&self) -> Values {
        Values {
            vip: self.vip,
            http_port: self.http_port,
            https_port: self.https_port,
            pod_network: self.pod_network,
        }
    }
}

/// A time such as `50s`, `1m30s` or `500ms`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a time from 1ms to 24h such as 50s, 1m30s or 500ms".to_owned();
    let time: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let time = Duration::try_from(time).map_err(|_| wrong())?;
    if (Duration::from_millis(1)..=TIME_MAX).contains(&time) {
        Ok(time)
    } else {
        Err(wrong())
    }
}

/// Binds an address that nobody else may have: unlike the tiers' listeners, this one shares with none.
fn claim(address: SocketAddr, cure: &'static str) -> Result<TcpListener, UpError> {
    TcpListener::bind(address).map_err(|error: io::Error| UpError::Bind {
        address,
        error,
        cure,
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
        let words = std::iter::once("up").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Settings::new(line.arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_there_are_three_nodes_and_the_story() {
        let settings = settings("").unwrap();
        assert_eq!(settings.content, Content::Story);
        assert_eq!(settings.slices.len(), 3);
        assert_eq!(settings.vip, Ipv4Addr::new(127, 0, 0, 254));
        assert_eq!((settings.http_port, settings.https_port), (8080, 8443));
    }

    #[test]
    fn pods_run_only_where_there_are_nodes() {
        for (line, content, has_nodes) in [
            ("", Content::Story, true),
            ("--empty", Content::Empty, true),
            ("--bare", Content::Bare, true),
            ("--control-plane-only", Content::ControlPlane, false),
            ("--api-only", Content::ApiOnly, false),
        ] {
            let settings = settings(line).unwrap();
            assert_eq!(settings.content, content, "{line}");
            assert_eq!(settings.content.has_nodes(), has_nodes, "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_cure() {
        let cases = [
            ("--vip nonsense", "--vip"),
            (
                "--vip 192.0.2.1",
                "is not in 127.0.0.0/8; use an address of it",
            ),
            ("--vip 127.10.0.1", "lies in --pod-cidr 127.10.0.0/16"),
            (
                "--pod-cidr 10.0.0.0/8",
                "is not in 127.0.0.0/8; use a part of it",
            ),
            ("--pod-cidr 127.0.0.0/8", "--vip 127.0.0.254 lies in"),
            ("--pod-cidr 127.0.0.0/24 --vip 127.1.0.1", "holds 127.0.0.1"),
            ("--pod-cidr 127.10.0.0/26", "has no room for 3 nodes"),
            (
                "--api-address 127.10.0.9:0",
                "--api-address 127.10.0.9 lies in",
            ),
            ("--http-port 8443", "are both 8443"),
            ("--http-port 0", "--http-port"),
            ("--https-port -1", "--https-port"),
            ("--nodes 0", "--nodes"),
            ("--nodes 65", "--nodes"),
            ("--image nonsense", "--image"),
            (
                "--image a:1=/nowhere/at/all",
                "cannot read the folder /nowhere/at/all",
            ),
            ("--empty --api-only", "--api-only"),
            ("--node-monitor-period 5", "such as 50s, 1m30s or 500ms"),
            ("--node-monitor-period 0s", "from 1ms to 24h"),
            ("--node-monitor-period=-5s", "from 1ms to 24h"),
            (
                "--node-monitor-grace-period 10s",
                "is less than 11s: a healthy node shows a sign of life only every 10 s",
            ),
            ("--control-plane-only --empty", "--control-plane-only"),
            ("--htp-port 1", "--http-port"),
        ];
        for (line, expected) in cases {
            let error = settings(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn two_clusters_find_ranges_of_their_own_unless_they_are_told_which() {
        let start = |line: &str| {
            let mut settings = settings(line).unwrap();
            let held = settings.claim_addresses();
            held.map(|held| (settings.ranges.unwrap(), held))
        };
        let (one, _held) = start("--vip 127.0.55.1 --pod-cidr 127.55.1.0/24").unwrap();
        let (other, _held) = start("--vip 127.0.55.2 --pod-cidr 127.55.2.0/24").unwrap();
        assert_ne!(one.services, other.services);
        assert_ne!(one.load_balancers, other.load_balancers);
        let told = format!(
            "--vip 127.0.55.3 --pod-cidr 127.55.3.0/24 --service-cidr {}",
            one.services
        );
        let sentence = start(&told).unwrap_err().to_string();
        assert!(sentence.contains("--service-cidr"), "{sentence}");
    }

    #[test]
    fn a_taken_address_is_named_with_the_cure() {
        let taken = TcpListener::bind((Ipv4Addr::new(127, 0, 54, 1), 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let line = format!("--vip 127.0.54.1 --http-port {port} --pod-cidr 127.54.0.0/24");
        let error = settings(&line).unwrap().claim_addresses().unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let sentence = error.to_string();
        assert!(
            sentence.contains(&format!("127.0.54.1:{port}")),
            "{sentence}"
        );
        assert!(sentence.contains("--http-port"), "{sentence}");
    }
}
