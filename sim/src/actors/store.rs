//! What the actors have seen of the API: one ordered store per kind, filled by one watch each.
//!
//! In: lists and events of a watch ([`super::watch`]). Out: objects by name, in order, and a call to every listener
//! for each change. A store may be behind the API server: whoever decides from it must bear that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use tokio::sync::watch;

/// The name of an object; the namespace is empty for objects of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The objects of one kind as last seen.
pub(crate) struct Store<K> {
    objects: Mutex<BTreeMap<Key, Arc<K>>>,
    listeners: Mutex<Vec<Listener<K>>>,
    synced: watch::Sender<bool>,
}

/// Called with the object before and after a change; runs inside the watch, so it only queues.
type Listener<K> = Box<dyn Fn(Option<&K>, Option<&K>) + Send + Sync>;

/// The stores of the kinds that the actors work on.
#[derive(Default)]
pub(crate) struct Stores {
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) nodes: Store<Node>,
    pub(crate) leases: Store<Lease>,
    pub(crate) pods: Store<Pod>,
    pub(crate) services: Store<Service>,
    pub(crate) endpoint_slices: Store<EndpointSlice>,
    pub(crate) endpoints: Store<Endpoints>,
    pub(crate) replica_sets: Store<ReplicaSet>,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) revisions: Store<ControllerRevision>,
    pub(crate) budgets: Store<PodDisruptionBudget>,
    pub(crate) service_accounts: Store<ServiceAccount>,
    /// Only the ConfigMaps named `kube-root-ca.crt`.
    pub(crate) root_certificates: Store<ConfigMap>,
}

// === impl Key ===

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            formatter.write_str(&self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

// === impl Store ===

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            listeners: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }
}

impl<K: Resource> Store<K> {
    /// Calls `listener` for each change from now on.
    pub(crate) fn on_change(
        &self,
        listener: impl Fn(Option<&K>, Option<&K>) + Send + Sync + 'static,
    ) {
        locked(&self.listeners).push(Box::new(listener));
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        locked(&self.objects).get(key).cloned()
    }

    /// The objects of one namespace, by name.
    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        locked(&self.objects)
            .range(Key::new(namespace, "")..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// All objects, by namespace and name.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        locked(&self.objects).values().cloned().collect()
    }

    /// Returns when the first full list is in.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Takes an object that was added or changed.
    pub(crate) fn apply(&self, object: K) {
        let object = Arc::new(object);
        let before = locked(&self.objects).insert(Key::of(&*object), Arc::clone(&object));
        self.tell(before.as_deref(), Some(&object));
    }

    /// Forgets an object that was deleted; `last` is its last state.
    pub(crate) fn remove(&self, last: &K) {
        locked(&self.objects).remove(&Key::of(last));
        self.tell(Some(last), None);
    }

    /// Takes a new full list: what is not in it is gone.
    pub(crate) fn replace(&self, objects: Vec<K>) {
        let objects: BTreeMap<Key, Arc<K>> = objects
            .into_iter()
            .map(|object| (Key::of(&object), Arc::new(object)))
            .collect();
        let before = std::mem::replace(&mut *locked(&self.objects), objects.clone());
        for (key, old) in &before {
            if !objects.contains_key(key) {
                self.tell(Some(old), None);
            }
        }
        for (key, new) in &objects {
            self.tell(before.get(key).map(AsRef::as_ref), Some(new));
        }
        self.synced.send_replace(true);
    }

    fn tell(&self, before: Option<&K>, after: Option<&K>) {
        for listener in locked(&self.listeners).iter() {
            listener(before, after);
        }
    }
}

/// The value behind a mutex that is never held over a panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(namespace: &str, name: &str) -> Pod {
        Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    #[test]
    fn a_list_holds_one_namespace_in_order_of_names() {
        let store = Store::default();
        for (namespace, name) in [("b", "y"), ("a", "z"), ("b", "x"), ("bb", "w")] {
            store.apply(pod(namespace, name));
        }
        let names: Vec<_> = store
            .list("b")
            .iter()
            .map(|pod| Key::of(&**pod).name)
            .collect();
        assert_eq!(names, ["x", "y"]);
    }

    #[test]
    fn a_new_list_tells_what_went_and_what_came() {
        let store = Store::default();
        store.apply(pod("a", "gone"));
        store.apply(pod("a", "kept"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        store.on_change(move |before: Option<&Pod>, after: Option<&Pod>| {
            let name = |pod: Option<&Pod>| pod.map(|pod| Key::of(pod).name);
            locked(&listener).push((name(before), name(after)));
        });
        store.replace(vec![pod("a", "kept"), pod("a", "new")]);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(
            *locked(&told),
            [
                (some("gone"), None),
                (some("kept"), some("kept")),
                (None, some("new"))
            ]
        );
    }
}
