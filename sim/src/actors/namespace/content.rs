//! What is left in a namespace that is being deleted, and the conditions that say so.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The objects that are left after everything was told to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Remaining {
    /// Counts by resource, as `deployments.apps`.
    pub(crate) resources: BTreeMap<String, usize>,
    /// Counts by finalizer.
    pub(crate) finalizers: BTreeMap<String, usize>,
    /// Why a resource could not be deleted.
    pub(crate) failures: Vec<String>,
}

// === impl Remaining ===

impl Remaining {
    pub(crate) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.failures.is_empty()
    }
}

/// The namespace with the conditions for what remains.
pub(crate) fn with_conditions(
    namespace: &Namespace,
    remaining: &Remaining,
    now: Timestamp,
) -> Namespace {
    let mut changed = namespace.clone();
    let status = changed.status.get_or_insert_default();
    status.phase = Some("Terminating".into());
    let conditions = status.conditions.get_or_insert_default();
    for (type_, status, reason, message) in sentences(remaining) {
        let before = conditions
            .iter()
            .position(|condition| condition.type_ == type_);
        let is_same = |condition: &NamespaceCondition| {
            condition.status == status
                && condition.reason.as_deref() == Some(reason)
                && condition.message.as_deref() == Some(&message)
        };
        if before.is_some_and(|index| is_same(&conditions[index])) {
            continue;
        }
        let condition = NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match before {
            Some(index) => conditions[index] = condition,
            None => conditions.push(condition),
        }
    }
    changed
}

type Sentence = (&'static str, &'static str, &'static str, String);

fn sentences(remaining: &Remaining) -> [Sentence; 5] {
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".into(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".into(),
        ),
        failures(remaining),
        resources(remaining),
        finalizers(remaining),
    ]
}

fn failures(remaining: &Remaining) -> Sentence {
    let type_ = "NamespaceDeletionContentFailure";
    if remaining.failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        return (type_, "False", "ContentDeleted", message.into());
    }
    let failures = remaining.failures.join("; ");
    let message = format!("Failed to delete all resource types: {failures}");
    (type_, "True", "ContentDeletionFailed", message)
}

fn resources(remaining: &Remaining) -> Sentence {
    let type_ = "NamespaceContentRemaining";
    if remaining.resources.is_empty() {
        let message = "All content successfully removed";
        return (type_, "False", "ContentRemoved", message.into());
    }
    let list = list(&remaining.resources, "has");
    let message = format!("Some resources are remaining: {list}");
    (type_, "True", "SomeResourcesRemain", message)
}

fn finalizers(remaining: &Remaining) -> Sentence {
    let type_ = "NamespaceFinalizersRemaining";
    if remaining.finalizers.is_empty() {
        let message = "All content-preserving finalizers finished";
        return (type_, "False", "ContentHasNoFinalizers", message.into());
    }
    let list = list(&remaining.finalizers, "in");
    let message = format!("Some content in the namespace has finalizers remaining: {list}");
    (type_, "True", "SomeFinalizersRemain", message)
}

fn list(counts: &BTreeMap<String, usize>, verb: &str) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {verb} {count} resource instances"))
        .collect();
    parts.join(", ")
}

/// When to look again: half as long as the deletion has taken, within limits.
pub(crate) fn look_again_in(namespace: &Namespace, now: Timestamp) -> Duration {
    const LEAST: Duration = Duration::from_millis(250);
    const MOST: Duration = Duration::from_secs(4);
    let since = namespace.metadata.deletion_timestamp.as_ref();
    let taken = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since.0));
    (taken.max(SignedDuration::ZERO).unsigned_abs() / 2).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn messages(namespace: &Namespace) -> String {
        let conditions = namespace
            .status
            .as_ref()
            .unwrap()
            .conditions
            .as_ref()
            .unwrap();
        let lines = conditions.iter().map(|condition| {
            let [reason, message] =
                [&condition.reason, &condition.message].map(|text| text.as_deref().unwrap());
            format!(
                "{}={} {reason}: {message}\n",
                condition.type_, condition.status
            )
        });
        lines.collect()
    }

    #[test]
    fn conditions_name_what_is_left_and_what_holds_it() {
        let remaining = Remaining {
            resources: [
                ("configmaps.".to_owned(), 1),
                ("deployments.apps".to_owned(), 2),
            ]
            .into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: Vec::new(),
        };
        let namespace = with_conditions(&Namespace::default(), &remaining, Timestamp::UNIX_EPOCH);
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
            NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
            NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization
            NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances, deployments.apps has 2 resource instances
            NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances
        "#]]
        .assert_eq(&messages(&namespace));
    }

    #[test]
    fn conditions_that_say_the_same_keep_their_time() {
        let remaining = Remaining::default();
        let first = with_conditions(&Namespace::default(), &remaining, Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(9).unwrap();
        assert_eq!(with_conditions(&first, &remaining, later), first);
    }
}
