//! The namespace controller: empties a namespace that is being deleted, and lets it go.
//!
//! In: namespaces that are terminating, and the resources that the API server serves. Out: deletions, pods first and
//! everything else when they are gone; the conditions that tell what is left; and at the end the `finalize` request.

mod content;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::{Api, Client};

use self::content::Remaining;
use super::discovery::{self, Found};
use super::queue::{Queue, work};
use super::store::{Key, Stores};
use super::write::{WriteError, Writer, delete_params, timed, unless_gone};
use super::{CONTROLLER_MANAGER, Context};
use crate::clock::wall_now;

/// What the API server puts into `spec.finalizers` of every namespace, for this controller.
const FINALIZER: &str = "kubernetes";

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(20);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    queue: Arc<Queue<Key>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER),
        queue: Queue::new(RETRY_DELAY_FIRST),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.namespaces.synced().await;
        work("namespace", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

/// Whether objects can be created in a namespace.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let queue = Arc::clone(&self.queue);
        self.stores.namespaces.on_change(move |_, after| {
            if let Some(namespace) = after.filter(|namespace| !is_active(namespace)) {
                queue.add(Key::of(namespace));
            }
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        // The rest of the content waits for the last pod.
        self.stores.pods.on_change(move |before, after| {
            if let (Some(gone), None, Some(stores)) = (before, after, stores.upgrade()) {
                let key = Key::new("", Key::of(gone).namespace);
                let namespace = stores.namespaces.get(&key);
                if namespace.is_some_and(|namespace| !is_active(&namespace)) {
                    queue.add(key);
                }
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(namespace) = self.stores.namespaces.get(&key) else {
            return Ok(());
        };
        if is_active(&namespace) || !has_finalizer(&namespace) {
            return Ok(());
        }
        let client = self.writer.client();
        let resources = discovery::resources(&client).await?;
        let remaining = empty(&client, &key.name, &resources).await;
        let now = wall_now();
        let api: Api<Namespace> = Api::all(client);
        let params = self.writer.post_params();
        let mut current = Namespace::clone(&namespace);
        let changed = content::with_conditions(&current, &remaining, now);
        if !remaining.is_empty() && changed != current {
            let written = timed(api.replace_status(&key.name, &params, &changed)).await;
            let Some(written) = unless_gone(written)? else {
                return Ok(());
            };
            current = written;
        }
        if !remaining.is_empty() {
            self.queue
                .add_after(key, content::look_again_in(&current, now));
            return Ok(());
        }
        if let Some(finalizers) = current
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let finalized = api.replace_subresource("finalize", &key.name, &params, &current);
        unless_gone(timed(finalized).await).map(|_| ())
    }
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace
        .spec
        .as_ref()
        .and_then(|spec| spec.finalizers.as_ref());
    let mut finalizers = finalizers.into_iter().flatten();
    finalizers.any(|finalizer| finalizer == FINALIZER)
}

/// Deletes what is in the namespace, and returns what is left. Nothing else goes while there are pods, because they may
/// need their ConfigMaps, Services and policies until they have ended.
async fn empty(client: &Client, namespace: &str, resources: &[Found]) -> Remaining {
    let mut remaining = Remaining::default();
    let deletable: Vec<&Found> = resources
        .iter()
        .filter(|found| found.is_namespaced && found.can("list") && found.can("delete"))
        .collect();
    let is_pods = |found: &&&Found| found.name() == "pods.";
    for found in deletable.iter().filter(is_pods) {
        empty_resource(client, namespace, found, &mut remaining).await;
    }
    if !remaining.is_empty() {
        return remaining;
    }
    for found in deletable.iter().filter(|found| !is_pods(found)) {
        empty_resource(client, namespace, found, &mut remaining).await;
    }
    remaining
}

async fn empty_resource(
    client: &Client,
    namespace: &str,
    found: &Found,
    remaining: &mut Remaining,
) {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &found.resource);
    if let Err(error) = try_empty(&api, found, remaining).await {
        let message = format!("{}: {error}", found.name());
        tracing::warn!(namespace, resource = %found.name(), %error, reason = error.reason(), "content not deleted");
        remaining.failures.push(message);
    }
}

async fn try_empty(
    api: &Api<DynamicObject>,
    found: &Found,
    remaining: &mut Remaining,
) -> Result<(), WriteError> {
    let all = ListParams::default();
    let objects = timed(api.list_metadata(&all)).await?.items;
    let is_going = |meta: &kube::api::ObjectMeta| meta.deletion_timestamp.is_some();
    if objects.is_empty() {
        return Ok(());
    }
    if objects.iter().any(|object| !is_going(&object.metadata)) {
        if found.can("deletecollection") {
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            timed(api.delete_collection(&params, &all)).await?;
        } else {
            for object in &objects {
                let uid = object.metadata.uid.as_deref().unwrap_or_default();
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let params = delete_params(uid, Some(PropagationPolicy::Background));
                unless_gone(timed(api.delete(name, &params)).await)?;
            }
        }
    }
    let left = timed(api.list_metadata(&all)).await?.items;
    if !left.is_empty() {
        remaining.resources.insert(found.name(), left.len());
    }
    for finalizer in left
        .iter()
        .flat_map(|object| object.metadata.finalizers.iter().flatten())
    {
        *remaining.finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    Ok(())
}
