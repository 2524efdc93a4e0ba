//! The pods of a DaemonSet: what they are made of, which node each is meant for, and which nodes may have one.
//!
//! A pod names its node by affinity, so that the scheduler binds it as any other pod. It tolerates what goes wrong with a
//! node, because a daemon has to be there then. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::owner;
use super::super::placement::{self, NODE_NAME_FIELD};
use super::super::pod;

pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// Taints that every pod of a DaemonSet tolerates, and their effects.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// One more for pods in the network of their node.
const TOLERATED_BY_HOST_NETWORK: (&str, &str) =
    ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node means to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// A pod has to be here.
    pub(crate) should_run: bool,
    /// A pod that is here may stay.
    pub(crate) may_stay: bool,
}

/// Whether a pod of `daemon_set` belongs on `node`.
pub(crate) fn fit(daemon_set: &DaemonSet, node: &Node) -> Fit {
    let neither = Fit {
        should_run: false,
        may_stay: false,
    };
    let spec = spec(daemon_set);
    let named = spec.node_name.as_ref().filter(|name| !name.is_empty());
    if named.is_some() && named != node.metadata.name.as_ref()
        || !placement::is_selected(&spec, node)
    {
        return neither;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let taints = taints.unwrap_or_default();
    let tolerates = |effects: &[&str]| placement::untolerated(&spec, taints, effects).is_none();
    Fit {
        should_run: tolerates(&["NoSchedule", "NoExecute"]),
        may_stay: tolerates(&["NoExecute"]),
    }
}

/// The pod for one node.
pub(crate) fn new_pod(daemon_set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let metadata = daemon_set
        .spec
        .template
        .metadata
        .clone()
        .unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    if let Some(generation) = generation(daemon_set) {
        labels.insert(GENERATION_LABEL.into(), generation.to_string());
    }
    labels.insert(HASH_LABEL.into(), hash.into());
    let mut spec = spec(daemon_set);
    bind(&mut spec, node);
    let name = daemon_set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: daemon_set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner::controller_reference(daemon_set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Whether a pod has the present template.
pub(crate) fn is_updated(daemon_set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let label = |name| pod.metadata.labels.as_ref()?.get(name);
    let generation = generation(daemon_set).map(|generation| generation.to_string());
    label(HASH_LABEL).is_some_and(|label| label == hash)
        || generation.is_some() && label(GENERATION_LABEL) == generation.as_ref()
}

/// The node that a pod is on or meant for.
pub(crate) fn target_node(pod: &Pod) -> Option<&str> {
    if let Some(node) = pod::node_name(pod) {
        return Some(node);
    }
    let affinity = pod
        .spec
        .as_ref()?
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let mut by_name = fields.filter(|field| field.key == NODE_NAME_FIELD && field.operator == "In");
    match by_name.next()?.values.as_deref()? {
        [node] => Some(node),
        _ => None,
    }
}

/// The template's pods, with what every daemon tolerates.
fn spec(daemon_set: &DaemonSet) -> PodSpec {
    let mut spec = daemon_set.spec.template.spec.clone().unwrap_or_default();
    let by_network = spec.host_network.unwrap_or(false);
    let extra = by_network.then_some(TOLERATED_BY_HOST_NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(extra) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        let known = tolerations.iter_mut().find(|known| {
            (&known.key, &known.effect, &known.value)
                == (&toleration.key, &toleration.effect, &toleration.value)
                && known.operator == toleration.operator
        });
        match known {
            Some(known) => *known = toleration,
            None => tolerations.push(toleration),
        }
    }
    spec
}

/// Replaces the terms of the required node affinity by the node's name. (They hold for this node: [`fit`] said so.)
fn bind(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: NODE_NAME_FIELD.into(),
            operator: "In".into(),
            values: Some(vec![node.into()]),
        }]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
}

fn generation(daemon_set: &DaemonSet) -> Option<i64> {
    let annotations = daemon_set.metadata.annotations.as_ref()?;
    annotations.get(GENERATION_ANNOTATION)?.parse().ok()
}
