//! The controllers of the cluster: scheduler, ReplicaSet, Deployment, DaemonSet, Endpoints, EndpointSlice, disruption, namespace, ServiceAccount, root
//! certificate, node lifecycle, taint eviction, pods without a node, garbage.
//!
//! In: the objects of an API server, through a kube client and nothing else. Out: writes through the same client. Each
//! actor decides in a pure step over what it observed and acts in a short driver, so that the same code runs in real
//! time, in simulated time, and on any API server. Time comes from tokio, random numbers from one seed, and everything
//! that is iterated has an order. An actor that has nothing to do waits for its watches and costs nothing.

mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoints;
pub(crate) mod event;
mod expectations;
mod garbage;
mod limit;
mod namespace;
mod node_lifecycle;
mod node_taint;
mod owner;
mod placement;
mod pod;
mod pod_control;
mod pod_gc;
mod queue;
mod replica_set;
mod request_rate;
mod root_certificate;
mod scheduler;
mod service;
mod service_account;
mod service_pods;
pub(crate) mod store;
mod taint_eviction;
mod template_hash;
mod trigger_time;
pub(crate) mod watch;
pub(crate) mod write;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::account::Account;

pub use self::node_lifecycle::NodeMonitor;
pub use self::request_rate::RequestRate;

use self::event::{EventWriter, Recorder};
use self::store::{Store, Stores};
use self::write::Writer;

/// The field manager of the controllers; the scheduler has its own.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// What the actors need to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all their random numbers come from.
    pub seed: u64,
    /// The certificates that clients of the API server trust, in PEM: `kube-root-ca.crt` in every namespace.
    pub root_certificates_pem: String,
    /// How fast each controller may ask the API server.
    pub requests: RequestRate,
    /// How long changes of pods are gathered before the slices of their Service are written.
    pub endpoint_slice_batch_period: Duration,
    /// How patient the cluster is with its nodes.
    pub node_monitor: NodeMonitor,
}

/// The running actors. They end when this is dropped.
#[derive(Debug)]
pub struct Actors {
    tasks: JoinSet<()>,
    names: Vec<(tokio::task::Id, String)>,
}

/// An actor that ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the {actor} actor {reason}")]
pub struct ActorEnded {
    actor: String,
    reason: &'static str,
}

/// What every actor is given.
#[derive(Clone)]
struct Context {
    client: Client,
    /// Keeps to the rate, together with the events of the component.
    writer: Writer,
    stores: Arc<Stores>,
    recorder: Recorder,
    options: Arc<Options>,
    /// How fast this actor may ask the API server.
    requests: RequestRate,
}

/// Starts all actors on the present runtime. Each speaks to the API server as `clients` makes it for its account, so that
/// a request log tells them apart as that of a real cluster does.
///
/// # Errors
/// When a client cannot be made.
pub fn start_all<E>(
    clients: impl Fn(&Account) -> Result<Client, E>,
    options: Options,
) -> Result<Actors, E> {
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let mut actors = Actors {
        tasks: JoinSet::new(),
        names: Vec::new(),
    };
    let mut events_rng = SmallRng::seed_from_u64(rng.next_u64());
    let mut event_writers = Vec::new();
    let (stores, options) = (Arc::new(Stores::default()), Arc::new(options));
    let mut context = |account: Account| {
        let client = clients(&account)?;
        let requests = if account == Account::Scheduler {
            RequestRate::SCHEDULER
        } else {
            options.requests
        };
        let writer = Writer::new(client.clone(), account.field_manager()).limited(requests);
        let (sender, event_writer) =
            EventWriter::new(SmallRng::seed_from_u64(events_rng.next_u64()));
        event_writers.push(event_writer);
        Ok(Context {
            client,
            recorder: Recorder::new(sender, writer.clone()),
            writer,
            stores: Arc::clone(&stores),
            options: Arc::clone(&options),
            requests,
        })
    };
    let shared = context(Account::ControllerManager)?;
    actors.spawn("scheduler", scheduler::run(context(Account::Scheduler)?));
    let mut controller = |name| context(Account::Controller(name));
    let nodes_rng = SmallRng::seed_from_u64(rng.next_u64());
    start_nodes(&mut actors, &mut controller, nodes_rng)?;
    actors.spawn(
        "namespace",
        namespace::run(controller("namespace-controller")?),
    );
    actors.spawn(
        "service_account",
        service_account::run(controller("service-account-controller")?),
    );
    actors.spawn(
        "root_certificate",
        root_certificate::run(controller("root-ca-cert-publisher")?),
    );
    let garbage_rng = SmallRng::seed_from_u64(rng.next_u64());
    let collector = controller("generic-garbage-collector")?;
    actors.spawn("garbage", garbage::run(collector, garbage_rng));
    start_workloads(&mut actors, controller)?;
    actors.spawn("events", async move {
        // A component that reports nothing has no recorder: its writer has ended before it began.
        join_all(event_writers.into_iter().map(EventWriter::run)).await;
        std::future::pending().await
    });
    actors.watch_all(&shared, &mut rng);
    Ok(actors)
}

/// Starts the controllers of nodes, and of pods whose node is lost.
fn start_nodes<E>(
    actors: &mut Actors,
    mut controller: impl FnMut(&'static str) -> Result<Context, E>,
    rng: SmallRng,
) -> Result<(), E> {
    let nodes = controller("node-controller")?;
    actors.spawn("node_lifecycle", node_lifecycle::run(nodes, rng));
    // A client and a rate of its own, under the same account.
    let eviction = controller("node-controller")?;
    actors.spawn("taint_eviction", taint_eviction::run(eviction));
    actors.spawn("pod_gc", pod_gc::run(controller("pod-garbage-collector")?));
    Ok(())
}

/// Starts the controllers of workloads and of who reaches them.
fn start_workloads<E>(
    actors: &mut Actors,
    mut controller: impl FnMut(&'static str) -> Result<Context, E>,
) -> Result<(), E> {
    actors.spawn(
        "deployment",
        deployment::run(controller("deployment-controller")?),
    );
    actors.spawn(
        "endpoint_slice",
        endpoint_slice::run(controller("endpointslice-controller")?),
    );
    actors.spawn(
        "replica_set",
        replica_set::run(controller("replicaset-controller")?),
    );
    actors.spawn(
        "daemon_set",
        daemon_set::run(controller("daemon-set-controller")?),
    );
    actors.spawn(
        "endpoints",
        endpoints::run(controller("endpoint-controller")?),
    );
    actors.spawn(
        "disruption",
        disruption::run(controller("disruption-controller")?),
    );
    Ok(())
}

// === impl Options ===

impl Options {
    /// The settings of a real control plane that is given no arguments.
    pub fn new(seed: u64, root_certificates_pem: String) -> Self {
        Self {
            seed,
            root_certificates_pem,
            requests: RequestRate::CONTROLLER,
            endpoint_slice_batch_period: Duration::ZERO,
            node_monitor: NodeMonitor::default(),
        }
    }
}

// === impl Actors ===

impl Actors {
    /// Waits until `shutdown`, then ends all actors; or until one ends by itself, which is an error that is logged.
    ///
    /// # Errors
    /// Names the actor that panicked or returned. The others are ended too: a cluster with half its controllers would
    /// only look alive.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ActorEnded> {
        tokio::select! {
            () = shutdown => {
                self.tasks.shutdown().await;
                Ok(())
            }
            Some(ended) = self.tasks.join_next_with_id() => {
                let (id, reason) = match &ended {
                    Ok((id, ())) => (*id, "returned"),
                    Err(error) if error.is_panic() => (error.id(), "panicked"),
                    Err(error) => (error.id(), "was cancelled"),
                };
                let named = self.names.iter().find(|(known, _)| *known == id);
                let actor = named.map(|(_, name)| name.clone()).unwrap_or_default();
                tracing::error!(actor, reason, "an actor ended; ending all");
                self.tasks.shutdown().await;
                Err(ActorEnded { actor, reason })
            }
        }
    }

    fn spawn(&mut self, name: &str, actor: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(actor);
        self.names.push((handle.id(), name.to_owned()));
    }

    /// Starts one watch per kind. The actors have put their listeners in place before.
    fn watch_all(&mut self, context: &Context, rng: &mut SmallRng) {
        let root_certificates =
            watch::config().fields(&format!("metadata.name={}", root_certificate::NAME));
        self.watch(context, rng, watch::config(), |stores| &stores.namespaces);
        self.watch(context, rng, watch::config(), |stores| &stores.nodes);
        self.watch(context, rng, watch::config(), |stores| &stores.leases);
        self.watch(context, rng, watch::config(), |stores| &stores.pods);
        self.watch(context, rng, watch::config(), |stores| &stores.services);
        self.watch(context, rng, watch::config(), |stores| {
            &stores.endpoint_slices
        });
        self.watch(context, rng, watch::config(), |stores| &stores.endpoints);
        self.watch(context, rng, watch::config(), |stores| &stores.replica_sets);
        self.watch(context, rng, watch::config(), |stores| &stores.deployments);
        self.watch(context, rng, watch::config(), |stores| &stores.daemon_sets);
        self.watch(context, rng, watch::config(), |stores| &stores.revisions);
        self.watch(context, rng, watch::config(), |stores| &stores.budgets);
        self.watch(context, rng, watch::config(), |stores| {
            &stores.service_accounts
        });
        self.watch(context, rng, root_certificates, |stores| {
            &stores.root_certificates
        });
    }

    fn watch<K>(
        &mut self,
        context: &Context,
        rng: &mut SmallRng,
        config: watcher::Config,
        store: fn(&Stores) -> &Store<K>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api = Api::all(context.client.clone());
        let stores = Arc::clone(&context.stores);
        let rng = SmallRng::seed_from_u64(rng.next_u64());
        self.spawn(&format!("{} watch", K::kind(&())), async move {
            watch::fill(api, config, store(&stores), rng).await;
        });
    }
}
