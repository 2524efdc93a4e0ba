//! One step's working copy of a Deployment and its ReplicaSets, and the writes that it ends in.
//!
//! Each object is written once, however often the step changed it. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::super::event::Draft;
use super::bounds::{self, Bounds};

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Make the Deployment the controller of this ReplicaSet.
    Adopt(Arc<ReplicaSet>),
    /// Let this ReplicaSet go.
    Release(Arc<ReplicaSet>),
    Create(Box<ReplicaSet>),
    Replace(Box<ReplicaSet>),
    Delete(Box<ReplicaSet>),
    /// Write the status and the annotations of the Deployment.
    ReplaceStatus(Box<Deployment>),
    Report(Draft),
    /// Look again after this time: the progress deadline passes then.
    LookAgain(Duration),
}

/// A ReplicaSet of the Deployment, as the step leaves it.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) object: ReplicaSet,
    pub(crate) fate: Fate,
}

/// What the step does to a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Changed,
    Created,
    Deleted,
}

/// The state of one step.
pub(crate) struct Work<'a> {
    pub(crate) before: &'a Deployment,
    pub(crate) deployment: Deployment,
    pub(crate) sets: Vec<Set>,
    /// The set with the Deployment's present template.
    pub(crate) new: Option<usize>,
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) bounds: Bounds,
    pub(crate) replicas: i32,
    pub(crate) now: Timestamp,
    pub(crate) reports: Vec<Draft>,
    pub(crate) look_again: Option<Duration>,
}

// === impl Set ===

impl Set {
    /// The pods it is told to keep.
    pub(crate) fn wanted(&self) -> i32 {
        self.object.spec.replicas.unwrap_or(1)
    }

    /// The pods it has.
    pub(crate) fn actual(&self) -> i32 {
        self.object
            .status
            .as_ref()
            .map_or(0, |status| status.replicas)
    }

    pub(crate) fn ready(&self) -> i32 {
        let status = self.object.status.as_ref();
        status.and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    pub(crate) fn available(&self) -> i32 {
        let status = self.object.status.as_ref();
        status
            .and_then(|status| status.available_replicas)
            .unwrap_or(0)
    }

    /// The pods that are available and not told to go. The count of a set that was just shrunk is from before: with it,
    /// two changes of template in a row would send away pods that are needed.
    pub(crate) fn safe(&self) -> i32 {
        self.available().min(self.wanted())
    }

    pub(crate) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn number(&self, annotation: &str) -> Option<i64> {
        let annotations = self.object.metadata.annotations.as_ref()?;
        annotations.get(annotation)?.parse().ok()
    }

    pub(crate) fn annotation(&self, annotation: &str) -> Option<&str> {
        let annotations = self.object.metadata.annotations.as_ref()?;
        annotations.get(annotation).map(String::as_str)
    }

    /// Sets an annotation and marks the set as changed if it was another.
    pub(crate) fn annotate(&mut self, annotation: &str, value: String) {
        let annotations = self.object.metadata.annotations.get_or_insert_default();
        if annotations.get(annotation) != Some(&value) {
            annotations.insert(annotation.to_owned(), value);
            self.touch();
        }
    }

    pub(crate) fn touch(&mut self) {
        if self.fate == Fate::Kept {
            self.fate = Fate::Changed;
        }
    }

    /// The order of ages: by creation, then by name.
    pub(crate) fn age_order(&self) -> (Option<Timestamp>, &str) {
        let created = self.object.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), self.name())
    }
}

// === impl Work ===

impl<'a> Work<'a> {
    pub(crate) fn new(
        deployment: &'a Deployment,
        sets: Vec<Set>,
        pods: &'a [Arc<Pod>],
        now: Timestamp,
    ) -> Self {
        Self {
            before: deployment,
            deployment: deployment.clone(),
            sets,
            new: None,
            pods,
            bounds: Bounds::of(deployment),
            replicas: bounds::replicas(deployment),
            now,
            reports: Vec::new(),
            look_again: None,
        }
    }

    /// The sets of earlier templates, oldest first.
    pub(crate) fn old(&self) -> Vec<usize> {
        let mut old: Vec<usize> = (0..self.sets.len())
            .filter(|index| Some(*index) != self.new)
            .collect();
        old.sort_by(|a, b| self.sets[*a].age_order().cmp(&self.sets[*b].age_order()));
        old
    }

    /// The sum of `count` over all sets.
    pub(crate) fn sum(&self, count: impl Fn(&Set) -> i32) -> i32 {
        self.sets.iter().map(count).sum()
    }

    /// Tells a set to keep `wanted` pods, and says so to the user. Returns whether that is a change.
    pub(crate) fn resize(&mut self, index: usize, wanted: i32) -> bool {
        let before = self.sets[index].wanted();
        self.note_size(index);
        if before == wanted {
            return false;
        }
        let set = &mut self.sets[index];
        set.object.spec.replicas = Some(wanted);
        set.touch();
        let direction = if before < wanted { "up" } else { "down" };
        let message = format!(
            "Scaled {direction} replica set {} from {before} to {wanted}",
            set.name()
        );
        let report = Draft::normal(self.before, "ScalingReplicaSet", message);
        self.reports.push(report);
        true
    }

    /// Writes on a set how large its Deployment was when it was last resized: proportional scaling starts from there.
    pub(crate) fn note_size(&mut self, index: usize) {
        let set = &mut self.sets[index];
        set.annotate(DESIRED_REPLICAS, self.replicas.to_string());
        set.annotate(
            MAX_REPLICAS,
            (self.replicas + self.bounds.surge_max).to_string(),
        );
    }

    /// The writes of the step: sets first, then the status that tells of them.
    pub(crate) fn finish(self) -> Vec<Action> {
        let mut actions = Vec::new();
        for set in self.sets {
            let object = Box::new(set.object);
            match set.fate {
                Fate::Kept => {}
                Fate::Changed => actions.push(Action::Replace(object)),
                Fate::Created => actions.push(Action::Create(object)),
                Fate::Deleted => actions.push(Action::Delete(object)),
            }
        }
        actions.extend(self.reports.into_iter().map(Action::Report));
        if self.deployment != *self.before {
            actions.push(Action::ReplaceStatus(Box::new(self.deployment)));
        }
        actions.extend(self.look_again.map(Action::LookAgain));
        actions
    }
}
