//! The cluster that a test program runs in: the local one, or a real control plane with our nodes.
//!
//! In: the name of the test program and the arguments that it gives `tiergate-sim up`. Out: `Started`, everything that
//! [`crate::cluster`] must know to be the same in both. The environment variable `TIERGATE_WORLD` chooses: `local` (or
//! nothing) or `kubernetes`, which `world/kubernetes.rs` describes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::Process;

mod kubernetes;
mod local;

/// The argument of `tiergate-sim up` for a cluster without classes and tiers.
pub(crate) const BARE: &str = "--bare";

/// A cluster that is up, and what keeps it up.
pub(crate) struct Started {
    /// The kubeconfig of its administrator.
    pub(crate) kubeconfig: PathBuf,
    /// The VIP.
    pub(crate) vip: Ipv4Addr,
    /// Where its pods have their addresses.
    pub(crate) pod_network: String,
    /// Who asked the API server for what: a JSON object in a line.
    pub(crate) requests: PathBuf,
    /// Reads one of them.
    pub(crate) request: fn(&Value) -> Request,
    /// The program that runs the pods.
    pub(crate) nodes: Process,
    /// What else must live as long as the cluster. Dropped in this order, after the nodes.
    pub(crate) _rest: Vec<Box<dyn Send + Sync>>,
}

/// A request to the API server, as its log tells it. What the log does not say is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub user: String,
    /// The verb of RBAC.
    pub verb: String,
    /// The API group; empty for the core group and for what is no resource.
    pub group: String,
    /// The kind in the plural, with its subresource; the path when it is no resource.
    pub resource: String,
    /// The namespace; empty for all of them and for what has none.
    pub namespace: String,
    /// The name of the object; empty for collections.
    pub name: String,
    /// Whether RBAC denied it. The local cluster denies nothing.
    pub is_denied: bool,
    /// HTTP status.
    pub code: u64,
    /// When it came, in milliseconds of the clock of the API server.
    pub received_ms: i64,
    /// Whether this tells of the head of an answer that goes on: a watch that began. Its end comes in a line of its own. The
    /// local cluster writes one line for a watch, when it begins.
    pub is_begin: bool,
    /// The pod whose token it was; empty for others, and in the local cluster.
    pub pod: String,
}

/// Whether the tests run on the real control plane.
///
/// # Panics
/// When `TIERGATE_WORLD` names neither world.
#[must_use]
pub fn is_real() -> bool {
    match std::env::var("TIERGATE_WORLD").as_deref() {
        Ok("kubernetes") => true,
        Ok("local") | Err(_) => false,
        Ok(other) => panic!("TIERGATE_WORLD={other}: there are `local` and `kubernetes`"),
    }
}

/// Starts the cluster of this process' world; its files go to the folder.
pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Started {
    if is_real() {
        kubernetes::start(folder, arguments)
    } else {
        local::start(folder, arguments)
    }
}

/// A time of RFC 3339 at a JSON pointer, in milliseconds; 0 when there is none.
fn milliseconds_at(value: &Value, pointer: &str) -> i64 {
    let time: Option<jiff::Timestamp> = text_at(value, pointer).parse().ok();
    time.map_or(0, jiff::Timestamp::as_millisecond)
}

/// A text at a JSON pointer; empty when there is none.
fn text_at(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}
