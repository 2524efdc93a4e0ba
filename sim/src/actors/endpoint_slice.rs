//! The EndpointSlice controller: which addresses serve a Service, and how they are.
//!
//! In: Services, pods, nodes. Out: EndpointSlices. What a Service should have is decided in [`endpoint`], how it is laid
//! out in [`pack`]; this file carries it out. A change is written at once, without a batching delay. As the real
//! controller, it does not decide from a store that lacks its last write; it comes back as soon as the store shows that
//! write, so that pods that end together are not called ready a second longer than they accept connections.

mod endpoint;
mod pack;
mod tracker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;

use self::pack::Action;
use self::tracker::Tracker;
use super::event::{Draft, Recorder};
use super::owner;
use super::queue::{Queue, work};
use super::store::{Key, Stores, locked};
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context};

/// The first retry after a failure.
const RETRY_DELAY_FIRST: Duration = Duration::from_secs(1);

/// How long after a foreign change of a slice it is put right.
const FOREIGN_CHANGE_DELAY: Duration = Duration::from_secs(1);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
    tracker: Arc<Mutex<Tracker>>,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER),
        recorder: context.recorder.of("endpoint-slice-controller"),
        queue: Queue::new(RETRY_DELAY_FIRST),
        tracker: Arc::default(),
        stores: context.stores,
    };
    controller.listen();
    async move {
        controller.stores.nodes.synced().await;
        controller.stores.pods.synced().await;
        controller.stores.endpoint_slices.synced().await;
        controller.stores.services.synced().await;
        work("endpoint_slice", &controller.queue, |key| {
            controller.reconcile(key)
        })
        .await;
    }
}

// === impl Controller ===

impl Controller {
    fn listen(&self) {
        let (queue, tracker) = (Arc::clone(&self.queue), Arc::clone(&self.tracker));
        self.stores.services.on_change(move |before, after| {
            let key = Key::of(after.or(before).expect("a change has a side"));
            if after.is_none() {
                locked(&tracker).forget(&key);
            }
            queue.add(key);
        });
        let queue = Arc::clone(&self.queue);
        let stores = Arc::downgrade(&self.stores);
        self.stores.pods.on_change(move |before, after| {
            if let (Some(before), Some(after)) = (before, after)
                && !endpoint::matters(before, after)
            {
                return;
            }
            let Some(stores) = stores.upgrade() else {
                return;
            };
            for pod in [before, after].into_iter().flatten() {
                for service in services_that_select(&stores, pod) {
                    queue.add(service);
                }
            }
        });
        let (queue, tracker) = (Arc::clone(&self.queue), Arc::clone(&self.tracker));
        self.stores.endpoint_slices.on_change(move |before, after| {
            let slice = after.or(before).expect("a change has a side");
            let Some(service) = service_of(slice) else {
                return;
            };
            let is_own = match after {
                Some(slice) => locked(&tracker).is_own(&service, slice),
                None => locked(&tracker).gone(&service, slice),
            };
            if is_own {
                // What could not be decided before this write was seen can be now.
                queue.add(service);
            } else {
                queue.add_after(service, FOREIGN_CHANGE_DELAY);
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(service) = self.stores.services.get(&key) else {
            return Ok(());
        };
        if endpoint::selector(&service).is_none() {
            return Ok(());
        }
        let slices = self.stores.endpoint_slices.list(&key.namespace);
        let slices: Vec<_> = slices
            .into_iter()
            .filter(|slice| service_of(slice).as_ref() == Some(&key))
            .collect();
        if locked(&self.tracker).is_stale(&key, &slices, Instant::now()) {
            return Err(WriteError::Stale);
        }
        let pods = self.stores.pods.list(&key.namespace);
        let node = |name: &str| self.stores.nodes.get(&Key::new("", name));
        let wanted = endpoint::wanted(&service, &pods, node);
        for action in pack::reconcile(&service, wanted.endpoints, &slices) {
            if let Err(error) = self.act(&key, action).await {
                self.report(&service, &key, &error);
                return Err(error);
            }
        }
        if wanted.without_node.is_empty() {
            return Ok(());
        }
        let pods = wanted.without_node.join(", ");
        Err(WriteError::Incomplete(format!(
            "the nodes of these pods are not known: {pods}"
        )))
    }

    async fn act(&self, service: &Key, action: Action) -> Result<(), WriteError> {
        match action {
            Action::Create(slice) => match self.writer.create::<EndpointSlice>(&slice).await {
                Ok(slice) => locked(&self.tracker).wrote(service, &slice, Instant::now()),
                Err(WriteError::NamespaceTerminating) => {}
                Err(error) => return Err(error),
            },
            Action::Replace(slice) => {
                let slice = self.writer.replace::<EndpointSlice>(&slice).await?;
                locked(&self.tracker).wrote(service, &slice, Instant::now());
            }
            Action::Delete(slice) => {
                let uid = slice.metadata.uid.as_deref().unwrap_or_default();
                let key = Key::of(&*slice);
                unless_gone(self.writer.delete::<EndpointSlice>(&key, uid).await)?;
                locked(&self.tracker).deleted(service, &slice, Instant::now());
            }
        }
        Ok(())
    }

    fn report(&self, service: &Service, key: &Key, error: &WriteError) {
        if !error.is_expected() {
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            let draft = Draft::warning(service, "FailedToUpdateEndpointSlices", message);
            self.recorder.record(draft);
        }
    }
}

/// The Service of a slice that this controller manages.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let is_ours = labels.get(pack::MANAGED_BY).map(String::as_str) == Some(pack::MANAGER);
    let name = labels.get(pack::SERVICE_NAME).filter(|_| is_ours)?;
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, name.clone()))
}

fn services_that_select(stores: &Stores, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = stores.services.list(namespace);
    let selecting = services.iter().filter(|service| {
        endpoint::selector(service).is_some_and(|selector| owner::selects(&selector, &pod.metadata))
    });
    selecting.map(|service| Key::of(&**service)).collect()
}
