//! An API server, the controllers and a model of a kubelet, in one process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;
use tiergate_sim::account::Account;
use tiergate_sim::{actors, api};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) const CERTIFICATES: &str = "certificates of the test";

/// How long to wait for anything before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Everything that runs; it ends with this value.
pub(crate) struct Cluster {
    server: api::Server,
    client: Client,
    parts: JoinSet<()>,
    stop: Arc<Notify>,
    holds_pods: Arc<AtomicBool>,
}

impl Cluster {
    /// A cluster with nodes `n1`, `n2` and so on.
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_without_kubelets(nodes).await.start_kubelet()
    }

    /// The same, whose pods are somebody else's affair.
    pub(crate) async fn start_without_kubelets(nodes: usize) -> Self {
        let server = api::Server::new(api::Options::new("secret", 1));
        let loopback = "127.0.0.1:0".parse().unwrap();
        let bound = server.bind(&TokioNet, loopback, None).await.unwrap();
        let url = format!("http://{}", bound.address().unwrap());
        let client_of = |token: String| {
            let mut config = kube::Config::new(url.parse().unwrap());
            config.auth_info.token = Some(token.into());
            platform::kube_client(TokioNet, config)
        };
        let client = client_of("secret".to_owned()).unwrap();

        let stop = Arc::new(Notify::new());
        let holds_pods = Arc::new(AtomicBool::new(false));
        let mut parts = JoinSet::new();
        parts.spawn(bound.run(std::future::pending()));
        let options = actors::Options::new(1, CERTIFICATES.into());
        let clients = |account: &Account| client_of(server.token_of(account));
        let actors = actors::start_all(clients, options).unwrap();
        let stopping = Arc::clone(&stop);
        parts.spawn(async move {
            actors
                .run(async move { stopping.notified().await })
                .await
                .unwrap();
        });
        let cluster = Self {
            server,
            client,
            parts,
            stop,
            holds_pods,
        };
        cluster.create_nodes(nodes).await;
        cluster
    }

    async fn create_nodes(&self, count: usize) {
        let nodes: Api<Node> = Api::all(self.client());
        for number in 1..=count {
            let name = format!("n{number}");
            let node = json!({ "metadata": { "name": name } });
            nodes
                .create(&self.by(), &serde_json::from_value(node).unwrap())
                .await
                .unwrap();
            let ready =
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
            let params = PatchParams::default();
            nodes
                .patch_status(&name, &params, &Patch::Merge(ready))
                .await
                .unwrap();
        }
    }

    fn start_kubelet(mut self) -> Self {
        let pods: Api<Pod> = Api::all(self.client());
        let (client, holds_pods) = (self.client(), Arc::clone(&self.holds_pods));
        self.parts.spawn(async move {
            let mut address = 0_u32;
            loop {
                let all = pods.list(&ListParams::default()).await.unwrap().items;
                for pod in all {
                    tend(
                        &client,
                        &pod,
                        &mut address,
                        holds_pods.load(Ordering::Relaxed),
                    )
                    .await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        self
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Who wrote what: user, verb and resource of every request that changed something.
    pub(crate) fn writes(&self) -> BTreeSet<(String, String, String)> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(|entry| (200..300).contains(&entry.code))
            .filter(|entry| !["get", "list", "watch"].contains(&entry.verb.as_str()))
            .map(|entry| (entry.user, entry.verb, entry.resource))
            .collect()
    }

    pub(crate) fn by(&self) -> PostParams {
        PostParams::default()
    }

    pub(crate) async fn namespace(&self, name: &str) -> String {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let namespace = json!({ "metadata": { "name": name } });
        namespaces
            .create(&self.by(), &serde_json::from_value(namespace).unwrap())
            .await
            .unwrap();
        name.to_owned()
    }

    pub(crate) async fn cordon(&self, node: &str, unschedulable: bool) {
        let nodes: Api<Node> = Api::all(self.client());
        let patch = Patch::Merge(json!({ "spec": { "unschedulable": unschedulable } }));
        nodes
            .patch(node, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Whether pods that are deleted go on running.
    pub(crate) fn hold_pods(&self, hold: bool) {
        self.holds_pods.store(hold, Ordering::Relaxed);
    }

    /// Returns when the taints that new nodes have until they are seen ready are gone, and the controllers know it.
    pub(crate) async fn every_node_takes_pods(&self) {
        let nodes: Api<Node> = Api::all(self.client());
        eventually("no node has a taint", async || {
            let nodes = nodes.list(&kube::api::ListParams::default()).await.unwrap();
            let has_taint =
                |node: &Node| node.spec.as_ref().is_some_and(|spec| spec.taints.is_some());
            (!nodes.items.iter().any(has_taint)).then_some(())
        })
        .await;
        self.settle().await;
    }

    /// Returns when the controllers have seen all that was written before: they answer to something that comes after it.
    pub(crate) async fn settle(&self) {
        let name = self.namespace("settle").await;
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
            Api::namespaced(self.client(), &name);
        let stray = json!({ "metadata": { "name": "stray", "ownerReferences": [
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "11111111-2222-3333-4444-555555555555" }
        ] } });
        maps.create(&self.by(), &serde_json::from_value(stray).unwrap())
            .await
            .unwrap();
        eventually("the controllers have caught up", async || {
            maps.get_opt("stray").await.unwrap().is_none().then_some(())
        })
        .await;
    }

    /// Ends all parts; fails when one has failed before.
    pub(crate) async fn stop(mut self) {
        self.stop.notify_one();
        while let Some(ended) = self.parts.try_join_next() {
            ended.unwrap();
        }
        self.parts.shutdown().await;
    }
}

/// What a kubelet does: starts what is bound, removes what is deleted.
async fn tend(client: &Client, pod: &Pod, address: &mut u32, hold: bool) {
    let name = pod.metadata.name.as_deref().unwrap();
    let pods: Api<Pod> =
        Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
    if pod.metadata.deletion_timestamp.is_some() {
        if !hold {
            // Somebody else may have been faster.
            let _ = pods
                .delete(name, &DeleteParams::default().grace_period(0))
                .await;
        }
    } else if pod.spec.as_ref().unwrap().node_name.is_some() && !is_ready(pod) {
        *address += 1;
        let ip = format!("127.8.{}.{}", *address / 250, *address % 250 + 1);
        let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }
        ] } });
        let _ = pods
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
            .await;
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(crate) fn deployment(name: &str, replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            },
        },
    }))
    .unwrap()
}

pub(crate) fn service(name: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    }))
    .unwrap()
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("never: {what}"),
    }
}
