//! Which ReplicaSet has the Deployment's present template, what a new one looks like, and the revision numbers.
//!
//! Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::event::Draft;
use super::super::owner;
use super::super::template_hash::hash;
use super::status;
use super::work::{DESIRED_REPLICAS, Fate, MAX_REPLICAS, REVISION, REVISION_HISTORY, Set, Work};

pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Annotations of the Deployment that are its own affair.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// Finds the set with the present template, and brings its annotations and the Deployment's revision up to date.
pub(crate) fn find_new(work: &mut Work<'_>) {
    let template = without_hash(&work.deployment.spec.template);
    let mut matching: Vec<usize> = (0..work.sets.len())
        .filter(|index| {
            let other = work.sets[*index].object.spec.template.as_ref();
            other.is_some_and(|other| without_hash(other) == template)
        })
        .collect();
    matching.sort_by(|a, b| work.sets[*a].age_order().cmp(&work.sets[*b].age_order()));
    work.new = matching.first().copied();
    let Some(new) = work.new else { return };
    let revision = next_revision(work);
    annotate(&mut work.sets[new], &work.deployment, revision);
    let minimum = work.deployment.spec.min_ready_seconds;
    let set_spec = &mut work.sets[new].object.spec;
    if set_spec.min_ready_seconds.unwrap_or(0) != minimum.unwrap_or(0) {
        set_spec.min_ready_seconds = minimum;
        work.sets[new].touch();
    }
    take_revision(work, new);
    let name = work.sets[new].name().to_owned();
    if status::has_deadline(&work.deployment) && status::progressing(&work.deployment).is_none() {
        let message = format!("Found new replica set \"{name}\"");
        status::set_progressing(work, "True", "FoundNewReplicaSet", message);
    }
}

/// Makes the set for the present template; `replicas` is how many pods it starts with, once it is counted in.
pub(crate) fn create_new(work: &mut Work<'_>, replicas: impl Fn(&Work<'_>) -> i32) {
    let revision = next_revision(work);
    let mut set = Set {
        object: new_set(&work.deployment),
        fate: Fate::Created,
    };
    annotate(&mut set, &work.deployment, revision);
    work.sets.push(set);
    let new = work.sets.len() - 1;
    work.new = Some(new);
    let count = replicas(work);
    work.sets[new].object.spec.replicas = Some(count);
    work.note_size(new);
    let name = work.sets[new].name().to_owned();
    if count > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {count}");
        let report = Draft::normal(work.before, "ScalingReplicaSet", message);
        work.reports.push(report);
    }
    take_revision(work, new);
    if status::has_deadline(&work.deployment) {
        let message = format!("Created new replica set \"{name}\"");
        status::set_progressing(work, "True", "NewReplicaSetCreated", message);
    }
}

/// One more than the highest revision of the old sets.
fn next_revision(work: &Work<'_>) -> i64 {
    let old = work.old();
    let revisions = old
        .iter()
        .filter_map(|index| work.sets[*index].number(REVISION));
    revisions.max().unwrap_or(0) + 1
}

/// Copies the Deployment's annotations, and raises the revision; a set that comes back by a roll-back remembers the
/// revisions it had.
fn annotate(set: &mut Set, deployment: &Deployment, revision: i64) {
    let annotations = deployment.metadata.annotations.iter().flatten();
    for (name, value) in annotations.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
        set.annotate(name, value.clone());
    }
    let before = set.number(REVISION);
    if before.is_some_and(|before| before >= revision) {
        return;
    }
    set.annotate(REVISION, revision.to_string());
    if let Some(before) = before {
        let history = match set.annotation(REVISION_HISTORY) {
            Some(history) => format!("{history},{before}"),
            None => before.to_string(),
        };
        set.annotate(REVISION_HISTORY, history);
    }
}

fn take_revision(work: &mut Work<'_>, new: usize) {
    if let Some(revision) = work.sets[new].annotation(REVISION).map(str::to_owned) {
        let annotations = work.deployment.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), revision);
    }
}

fn new_set(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(BTreeMap::new()),
            owner_references: Some(vec![owner::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

/// Whether a set has the same template, apart from the label with its hash.
pub(crate) fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        metadata.creation_timestamp = None;
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH_LABEL);
            if labels.is_empty() {
                metadata.labels = None;
            }
        }
        if *metadata == ObjectMeta::default() {
            template.metadata = None;
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "app", "image": image }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_hash_label_makes_no_difference_between_templates() {
        let mut labelled = template("a");
        let metadata = labelled.metadata.as_mut().unwrap();
        metadata
            .labels
            .as_mut()
            .unwrap()
            .insert(HASH_LABEL.into(), "x".into());
        assert_ne!(labelled, template("a"));
        assert_eq!(without_hash(&labelled), without_hash(&template("a")));
    }
}
