//! Which node a pod goes to, or why none will do.
//!
//! In: the pod, the nodes, and where the other pods are. Out: a node's name, or the sentence for the user. Looked at are
//! taints and readiness, `nodeSelector` and required node affinity, host ports, and how many pods a node takes; requests
//! for CPU and memory are not, because nothing here limits them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use super::super::node_taint::{NOT_READY, UNSCHEDULABLE};
use super::super::owner;
use super::super::pod;

/// Pods of one node, when it does not say how many it takes.
const PODS_MAX_DEFAULT: usize = 110;

/// A pod and the node that it is on, or will be in a moment.
pub(crate) struct Placed {
    pub(crate) pod: Arc<Pod>,
    pub(crate) node: String,
}

/// What the pods on one node take up.
#[derive(Default)]
struct Load<'a> {
    pods: usize,
    siblings: usize,
    host_ports: BTreeSet<HostPort<'a>>,
}

/// Address, protocol and number.
type HostPort<'a> = (&'a str, &'a str, i32);

/// Why a node will not do. The order is that of the message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Misfit {
    Unschedulable,
    Tainted(String),
    Affinity,
    HostPorts,
    Full,
}

/// The node for `pod`: the one with the fewest pods of the same controller, then with the fewest pods, then by name.
///
/// # Errors
/// The sentence that tells why no node will do.
pub(crate) fn choose(pod: &Pod, nodes: &[Arc<Node>], placed: &[Placed]) -> Result<String, String> {
    let Some(spec) = pod.spec.as_ref() else {
        return Err("the pod has no spec".into());
    };
    let owner_uid = owner::controller_of(&pod.metadata).map(|owner| &owner.uid);
    let mut loads: BTreeMap<&str, Load<'_>> = BTreeMap::new();
    for other in placed {
        let load = loads.entry(&other.node).or_default();
        load.pods += 1;
        let other_uid = owner::controller_of(&other.pod.metadata).map(|owner| &owner.uid);
        load.siblings += usize::from(owner_uid.is_some() && other_uid == owner_uid);
        load.host_ports
            .extend(other.pod.spec.iter().flat_map(host_ports));
    }
    let idle = Load::default();
    let mut best: Option<(usize, usize, &str)> = None;
    let mut misfits: BTreeMap<Misfit, usize> = BTreeMap::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let load = loads.get(name).unwrap_or(&idle);
        match misfit(spec, node, load) {
            None => {
                let rank = (load.siblings, load.pods, name);
                best = Some(best.map_or(rank, |best| best.min(rank)));
            }
            Some(misfit) => *misfits.entry(misfit).or_default() += 1,
        }
    }
    best.map(|(_, _, name)| name.to_owned())
        .ok_or_else(|| message(nodes.len(), &misfits))
}

fn misfit(spec: &PodSpec, node: &Node, load: &Load<'_>) -> Option<Misfit> {
    for taint in taints(node) {
        let tolerations = spec.tolerations.iter().flatten();
        if !tolerations
            .into_iter()
            .any(|toleration| tolerates(toleration, &taint))
        {
            return Some(if taint.key == UNSCHEDULABLE {
                Misfit::Unschedulable
            } else {
                let value = taint.value.unwrap_or_default();
                Misfit::Tainted(format!("{{{}: {value}}}", taint.key))
            });
        }
    }
    if !is_selected(spec, node) {
        return Some(Misfit::Affinity);
    }
    let mut ports = host_ports(spec);
    if ports.any(|port| load.host_ports.iter().any(|taken| clash(port, *taken))) {
        return Some(Misfit::HostPorts);
    }
    (load.pods >= pods_max(node)).then_some(Misfit::Full)
}

/// The taints that keep pods away, with those that the node lifecycle controller gives a node that is cordoned or not
/// ready: so nothing lands there in the moment before it has written them.
fn taints(node: &Node) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let written = spec.and_then(|spec| spec.taints.clone());
    let mut taints: Vec<Taint> = written
        .unwrap_or_default()
        .into_iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .collect();
    let no_schedule = |key: &str| Taint {
        key: key.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        taints.push(no_schedule(UNSCHEDULABLE));
    }
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

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && match given(&toleration.key) {
            None => exists,
            Some(key) => {
                key == taint.key && (exists || given(&toleration.value) == given(&taint.value))
            }
        }
}

fn is_selected(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
    };
    let mut wanted = spec.node_selector.iter().flatten();
    if !wanted.all(|(key, value)| label(key) == Some(value)) {
        return false;
    }
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    affinity.is_none_or(|required| {
        required
            .node_selector_terms
            .iter()
            .any(|term| matches_term(term, node))
    })
}

/// A term without requirements matches no node.
fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let mut expressions = term.match_expressions.iter().flatten().peekable();
    let mut fields = term.match_fields.iter().flatten().peekable();
    if expressions.peek().is_none() && fields.peek().is_none() {
        return false;
    }
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    expressions.all(|requirement| meets(requirement, label(&requirement.key)))
        && fields.all(|requirement| {
            requirement.key == "metadata.name" && meets(requirement, node.metadata.name.as_deref())
        })
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let numbers = || {
        let value = value?.parse::<i64>().ok()?;
        Some((value, values.first()?.parse::<i64>().ok()?))
    };
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn host_ports(spec: &PodSpec) -> impl Iterator<Item = HostPort<'_>> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.as_deref().unwrap_or("0.0.0.0");
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        Some((address, protocol, number))
    })
}

fn clash(a: HostPort<'_>, b: HostPort<'_>) -> bool {
    let any = |address: &str| address.is_empty() || address == "0.0.0.0";
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || any(a.0) || any(b.0))
}

fn pods_max(node: &Node) -> usize {
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    let pods = allocatable.and_then(|resources| resources.get("pods"));
    pods.and_then(|pods| pods.0.parse().ok())
        .unwrap_or(PODS_MAX_DEFAULT)
}

fn message(nodes: usize, misfits: &BTreeMap<Misfit, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let reasons: Vec<String> = misfits
        .iter()
        .map(|(misfit, count)| format!("{count} {misfit}"))
        .collect();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

// === impl Misfit ===

impl std::fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unschedulable => formatter.write_str("node(s) were unschedulable"),
            Self::Tainted(taint) => write!(formatter, "node(s) had untolerated taint {taint}"),
            Self::Affinity => {
                formatter.write_str("node(s) didn't match Pod's node affinity/selector")
            }
            Self::HostPorts => {
                formatter.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::Full => formatter.write_str("Too many pods"),
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
