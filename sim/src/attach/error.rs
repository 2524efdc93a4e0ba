//! Why nodes cannot be added to an API server: one sentence with the cure, and the exit code.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::images::{BinariesError, ImageError};
use crate::kubelet::NodeError;

/// What the exit codes mean, for `--help`.
pub const EXIT_CODES: &str = "\
It runs until SIGINT (Ctrl-C), SIGTERM or SIGHUP; a line `ready` says that pods can be bound to the nodes. At the end \
the pods' processes end, and the nodes and their pods are removed from the API server.

Exit codes: 0 ended on request, 1 not ready in time or not all removed, 2 usage, 3 an argument, a kubeconfig or a \
cluster that cannot be used, 4 an API server that cannot be reached or an address that cannot be bound, 70 internal fault.";

/// Why nodes are not, or no longer, part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// An argument that does not fit.
    #[error("{0}")]
    Argument(String),
    /// An image that cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The programs of the image `tiergate`, which cargo was to build.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// The kubeconfig.
    #[error("cannot use the kubeconfig {}: {reason}; name one with --kubeconfig that kubectl can use", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error(
        "cannot reach the API server {server}: {reason}; see that it runs and that --kubeconfig names the right place"
    )]
    Unreachable {
        /// Its URL.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// It does not know the user.
    #[error(
        "the API server {server} does not know the user of the kubeconfig: {reason}; get a new kubeconfig with valid credentials"
    )]
    Unauthorized {
        /// Its URL.
        server: String,
        /// Its answer.
        reason: String,
    },
    /// The user may not do what nodes do.
    #[error("the user of the kubeconfig may not {}; use the kubeconfig of an administrator (ClusterRole cluster-admin)", .0.join(", "))]
    Forbidden(Vec<String>),
    /// It is too old or too new.
    #[error(
        "the API server is of version {found}; these nodes work with {oldest} to {newest}: {cure}"
    )]
    Version {
        /// What it says.
        found: String,
        /// The first that works.
        oldest: String,
        /// The last that works.
        newest: String,
        /// What to do.
        cure: &'static str,
    },
    /// What is in the cluster already.
    #[error("{0}")]
    Conflict(String),
    /// A network that is not local.
    #[error(
        "cannot listen on {}: it is no address of this machine; make the network local with `ip route add local {network} dev lo` (as root, or in a network namespace of your own: `unshare --map-root-user --net`, then `ip link set lo up`)",
        address.ip()
    )]
    NotLocal {
        /// The address that was tried.
        address: SocketAddr,
        /// The network that it belongs to.
        network: Ipv4Net,
    },
    /// The range of Services is not local.
    #[error(
        "cannot serve Services in {network}: {} is no address of this machine; make the network local with `ip route add local {network} dev lo`, or do without Services: --service-proxy off",
        address.ip()
    )]
    ServicesNotLocal {
        /// The address that was tried.
        address: SocketAddr,
        /// The network that it belongs to.
        network: Ipv4Net,
    },
    /// An address that another program has.
    #[error(
        "cannot listen on {address}: {error}; other nodes run here: give these a --pod-cidr (and --node-cidr) of their own"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        error: io::Error,
    },
    /// The temporary folder.
    #[error("cannot make a temporary folder: {0}; set TMPDIR to a folder that can be written")]
    Folder(io::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The API server answers with an error.
    #[error("the API server answers with an error: {}", with_causes(.0))]
    Api(#[from] kube::Error),
    /// It takes too long.
    #[error(
        "no pod can be bound to the nodes after {seconds} s: {missing}; see that the cluster's kube-controller-manager runs"
    )]
    NotReady {
        /// How long it was waited.
        seconds: u64,
        /// What is missing.
        missing: String,
    },
    /// Something stays behind in the cluster.
    #[error("cannot remove all nodes: {reason}; remove what is left with `kubectl delete node {}`", nodes.join(" "))]
    Left {
        /// The nodes.
        nodes: Vec<String>,
        /// What went wrong.
        reason: String,
    },
    /// A part that should run for ever ended.
    #[error("a part of the nodes ended: {0}")]
    Broken(String),
}

// === impl AttachError ===

impl AttachError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotReady { .. } | Self::Left { .. } => 1,
            Self::Argument(_)
            | Self::Image(_)
            | Self::Binaries(_)
            | Self::Kubeconfig { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden(_)
            | Self::Version { .. }
            | Self::Conflict(_)
            | Self::Folder(_) => 3,
            Self::Unreachable { .. }
            | Self::NotLocal { .. }
            | Self::ServicesNotLocal { .. }
            | Self::Bind { .. }
            | Self::Node(_)
            | Self::Api(_) => 4,
            Self::Output(_) | Self::Signals(_) | Self::Broken(_) => 70,
        }
    }
}

/// Parsers show below their sentence what they parsed.
fn first_line(error: &dyn Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// An error with what lies behind it, each cause once.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = first_line(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = first_line(cause);
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
