//! The status of a definition: which names it has, and whether its resources are served.
//!
//! In: a definition and all others of its group. Out: its `status`. What the real server's controllers do one after
//! the other is done at once here.

use serde_json::{Value, json};

use super::DEFINITIONS;
use crate::api::state::{State, text};
use crate::api::validate::{Approval, approval};

/// Names that other definitions of the group have.
struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

/// Whether the resources of a definition are served.
pub(super) fn is_established(definition: &Value) -> bool {
    condition(&definition["status"], "Established").is_some_and(|one| one["status"] == "True")
}

/// The status of a definition as it should be now; equal to the old one when nothing changed.
pub(super) fn of(state: &State, definition: &Value, now: &str) -> Value {
    let taken = Taken::by_others(state, definition);
    let wanted = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let mut names = if had.is_object() {
        had.clone()
    } else {
        json!({"plural": "", "kind": ""})
    };
    let mut conflict: Option<(&str, String)> = None;
    for (field, used, reason) in [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("shortNames", &taken.resources, "ShortNamesConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ] {
        let Some(value) = wanted.get(field).filter(|value| !value.is_null()) else {
            remove(&mut names, field);
            continue;
        };
        match clash(value, &had[field], used) {
            Some(message) => conflict = Some((reason, message)),
            None => names[field] = value.clone(),
        }
    }
    match wanted.get("categories").filter(|list| !list.is_null()) {
        Some(list) => names["categories"] = list.clone(),
        None => remove(&mut names, "categories"),
    }
    let conditions = conditions(definition, conflict, now);
    json!({
        "acceptedNames": names, "conditions": conditions, "storedVersions": stored_versions(definition),
    })
}

fn remove(names: &mut Value, field: &str) {
    if let Some(fields) = names.as_object_mut() {
        fields.remove(field);
    }
}

/// What is in use already, of a name or of a list of names.
fn clash(wanted: &Value, had: &Value, used: &[String]) -> Option<String> {
    let is_clash = |name: &&str| {
        let is_own = had == name
            || had
                .as_array()
                .is_some_and(|list| list.iter().any(|one| one == name));
        !is_own && used.iter().any(|one| one == name)
    };
    let one = wanted.as_str();
    let several = wanted.as_array().into_iter().flatten();
    let names = one.into_iter().chain(several.filter_map(Value::as_str));
    let clashes: Vec<String> = names
        .filter(is_clash)
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    match clashes.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == kind)
}

fn conditions(definition: &Value, conflict: Option<(&str, String)>, now: &str) -> Vec<Value> {
    let old = &definition["status"];
    let make = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let since = condition(old, kind)
            .filter(|one| one["status"] == status)
            .map_or_else(|| json!(now), |one| one["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        })
    };
    let is_accepted = conflict.is_none();
    let (reason, message) =
        conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    let mut conditions = vec![make("NamesAccepted", is_accepted, reason, &message)];
    // Once served it stays served, even when a later change of its names is not accepted.
    conditions.push(if is_accepted || is_established(definition) {
        let message = "the initial names have been accepted";
        make("Established", true, "InitialNamesAccepted", message)
    } else {
        let message = "not all names are accepted";
        make("Established", false, "NotAccepted", message)
    });
    let kind = "KubernetesAPIApprovalPolicyConformant";
    conditions.extend(match approval(definition) {
        Approval::NotNeeded => None,
        Approval::Approved(message) => Some(make(kind, true, "ApprovedAnnotation", &message)),
        Approval::Bypassed(message) => Some(make(kind, false, "UnapprovedAnnotation", &message)),
        Approval::Refused(message) => Some(make(kind, false, "MissingAnnotation", &message)),
    });
    conditions
}

/// Every version in which objects were ever stored.
fn stored_versions(definition: &Value) -> Value {
    let mut versions = definition["status"]["storedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let stored = super::versions(definition).find(|version| version["storage"] == true);
    let stored = stored.map(|version| version["name"].clone());
    versions.extend(
        stored
            .filter(|name| !versions.contains(name))
            .into_iter()
            .collect::<Vec<_>>(),
    );
    json!(versions)
}

// === impl Taken ===

impl Taken {
    fn by_others(state: &State, definition: &Value) -> Self {
        let mut taken = Self {
            resources: Vec::new(),
            kinds: Vec::new(),
        };
        let group = text(definition, "/spec/group");
        let own = text(definition, "/metadata/name");
        let others = state.store.collection(DEFINITIONS);
        let others = others.into_iter().flat_map(|all| all.range(""));
        for (name, other) in others {
            if name == own || text(&other.value, "/spec/group") != group {
                continue;
            }
            let names = &other.value["status"]["acceptedNames"];
            let given = |field: &str| names[field].as_str().map(str::to_owned);
            taken.resources.extend(given("plural"));
            taken.resources.extend(given("singular"));
            let short = names["shortNames"].as_array().into_iter().flatten();
            taken
                .resources
                .extend(short.filter_map(Value::as_str).map(str::to_owned));
            taken.kinds.extend(given("kind"));
            taken.kinds.extend(given("listKind"));
        }
        taken
    }
}
