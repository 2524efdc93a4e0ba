//! The entries of `managedFields`.
//!
//! In: an object. Out: who manages which fields since when, and the same as JSON again, in the server's order. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::{Changes, Set};
use crate::api::schema::time;

/// Entries of plain writes beyond this many are put together, the oldest first.
const UPDATES_MAX: usize = 10;
/// Who then manages their fields.
const ANCIENT: &str = "ancient-changes";

/// Who writes, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    is_update: bool,
    name: String,
    api_version: String,
    subresource: String,
}

/// What a manager manages, and when that changed last.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) fields: Set,
    pub(super) time: Option<Timestamp>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers {
    entries: BTreeMap<Manager, Entry>,
}

// === impl Manager ===

impl Manager {
    pub(super) fn apply(name: &str, api_version: &str, subresource: &str) -> Self {
        Self::new(false, name, api_version, subresource)
    }

    pub(super) fn update(name: &str, api_version: &str, subresource: &str) -> Self {
        Self::new(true, name, api_version, subresource)
    }

    fn new(is_update: bool, name: &str, api_version: &str, subresource: &str) -> Self {
        Self {
            is_update,
            name: name.to_owned(),
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(formatter, " with subresource {:?}", self.subresource)?;
        }
        if self.is_update {
            write!(formatter, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

// === impl Managers ===

impl Managers {
    /// Reads the managers of an object; entries that cannot be read are left out.
    pub(super) fn of(object: &Value) -> Self {
        let mut managers = Self::default();
        for entry in object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let is_update = match text("operation") {
                "Apply" => false,
                "Update" => true,
                _ => continue,
            };
            let manager = Manager::new(
                is_update,
                text("manager"),
                text("apiVersion"),
                text("subresource"),
            );
            let fields = Set::decode(&entry["fieldsV1"]);
            managers.insert(manager, fields, time::parse(text("time")));
        }
        managers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Manager, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn insert(&mut self, manager: Manager, fields: Set, time: Option<Timestamp>) {
        self.entries.insert(manager, Entry { fields, time });
    }

    /// Takes a manager out: what it managed until now. An apply goes on under a new version of the kind.
    pub(super) fn take(&mut self, manager: &Manager) -> Entry {
        let same = |known: &Manager| {
            known.is_update == manager.is_update
                && known.name == manager.name
                && known.subresource == manager.subresource
                && (!manager.is_update || known.api_version == manager.api_version)
        };
        let known = self.entries.keys().find(|known| same(known)).cloned();
        known
            .and_then(|known| self.entries.remove(&known))
            .unwrap_or_default()
    }

    /// Everything that any manager manages.
    pub(super) fn all(&self) -> Set {
        self.entries
            .values()
            .fold(Set::default(), |all, entry| all.union(&entry.fields))
    }

    /// Takes changed and removed fields away from everybody.
    pub(super) fn lose(&mut self, changes: &Changes) {
        let lost = changes
            .added
            .union(&changes.modified)
            .union(&changes.removed);
        for entry in self.entries.values_mut() {
            entry.fields = entry.fields.difference(&lost);
        }
        self.entries.retain(|_, entry| !entry.fields.is_empty());
    }

    /// `managedFields`: applies before updates, then by time, then by name; null when there are none.
    pub(super) fn encode(mut self) -> Value {
        self.forget_oldest();
        let mut entries: Vec<(Manager, Entry)> = self.entries.into_iter().collect();
        let seconds = |entry: &Entry| entry.time.map_or(0, Timestamp::as_second);
        entries.sort_by(|(a, first), (b, second)| {
            let by_time = seconds(first).cmp(&seconds(second));
            a.is_update
                .cmp(&b.is_update)
                .then(by_time)
                .then_with(|| a.cmp(b))
        });
        if entries.is_empty() {
            return Value::Null;
        }
        entries
            .iter()
            .map(|(manager, entry)| entry.encode(manager))
            .collect()
    }

    fn forget_oldest(&mut self) {
        loop {
            let updates = self
                .entries
                .iter()
                .filter(|(manager, _)| manager.is_update && manager.name != ANCIENT);
            let mut updates: Vec<(Option<Timestamp>, Manager)> = updates
                .map(|(manager, entry)| (entry.time, manager.clone()))
                .collect();
            if updates.len() <= UPDATES_MAX {
                return;
            }
            updates.sort();
            let (time, oldest) = updates.swap_remove(0);
            let fields = self.entries.remove(&oldest).unwrap_or_default().fields;
            let ancient = Manager::update(ANCIENT, &oldest.api_version, &oldest.subresource);
            let before = self.take(&ancient);
            self.insert(ancient, before.fields.union(&fields), time.max(before.time));
        }
    }
}

// === impl Entry ===

impl Entry {
    fn encode(&self, manager: &Manager) -> Value {
        let mut entry = json!({
            "manager": manager.name,
            "operation": if manager.is_update { "Update" } else { "Apply" },
            "apiVersion": manager.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.encode(),
        });
        if let Some(at) = self.time {
            entry["time"] = Value::from(time::format_seconds(at));
        }
        if !manager.subresource.is_empty() {
            entry["subresource"] = Value::from(manager.subresource.as_str());
        }
        entry
    }
}
