//! Server-side apply, and the record of who manages which field.
//!
//! In: the object as it is, what a manager wants of it, who that is and the time. Out: the merged object with its
//! `managedFields`, or the conflicts. Pure. Built-in kinds are merged by their types; custom objects by
//! their schema. Defaults, validation and storage are not here.

mod managers;
mod merge;
mod set;
mod typed;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::schema::{self, canonical, types::types};
use super::validate::Cause;
use managers::{Manager, Managers};
use set::{Changes, Set};
use typed::Typed;

/// Owns what was there before anything was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// What belongs to the server, or names the object: nobody manages it.
const SYSTEM_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
];

/// Which kind an object has.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// Its name.
    pub name: &'a str,
    /// The schema of a custom kind.
    pub schema: Option<&'a Value>,
}

/// Why an object was not applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Other managers want other values: 409, reason Conflict.
    #[error("{message}")]
    Conflict {
        /// The sentence for people.
        message: String,
        /// One per field and manager, reason `FieldManagerConflict`.
        causes: Vec<Cause>,
    },
    /// The body does not fit its type: 500, as the API server has it.
    #[error("failed to create typed patch object ({0}")]
    Mistyped(String),
}

// === impl Kind ===

impl<'a> From<&'a str> for Kind<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, schema: None }
    }
}

// === impl Error ===

impl Error {
    /// The HTTP status that the API server answers with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Conflict { .. } => 409,
            Self::Mistyped(_) => 500,
        }
    }

    /// The causes of a conflict, none otherwise.
    pub fn causes(&self) -> &[Cause] {
        match self {
            Self::Conflict { causes, .. } => causes,
            Self::Mistyped(_) => &[],
        }
    }
}

/// Applies what `manager` wants to an object, or creates it. The result is neither defaulted nor in canonical form.
pub fn apply<'a>(
    kind: impl Into<Kind<'a>>,
    current: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    subresource: &str,
    now: Timestamp,
) -> Result<Value, Error> {
    let kind = kind.into();
    check(kind, applied)?;
    let typed = Typed::root(kind, applied);
    let wanted = without_empty_metadata(part(applied, subresource));
    let mut live = current.map_or_else(|| json!({}), whole);
    let mut managers = current.map_or_else(Managers::default, Managers::of);
    let api_version = applied["apiVersion"].as_str().unwrap_or_default();
    if managers.is_empty() && current.is_some() {
        let everything = typed.fields(&without_empty_metadata(live.clone()));
        managers.insert(
            Manager::update(BEFORE_FIRST_APPLY, api_version, ""),
            everything,
            Some(now),
        );
    }
    let this = Manager::apply(manager, api_version, subresource);
    let before = managers.take(&this);
    let fields = typed.fields(&wanted);
    let merged = typed.merged(&live, &wanted);
    let merged = prune(&typed, merged, &before.fields, &fields, &managers);
    let changes = typed.changes(Some(&live), Some(&merged));
    if !force {
        conflicts(&managers, &changes)?;
    }
    managers.lose(&changes);
    let is_changed = !changes.is_empty();
    let time = if is_changed { Some(now) } else { before.time };
    if !fields.is_empty() {
        managers.insert(this, fields, time);
    }
    if is_changed {
        live = merged;
    }
    Ok(with_system_fields(
        live,
        current,
        applied,
        managers.encode(),
    ))
}

/// Records a plain write in `new`'s `managedFields`; an `old` object without a uid stands for one that is created.
pub fn record_update<'a>(
    kind: impl Into<Kind<'a>>,
    old: &Value,
    new: &mut Value,
    manager: &str,
    operation: &str,
    subresource: &str,
    now: Timestamp,
) {
    let kind = kind.into();
    let is_created = old["metadata"]["uid"].is_null();
    let sent = &new["metadata"]["managedFields"];
    let is_reset = *sent == json!([{}]);
    let of_new = if subresource.is_empty() {
        Managers::of(new)
    } else {
        Managers::default()
    };
    let mut managers = if of_new.is_empty() && !is_reset {
        Managers::of(old)
    } else {
        of_new
    };
    if managers.is_empty() && !is_created {
        return write_managers(new, Value::Null);
    }
    let typed = Typed::root(kind, new);
    let mut before = old.clone();
    if is_created {
        // What Go writes even into an empty object is not the creator's doing.
        before = json!({"apiVersion": new["apiVersion"], "kind": kind.name});
        canonical::canonicalise(kind.name, &mut before);
    }
    let (before, after) = (part(&before, subresource), part(new, subresource));
    let changes = typed.changes(Some(&before), Some(&after));
    managers.lose(&changes);
    let api_version = new["apiVersion"].as_str().unwrap_or_default();
    let this = match operation {
        "Apply" => Manager::apply(manager, api_version, subresource),
        _ => Manager::update(manager, api_version, subresource),
    };
    let gained = changes.added.union(&changes.modified);
    if !gained.is_empty() {
        let before = managers.take(&this);
        managers.insert(this, gained.union(&before.fields), Some(now));
    }
    write_managers(new, managers.encode());
}

/// Metadata that only the server's part filled is nothing that a manager could own.
fn without_empty_metadata(mut object: Value) -> Value {
    if let Some(entries) = object.as_object_mut()
        && entries
            .get("metadata")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
    {
        entries.remove("metadata");
    }
    object
}

fn write_managers(object: &mut Value, managers: Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if !managers.is_null() {
            metadata.insert("managedFields".to_owned(), managers);
        }
    }
}

/// Refuses a body that does not fit its type, in the words of the merging library.
fn check(kind: Kind<'_>, applied: &Value) -> Result<(), Error> {
    let api_version = applied["apiVersion"].as_str().unwrap_or_default();
    let metadata = &applied["metadata"];
    let [namespace, name] =
        ["namespace", "name"].map(|field| metadata[field].as_str().unwrap_or_default());
    let group_version = if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    };
    let refused = |why: String| {
        Err(Error::Mistyped(format!(
            "{namespace}/{name}; {group_version}, Kind={}): {why}",
            kind.name
        )))
    };
    if kind.schema.is_some() || types().of(kind.name, applied).is_none() {
        return Ok(());
    }
    let report = schema::check(kind.name, api_version, applied);
    if let Some(field) = report.unknown.first() {
        return refused(format!(".{field}: field not declared in schema"));
    }
    match Typed::root(kind, applied).mistyped(applied, String::new()) {
        Some(why) => refused(why),
        None => report.wrong.map_or(Ok(()), refused),
    }
}

/// The part of an object that a write through a subresource (or through none) is about, without what the server sets.
fn part(object: &Value, subresource: &str) -> Value {
    let mut part = whole(object);
    if let Some(entries) = part.as_object_mut() {
        let is_status = subresource == "status";
        entries.retain(|name, _| {
            if is_status {
                name == "status" || name == "metadata"
            } else {
                name != "status"
            }
        });
    }
    part
}

/// An object without what the server sets.
fn whole(object: &Value) -> Value {
    let Some(entries) = object.as_object() else {
        return json!({});
    };
    let mut entries = entries.clone();
    entries.retain(|name, _| name != "apiVersion" && name != "kind");
    if let Some(metadata) = entries.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !SYSTEM_METADATA.contains(&name.as_str()));
    }
    Value::Object(entries)
}

/// Takes out what the manager wanted before, wants no longer, and nobody else manages.
fn prune(typed: &Typed<'_>, merged: Value, before: &Set, wanted: &Set, others: &Managers) -> Value {
    let kept = others.all().union(wanted).with_parents();
    let gone = before.with_parents().difference(&kept);
    if gone.is_empty() {
        merged
    } else {
        typed.without(merged, &gone)
    }
}

fn conflicts(managers: &Managers, changes: &Changes) -> Result<(), Error> {
    let touched = changes.added.union(&changes.modified);
    let mut found: Vec<(String, String)> = Vec::new();
    for (manager, entry) in managers.iter() {
        let paths = entry.fields.intersection(&touched).paths();
        found.extend(paths.into_iter().map(|path| (manager.to_string(), path)));
    }
    let message = match &found[..] {
        [] => return Ok(()),
        [(manager, path)] => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
        }
        many => {
            let mut names: Vec<&String> = many.iter().map(|(manager, _)| manager).collect();
            names.sort();
            names.dedup();
            let lines = names.into_iter().map(|name| {
                let paths = many
                    .iter()
                    .filter(|(manager, _)| manager == name)
                    .map(|(_, path)| format!("\n- {path}"));
                format!("conflicts with {name}:{}", paths.collect::<String>())
            });
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.collect::<Vec<_>>().join("\n")
            )
        }
    };
    let causes = found.into_iter().map(|(manager, field)| Cause {
        reason: "FieldManagerConflict",
        message: format!("conflict with {manager}"),
        field,
    });
    Err(Error::Conflict {
        message,
        causes: causes.collect(),
    })
}

/// Puts back what `part` took out: from the object as it is, else from the body.
fn with_system_fields(
    mut object: Value,
    current: Option<&Value>,
    applied: &Value,
    managers: Value,
) -> Value {
    let source = current.unwrap_or(applied);
    for name in ["apiVersion", "kind"] {
        object[name] = applied[name].clone();
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    for name in SYSTEM_METADATA {
        // A version or uid that the body brings is a condition on the object.
        let asked = if matches!(name, "resourceVersion" | "uid") {
            &applied["metadata"][name]
        } else {
            &Value::Null
        };
        let value = if asked.is_null() {
            &source["metadata"][name]
        } else {
            asked
        };
        if !value.is_null() && (current.is_some() || name != "resourceVersion") {
            object["metadata"][name] = value.clone();
        }
    }
    write_managers(&mut object, managers);
    object
}

#[cfg(test)]
mod tests;
