//! The node's own objects: its Node and its Lease, created once and kept fresh.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;

use super::FIELD_MANAGER;
use super::recorder::Recorder;
use crate::clock::wall_now;

/// How often the lease is renewed; up to 4 % more, so that nodes drift apart.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_DURATION_SECONDS: i32 = 40;

/// How often the node's status is looked at, and how often it is written although nothing changed.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
const STATUS_REPORT_PERIOD: Duration = Duration::from_secs(300);

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(200);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(7);

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What a node says of itself.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) slice: Ipv4Net,
    pub(super) pods_max: usize,
}

/// Creates or updates the Node object, and returns its UID.
pub(super) async fn register(
    client: &kube::Client,
    facts: &Facts,
    recorder: &Recorder,
) -> Result<String, kube::Error> {
    recorder.node("Starting", "Starting kubelet.".to_owned());
    let nodes: Api<Node> = Api::all(client.clone());
    let node = node(facts, wall_now());
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let created = match nodes.create(&parameters, &node).await {
        Ok(created) => created,
        Err(kube::Error::Api(status)) if status.code == 409 => nodes.get(&facts.name).await?,
        Err(error) => return Err(error),
    };
    // A real API server drops the status of a new Node only for kinds whose create ignores it; writing it again is safe.
    write_status(&nodes, facts).await?;
    tell_conditions(recorder, facts, &NodeStatus::default());
    recorder.node(
        "NodeAllocatableEnforced",
        "Updated Node Allocatable limit across pods".to_owned(),
    );
    Ok(created.metadata.uid.unwrap_or_default())
}

/// Keeps Lease and status fresh, without end.
pub(super) async fn keep_fresh(
    client: kube::Client,
    facts: Facts,
    uid: String,
    rng: SmallRng,
    recorder: Recorder,
) {
    let lease = keep_lease(client.clone(), &facts, &uid, rng);
    let status = keep_status(client, &facts, &recorder);
    tokio::join!(lease, status);
}

async fn keep_lease(client: kube::Client, facts: &Facts, uid: &str, mut rng: SmallRng) {
    let leases: Api<Lease> = Api::namespaced(client, LEASE_NAMESPACE);
    let mut delay = RETRY_DELAY_FIRST;
    let mut latest = None;
    loop {
        match renew_lease(&leases, facts, uid, latest.take()).await {
            Ok(lease) => {
                latest = Some(lease);
                delay = RETRY_DELAY_FIRST;
                let period = LEASE_PERIOD.mul_f64(1.0 + 0.04 * rng.random::<f64>());
                tokio::time::sleep(period).await;
            }
            Err(error) => {
                tracing::warn!(node = facts.name, %error, reason = "lease", "cannot renew the lease of the node; trying again");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
        }
    }
}

/// Renews the lease and returns it; `latest` is the one of the last renewal, so that it need not be read again.
async fn renew_lease(
    leases: &Api<Lease>,
    facts: &Facts,
    uid: &str,
    latest: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let now = MicroTime(wall_now());
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let found = match latest {
        Some(latest) => Some(latest),
        None => leases.get_opt(&facts.name).await?,
    };
    if let Some(mut lease) = found {
        lease.spec.get_or_insert_default().renew_time = Some(now);
        return leases.replace(&facts.name, &parameters, &lease).await;
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(facts.name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: facts.name.clone(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(facts.name.clone()),
            lease_duration_seconds: Some(LEASE_DURATION_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    leases.create(&parameters, &lease).await
}

async fn keep_status(client: kube::Client, facts: &Facts, recorder: &Recorder) {
    let nodes: Api<Node> = Api::all(client);
    let mut written = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(STATUS_PERIOD).await;
        let result = async {
            let is_due = written.elapsed() >= STATUS_REPORT_PERIOD;
            if is_due || !is_ready(&nodes.get(&facts.name).await?) {
                let before = write_status(&nodes, facts).await?;
                tell_conditions(recorder, facts, &before);
                written = tokio::time::Instant::now();
            }
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = result.await {
            tracing::warn!(node = facts.name, %error, reason = "node_status", "cannot report the node's status; trying again");
        }
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Tells of each condition that was not so before.
fn tell_conditions(recorder: &Recorder, facts: &Facts, before: &NodeStatus) {
    let events = [
        ("MemoryPressure", "False", "NodeHasSufficientMemory"),
        ("DiskPressure", "False", "NodeHasNoDiskPressure"),
        ("PIDPressure", "False", "NodeHasSufficientPID"),
        ("Ready", "True", "NodeReady"),
    ];
    for (kind, status, reason) in events {
        let mut found = before.conditions.iter().flatten();
        if !found.any(|condition| condition.type_ == kind && condition.status == status) {
            let name = &facts.name;
            recorder.node(reason, format!("Node {name} status is now: {reason}"));
        }
    }
}

/// Writes the status, and returns the one before.
async fn write_status(nodes: &Api<Node>, facts: &Facts) -> Result<NodeStatus, kube::Error> {
    let mut status = status(facts, wall_now());
    let before = nodes.get(&facts.name).await?.status.unwrap_or_default();
    keep_transitions(&mut status, &before);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(json!({"status": status}));
    nodes.patch_status(&facts.name, &parameters, &patch).await?;
    Ok(before)
}

/// A condition that stays as it was keeps the time of its last transition.
fn keep_transitions(status: &mut NodeStatus, before: &NodeStatus) {
    for condition in status.conditions.iter_mut().flatten() {
        let mut same =
            before.conditions.iter().flatten().filter(|before| {
                before.type_ == condition.type_ && before.status == condition.status
            });
        if let Some(before) = same.next() {
            condition.last_transition_time = before.last_transition_time.clone();
        }
    }
}

fn node(facts: &Facts, now: Timestamp) -> Node {
    let labels = [
        ("kubernetes.io/hostname", facts.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", "amd64"),
    ];
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Node {
        metadata: ObjectMeta {
            name: Some(facts.name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: Some(facts.slice.to_string()),
            pod_cidrs: Some(vec![facts.slice.to_string()]),
            ..NodeSpec::default()
        }),
        status: Some(status(facts, now)),
    }
}

fn status(facts: &Facts, now: Timestamp) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress {
        type_: kind.to_owned(),
        address,
    };
    let capacity: BTreeMap<String, Quantity> = [
        ("cpu", "64".to_owned()),
        ("memory", "64Gi".to_owned()),
        ("ephemeral-storage", "64Gi".to_owned()),
        ("pods", facts.pods_max.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Quantity(value)))
    .collect();
    let time = || Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    let condition = |kind: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: time(),
        last_transition_time: time(),
    };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", facts.address.to_string()),
            address("Hostname", facts.name.clone()),
        ]),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition(
                "Ready",
                "True",
                "KubeletReady",
                "kubelet is posting ready status",
            ),
        ]),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            operating_system: "linux".to_owned(),
            os_image: "pods as local processes".to_owned(),
            container_runtime_version: concat!("tiergate-sim://", env!("CARGO_PKG_VERSION"))
                .to_owned(),
            kubelet_version: "v1.36.3".to_owned(),
            kernel_version: kernel_version(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn kernel_version() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
