//! The objects: one rising version over all kinds, and a bounded history per kind for watches.
//!
//! In: whole objects that earlier stages have checked. Out: the same objects with a version, and [`Change`]s in order.
//! It knows keys and versions, not the meaning of fields. No I/O, no clock.
//!
//! Watches pull: each keeps the version up to which it has seen the history and is only woken by [`Collection::news`].
//! So none can lose or double a change, and a slow one costs nothing; when the history has moved past it, it is told so.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

/// All objects.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    collections: BTreeMap<String, Collection>,
    history_max: usize,
}

/// The objects of one storage (usually one kind), by `namespace/name` or `name`: the order in which lists show them.
#[derive(Debug)]
pub(crate) struct Collection {
    objects: BTreeMap<String, Arc<Stored>>,
    history: VecDeque<Arc<Change>>,
    /// Changes up to this version are forgotten.
    floor: u64,
    news: watch::Sender<u64>,
    is_closed: bool,
}

/// An object as it is stored; never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The object, with `kind`, `apiVersion` and `metadata.resourceVersion`.
    pub value: Value,
    /// The version of its last change.
    pub version: u64,
    json: OnceLock<Bytes>,
    item_json: OnceLock<Bytes>,
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    /// `namespace/name` or `name`.
    pub key: String,
    /// Its version.
    pub version: u64,
    /// The object afterwards; when deleted, its last body with the version of the deletion.
    pub object: Arc<Stored>,
    /// The object before.
    pub previous: Option<Arc<Stored>>,
    /// Whether the object is gone.
    pub is_deletion: bool,
    line: OnceLock<Bytes>,
}

/// The history does not reach back to the version that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOld {
    /// What is forgotten.
    pub floor: u64,
}

// === impl Store ===

impl Store {
    /// An empty store that remembers `history_max` changes per kind.
    pub(crate) fn new(history_max: usize) -> Self {
        Self {
            version: 1,
            collections: BTreeMap::new(),
            history_max,
        }
    }

    /// The version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Begins a collection; its history starts now.
    pub(crate) fn open(&mut self, storage: &str) {
        if self
            .collections
            .get(storage)
            .is_some_and(|collection| !collection.is_closed)
        {
            return;
        }
        let floor = self.version;
        let collection = Collection {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            floor,
            news: watch::Sender::new(floor),
            is_closed: false,
        };
        self.collections.insert(storage.to_owned(), collection);
    }

    /// Ends a collection: its objects are deleted, and watches end when they have seen that.
    pub(crate) fn close(&mut self, storage: &str) {
        let Some(collection) = self.collections.get(storage) else {
            return;
        };
        let keys: Vec<String> = collection.objects.keys().cloned().collect();
        for key in keys {
            self.remove(storage, &key);
        }
        let version = self.version;
        if let Some(collection) = self.collections.get_mut(storage) {
            collection.is_closed = true;
            collection.news.send_replace(version);
        }
    }

    /// A collection that is open.
    pub(crate) fn collection(&self, storage: &str) -> Option<&Collection> {
        self.collections.get(storage)
    }

    /// One object.
    pub(crate) fn get(&self, storage: &str, key: &str) -> Option<Arc<Stored>> {
        self.collections.get(storage)?.objects.get(key).cloned()
    }

    /// Creates or replaces an object; it gets the next version.
    pub(crate) fn put(&mut self, storage: &str, key: &str, value: Value) -> Arc<Stored> {
        let object = Arc::new(Stored::new(value, self.version + 1));
        let Some(collection) = self.collections.get_mut(storage) else {
            return object;
        };
        self.version += 1;
        let previous = collection.objects.insert(key.to_owned(), object.clone());
        let change = Change {
            key: key.to_owned(),
            version: self.version,
            object: object.clone(),
            previous,
            is_deletion: false,
            line: OnceLock::new(),
        };
        collection.record(change, self.history_max);
        object
    }

    /// Removes an object; the version of the removal is in the object that comes back.
    pub(crate) fn remove(&mut self, storage: &str, key: &str) -> Option<Arc<Stored>> {
        let collection = self.collections.get_mut(storage)?;
        let previous = collection.objects.remove(key)?;
        self.version += 1;
        let object = Arc::new(Stored::new(previous.value.clone(), self.version));
        let change = Change {
            key: key.to_owned(),
            version: self.version,
            object: object.clone(),
            previous: Some(previous),
            is_deletion: true,
            line: OnceLock::new(),
        };
        collection.record(change, self.history_max);
        Some(object)
    }
}

// === impl Collection ===

impl Collection {
    /// The objects whose key starts with `prefix`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Arc<Stored>)> + 'a {
        let from = (Bound::Included(prefix.to_owned()), Bound::Unbounded);
        self.objects
            .range(from)
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The objects as they were at `version`, by undoing the history.
    pub(crate) fn at(
        &self,
        version: u64,
        prefix: &str,
    ) -> Result<BTreeMap<String, Arc<Stored>>, TooOld> {
        if version < self.floor {
            return Err(TooOld { floor: self.floor });
        }
        let mut objects: BTreeMap<String, Arc<Stored>> = self
            .range(prefix)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for change in self
            .history
            .iter()
            .rev()
            .take_while(|change| change.version > version)
        {
            if !change.key.starts_with(prefix) {
                continue;
            }
            match &change.previous {
                Some(previous) => objects.insert(change.key.clone(), previous.clone()),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// The changes after `version`, oldest first.
    pub(crate) fn since(&self, version: u64) -> Result<impl Iterator<Item = &Arc<Change>>, TooOld> {
        if version < self.floor {
            return Err(TooOld { floor: self.floor });
        }
        let start = self
            .history
            .partition_point(|change| change.version <= version);
        Ok(self.history.range(start..))
    }

    /// Wakes when something changed; ends when the collection is closed.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether the kind is no longer served; the history stays for the watches that have not seen its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn record(&mut self, change: Change, history_max: usize) {
        let version = change.version;
        self.history.push_back(Arc::new(change));
        while self.history.len() > history_max {
            if let Some(forgotten) = self.history.pop_front() {
                self.floor = forgotten.version;
            }
        }
        self.news.send_replace(version);
    }
}

// === impl Change ===

impl Change {
    /// The change as a line of a watch without a selector; written once, however many watch.
    pub(crate) fn line(&self, write: impl FnOnce(&str, &[u8]) -> Bytes) -> Bytes {
        let kind = match (self.is_deletion, &self.previous) {
            (true, _) => "DELETED",
            (false, Some(_)) => "MODIFIED",
            (false, None) => "ADDED",
        };
        let line = self.line.get_or_init(|| write(kind, &self.object.json()));
        line.clone()
    }
}

// === impl Stored ===

impl Stored {
    /// An object that is about to be stored at `version`.
    pub(crate) fn new(mut value: Value, version: u64) -> Self {
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        Self {
            value,
            version,
            json: OnceLock::new(),
            item_json: OnceLock::new(),
        }
    }

    /// As JSON; written once, however many ask.
    pub(crate) fn json(&self) -> Bytes {
        self.json.get_or_init(|| to_json(&self.value)).clone()
    }

    /// As JSON without kind and apiVersion, as the items of a list are.
    pub(crate) fn item_json(&self) -> Bytes {
        let write = || {
            let mut value = self.value.clone();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            to_json(&value)
        };
        self.item_json.get_or_init(write).clone()
    }
}

/// A value as JSON bytes.
pub(crate) fn to_json(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON value has only text keys"))
}

/// The key of an object.
pub(crate) fn key(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(
        || name.to_owned(),
        |namespace| format!("{namespace}/{name}"),
    )
}

/// The prefix of all keys of a namespace, or of all objects.
pub(crate) fn prefix(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| format!("{namespace}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        let mut store = Store::new(3);
        store.open("pods");
        store
    }

    fn object(mark: u64) -> Value {
        json!({"metadata": {"name": "x"}, "mark": mark})
    }

    #[test]
    fn an_earlier_state_is_found_by_undoing_changes() {
        let mut store = store();
        store.put("pods", "n/a", object(1));
        let then = store.put("pods", "n/b", object(1)).version;
        store.put("pods", "n/a", object(2));
        store.remove("pods", "n/b");
        let pods = store.collection("pods").expect("open");
        let state = pods.at(then, "n/").expect("in the history");
        let marks: Vec<_> = state
            .values()
            .map(|one| one.value["mark"].clone())
            .collect();
        assert_eq!(marks, [1, 1]);
        assert_eq!(pods.range("n/").count(), 1);
    }

    #[test]
    fn a_version_below_the_history_is_too_old() {
        let mut store = store();
        let start = store.version();
        for mark in 0..4 {
            store.put("pods", "n/a", object(mark));
        }
        let pods = store.collection("pods").expect("open");
        assert_eq!(pods.since(start).err(), Some(TooOld { floor: start + 1 }));
        assert_eq!(pods.since(start + 1).expect("kept").count(), 3);
    }

    #[test]
    fn a_deletion_carries_the_last_body_and_its_own_version() {
        let mut store = store();
        let before = store.put("pods", "n/a", object(7)).version;
        let gone = store.remove("pods", "n/a").expect("was there");
        assert_eq!(gone.value["mark"], 7);
        assert_eq!(
            gone.value["metadata"]["resourceVersion"],
            (before + 1).to_string()
        );
    }

    #[test]
    fn a_namespace_sorts_by_the_whole_key() {
        let mut store = store();
        for key in ["ns/z", "ns-a/b"] {
            store.put("pods", key, object(0));
        }
        let keys: Vec<_> = store
            .collection("pods")
            .expect("open")
            .range("")
            .map(|(key, _)| key.clone())
            .collect();
        assert_eq!(keys, ["ns-a/b", "ns/z"]);
    }
}
