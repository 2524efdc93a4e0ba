//! When so many nodes of a zone are away that it is rather us who see badly: how fast nodes may still be tainted.
//!
//! In: how many nodes of each zone are ready, pass by pass. Out: the state of each zone, and what changes by it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

/// Between two nodes of a zone that get the taint that evicts.
pub(super) const TAINT_INTERVAL: Duration = Duration::from_secs(10);

/// The same in a large zone of which a good part is away.
const TAINT_INTERVAL_PARTIAL: Duration = Duration::from_secs(100);

/// A zone with more nodes than this is large.
const LARGE_ZONE_NODES: usize = 50;

/// From this part of a zone on, in percent, it counts as partly away.
const UNHEALTHY_PERCENT: usize = 55;

/// So few nodes that are away never make a zone partly away.
const UNHEALTHY_NODES_MIN: usize = 3;

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No pass has seen it yet.
    Initial,
    Normal,
    /// A good part of its nodes is not ready.
    Partial,
    /// None of its nodes is ready.
    Full,
}

/// The nodes of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) ready: usize,
    pub(super) not_ready: usize,
}

/// What a pass changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The speeds of these zones; none of them: nobody is tainted.
    Intervals(Vec<(String, Option<Duration>)>),
    /// No node of the cluster is ready any more: every taint that evicts is taken off and none is given.
    AllAway(Vec<String>),
    /// The first node is ready again: all nodes get a fresh grace, and the zones these speeds.
    Back(Vec<(String, Option<Duration>)>),
}

// === impl Count ===

impl Count {
    pub(super) fn add(&mut self, is_ready: bool) {
        if is_ready {
            self.ready += 1;
        } else {
            self.not_ready += 1;
        }
    }

    fn nodes(self) -> usize {
        self.ready + self.not_ready
    }

    fn state(self) -> State {
        if self.ready == 0 && self.not_ready > 0 {
            State::Full
        } else if self.not_ready >= UNHEALTHY_NODES_MIN
            && self.not_ready * 100 >= self.nodes() * UNHEALTHY_PERCENT
        {
            State::Partial
        } else {
            State::Normal
        }
    }

    fn interval(self) -> Option<Duration> {
        match self.state() {
            State::Initial | State::Normal | State::Full => Some(TAINT_INTERVAL),
            State::Partial if self.nodes() > LARGE_ZONE_NODES => Some(TAINT_INTERVAL_PARTIAL),
            State::Partial => None,
        }
    }
}

/// Takes what a pass has counted into `states`, and says what changes.
pub(super) fn step(
    states: &mut BTreeMap<String, State>,
    counts: &BTreeMap<String, Count>,
) -> Change {
    for zone in counts.keys() {
        states.entry(zone.clone()).or_insert(State::Initial);
    }
    states.retain(|zone, _| counts.contains_key(zone));
    let are_away = counts.values().all(|count| count.state() == State::Full);
    let were_away = states.values().all(|state| *state == State::Full);
    let mut changed = Vec::new();
    for (zone, state) in states.iter_mut() {
        let count = counts[zone];
        if *state != count.state() || were_away {
            *state = count.state();
            changed.push((zone.clone(), count.interval()));
        }
    }
    match (were_away, are_away) {
        (true, true) => Change::Intervals(Vec::new()),
        (false, true) => Change::AllAway(states.keys().cloned().collect()),
        (true, false) => Change::Back(changed),
        (false, false) => Change::Intervals(changed),
    }
}

/// The zone of a node: region and zone of its labels, empty for all nodes without.
pub(super) fn of(node: &Node) -> String {
    let label = |names: [&str; 2]| {
        let labels = node.metadata.labels.as_ref();
        let found = names.iter().find_map(|name| labels?.get(*name));
        found.cloned().unwrap_or_default()
    };
    let zone = label([
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ]);
    let region = label([
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ]);
    if zone.is_empty() && region.is_empty() {
        return String::new();
    }
    format!("{region}/{zone}")
}

/// Whether a node counts for its zone.
pub(super) fn counts(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    !labels.is_some_and(|labels| labels.contains_key("node.kubernetes.io/exclude-disruption"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Option<u64> = Some(100);
    const USUAL: Option<u64> = Some(10);

    #[test]
    fn the_state_of_a_zone_and_its_speed_follow_from_how_many_nodes_are_away() {
        // Not ready, of all; as recorded in the experiments with many nodes, and the edges between them.
        let cases = [
            (0, 0, State::Normal, USUAL),
            (0, 3, State::Normal, USUAL),
            (1, 1, State::Full, USUAL),
            (2, 3, State::Normal, USUAL),
            (2, 2, State::Full, USUAL),
            (3, 5, State::Partial, None),
            (3, 6, State::Normal, USUAL),
            (6, 12, State::Normal, USUAL),
            (24, 40, State::Partial, None),
            (22, 40, State::Partial, None),
            (21, 40, State::Normal, USUAL),
            (28, 50, State::Partial, None),
            (29, 51, State::Partial, SLOW),
            (36, 60, State::Partial, SLOW),
            (60, 60, State::Full, USUAL),
            (59, 60, State::Partial, SLOW),
        ];
        for (not_ready, nodes, state, seconds) in cases {
            let ready = nodes - not_ready;
            let count = Count { ready, not_ready };
            let interval = seconds.map(Duration::from_secs);
            assert_eq!(
                (count.state(), count.interval()),
                (state, interval),
                "{not_ready} of {nodes}"
            );
        }
    }

    /// Passes over two zones `a` and `b`: what is not ready of three nodes in each, and what changes.
    fn changes(passes: &[(usize, usize)]) -> Vec<Change> {
        let mut states = BTreeMap::new();
        let mut pass = |away: &(usize, usize)| {
            let count = |not_ready| Count {
                ready: 3 - not_ready,
                not_ready,
            };
            let counts = [("a", count(away.0)), ("b", count(away.1))];
            let counts = counts.map(|(zone, count)| (zone.to_owned(), count)).into();
            step(&mut states, &counts)
        };
        passes.iter().map(&mut pass).collect()
    }

    fn usual(zones: &[&str]) -> Vec<(String, Option<Duration>)> {
        let zone = |zone: &&str| ((*zone).to_owned(), Some(TAINT_INTERVAL));
        zones.iter().map(zone).collect()
    }

    #[test]
    fn one_zone_that_is_away_keeps_its_speed_and_all_of_them_stop_the_evictions() {
        let changes = changes(&[(0, 0), (3, 0), (3, 0), (3, 3), (3, 3), (3, 2), (0, 0)]);
        assert_eq!(
            changes,
            [
                Change::Intervals(usual(&["a", "b"])),
                Change::Intervals(usual(&["a"])),
                Change::Intervals(vec![]),
                Change::AllAway(vec!["a".into(), "b".into()]),
                Change::Intervals(vec![]),
                Change::Back(usual(&["a", "b"])),
                Change::Intervals(usual(&["a"])),
            ]
        );
    }

    #[test]
    fn a_cluster_without_nodes_is_not_away() {
        let mut states = BTreeMap::new();
        for _ in 0..2 {
            assert_eq!(
                step(&mut states, &BTreeMap::new()),
                Change::Intervals(vec![])
            );
        }
    }

    #[test]
    fn nodes_are_of_one_zone_by_region_and_zone() {
        let cases = [
            (serde_json::json!({}), ""),
            (
                serde_json::json!({ "topology.kubernetes.io/zone": "z" }),
                "/z",
            ),
            (
                serde_json::json!({ "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r" }),
                "r/z",
            ),
            (
                serde_json::json!({ "topology.kubernetes.io/zone": "z", "failure-domain.beta.kubernetes.io/zone": "y" }),
                "/y",
            ),
        ];
        for (labels, zone) in cases {
            let node = serde_json::json!({ "metadata": { "labels": labels } });
            let node: Node = serde_json::from_value(node).unwrap();
            assert_eq!(of(&node), zone, "{labels}");
        }
    }
}
