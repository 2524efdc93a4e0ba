//! Whether a node is one that a pod may be on: taints, `nodeSelector` and required node affinity.
//!
//! Used by the scheduler, which chooses, and by the DaemonSet controller, which needs to know beforehand. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// The only field that a node is selected by.
pub(crate) const NODE_NAME_FIELD: &str = "metadata.name";

/// The first of the taints with one of these effects that the pod does not tolerate.
pub(crate) fn untolerated<'a>(
    spec: &PodSpec,
    taints: &'a [Taint],
    effects: &[&str],
) -> Option<&'a Taint> {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| {
            !tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
        })
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

/// The nodes that a pod's required node affinity names; none when it does not go by name.
pub(crate) fn named_nodes(spec: &PodSpec) -> Option<BTreeSet<&str>> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let mut all = BTreeSet::new();
    for term in &required.node_selector_terms {
        let fields = term.match_fields.iter().flatten();
        let by_name = fields.filter(|field| field.key == NODE_NAME_FIELD && field.operator == "In");
        let names = by_name.map(|field| {
            let values = field.values.iter().flatten();
            values.map(String::as_str).collect::<BTreeSet<_>>()
        });
        all.extend(names.reduce(|a, b| a.intersection(&b).copied().collect())?);
    }
    Some(all)
}

/// Whether the pod's `nodeSelector` and required node affinity match the node.
pub(crate) fn is_selected(spec: &PodSpec, node: &Node) -> bool {
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
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
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
            requirement.key == NODE_NAME_FIELD && meets(requirement, node.metadata.name.as_deref())
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
