//! What a DaemonSet does next, and what its status says.
//!
//! In: the DaemonSet, the nodes, the pods and revisions of its namespace, and whether the store shows its own writes.
//! Out: [`Action`]s, in the order in which they must be done. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::super::event::Draft;
use super::super::owner::{self, Claim};
use super::super::pod::{self, Phase};
use super::backoff::Backoff;
use super::template::{self, Fit, HASH_LABEL};
use super::{revision, roll};

/// The most pods that one step creates, and deletes.
const BURST_MAX: usize = 250;

/// What the controller saw.
pub(crate) struct Observed<'a> {
    pub(crate) daemon_set: &'a DaemonSet,
    pub(crate) nodes: &'a [Arc<Node>],
    /// The pods of the namespace.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The revisions of the namespace.
    pub(crate) revisions: &'a [Arc<ControllerRevision>],
    /// Whether the pods show all that the controller did before.
    pub(crate) is_current: bool,
    pub(crate) now: Timestamp,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    AdoptPod(Arc<Pod>),
    ReleasePod(Arc<Pod>),
    /// Give a pod the hash of another revision of the same template.
    Relabel(Arc<Pod>, String),
    AdoptRevision(Arc<ControllerRevision>),
    ReleaseRevision(Arc<ControllerRevision>),
    CreateRevision(Box<ControllerRevision>),
    ReplaceRevision(Box<ControllerRevision>),
    DeleteRevision(Arc<ControllerRevision>),
    Create(Vec<Pod>),
    Delete(Vec<Arc<Pod>>),
    Report(Draft),
    LookAgain(Duration),
}

/// The nodes and pods as the DaemonSet sees them.
pub(crate) struct View<'a> {
    fits: BTreeMap<&'a str, Fit>,
    by_node: BTreeMap<&'a str, Vec<Arc<Pod>>>,
}

/// What to do, and the status that tells of what was seen. An object on its way out is left alone, because its history may
/// be gone before its pods are.
pub(crate) fn reconcile(
    observed: &Observed<'_>,
    backoff: &mut Backoff,
) -> Option<(Vec<Action>, DaemonSetStatus)> {
    let daemon_set = observed.daemon_set;
    let selector = owner::parse_selector(&daemon_set.spec.selector)?;
    if daemon_set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut actions = Vec::new();
    let mut own = Vec::new();
    for pod in observed.pods {
        match owner::claim(&daemon_set.metadata, &selector, &pod.metadata) {
            Claim::Keep => own.push(Arc::clone(pod)),
            Claim::Adopt if pod::is_active(pod) => {
                actions.push(Action::AdoptPod(Arc::clone(pod)));
                own.push(Arc::clone(pod));
            }
            Claim::Release if pod::is_active(pod) => {
                actions.push(Action::ReleasePod(Arc::clone(pod)));
            }
            Claim::Adopt | Claim::Release | Claim::Ignore => {}
        }
    }
    let history = revision::history(daemon_set, &selector, observed.revisions, observed.pods);
    actions.extend(history.actions);
    let view = View::new(observed, &own);
    if observed.is_current {
        manage(observed, &view, &history.hash, backoff, &mut actions);
        actions.extend(revision::trim(daemon_set, history.old, &own));
    }
    let status = status(observed, &view, &history.hash);
    if status.number_ready != status.number_available.unwrap_or(0) {
        let minimum = daemon_set.spec.min_ready_seconds.unwrap_or(0);
        let delay = Duration::from_secs(u64::try_from(minimum).unwrap_or(0));
        actions.push(Action::LookAgain(delay));
    }
    Some((actions, status))
}

/// Puts every node right; when all of them are, takes a step of the roll-out.
fn manage(
    observed: &Observed<'_>,
    view: &View<'_>,
    hash: &str,
    backoff: &mut Backoff,
    actions: &mut Vec<Action>,
) {
    let mut work = roll::Step::default();
    for (node, fit) in &view.fits {
        let pods = view.by_node.get(node);
        match pods {
            None if fit.should_run => work.create.push((*node).to_owned()),
            Some(pods) if fit.may_stay => {
                let running = running(observed, node, pods, backoff, &mut work, actions);
                prune(observed, node, *fit, running, hash, &mut work);
            }
            Some(pods) => {
                let alive = pods.iter().filter(|pod| !pod::is_terminating(pod));
                work.delete.extend(alive.cloned());
            }
            None => {}
        }
    }
    // A pod for a node that is gone is never bound, and the collector of pods does not see it.
    let lost = view
        .by_node
        .iter()
        .filter(|(node, _)| !view.fits.contains_key(*node));
    let lost = lost.flat_map(|(_, pods)| pods);
    let lost = lost.filter(|pod| pod::node_name(pod).is_none() && !pod::is_terminating(pod));
    work.delete.extend(lost.cloned());
    if work.create.is_empty() && work.delete.is_empty() && roll::is_rolling(observed.daemon_set) {
        work = roll::step(observed, view, hash);
    }
    work.create.truncate(BURST_MAX);
    work.delete.truncate(BURST_MAX);
    if !work.create.is_empty() {
        let nodes = work.create.iter();
        let pods = nodes.map(|node| template::new_pod(observed.daemon_set, hash, node));
        actions.push(Action::Create(pods.collect()));
    }
    if !work.delete.is_empty() {
        actions.push(Action::Delete(work.delete));
    }
}

/// The pods of a node that run or will run, oldest first; those that ended are replaced.
fn running(
    observed: &Observed<'_>,
    node: &str,
    pods: &[Arc<Pod>],
    backoff: &mut Backoff,
    work: &mut roll::Step,
    actions: &mut Vec<Action>,
) -> Vec<Arc<Pod>> {
    let meta = &observed.daemon_set.metadata;
    let mut running = Vec::new();
    for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match pod::phase(pod) {
            Phase::Failed => {
                let place = (
                    meta.uid.clone().unwrap_or_default(),
                    meta.generation.unwrap_or(0),
                    node.to_owned(),
                );
                if let Some(left) = backoff.hold(place, observed.now) {
                    actions.push(Action::LookAgain(left));
                    continue;
                }
                let message = format!(
                    "Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"
                );
                let draft = Draft::warning(observed.daemon_set, "FailedDaemonPod", message);
                actions.push(Action::Report(draft));
                work.delete.push(Arc::clone(pod));
            }
            Phase::Succeeded => {
                let message = format!(
                    "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                );
                let draft = Draft::normal(observed.daemon_set, "SucceededDaemonPod", message);
                actions.push(Action::Report(draft));
                work.delete.push(Arc::clone(pod));
            }
            Phase::Pending | Phase::Running | Phase::Unknown => running.push(Arc::clone(pod)),
        }
    }
    running.sort_by(|a, b| age_order(a).cmp(&age_order(b)));
    running
}

/// Leaves one pod on a node, or an old and a new one while the new one is not available yet.
fn prune(
    observed: &Observed<'_>,
    node: &str,
    fit: Fit,
    running: Vec<Arc<Pod>>,
    hash: &str,
    work: &mut roll::Step,
) {
    if !roll::allows_surge(observed.daemon_set) {
        work.delete.extend(running.into_iter().skip(1));
        return;
    }
    if running.len() <= 1 {
        if running.is_empty() && fit.should_run {
            work.create.push(node.to_owned());
        }
        return;
    }
    let has_hash = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(HASH_LABEL))
            .map(String::as_str)
            == Some(hash)
    };
    let (mut new, mut old) = (None, None);
    for pod in running {
        let place = if has_hash(&pod) { &mut new } else { &mut old };
        match place {
            None => *place = Some(pod),
            Some(_) => work.delete.push(pod),
        }
    }
    if let (Some(new), Some(old)) = (new, old) {
        let minimum = observed.daemon_set.spec.min_ready_seconds.unwrap_or(0);
        if !pod::is_ready(&old) || pod::is_available(&new, minimum, observed.now) {
            work.delete.push(old);
        }
    }
}

fn status(observed: &Observed<'_>, view: &View<'_>, hash: &str) -> DaemonSetStatus {
    let daemon_set = observed.daemon_set;
    let before = daemon_set.status.clone().unwrap_or_default();
    let minimum = daemon_set.spec.min_ready_seconds.unwrap_or(0);
    let mut status = DaemonSetStatus::default();
    let (mut updated, mut available) = (0, 0);
    for (node, fit) in &view.fits {
        let oldest = view
            .by_node
            .get(node)
            .and_then(|pods| pods.iter().min_by(|a, b| age_order(a).cmp(&age_order(b))));
        if !fit.should_run {
            status.number_misscheduled += i32::from(oldest.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = oldest else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod::is_ready(pod));
        available += i32::from(pod::is_available(pod, minimum, observed.now));
        updated += i32::from(template::is_updated(daemon_set, pod, hash));
    }
    DaemonSetStatus {
        updated_number_scheduled: some(updated),
        number_available: some(available),
        number_unavailable: some(status.desired_number_scheduled - available),
        // A generation counts as observed when its pods were looked after, not only counted.
        observed_generation: if observed.is_current {
            daemon_set.metadata.generation
        } else {
            before.observed_generation
        },
        collision_count: before.collision_count,
        conditions: before.conditions,
        ..status
    }
}

/// Bound pods before others, then by age, then by name.
fn age_order(pod: &Pod) -> (bool, Option<Timestamp>, Option<&str>) {
    let created = pod.metadata.creation_timestamp.as_ref();
    (
        pod::node_name(pod).is_none(),
        created.map(|time| time.0),
        pod.metadata.name.as_deref(),
    )
}

/// Counts of zero are left out, as the real controllers do.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

// === impl View ===

impl<'a> View<'a> {
    fn new(observed: &Observed<'a>, own: &'a [Arc<Pod>]) -> Self {
        let fits = observed.nodes.iter().map(|node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            (name, template::fit(observed.daemon_set, node))
        });
        let mut by_node: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in own {
            // What has ended and is being deleted is the kubelet's affair.
            if pod::is_finished(pod) && pod::is_terminating(pod) {
                continue;
            }
            if let Some(node) = template::target_node(pod) {
                by_node.entry(node).or_default().push(Arc::clone(pod));
            }
        }
        Self {
            fits: fits.collect(),
            by_node,
        }
    }

    /// How many nodes shall have a pod.
    pub(crate) fn desired(&self) -> usize {
        self.fits.values().filter(|fit| fit.should_run).count()
    }

    pub(crate) fn fit(&self, node: &str) -> Option<Fit> {
        self.fits.get(node).copied()
    }

    /// The nodes that shall have a pod, or have one, with their pods.
    pub(crate) fn wanted_or_present(&self) -> impl Iterator<Item = (&str, &[Arc<Pod>])> {
        let mut nodes: BTreeMap<&str, &[Arc<Pod>]> = self
            .fits
            .iter()
            .filter(|(_, fit)| fit.should_run)
            .map(|(node, _)| (*node, &[][..]))
            .collect();
        nodes.extend(
            self.by_node
                .iter()
                .map(|(node, pods)| (*node, pods.as_slice())),
        );
        nodes.into_iter()
    }
}

#[cfg(test)]
mod tests;
