//! Which node a pod goes to, or why none will do.
//!
//! In: the pod, the nodes, where the other pods are. Out: a node's name, or the sentence for the user, in the words of the
//! real scheduler. Looked at, in its order, are cordons, taints and readiness, `nodeSelector` and required node affinity,
//! host ports, requests and the number of pods, topology spread, and required affinity to other pods. Nobody is preempted.
//! Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, PodSpec, Taint};

use super::super::node_taint::{NOT_READY, UNSCHEDULABLE};
use super::super::owner;
use super::super::placement;
use super::super::pod;
use super::ports::{self, HostPort};
use super::preference::Preference;
use super::resources::{Amounts, Shortage};
use super::topology::Topology;

/// A pod and the node that it is on, or will be in a moment.
pub(crate) struct Placed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) node: String,
}

/// Everything that a pod is fitted into.
pub(crate) struct Surroundings<'a> {
    pub(crate) nodes: &'a [Arc<Node>],
    pub(crate) placed: &'a [Placed],
    pub(crate) namespaces: &'a [Arc<Namespace>],
}

/// What the pods on one node take up.
#[derive(Default)]
struct Load<'a> {
    pods: usize,
    siblings: usize,
    host_ports: Vec<HostPort<'a>>,
    requests: Amounts,
}

/// Why a node will not do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Misfit {
    reasons: Vec<String>,
    /// Whether the node would do without some of its pods.
    is_for_its_pods: bool,
}

/// The node for `pod`: the one that it prefers, then with the fewest pods of the same controller, then with the fewest pods, then
/// by name.
///
/// # Errors
/// The sentence that tells why no node will do.
pub(crate) fn choose(pod: &Pod, around: &Surroundings<'_>) -> Result<String, String> {
    let Some(spec) = pod.spec.as_ref() else {
        return Err("the pod has no spec".into());
    };
    if around.nodes.is_empty() {
        return Err("no nodes available to schedule pods".into());
    }
    let loads = loads(pod, around.placed);
    let requests = Amounts::of_pod(spec);
    let topology = Topology::new(pod, around);
    let preference = Preference::new(pod, around);
    let idle = Load::default();
    let mut best: Option<(Reverse<i64>, usize, usize, &str)> = None;
    let mut misfits = Vec::new();
    for node in around.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let load = loads.get(name).unwrap_or(&idle);
        let misfit = not_named(spec, name)
            .or_else(|| misfit(spec, &requests, node, load))
            .or_else(|| {
                let why = topology.misfit(node)?;
                Some(Misfit::one(why.reason(), why.is_for_pods()))
            });
        match misfit {
            None => {
                let score = Reverse(preference.score(node));
                let rank = (score, load.siblings, load.pods, name);
                best = Some(best.map_or(rank, |best| best.min(rank)));
            }
            Some(misfit) => misfits.push(misfit),
        }
    }
    best.map(|(_, _, _, name)| name.to_owned())
        .ok_or_else(|| message(spec, &misfits))
}

fn loads<'a>(pod: &Pod, placed: &'a [Placed]) -> BTreeMap<&'a str, Load<'a>> {
    let owner_uid = owner::controller_of(&pod.metadata).map(|owner| &owner.uid);
    let mut loads: BTreeMap<&str, Load<'_>> = BTreeMap::new();
    for other in placed {
        let load = loads.entry(&other.node).or_default();
        load.pods += 1;
        let other_uid = owner::controller_of(&other.pod.metadata).map(|owner| &owner.uid);
        load.siblings += usize::from(owner_uid.is_some() && other_uid == owner_uid);
        if let Some(spec) = &other.pod.spec {
            load.host_ports.extend(ports::host_ports(spec));
            load.requests.add(&Amounts::of_pod(spec));
        }
    }
    loads
}

/// A pod that names its nodes is not even tried on others.
fn not_named(spec: &PodSpec, node: &str) -> Option<Misfit> {
    let named = placement::named_nodes(spec)?;
    (!named.contains(node))
        .then(|| Misfit::one("node(s) didn't satisfy plugin(s) [NodeAffinity]", false))
}

fn misfit(spec: &PodSpec, requests: &Amounts, node: &Node, load: &Load<'_>) -> Option<Misfit> {
    let taints = taints(node);
    if let Some(taint) = placement::untolerated(spec, &taints, &["NoSchedule", "NoExecute"]) {
        let is_cordon = taint.key == UNSCHEDULABLE;
        let reason = if is_cordon {
            "node(s) were unschedulable"
        } else {
            "node(s) had untolerated taint(s)"
        };
        return Some(Misfit::one(reason, false));
    }
    if !placement::is_selected(spec, node) {
        let reason = "node(s) didn't match Pod's node affinity/selector";
        return Some(Misfit::one(reason, false));
    }
    if ports::host_ports(spec).any(|port| load.host_ports.iter().any(|taken| port.clashes(taken))) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Some(Misfit::one(reason, true));
    }
    let status = node.status.as_ref();
    let allocatable = status.and_then(|status| status.allocatable.as_ref());
    let shortages = requests.shortages(load.pods, &load.requests, allocatable);
    (!shortages.is_empty()).then(|| Misfit {
        is_for_its_pods: shortages.iter().all(Shortage::is_for_pods),
        reasons: shortages.iter().map(Shortage::reason).collect(),
    })
}

/// The taints that keep pods away, the cordon first, with those that the node lifecycle controller gives a node that is
/// cordoned or not ready: so nothing lands there in the moment before it has written them.
fn taints(node: &Node) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let no_schedule = |key: &str| Taint {
        key: key.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    let is_cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
    let mut taints: Vec<Taint> = is_cordoned
        .then(|| no_schedule(UNSCHEDULABLE))
        .into_iter()
        .collect();
    let written = spec.and_then(|spec| spec.taints.as_ref());
    taints.extend(written.into_iter().flatten().cloned());
    if !is_ready(node) {
        taints.push(no_schedule(NOT_READY));
    }
    taints
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Every reason with its number of nodes, in order of the text; then what preemption could do, which is nothing.
fn message(spec: &PodSpec, misfits: &[Misfit]) -> String {
    let nodes = misfits.len();
    let reasons = misfits.iter().flat_map(|misfit| misfit.reasons.iter());
    let why = counted(reasons.map(String::as_str));
    let preemption = if spec.preemption_policy.as_deref() == Some("Never") {
        "not eligible due to preemptionPolicy=Never.".to_owned()
    } else {
        let outcomes = misfits.iter().map(|misfit| {
            if misfit.is_for_its_pods {
                "No preemption victims found for incoming pod"
            } else {
                "Preemption is not helpful for scheduling"
            }
        });
        format!("0/{nodes} nodes are available: {}.", counted(outcomes))
    };
    format!(
        "0/{nodes} nodes are available: {why}. no new claims to deallocate, preemption: {preemption}"
    )
}

fn counted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .into_iter()
        .map(|(text, count)| format!("{count} {text}"))
        .collect();
    parts.sort();
    parts.join(", ")
}

// === impl Misfit ===

impl Misfit {
    fn one(reason: &str, is_for_its_pods: bool) -> Self {
        Self {
            reasons: vec![reason.to_owned()],
            is_for_its_pods,
        }
    }
}

/// Whether the scheduler has to find a node for this pod.
pub(crate) fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return false;
    };
    let is_ours = spec
        .scheduler_name
        .as_deref()
        .is_none_or(|name| name == super::SCHEDULER);
    let is_gated = spec.scheduling_gates.iter().flatten().next().is_some();
    is_ours && !is_gated && pod::node_name(pod).is_none() && pod::is_active(pod)
}

#[cfg(test)]
mod tests;
