//! Who owns an object, and which objects an owner may claim.
//!
//! Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{Selector, SelectorExt};
use serde_json::{Value, json};

/// What a controller does about an object that it might own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours.
    Keep,
    /// It has no controller and matches: it becomes ours.
    Adopt,
    /// It is ours and does not match any more: it becomes free.
    Release,
    /// It is none of our business.
    Ignore,
}

/// The reference with `controller: true`.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// The reference that makes `owner` the controller of an object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What `owner`, which selects by `selector`, does about `object`.
pub(crate) fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let matches = selects(selector, object);
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches => Claim::Ignore,
        None if owner.deletion_timestamp.is_some() || object.deletion_timestamp.is_some() => {
            Claim::Ignore
        }
        None => Claim::Adopt,
    }
}

/// The strategic merge patch that makes `owner` the controller of the object with `uid`.
pub(crate) fn adoption<K: Resource<DynamicType = ()>>(owner: &K, uid: &str) -> Value {
    json!({ "metadata": { "uid": uid, "ownerReferences": [controller_reference(owner)] } })
}

/// The strategic merge patch that takes `owner` out of the object with `uid`.
pub(crate) fn release(owner_uid: &str, uid: &str) -> Value {
    json!({ "metadata": {
        "uid": uid,
        "ownerReferences": [{ "$patch": "delete", "uid": owner_uid }],
    } })
}

/// A parsed selector; none when it cannot be parsed, or selects everything, which no workload may.
pub(crate) fn parse_selector(selector: &LabelSelector) -> Option<Selector> {
    let selector = Selector::try_from(selector.clone()).ok()?;
    (!selector.selects_all()).then_some(selector)
}

/// Whether the labels of an object match.
pub(crate) fn selects(selector: &Selector, object: &ObjectMeta) -> bool {
    match &object.labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&std::collections::BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_controller_takes_what_is_free_and_matches_and_frees_what_does_not() {
        let selector = Selector::from_iter([("app", "web")]);
        let ours = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true }]);
        let theirs = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "db", "uid": "2", "controller": true }]);
        let alive = meta(json!({ "uid": "1" }));
        let dying = meta(json!({ "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z" }));
        let cases = [
            (&alive, "web", Some(&ours), Claim::Keep),
            (&alive, "db", Some(&ours), Claim::Release),
            (&alive, "web", Some(&theirs), Claim::Ignore),
            (&alive, "web", None, Claim::Adopt),
            (&alive, "db", None, Claim::Ignore),
            (&dying, "web", None, Claim::Ignore),
            (&dying, "web", Some(&ours), Claim::Keep),
            (&dying, "db", Some(&ours), Claim::Ignore),
        ];
        for (owner, app, owners, expected) in cases {
            let object = meta(
                json!({ "labels": { "app": app }, "ownerReferences": owners.unwrap_or(&json!([])) }),
            );
            assert_eq!(
                claim(owner, &selector, &object),
                expected,
                "{app} {owners:?}"
            );
        }
    }
}
