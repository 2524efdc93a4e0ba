//! What the kubelet sees of the API: whole maps, not events, so that nothing can be missed.
//!
//! In: what a watch of [`crate::actors::watch`] sees. Out: the objects as they are, to whoever looks, as often as they look.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::actors::watch::{Seen, follow};

/// Objects by namespace and name.
pub(crate) type Objects<K> = Arc<BTreeMap<(String, String), Arc<K>>>;

/// Keeps `objects` equal to what the API has, without end. The first change is the first full list.
pub(crate) async fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    rng: SmallRng,
    objects: watch::Sender<Objects<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let start = || watcher(api.clone(), config.clone());
    let see = |seen| objects.send_modify(|objects| take(objects, seen));
    follow(&K::kind(&()), rng, start, see).await;
}

fn take<K: Resource + Clone>(objects: &mut Objects<K>, seen: Seen<K>) {
    let entry = |object: K| (key(&object), Arc::new(object));
    match seen {
        Seen::All(all) => *objects = Arc::new(all.into_iter().map(entry).collect()),
        Seen::Applied(object) => Arc::make_mut(objects).extend([entry(object)]),
        Seen::Deleted(object) => drop(Arc::make_mut(objects).remove(&key(&object))),
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
