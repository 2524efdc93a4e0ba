//! Sets of fields, in the form of `fieldsV1`.
//!
//! In: paths, one step a level (`f:spec`, `k:{"name":"a"}`, `v:"x"`). Out: unions, differences, JSON. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// The field itself belongs to the set, not only fields below it.
    pub(super) is_member: bool,
    pub(super) below: BTreeMap<String, Set>,
}

/// How one object differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

// === impl Changes ===

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Puts the changes of a member below it; empty ones leave no trace.
    pub(super) fn insert(&mut self, step: &str, below: Self) {
        self.added.insert(step, below.added);
        self.modified.insert(step, below.modified);
        self.removed.insert(step, below.removed);
    }
}

// === impl Set ===

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.below.values().all(Self::is_empty)
    }

    pub(super) fn insert(&mut self, step: &str, below: Self) {
        if !below.is_empty() {
            self.below.insert(step.to_owned(), below);
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.is_member |= other.is_member;
        for (step, below) in &other.below {
            let mine = all.below.entry(step.clone()).or_default();
            *mine = mine.union(below);
        }
        all
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self {
            is_member: self.is_member && other.is_member,
            below: BTreeMap::new(),
        };
        for (step, below) in &self.below {
            if let Some(theirs) = other.below.get(step) {
                both.insert(step, below.intersection(theirs));
            }
        }
        both
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut rest = Self {
            is_member: self.is_member && !other.is_member,
            below: BTreeMap::new(),
        };
        for (step, below) in &self.below {
            let left = other
                .below
                .get(step)
                .map_or_else(|| below.clone(), |theirs| below.difference(theirs));
            rest.insert(step, left);
        }
        rest
    }

    /// The set with every named field on the way to one of its fields.
    pub(super) fn with_parents(&self) -> Self {
        let below = self.below.iter().map(|(step, below)| {
            let mut below = below.with_parents();
            below.is_member |= step.starts_with("f:") && !below.is_empty();
            (step.clone(), below)
        });
        Self {
            is_member: self.is_member,
            below: below.collect(),
        }
    }

    /// The fields as people read them: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, path: &str, paths: &mut Vec<String>) {
        if self.is_member {
            paths.push(path.to_owned());
        }
        for (step, below) in &self.below {
            below.collect(&format!("{path}{}", readable(step)), paths);
        }
    }

    /// The set as `fieldsV1`.
    pub(super) fn encode(&self) -> Value {
        let mut object = Map::new();
        if self.is_member && !self.below.is_empty() {
            object.insert(".".to_owned(), Value::Object(Map::new()));
        }
        object.extend(
            self.below
                .iter()
                .map(|(step, below)| (step.clone(), below.encode())),
        );
        Value::Object(object)
    }

    /// Reads `fieldsV1`; what is no set is empty.
    pub(super) fn decode(value: &Value) -> Self {
        let mut set = Self::default();
        for (step, below) in value.as_object().into_iter().flatten() {
            if step == "." {
                set.is_member = true;
                continue;
            }
            let mut inner = Self::decode(below);
            inner.is_member |= below.as_object().is_some_and(Map::is_empty);
            set.below.insert(step.clone(), inner);
        }
        set
    }
}

fn readable(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let keys = step
        .strip_prefix("k:")
        .and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
    let parts = keys
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"));
    format!("[{}]", parts.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: &Value) -> Set {
        Set::decode(value)
    }

    #[test]
    fn sets_of_fields_combine() {
        let a = set(&json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}}));
        let b = set(&json!({"f:b": {"f:c": {}}, "f:d": {}}));
        assert_eq!(
            a.union(&b).encode(),
            json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:d": {}})
        );
        assert_eq!(a.intersection(&b).encode(), json!({"f:b": {"f:c": {}}}));
        assert_eq!(a.difference(&b).encode(), json!({"f:a": {}, "f:b": {}}));
        assert!(a.difference(&a).is_empty());
    }

    #[test]
    fn paths_are_readable() {
        let set = set(
            &json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}, "f:names": {"v:\"x\"": {}}}}),
        );
        assert_eq!(
            set.paths(),
            [
                ".spec.names[=\"x\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name"
            ]
        );
    }
}
