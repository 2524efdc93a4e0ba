//! What the kubelet sees of the API: whole maps, not events, so that nothing can be missed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Objects by namespace and name.
pub(crate) type Objects<K> = Arc<BTreeMap<(String, String), Arc<K>>>;

/// How long one watch request lives; the server ends it then and the watcher opens the next.
const WATCH_TIMEOUT_SECONDS: u32 = 30;

const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The settings of every watch of a kubelet.
pub(super) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS)
}

/// Keeps `objects` equal to what the API has, without end. The first change is the first full list.
pub(super) async fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    objects: watch::Sender<Objects<K>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = pin!(watcher(api, config));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(key(&object), Arc::new(object));
            }
            Ok(watcher::Event::InitDone) => {
                objects.send_replace(Arc::new(std::mem::take(&mut listed)));
            }
            Ok(watcher::Event::Apply(object)) => objects.send_modify(|objects| {
                Arc::make_mut(objects).insert(key(&object), Arc::new(object));
            }),
            Ok(watcher::Event::Delete(object)) => objects.send_modify(|objects| {
                Arc::make_mut(objects).remove(&key(&object));
            }),
            Err(error) => {
                let kind = K::kind(&());
                tracing::warn!(%kind, %error, reason = "watch_failed", "a kubelet's watch failed; trying again");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
