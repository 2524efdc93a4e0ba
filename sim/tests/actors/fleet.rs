//! A cluster in simulated time whose kubelets are models, and the history of what happened in it.
//!
//! The kubelets do what those of the recorded experiments did: they renew their leases each 10 s and up to 4 % later, look at
//! the node's status and at the readiness of their pods each 10 s, make a pod ready 1 s after it was bound, and end one 2 s
//! after it was deleted. One that is cut off does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiergate_control_plane::platform;
use tiergate_sim::account::Account;
use tiergate_sim::{actors, api};
use tokio::time::Instant;

use super::memory::Net;

const ADMIN: &str = "secret";
const TICK: Duration = Duration::from_secs(10);

/// One change of an object: as its watch shows it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// The cluster; it ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Fleet {
    server: api::Server,
    net: Net,
    client: Client,
    started: Instant,
    epoch: jiff::Timestamp,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: SmallRng,
    cut: BTreeSet<String>,
    objects: BTreeMap<(&'static str, String), Value>,
    history: Vec<Change>,
    /// The pods that a kubelet has begun to start, and to end.
    starting: BTreeSet<String>,
    ending: BTreeSet<String>,
    addresses: u32,
}

impl Fleet {
    /// An API server and the controllers.
    pub(crate) async fn start(seed: u64) -> Self {
        let started = Instant::now();
        let options = api::Options::new(ADMIN, seed);
        let epoch = options.epoch;
        let server = api::Server::new(options);
        let net = Net::default();
        let address = "10.0.0.1:80".parse().unwrap();
        let bound = server.bind(&net, address, None).await.unwrap();
        tokio::spawn(bound.run(std::future::pending()));
        let client = client(&net, ADMIN.to_owned());
        let clients = |account: &Account| Ok::<_, String>(client_of(&net, &server, account));
        let options = actors::Options::new(seed, "certificates".to_owned());
        tokio::spawn(
            actors::start_all(clients, options)
                .unwrap()
                .run(std::future::pending()),
        );
        let state = Arc::new(Mutex::new(State {
            rng: SmallRng::seed_from_u64(seed),
            cut: BTreeSet::new(),
            objects: BTreeMap::new(),
            history: Vec::new(),
            starting: BTreeSet::new(),
            ending: BTreeSet::new(),
            addresses: 0,
        }));
        let fleet = Self {
            server,
            net,
            client,
            started,
            epoch,
            state,
        };
        fleet.watch::<Node>("Node");
        fleet.watch::<Pod>("Pod");
        fleet.watch::<EndpointSlice>("Slice");
        fleet
    }

    /// A cluster-wide interface as the administrator.
    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// An interface to one namespace as the administrator.
    pub(crate) fn of<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn create<K>(&self, api: &Api<K>, object: Value)
    where
        K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn namespace(&self, name: &str) {
        self.create(
            &self.all::<Namespace>(),
            json!({ "metadata": { "name": name } }),
        )
        .await;
    }

    /// A node and its kubelet.
    pub(crate) async fn node(&self, name: &str, zone: &str) {
        let client = client_of(&self.net, &self.server, &Account::Kubelet(name.to_owned()));
        let labels = json!({ "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone });
        let nodes: Api<Node> = Api::all(client.clone());
        let node = json!({ "metadata": { "name": name, "labels": labels } });
        let node: Node = serde_json::from_value(node).unwrap();
        let node = nodes.create(&PostParams::default(), &node).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid() });
        let lease = json!({ "metadata": { "name": name, "ownerReferences": [owner] }, "spec": { "renewTime": self.micro_time() } });
        self.create(&leases, lease).await;
        self.report(&nodes, name).await;
        let (fleet, node) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::join!(
                fleet.every_tick(|| fleet.renew(&leases, &node)),
                fleet.every_tick(|| fleet.look_at_status(&nodes, &node)),
                fleet.every_tick(|| fleet.look_at_pods(&client, &node)),
            );
        });
    }

    /// Cuts the kubelet of a node off.
    pub(crate) fn cut(&self, node: &str) {
        self.state.lock().unwrap().cut.insert(node.to_owned());
    }

    /// The kubelet can reach the API server again, and sees its pods at once.
    pub(crate) fn mend(&self, node: &str) {
        self.state.lock().unwrap().cut.remove(node);
        for pod in self.objects("Pod") {
            self.see_pod(&pod);
        }
    }

    /// What happened, in the order of the API server.
    pub(crate) fn history(&self) -> Vec<Change> {
        let mut history = self.state.lock().unwrap().history.clone();
        history.sort_by_key(|change| change.version);
        history
    }

    /// The objects of a kind as last seen.
    pub(crate) fn objects(&self, kind: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let objects = state
            .objects
            .iter()
            .filter(|((known, _), _)| *known == kind);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// The requests that changed something, by the request log.
    pub(crate) fn writes(&self) -> Vec<api::log::Entry> {
        let mut writes = self.server.requests();
        writes.retain(|entry| {
            (200..300).contains(&entry.code)
                && !["get", "list", "watch"].contains(&entry.verb.as_str())
        });
        writes
    }

    /// The time of the API server.
    pub(crate) fn time(&self, at: Instant) -> jiff::Timestamp {
        self.epoch + (at - self.started)
    }

    /// Waits until `is_so`; time that nobody needs passes at once.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..6000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}");
    }

    fn watch<K>(&self, kind: &'static str)
    where
        K: Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned
            + Send
            + 'static,
    {
        let (fleet, api) = (self.clone(), self.all::<K>());
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default().timeout(280)));
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    watcher::Event::Init | watcher::Event::InitDone => {}
                    watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                        fleet.see(kind, serde_json::to_value(object).unwrap(), false);
                    }
                    watcher::Event::Delete(object) => {
                        fleet.see(kind, serde_json::to_value(object).unwrap(), true);
                    }
                }
            }
        });
    }

    fn see(&self, kind: &'static str, object: Value, is_deleted: bool) {
        let meta = &object["metadata"];
        let key = (kind, format!("{}/{}", meta["namespace"], meta["name"]));
        let version = meta["resourceVersion"].as_str().unwrap().parse().unwrap();
        let after = (!is_deleted).then_some(object);
        let mut state = self.state.lock().unwrap();
        let before = match &after {
            Some(object) => state.objects.insert(key, object.clone()),
            None => state.objects.remove(&key),
        };
        state.history.push(Change {
            at: Instant::now(),
            version,
            kind,
            before,
            after: after.clone(),
        });
        drop(state);
        if let ("Pod", Some(pod)) = (kind, after) {
            self.see_pod(&pod);
        }
    }

    // What a kubelet does.

    fn is_cut(&self, node: &str) -> bool {
        self.state.lock().unwrap().cut.contains(node)
    }

    fn chance(&self) -> f64 {
        self.state.lock().unwrap().rng.random()
    }

    fn micro_time(&self) -> String {
        format!("{:.6}", self.epoch + self.started.elapsed())
    }

    async fn every_tick<F: Future<Output = ()>>(&self, act: impl Fn() -> F) {
        tokio::time::sleep(TICK.mul_f64(self.chance())).await;
        loop {
            act().await;
            tokio::time::sleep(TICK.mul_f64(1.0 + 0.04 * self.chance())).await;
        }
    }

    async fn renew(&self, leases: &Api<Lease>, node: &str) {
        if !self.is_cut(node) {
            let renewal = Patch::Merge(json!({ "spec": { "renewTime": self.micro_time() } }));
            // The lease goes with its node.
            let _ = leases.patch(node, &PatchParams::default(), &renewal).await;
        }
    }

    async fn look_at_status(&self, nodes: &Api<Node>, name: &str) {
        let is_lost = |node: &Value| {
            node["metadata"]["name"] == name && condition(node, "Ready") != Some("True")
        };
        if !self.is_cut(name) && self.objects("Node").iter().any(is_lost) {
            self.report(nodes, name).await;
        }
    }

    async fn report(&self, nodes: &Api<Node>, name: &str) {
        let now = self.micro_time();
        let condition = |type_: &str, status: &str| {
            json!({ "type": type_, "status": status, "reason": "Kubelet", "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": now })
        };
        let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "250" });
        let status = json!({ "status": { "capacity": room, "allocatable": room, "conditions": [
            condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
            condition("PIDPressure", "False"), condition("Ready", "True"),
        ] } });
        let params = PatchParams::default();
        nodes
            .patch_status(name, &params, &Patch::Strategic(status))
            .await
            .unwrap();
    }

    /// What somebody else said of a pod is put right.
    async fn look_at_pods(&self, client: &Client, node: &str) {
        if self.is_cut(node) {
            return;
        }
        for pod in self.objects("Pod") {
            let is_wrong = pod["spec"]["nodeName"] == node
                && pod["status"]["phase"] == "Running"
                && pod["metadata"]["deletionTimestamp"].is_null()
                && condition(&pod, "Ready") == Some("False");
            if is_wrong {
                set_status(
                    client,
                    &pod,
                    json!({ "conditions": [{ "type": "Ready", "status": "True" }] }),
                )
                .await;
            }
        }
    }

    fn see_pod(&self, pod: &Value) {
        let Some(node) = pod["spec"]["nodeName"].as_str().map(str::to_owned) else {
            return;
        };
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        if self.is_cut(&node) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        let is_deleted = !pod["metadata"]["deletionTimestamp"].is_null();
        let is_new = pod["status"]["phase"] == "Pending" && !is_deleted;
        let begins = is_new && state.starting.insert(uid.clone());
        let ends = is_deleted && state.ending.insert(uid);
        state.addresses += u32::from(begins);
        let address = format!(
            "10.244.{}.{}",
            state.addresses / 250,
            state.addresses % 250 + 1
        );
        drop(state);
        let client = client_of(&self.net, &self.server, &Account::Kubelet(node.clone()));
        let (fleet, pod) = (self.clone(), pod.clone());
        if begins {
            tokio::spawn(async move {
                for (wait, ready) in [(300, "False"), (700, "True")] {
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    let status = json!({ "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
                        "conditions": [{ "type": "Ready", "status": ready }] });
                    if !fleet.is_cut(&node) {
                        set_status(&client, &pod, status).await;
                    }
                }
            });
        } else if ends {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                set_status(&client, &pod, json!({ "phase": "Succeeded" })).await;
                let pods: Api<Pod> =
                    Api::namespaced(client, pod["metadata"]["namespace"].as_str().unwrap());
                let name = pod["metadata"]["name"].as_str().unwrap();
                let _ = pods
                    .delete(name, &DeleteParams::default().grace_period(0))
                    .await;
            });
        }
    }
}

/// A condition's status.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == type_)?;
    found["status"].as_str()
}

async fn set_status(client: &Client, pod: &Value, status: Value) {
    let pods: Api<Pod> = Api::namespaced(
        client.clone(),
        pod["metadata"]["namespace"].as_str().unwrap(),
    );
    let patch = Patch::Strategic(json!({ "status": status }));
    // It may be gone meanwhile.
    let _ = pods
        .patch_status(
            pod["metadata"]["name"].as_str().unwrap(),
            &PatchParams::default(),
            &patch,
        )
        .await;
}

fn client_of(net: &Net, server: &api::Server, account: &Account) -> Client {
    client(net, server.token_of(account))
}

fn client(net: &Net, token: String) -> Client {
    let mut config = kube::Config::new("http://10.0.0.1:80".parse().unwrap());
    config.auth_info.token = Some(token.into());
    platform::kube_client(net.clone(), config).unwrap()
}

/// All objects of a list, as values.
pub(crate) async fn listed<K>(api: &Api<K>) -> Vec<Value>
where
    K: Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .map(|object| serde_json::to_value(object).unwrap())
        .collect()
}
