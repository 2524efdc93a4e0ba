//! The EndpointSlice controller: which addresses serve a Service, and how they are.
//!
//! In: Services, pods, nodes. Out: EndpointSlices. What a Service should have is decided in [`endpoint`], how it is laid
//! out in [`pack`]; this file carries it out. A change is written at once, or after the batch period of the options. As the
//! real controller, it does not decide from a store that lacks its last write: when that write has not come back within
//! [`STORE_LAG_MAX`], it tries again a second later, or with the next event of the Service.

mod endpoint;
mod pack;
mod tracker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::pack::Action;
use self::tracker::Tracker;
use super::event::{Draft, Recorder};
use super::owner;
use super::queue::{Queue, work};
use super::service_pods;
use super::store::{Key, Stores, locked};
use super::trigger_time::TriggerTimes;
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context, service};

/// The first retry after a failure.
const RETRY_DELAY_FIRST: Duration = Duration::from_secs(1);

/// How long after a foreign change of a slice it is put right.
const FOREIGN_CHANGE_DELAY: Duration = Duration::from_secs(1);

/// How long an own write may take to come back by the watch. With a real API server it is there before the next look nearly
/// always: of changes of one Service 0 to 50 ms apart 14 in 368 met a store that was behind.
const STORE_LAG_MAX: Duration = Duration::from_millis(20);

struct Controller {
    stores: Arc<Stores>,
    writer: Writer,
    recorder: Recorder,
    queue: Arc<Queue<Key>>,
    tracker: Arc<Mutex<Tracker>>,
    trigger_times: Arc<Mutex<TriggerTimes>>,
    /// Told of every change of a slice.
    slice_seen: Arc<Notify>,
    batch_period: Duration,
}

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let controller = Controller {
        writer: Writer::new(context.client, CONTROLLER_MANAGER).limited(context.requests),
        recorder: context.recorder.of("endpoint-slice-controller"),
        queue: Queue::new(RETRY_DELAY_FIRST),
        tracker: Arc::default(),
        trigger_times: Arc::default(),
        slice_seen: Arc::default(),
        batch_period: context.options.endpoint_slice_batch_period,
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
        let trigger_times = Arc::clone(&self.trigger_times);
        self.stores.services.on_change(move |before, after| {
            let key = Key::of(after.or(before).expect("a change has a side"));
            if after.is_none() {
                locked(&tracker).forget(&key);
                locked(&trigger_times).forget(&key);
            }
            queue.add(key);
        });
        let (queue, batch_period) = (Arc::clone(&self.queue), self.batch_period);
        service_pods::listen(&self.stores, move |service| {
            if batch_period.is_zero() {
                queue.add(service);
            } else {
                queue.add_after(service, batch_period);
            }
        });
        let (queue, tracker) = (Arc::clone(&self.queue), Arc::clone(&self.tracker));
        let slice_seen = Arc::clone(&self.slice_seen);
        let delay = FOREIGN_CHANGE_DELAY.max(self.batch_period);
        self.stores.endpoint_slices.on_change(move |before, after| {
            slice_seen.notify_waiters();
            let slice = after.or(before).expect("a change has a side");
            let Some(service) = service_of(slice) else {
                return;
            };
            let is_own = match after {
                Some(slice) => locked(&tracker).is_own(&service, slice),
                None => locked(&tracker).gone(&service, slice),
            };
            if !is_own {
                queue.add_after(service, delay);
            }
        });
    }

    async fn reconcile(&self, key: Key) -> Result<(), WriteError> {
        let Some(service) = self.stores.services.get(&key) else {
            return Ok(());
        };
        let Some(selector) = service::selector(&service) else {
            return Ok(());
        };
        let slices = self.current_slices(&key).await?;
        let mut pods = self.stores.pods.list(&key.namespace);
        pods.retain(|pod| owner::selects(&selector, &pod.metadata));
        let triggered_at = locked(&self.trigger_times).next(&key, &service, &pods);
        let node = |name: &str| self.stores.nodes.get(&Key::new("", name));
        let wanted = endpoint::wanted(&service, &pods, node);
        for action in pack::reconcile(&service, wanted.endpoints, &slices, triggered_at) {
            if let Err(error) = self.act(&key, action).await {
                self.report(&service, &key, &error);
                return Err(error);
            }
        }
        if wanted.without_node.is_empty() {
            return Ok(());
        }
        let pods: Vec<String> = wanted.without_node.into_iter().collect();
        let pods = pods.join(", ");
        Err(WriteError::Incomplete(format!(
            "the nodes of these pods are not known: {pods}"
        )))
    }

    /// The slices of a Service, when the store shows the last own write of them.
    async fn current_slices(&self, key: &Key) -> Result<Vec<Arc<EndpointSlice>>, WriteError> {
        let look = || {
            let mut slices = self.stores.endpoint_slices.list(&key.namespace);
            slices.retain(|slice| service_of(slice).as_ref() == Some(key));
            let is_stale = locked(&self.tracker).is_stale(key, &slices, Instant::now());
            (!is_stale).then_some(slices)
        };
        let waiting = async {
            loop {
                let seen = self.slice_seen.notified();
                if let Some(slices) = look() {
                    return slices;
                }
                seen.await;
            }
        };
        let current = tokio::time::timeout(STORE_LAG_MAX, waiting).await;
        current.map_err(|_| WriteError::Stale)
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
