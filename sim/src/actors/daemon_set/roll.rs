//! The way from one template of a DaemonSet to the next, node by node.
//!
//! Without surge an old pod goes first and the new one comes when it is gone: never more nodes without an available pod
//! than allowed, and pods that serve nobody do not count. With surge the new pod comes beside the old one, which goes when
//! the new one is available. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::pod;
use super::step::{Observed, View};
use super::template;

/// What one step of a roll-out does.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Nodes that get a pod.
    pub(crate) create: Vec<String>,
}

/// What a strategy allows, in nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    surge_max: usize,
    unavailable_max: usize,
}

/// The pods of one node that are not on their way out.
#[derive(Clone, Copy)]
struct Pair<'a> {
    new: Option<&'a Arc<Pod>>,
    old: Option<&'a Arc<Pod>>,
}

/// One step of a rolling update.
pub(crate) fn step(observed: &Observed<'_>, view: &View<'_>, hash: &str) -> Step {
    let bounds = bounds(observed.daemon_set, view.desired());
    if bounds.surge_max == 0 {
        without_surge(observed, view, hash, bounds.unavailable_max)
    } else {
        with_surge(observed, view, hash, bounds.surge_max)
    }
}

/// Whether two pods may stand on one node.
pub(crate) fn allows_surge(daemon_set: &DaemonSet) -> bool {
    let surge = rolling(daemon_set).and_then(|rolling| rolling.max_surge.as_ref());
    share(surge, 1) > 0
}

pub(crate) fn is_rolling(daemon_set: &DaemonSet) -> bool {
    let strategy = daemon_set.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn without_surge(
    observed: &Observed<'_>,
    view: &View<'_>,
    hash: &str,
    unavailable_max: usize,
) -> Step {
    let mut unavailable = 0;
    let (mut replaced, mut candidates) = (Vec::new(), Vec::new());
    for (_, pods) in view.wanted_or_present() {
        match pair(observed.daemon_set, pods, hash) {
            Some(Pair {
                new: Some(new),
                old: None,
            }) => {
                unavailable += usize::from(!is_available(observed, new));
            }
            Some(Pair {
                new: None,
                old: Some(old),
            }) => {
                if !is_available(observed, old) {
                    replaced.push(Arc::clone(old));
                    unavailable += 1;
                } else if unavailable < unavailable_max {
                    candidates.push(Arc::clone(old));
                }
            }
            // Nothing yet, or too much: the other part of the controller puts it right first.
            Some(_) | None => unavailable += 1,
        }
    }
    candidates.truncate(unavailable_max.saturating_sub(unavailable));
    replaced.append(&mut candidates);
    Step {
        delete: replaced,
        create: Vec::new(),
    }
}

fn with_surge(observed: &Observed<'_>, view: &View<'_>, hash: &str, surge_max: usize) -> Step {
    let (mut surging, mut available) = (0, 0);
    let mut step = Step::default();
    let (mut candidates, mut sunset) = (Vec::new(), Vec::new());
    for (node, pods) in view.wanted_or_present() {
        let Some(pair) = pair(observed.daemon_set, pods, hash) else {
            surging += 1;
            continue;
        };
        let oldest = pair.old.or(pair.new);
        available += usize::from(oldest.is_some_and(|pod| is_available(observed, pod)));
        match (pair.old, pair.new) {
            (None, _) => {}
            (Some(old), None) => {
                let should_run = view.fit(node).is_some_and(|fit| fit.should_run);
                match (is_available(observed, old), should_run) {
                    (false, false) => step.delete.push(Arc::clone(old)),
                    (false, true) => step.create.push(node.to_owned()),
                    (true, false) => sunset.push(Arc::clone(old)),
                    (true, true) if surging < surge_max => candidates.push(node.to_owned()),
                    (true, true) => {}
                }
            }
            (Some(old), Some(new)) => {
                if is_available(observed, new) {
                    step.delete.push(Arc::clone(old));
                } else {
                    surging += 1;
                }
            }
        }
    }
    // A pod on a node that shall have none goes only when enough others serve.
    sunset.truncate(available.saturating_sub(view.desired()));
    step.delete.append(&mut sunset);
    candidates.truncate(surge_max.saturating_sub(surging));
    step.create.append(&mut candidates);
    step
}

/// The new and the old pod of a node; none when there is more than one of either.
fn pair<'a>(daemon_set: &DaemonSet, pods: &'a [Arc<Pod>], hash: &str) -> Option<Pair<'a>> {
    let mut pair = Pair {
        new: None,
        old: None,
    };
    for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
        let place = if template::is_updated(daemon_set, pod, hash) {
            &mut pair.new
        } else {
            &mut pair.old
        };
        if place.replace(pod).is_some() {
            return None;
        }
    }
    Some(pair)
}

fn is_available(observed: &Observed<'_>, pod: &Pod) -> bool {
    let minimum = observed.daemon_set.spec.min_ready_seconds.unwrap_or(0);
    pod::is_available(pod, minimum, observed.now)
}

/// A share of the nodes is rounded up. When the strategy allows nothing, one node may be without: otherwise it could never
/// move.
fn bounds(daemon_set: &DaemonSet, desired: usize) -> Bounds {
    let rolling = rolling(daemon_set);
    let surge_max = share(
        rolling.and_then(|rolling| rolling.max_surge.as_ref()),
        desired,
    );
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let unavailable_max = share(unavailable, desired);
    let is_stuck = surge_max == 0 && unavailable_max == 0;
    Bounds {
        surge_max,
        unavailable_max: if is_stuck { 1 } else { unavailable_max },
    }
}

fn rolling(daemon_set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    let strategy = daemon_set.spec.update_strategy.as_ref()?;
    strategy
        .rolling_update
        .as_ref()
        .filter(|_| is_rolling(daemon_set))
}

fn share(value: Option<&IntOrString>, nodes: usize) -> usize {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok());
            (nodes * percent.unwrap_or(0_usize)).div_ceil(100)
        }
    }
}
