//! Which of the nodes that will do a pod prefers.
//!
//! In: the pod and its surroundings. Out: a number for each node, the higher the better: the weights of its preferred node
//! affinity, of preferred affinity to the pods in the node's domains and against them, and the taints that would rather
//! have other pods. The real scheduler scales such scores to 0 … 100 and adds those of free resources; here a preference
//! that a pod names comes before the even spread that it does not name. Pure.

use k8s_openapi::api::core::v1::{
    Affinity, Node, Pod, PreferredSchedulingTerm, WeightedPodAffinityTerm,
};

use super::super::placement;
use super::fit::{Placed, Surroundings};
use super::topology::{self, Term};

/// What a taint `PreferNoSchedule` costs: as much as the greatest weight.
const TAINT_WEIGHT: i64 = 100;

/// What a pod prefers.
pub(super) struct Preference<'a> {
    pod: &'a Pod,
    around: &'a Surroundings<'a>,
    node_terms: &'a [PreferredSchedulingTerm],
    /// Terms about other pods with their weights; those against them are negative.
    pod_terms: Vec<(i64, Term)>,
}

// === impl Preference ===

impl<'a> Preference<'a> {
    pub(super) fn new(pod: &'a Pod, around: &'a Surroundings<'a>) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let with = weighted(affinity, pod, around, 1, |affinity| {
            let pods = affinity.pod_affinity.as_ref()?;
            pods.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let against = weighted(affinity, pod, around, -1, |affinity| {
            let pods = affinity.pod_anti_affinity.as_ref()?;
            pods.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        });
        let node_terms = affinity
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|nodes| {
                nodes
                    .preferred_during_scheduling_ignored_during_execution
                    .as_deref()
            });
        Self {
            pod,
            around,
            node_terms: node_terms.unwrap_or_default(),
            pod_terms: with.into_iter().chain(against).collect(),
        }
    }

    /// How much the pod would like to be on `node`.
    pub(super) fn score(&self, node: &Node) -> i64 {
        let terms = self.node_terms.iter();
        let matched = terms.filter(|term| placement::matches_term(&term.preference, node));
        let by_nodes: i64 = matched.map(|term| i64::from(term.weight)).sum();
        let by_pods: i64 = self
            .pod_terms
            .iter()
            .map(|(weight, term)| weight * self.company(term, node))
            .sum();
        by_nodes + by_pods - self.taint(node)
    }

    /// How many pods of a term are in the node's domain.
    fn company(&self, term: &Term, node: &Node) -> i64 {
        let Some(domain) = topology::label(node, term.key()) else {
            return 0;
        };
        let is_there = |placed: &&Placed| {
            let other = self
                .around
                .nodes
                .iter()
                .find(|other| other.metadata.name.as_deref() == Some(placed.node.as_str()));
            other.is_some_and(|other| topology::label(other, term.key()) == Some(domain))
        };
        let matching = self
            .around
            .placed
            .iter()
            .filter(|placed| term.matches(&placed.pod));
        i64::try_from(matching.filter(is_there).count()).unwrap_or(i64::MAX)
    }

    fn taint(&self, node: &Node) -> i64 {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
        let taints = taints.unwrap_or_default();
        let spec = self.pod.spec.as_ref();
        let is_shunned = spec.is_some_and(|spec| {
            placement::untolerated(spec, taints, &["PreferNoSchedule"]).is_some()
        });
        if is_shunned { TAINT_WEIGHT } else { 0 }
    }
}

fn weighted<'a>(
    affinity: Option<&'a Affinity>,
    pod: &Pod,
    around: &Surroundings<'_>,
    sign: i64,
    terms: impl Fn(&'a Affinity) -> Option<&'a [WeightedPodAffinityTerm]>,
) -> Vec<(i64, Term)> {
    let terms = affinity.and_then(terms).unwrap_or_default();
    let weighted = terms.iter().map(|term| {
        let weight = sign * i64::from(term.weight);
        (weight, Term::new(&term.pod_affinity_term, pod, around))
    });
    weighted.collect()
}
