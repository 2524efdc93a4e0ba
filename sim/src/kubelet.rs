//! One node: runs its pods as processes or echo servers, and says how they are.
//!
//! In: a kube client, and nothing else of the cluster: the node registers itself, renews its Lease, watches the pods that
//! are bound to it and the Services they need to know. Out: processes, servers, and status. Each pod is one task
//! (`pod`), each container one in it (`container`); what they decide is in the pure modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt};
use rand::rngs::SmallRng;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};

use crate::actors;
use crate::images::Images;
use crate::stop;

mod access;
pub mod addresses;
pub mod admission;
pub mod backoff;
mod care;
mod container;
mod context;
mod crew;
pub mod environment;
pub mod event;
pub mod expand;
mod hosts;
pub mod launch;
mod launcher;
mod node;
mod output;
mod played;
mod pod;
pub mod ports;
mod prepare;
pub mod probe;
mod prober;
mod process;
mod recorder;
mod report;
pub mod service_links;
mod sources;
pub mod status;
mod surroundings;
mod volumes;
pub(crate) mod watching;
mod wildcard;

pub use access::ApiAccess;
use addresses::Pool;
use admission::HostPort;
pub use launcher::Launcher;
pub(crate) use launcher::OWN_PROGRAM;
use played::Claims;
use recorder::Recorder;
use watching::Objects;

/// Name under which a kubelet's writes stand in `managedFields`.
const FIELD_MANAGER: &str = "kubelet";

/// The port of a kubelet. It is held at a node's address while the node is there: two nodes never share one.
pub(crate) const KUBELET_PORT: u16 = 10250;

/// How often the kubelet looks whether somebody else changed what it reported of its pods.
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// Most pods of a node, as in real clusters.
const PODS_MAX: usize = 110;

/// All Services of the cluster.
pub(crate) type Services = Objects<Service>;

/// What a node is made of.
pub struct Options<N> {
    /// Its name.
    pub name: String,
    /// Its part of the pod network. Its first address is no pod's.
    pub slice: Ipv4Net,
    /// The node's own address: that of its `hostNetwork` pods.
    pub address: Ipv4Addr,
    /// The network.
    pub net: N,
    /// The API server.
    pub client: kube::Client,
    /// What its pods are told about the API server.
    pub access: ApiAccess,
    /// Images that run as processes.
    pub images: Arc<Images>,
    /// Our own program, when it can start pods that end with us ([`launch`]).
    pub launcher: Option<Launcher>,
    /// Where the pods' files go.
    pub folder: PathBuf,
    /// Randomness.
    pub rng: SmallRng,
}

/// Why a node cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The API server refused the Node object.
    #[error("cannot register node {name}: {error}")]
    Register {
        /// The node.
        name: String,
        /// The answer.
        error: kube::Error,
    },
    /// No folder for the pods.
    #[error("cannot make the folder {} for pods: {error}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// A registered node.
pub struct Node<N> {
    options: Options<N>,
    pool: Pool,
    claims: Claims,
    services: watch::Sender<Services>,
    pods: BTreeMap<String, Held>,
    running: JoinSet<()>,
    /// The UID of the pod that a task runs.
    tasks: BTreeMap<task::Id, String>,
    recorder: Recorder,
    event_writer: Option<recorder::Writer>,
    ticks: watch::Sender<u64>,
    facts: node::Facts,
    uid: String,
}

/// A pod of this node.
struct Held {
    seen: watch::Sender<pod::Seen>,
    /// None: it has the node's address, or none at all.
    address: Option<Ipv4Addr>,
    host_ports: Vec<HostPort>,
    is_refused: bool,
}

// === impl Node ===

impl<N: Net> Node<N> {
    /// Creates the node's objects.
    ///
    /// # Errors
    /// When the API server refuses them, or the folder cannot be made.
    pub async fn register(options: Options<N>) -> Result<Self, NodeError> {
        std::fs::create_dir_all(&options.folder).map_err(|error| NodeError::Folder {
            folder: options.folder.clone(),
            error,
        })?;
        let pool = Pool::new(options.slice);
        let facts = node::Facts {
            name: options.name.clone(),
            address: options.address,
            slice: options.slice,
            pods_max: pool.capacity().min(PODS_MAX),
        };
        let (recorder, event_writer) = recorder::channel(options.client.clone(), &options.name);
        let uid = node::register(&options.client, &facts, &recorder)
            .await
            .map_err(|error| NodeError::Register {
                name: options.name.clone(),
                error,
            })?;
        Ok(Self {
            options,
            pool,
            claims: Claims::default(),
            services: watch::Sender::default(),
            pods: BTreeMap::new(),
            running: JoinSet::new(),
            tasks: BTreeMap::new(),
            recorder,
            event_writer: Some(event_writer),
            ticks: watch::Sender::default(),
            facts,
            uid,
        })
    }

    /// Runs pods until `stop`. Then every process of the node is killed.
    pub async fn run(mut self, mut stop: stop::Signal) {
        let client = self.options.client.clone();
        let mut rng = self.options.rng.clone();
        let mut background = JoinSet::new();
        let (facts, uid) = (self.facts.clone(), self.uid.clone());
        let lease_rng = derive(&mut rng);
        let recorder = self.recorder.clone();
        background.spawn(node::keep_fresh(
            client.clone(),
            facts,
            uid,
            lease_rng,
            recorder,
        ));
        if let Some(event_writer) = self.event_writer.take() {
            background.spawn(event_writer.run());
        }

        let mut first_services = self.services.subscribe();
        let services = self.services.clone();
        background.spawn(watching::keep(
            Api::all(client.clone()),
            actors::watch::config(),
            derive(&mut rng),
            services,
        ));
        // A container gets the variables of the Services that exist: without them no pod may begin.
        tokio::select! {
            _ = first_services.changed() => {}
            () = stop.wait() => return,
        }

        let (pods, mut changed) = watch::channel(Objects::default());
        let selector = format!("spec.nodeName={}", self.options.name);
        let config = actors::watch::config().fields(&selector);
        let pods_rng = derive(&mut rng);
        background.spawn(watching::keep(Api::all(client), config, pods_rng, pods));
        let mut ticks = tokio::time::interval(STATUS_PERIOD);
        loop {
            tokio::select! {
                () = stop.wait() => break,
                Ok(()) = changed.changed() => {
                    let pods = changed.borrow_and_update().clone();
                    self.see(&pods);
                }
                _ = ticks.tick() => self.ticks.send_modify(|tick| *tick += 1),
                Some(ended) = self.running.join_next_with_id() => self.forget(ended),
                // Without its watches a node would only look alive: whoever runs it sees that it has ended.
                Some(_) = background.join_next() => {
                    tracing::error!(node = self.options.name, reason = "node_broken", "a node stops: a task of it has ended");
                    break;
                }
            }
        }
        self.running.shutdown().await;
    }

    fn see(&mut self, pods: &Objects<Pod>) {
        let present: BTreeSet<&str> = pods
            .values()
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        for (uid, held) in &self.pods {
            if !present.contains(uid.as_str()) {
                held.seen
                    .send_if_modified(|seen| !std::mem::replace(&mut seen.is_gone, true));
            }
        }
        pods.values().for_each(|pod| self.apply(pod));
    }

    fn apply(&mut self, pod: &Arc<Pod>) {
        let Some(uid) = pod.uid() else { return };
        if let Some(held) = self.pods.get(&uid) {
            held.seen.send_if_modified(|seen| {
                let is_new = !Arc::ptr_eq(&seen.pod, pod);
                seen.pod = Arc::clone(pod);
                is_new
            });
            return;
        }
        let host_ports = admission::host_ports(pod);
        let mut refusal = None;
        let mut address = None;
        if !pod::has_ended(pod) {
            let others = self.pods.values().filter(|held| !held.has_ended());
            let ports = others.map(|held| held.host_ports.as_slice());
            refusal = admission::admit(&host_ports, ports, self.facts.pods_max).err();
            let uses_host_network =
                pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
            if refusal.is_none() && !uses_host_network {
                address = self.address_for(pod);
                refusal = address.is_none().then_some(admission::Refusal::Pods {
                    used: self.pods.len(),
                    capacity: self.pool.capacity(),
                });
            }
        }
        let (seen, receiver) = watch::channel(pod::Seen {
            pod: Arc::clone(pod),
            is_gone: false,
        });
        let is_refused = refusal.is_some();
        let context = self.context_of(pod, &uid, address, refusal);
        let held = Held {
            seen,
            address,
            host_ports,
            is_refused,
        };
        self.pods.insert(uid.clone(), held);
        let task = self.running.spawn(pod::run(context, receiver));
        self.tasks.insert(task.id(), uid);
    }

    /// The address that the pod had under an earlier kubelet, when it is free; else another one.
    fn address_for(&mut self, pod: &Pod) -> Option<Ipv4Addr> {
        let status = pod.status.as_ref();
        let before = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        match before {
            Some(address) if self.pool.reserve(address) => Some(address),
            _ => self.pool.take(),
        }
    }

    fn context_of(
        &self,
        pod: &Arc<Pod>,
        uid: &str,
        address: Option<Ipv4Addr>,
        refusal: Option<admission::Refusal>,
    ) -> context::Context<N> {
        let options = &self.options;
        context::Context {
            net: options.net.clone(),
            client: options.client.clone(),
            access: options.access.clone(),
            images: Arc::clone(&options.images),
            launcher: options.launcher.clone(),
            claims: self.claims.clone(),
            node: options.name.clone(),
            node_address: options.address,
            address: address.unwrap_or(options.address),
            services: self.services.subscribe(),
            folder: options.folder.join(uid),
            pod: Arc::clone(pod),
            refusal,
            recorder: self.recorder.clone(),
            ticks: self.ticks.subscribe(),
        }
    }

    /// Frees what a pod had. A pod whose task failed is taken up again when its object next changes.
    fn forget(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, reason = "internal", "the task of a pod failed");
                error.id()
            }
        };
        let uid = self.tasks.remove(&id);
        let held = uid.and_then(|uid| self.pods.remove(&uid));
        if let Some(address) = held.and_then(|held| held.address) {
            self.pool.release(address);
        }
    }
}

// === impl Held ===

impl Held {
    /// Whether the pod holds nothing of the node any more.
    fn has_ended(&self) -> bool {
        self.is_refused || pod::has_ended(&self.seen.borrow().pod)
    }
}

fn derive(rng: &mut SmallRng) -> SmallRng {
    use rand::SeedableRng;
    SmallRng::from_rng(rng)
}

impl<N> Debug for Node<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.options.name)
    }
}

#[cfg(test)]
mod tests;
