//! The garbage collector: objects go when their last owner is gone.
//!
//! In: the metadata of every object of every resource that the API server serves, Events excepted. Out: deletions, and
//! patches of owner references and of the finalizers `foregroundDeletion` and `orphan`. The decisions are in [`step`].

mod graph;
mod step;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DynamicObject, Patch};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde_json::{Value, json};

use self::graph::{Graph, Object};
use self::step::Action;
use super::discovery::{self, Found};
use super::queue::{Queue, work};
use super::store::{Key, locked};
use super::watch::{self, Seen};
use super::write::{WriteError, Writer, delete_params, timed, unless_gone};
use super::{CONTROLLER_MANAGER, Context};

/// How often new resources are looked for.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
const DISCOVERY_RETRY_DELAY: Duration = Duration::from_secs(1);

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Collector {
    writer: Writer,
    queue: Arc<Queue<String>>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    graph: Graph,
    resources: Vec<Arc<Found>>,
    /// The resources whose first list is in.
    listed: BTreeSet<String>,
}

/// Makes the collector, and returns its work, which has no end.
pub(crate) fn run(context: Context, rng: SmallRng) -> impl Future<Output = ()> + Send {
    let collector = Collector {
        writer: Writer::new(context.client, CONTROLLER_MANAGER),
        queue: Queue::new(RETRY_DELAY_FIRST),
        shared: Arc::default(),
    };
    async move {
        tokio::join!(
            collector.watch_all(rng),
            work("garbage", &collector.queue, |uid| collector.reconcile(uid)),
        );
    }
}

// === impl Shared ===

impl Shared {
    /// Whether every kind was listed once: before that, dependents may be unknown.
    fn is_complete(&self) -> bool {
        !self.resources.is_empty()
            && self
                .resources
                .iter()
                .all(|found| self.listed.contains(&found.name()))
    }

    fn resource_of(&self, reference: &OwnerReference) -> Option<Arc<Found>> {
        let group = reference
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let mut resources = self.resources.iter();
        resources
            .find(|found| found.resource.group == group && found.resource.kind == reference.kind)
            .cloned()
    }
}

// === impl Collector ===

impl Collector {
    /// Keeps one watch per resource, and follows resources that come and go.
    async fn watch_all(&self, mut rng: SmallRng) {
        let mut watches: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut running: BTreeMap<String, AbortHandle> = BTreeMap::new();
        loop {
            let delay = match discovery::resources(&self.writer.client()).await {
                Ok(found) => {
                    for (name, watch) in self.changed(found, &mut running, &mut rng) {
                        tracing::debug!(resource = name, "watching for garbage");
                        watches.push(watch);
                    }
                    DISCOVERY_PERIOD
                }
                Err(error) => {
                    tracing::warn!(%error, reason = error.reason(), "cannot discover resources; trying again");
                    DISCOVERY_RETRY_DELAY
                }
            };
            let pause = tokio::time::sleep(delay);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased; // A stream of changes must not hold up the discovery.
                    () = &mut pause => break,
                    Some(()) = watches.next() => {}
                }
            }
        }
    }

    /// The watches to start for resources that are new; those of resources that are gone end.
    fn changed(
        &self,
        found: Vec<Found>,
        running: &mut BTreeMap<String, AbortHandle>,
        rng: &mut SmallRng,
    ) -> Vec<(String, BoxFuture<'static, ()>)> {
        let is_event = |found: &Found| found.resource.kind == "Event";
        let found: Vec<Arc<Found>> = found
            .into_iter()
            .filter(|found| {
                ["list", "watch", "delete"]
                    .iter()
                    .all(|verb| found.can(verb))
            })
            .filter(|found| !is_event(found))
            .map(Arc::new)
            .collect();
        let names: BTreeSet<String> = found.iter().map(|found| found.name()).collect();
        let mut shared = locked(&self.shared);
        for gone in shared.resources.clone() {
            if !names.contains(&gone.name()) {
                if let Some(watch) = running.remove(&gone.name()) {
                    watch.abort();
                }
                shared.listed.remove(&gone.name());
                for uid in shared.graph.replace(&gone, Vec::new()) {
                    self.queue.add(uid);
                }
            }
        }
        shared.resources.clone_from(&found);
        let mut started = Vec::new();
        for found in found {
            if let Entry::Vacant(entry) = running.entry(found.name()) {
                let (handle, registration) = AbortHandle::new_pair();
                entry.insert(handle);
                let rng = SmallRng::seed_from_u64(rng.next_u64());
                let watch = self.clone().watch(Arc::clone(&found), rng);
                let watch = Abortable::new(watch, registration).map(|_| ()).boxed();
                started.push((found.name(), watch));
            }
        }
        started
    }

    async fn watch(self, found: Arc<Found>, rng: SmallRng) {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.writer.client(), &found.resource);
        watch::follow(
            &found.resource.kind,
            rng,
            || watcher(api.clone(), watch::config()),
            |seen| {
                let mut shared = locked(&self.shared);
                let object = |metadata| Object::new(Arc::clone(&found), metadata);
                let look_at = match seen {
                    Seen::All(all) => {
                        shared.listed.insert(found.name());
                        let all = all.into_iter().map(|partial| object(partial.metadata));
                        shared.graph.replace(&found, all.collect())
                    }
                    Seen::Applied(partial) => shared.graph.apply(object(partial.metadata)),
                    Seen::Deleted(partial) => {
                        let uid = partial.metadata.uid.unwrap_or_default();
                        shared.graph.remove(&uid)
                    }
                };
                for uid in look_at {
                    self.queue.add(uid);
                }
            },
        )
        .await;
    }

    async fn reconcile(&self, uid: String) -> Result<(), WriteError> {
        let actions = {
            let shared = locked(&self.shared);
            if !shared.is_complete() {
                return Err(WriteError::Incomplete(
                    "not all kinds are listed yet".into(),
                ));
            }
            step::decide(&shared.graph, &uid)
        };
        for action in actions {
            self.act(action).await?;
        }
        Ok(())
    }

    async fn act(&self, action: Action) -> Result<(), WriteError> {
        match action {
            Action::Check {
                object,
                unknown,
                waiting,
                mut is_kept,
                has_dependents,
            } => {
                let mut gone = Vec::new();
                for owner in unknown {
                    if self.exists(&object, &owner).await? {
                        is_kept = true;
                    } else {
                        gone.push(owner);
                    }
                }
                let next = step::after_check(object, &gone, &waiting, is_kept, has_dependents);
                match next {
                    Some(action) => Box::pin(self.act(action)).await,
                    None => Ok(()),
                }
            }
            Action::Delete(object, policy) => {
                tracing::debug!(kind = object.resource.resource.kind, object = %object.key, ?policy, "collecting");
                let params = delete_params(&object.uid, Some(policy));
                let api = self.api(&object.resource, &object.key);
                unless_gone(timed(api.delete(&object.key.name, &params)).await).map(|_| ())
            }
            Action::DropOwners(object, uids) => {
                let left = object
                    .owners
                    .iter()
                    .filter(|owner| !uids.contains(&owner.uid));
                let left: Vec<_> = left.collect();
                self.patch(&object, json!({ "ownerReferences": left }))
                    .await
            }
            Action::RemoveFinalizer(object, finalizer) => {
                let left = object.finalizers.iter().filter(|known| *known != finalizer);
                let left: Vec<_> = left.collect();
                self.patch(&object, json!({ "finalizers": left })).await
            }
        }
    }

    /// Whether the API server knows the owner; its word counts, not that of a watch that may be behind.
    async fn exists(&self, object: &Object, owner: &OwnerReference) -> Result<bool, WriteError> {
        let Some(found) = locked(&self.shared).resource_of(owner) else {
            let kind = &owner.kind;
            return Err(WriteError::Incomplete(format!(
                "the owner's kind {kind} is not known"
            )));
        };
        // An object of the whole cluster cannot have an owner in a namespace; it is left alone.
        if found.is_namespaced && object.key.namespace.is_empty() {
            return Ok(true);
        }
        let api = self.api(&found, &object.key);
        match unless_gone(timed(api.get_metadata(&owner.name)).await)? {
            Some(live) => Ok(live.metadata.uid.as_ref() == Some(&owner.uid)),
            None => Ok(false),
        }
    }

    /// Changes the metadata of the version that was decided upon.
    async fn patch(&self, object: &Object, mut metadata: Value) -> Result<(), WriteError> {
        metadata["uid"] = json!(object.uid);
        metadata["resourceVersion"] = json!(object.version);
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let params = self.writer.patch_params();
        let api = self.api(&object.resource, &object.key);
        let patched = timed(api.patch_metadata(&object.key.name, &params, &patch)).await;
        unless_gone(patched).map(|_| ())
    }

    fn api(&self, found: &Found, near: &Key) -> Api<DynamicObject> {
        let client = self.writer.client();
        if found.is_namespaced {
            Api::namespaced_with(client, &near.namespace, &found.resource)
        } else {
            Api::all_with(client, &found.resource)
        }
    }
}
