//! Where other pods let a pod be: topology spread, and required affinity and anti-affinity to pods.
//!
//! In: the pod and its surroundings, read once. Out: for each node, why it will not do. What it prefers is `preference`'s. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Affinity, Node, Pod, PodAffinityTerm, PodSpec, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use super::super::owner;
use super::super::{placement, pod};
use super::fit::{Placed, Surroundings};

/// Why a node will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    SpreadLabelMissing,
    Spread,
    Affinity,
    AntiAffinity,
    AntiAffinityOfOthers,
}

/// A topology key and one of its values: a domain.
type Domain = (String, String);

/// What a pod's neighbours ask of its place.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    spreads: Vec<Spread>,
    /// Each term with the domains in which a pod matches; none when there is no term or the pod is the first of its group.
    affinity: Option<Vec<(String, BTreeSet<Domain>)>>,
    /// Domains that the pod avoids.
    avoided: BTreeSet<Domain>,
    /// Domains whose pods avoid this one.
    closed: BTreeSet<Domain>,
}

#[derive(Debug)]
struct Spread {
    key: String,
    skew_max: usize,
    /// Whether the pod counts itself.
    counts_itself: bool,
    counts: BTreeMap<String, usize>,
    least: usize,
}

/// An affinity term that can be asked.
pub(super) struct Term {
    key: String,
    selector: Selector,
    namespaces: BTreeSet<String>,
}

// === impl Misplaced ===

impl Misplaced {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::SpreadLabelMissing => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::Affinity => "node(s) didn't match pod affinity rules",
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::AntiAffinityOfOthers => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
        }
    }

    /// Whether fewer pods on the node would help.
    pub(crate) fn is_for_pods(self) -> bool {
        matches!(
            self,
            Self::Spread | Self::AntiAffinity | Self::AntiAffinityOfOthers
        )
    }
}

// === impl Topology ===

impl Topology {
    pub(crate) fn new(pod: &Pod, around: &Surroundings<'_>) -> Self {
        let nodes: BTreeMap<&str, &Node> = around
            .nodes
            .iter()
            .map(|node| (node.metadata.name.as_deref().unwrap_or_default(), &**node))
            .collect();
        let place = |placed: &Placed, key: &str| -> Option<Domain> {
            let value = label(nodes.get(placed.node.as_str())?, key)?;
            Some((key.to_owned(), value.to_owned()))
        };
        let domains = |term: &Term, matching: &dyn Fn(&Pod) -> bool| -> BTreeSet<Domain> {
            let matching = around.placed.iter().filter(|placed| matching(&placed.pod));
            matching
                .filter_map(|placed| place(placed, &term.key))
                .collect()
        };
        let anti = anti_affinity(pod, around);
        let avoided = anti
            .iter()
            .flat_map(|term| domains(term, &|other| term.matches(other)));
        let closed = around.placed.iter().flat_map(|placed| {
            let terms = anti_affinity(&placed.pod, around);
            let against = terms.into_iter().filter(|term| term.matches(pod));
            against
                .filter_map(|term| place(placed, &term.key))
                .collect::<Vec<_>>()
        });
        let terms = affinity(pod, around);
        let matches_all = |other: &Pod| terms.iter().all(|term| term.matches(other));
        let is_first =
            !around.placed.iter().any(|placed| matches_all(&placed.pod)) && matches_all(pod);
        let affinity = terms.iter().map(|term| {
            let domains = if is_first {
                // The first of a group may be in any domain.
                let values = around
                    .nodes
                    .iter()
                    .filter_map(|node| label(node, &term.key));
                let domains = values.map(|value| (term.key.clone(), value.to_owned()));
                domains.collect()
            } else {
                domains(term, &matches_all)
            };
            (term.key.clone(), domains)
        });
        Self {
            spreads: spreads(pod, around),
            affinity: (!terms.is_empty()).then(|| affinity.collect()),
            avoided: avoided.collect(),
            closed: closed.collect(),
        }
    }

    /// Why the pod may not be on `node`.
    pub(crate) fn misfit(&self, node: &Node) -> Option<Misplaced> {
        for spread in &self.spreads {
            let Some(value) = label(node, &spread.key) else {
                return Some(Misplaced::SpreadLabelMissing);
            };
            let there = spread.counts.get(value).copied().unwrap_or(0);
            let after = there + usize::from(spread.counts_itself);
            if after.saturating_sub(spread.least) > spread.skew_max {
                return Some(Misplaced::Spread);
            }
        }
        let is_in = |domains: &BTreeSet<Domain>| {
            domains
                .iter()
                .any(|(key, value)| label(node, key) == Some(value))
        };
        let has_company = |terms: &Vec<(String, BTreeSet<Domain>)>| {
            terms.iter().all(|(_, domains)| is_in(domains))
        };
        if self
            .affinity
            .as_ref()
            .is_some_and(|terms| !has_company(terms))
        {
            return Some(Misplaced::Affinity);
        }
        if is_in(&self.avoided) {
            return Some(Misplaced::AntiAffinity);
        }
        is_in(&self.closed).then_some(Misplaced::AntiAffinityOfOthers)
    }
}

// === impl Term ===

impl Term {
    pub(super) fn new(term: &PodAffinityTerm, pod: &Pod, around: &Surroundings<'_>) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if let Some(selector) = &term.namespace_selector {
            let selector = parsed(Some(selector));
            let selected = around
                .namespaces
                .iter()
                .filter(|namespace| owner::selects(&selector, &namespace.metadata));
            namespaces.extend(selected.filter_map(|namespace| namespace.metadata.name.clone()));
        } else if namespaces.is_empty() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        Self {
            key: term.topology_key.clone(),
            selector: parsed(term.label_selector.as_ref()),
            namespaces,
        }
    }

    /// The label of nodes whose values are the domains.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn matches(&self, pod: &Pod) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        self.namespaces.contains(namespace) && owner::selects(&self.selector, &pod.metadata)
    }
}

fn affinity(pod: &Pod, around: &Surroundings<'_>) -> Vec<Term> {
    required(pod, around, |affinity| {
        let pods = affinity.pod_affinity.as_ref()?;
        pods.required_during_scheduling_ignored_during_execution
            .as_deref()
    })
}

fn anti_affinity(pod: &Pod, around: &Surroundings<'_>) -> Vec<Term> {
    required(pod, around, |affinity| {
        let pods = affinity.pod_anti_affinity.as_ref()?;
        pods.required_during_scheduling_ignored_during_execution
            .as_deref()
    })
}

fn required(
    pod: &Pod,
    around: &Surroundings<'_>,
    terms: fn(&Affinity) -> Option<&[PodAffinityTerm]>,
) -> Vec<Term> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let terms = affinity.and_then(terms).unwrap_or_default();
    let terms = terms.iter();
    terms.map(|term| Term::new(term, pod, around)).collect()
}

/// Whether the place of a pod depends on other pods.
pub(crate) fn looks_at_pods(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let affinity = spec.affinity.as_ref();
    affinity.is_some_and(|affinity| affinity.pod_affinity.is_some()) || hard(spec).next().is_some()
}

fn hard(spec: &PodSpec) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let constraints = spec.topology_spread_constraints.iter().flatten();
    constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
}

fn spreads(pod: &Pod, around: &Surroundings<'_>) -> Vec<Spread> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let constraints: Vec<_> = hard(spec).collect();
    let keys: Vec<&str> = constraints
        .iter()
        .map(|constraint| constraint.topology_key.as_str())
        .collect();
    constraints
        .iter()
        .map(|constraint| spread(constraint, &keys, pod, spec, around))
        .collect()
}

/// Counts the pods of one constraint by domain, over the nodes that the pod could be on.
fn spread(
    constraint: &TopologySpreadConstraint,
    keys: &[&str],
    pod: &Pod,
    spec: &PodSpec,
    around: &Surroundings<'_>,
) -> Spread {
    let selector = with_label_keys(constraint, pod);
    let is_counted = |node: &Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
        let taints = taints.unwrap_or_default();
        let honors = |policy: &Option<String>, default| {
            policy
                .as_deref()
                .map_or(default, |policy| policy == "Honor")
        };
        keys.iter().all(|key| label(node, key).is_some())
            && (!honors(&constraint.node_affinity_policy, true)
                || placement::is_selected(spec, node))
            && (!honors(&constraint.node_taints_policy, false)
                || placement::untolerated(spec, taints, &["NoSchedule", "NoExecute"]).is_none())
    };
    let mut counts = BTreeMap::new();
    let mut domains = BTreeMap::new();
    for node in around.nodes.iter().filter(|node| is_counted(node)) {
        if let Some(value) = label(node, &constraint.topology_key) {
            counts.insert(value.to_owned(), 0);
            domains.insert(node.metadata.name.as_deref().unwrap_or_default(), value);
        }
    }
    for placed in around.placed {
        if let Some(value) = domains.get(placed.node.as_str())
            && placed.pod.metadata.namespace == pod.metadata.namespace
            && !pod::is_terminating(&placed.pod)
            && owner::selects(&selector, &placed.pod.metadata)
        {
            *counts.entry((*value).to_owned()).or_default() += 1;
        }
    }
    let domains_min = usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1);
    let least = if counts.len() < domains_min {
        0
    } else {
        counts.values().copied().min().unwrap_or(0)
    };
    Spread {
        key: constraint.topology_key.clone(),
        skew_max: usize::try_from(constraint.max_skew).unwrap_or(1),
        counts_itself: owner::selects(&selector, &pod.metadata),
        counts,
        least,
    }
}

/// The selector of a constraint, narrowed to the pod's own values of `matchLabelKeys`.
fn with_label_keys(constraint: &TopologySpreadConstraint, pod: &Pod) -> Selector {
    let mut selector = constraint.label_selector.clone();
    let own = pod.metadata.labels.as_ref();
    if let Some(selector) = &mut selector {
        let labels = selector.match_labels.get_or_insert_default();
        for key in constraint.match_label_keys.iter().flatten() {
            if let Some(value) = own.and_then(|own| own.get(key)) {
                labels.insert(key.clone(), value.clone());
            }
        }
    }
    parsed(selector.as_ref())
}

/// Without a selector nothing matches.
fn parsed(selector: Option<&LabelSelector>) -> Selector {
    let parsed = selector.and_then(|selector| Selector::try_from(selector.clone()).ok());
    parsed.unwrap_or_else(nothing)
}

/// A selector that no labels meet.
fn nothing() -> Selector {
    let selector: Selector = kube::core::Expression::In("tiergate".into(), BTreeSet::new()).into();
    debug_assert!(!selector.matches(&BTreeMap::new()));
    selector
}

pub(super) fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let labels = node.metadata.labels.as_ref()?;
    labels.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests;
