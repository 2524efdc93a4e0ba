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

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt};
use rand::rngs::SmallRng;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::actors;
use crate::images::Images;
use crate::stop;

mod access;
pub mod addresses;
pub mod backoff;
mod container;
mod context;
mod credentials;
pub mod environment;
pub mod expand;
pub mod launch;
mod node;
mod output;
mod played;
mod pod;
pub mod ports;
mod prepare;
pub mod probe;
mod prober;
mod process;
mod report;
pub mod service_links;
mod sources;
pub mod status;
mod watching;

pub use access::ApiAccess;
use addresses::Pool;
use played::Claims;
use watching::Objects;

/// Name under which a kubelet's writes stand in `managedFields`.
const FIELD_MANAGER: &str = "kubelet";

/// The port of a kubelet. It is held at a node's address while the node is there: two nodes never share one.
pub(crate) const KUBELET_PORT: u16 = 10250;

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
    pub launcher: Option<PathBuf>,
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
    running: JoinSet<String>,
    facts: node::Facts,
    uid: String,
}

/// A pod of this node.
struct Held {
    seen: watch::Sender<pod::Seen>,
    /// None: it has the node's address.
    address: Option<Ipv4Addr>,
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
        let uid = node::register(&options.client, &facts)
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
        background.spawn(node::keep_fresh(client.clone(), facts, uid, lease_rng));

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
        loop {
            tokio::select! {
                () = stop.wait() => break,
                Ok(()) = changed.changed() => {
                    let pods = changed.borrow_and_update().clone();
                    self.see(&pods);
                }
                Some(ended) = self.running.join_next() => self.forget(ended),
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
        let uses_host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let address = if uses_host_network {
            None
        } else {
            self.pool.take()
        };
        // The scheduler counts pods, so this is rare.
        let refusal = (address.is_none() && !uses_host_network).then(|| {
            format!(
                "node {} has no address left in {}",
                self.options.name,
                self.pool.slice()
            )
        });
        let (seen, receiver) = watch::channel(pod::Seen {
            pod: Arc::clone(pod),
            is_gone: false,
        });
        let options = &self.options;
        let context = context::Context {
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
            folder: options.folder.join(&uid),
            pod: Arc::clone(pod),
            refusal,
        };
        self.pods.insert(uid.clone(), Held { seen, address });
        self.running.spawn(async move {
            pod::run(context, receiver).await;
            uid
        });
    }

    fn forget(&mut self, ended: Result<String, JoinError>) {
        match ended {
            Ok(uid) => {
                let held = self.pods.remove(&uid);
                if let Some(address) = held.and_then(|held| held.address) {
                    self.pool.release(address);
                }
            }
            Err(error) => {
                tracing::error!(%error, reason = "internal", "the task of a pod failed");
            }
        }
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
