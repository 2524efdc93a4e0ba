//! The recorded experiments 6 (roll-outs) and 7 (drain) of a real control plane, done again: `sim/testdata/timeline`.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{Cluster, deployment, service};
use super::recorded_kubelets::{self, Look, Looks};

/// What may differ in time: a second is what a store that is behind costs, and one more what the kubelets' phase does.
const TOLERANCE_SECONDS: f64 = 2.0;

/// What may differ of a long course: the recording machine was loaded, so that each of its steps took up to 0.3 s more.
const TOLERANCE_SHARE: f64 = 0.2;

/// How often a condition is looked at, and how often before it counts as never: two minutes of the test's time.
const PAUSE: Duration = Duration::from_millis(200);
const LOOKS_MAX: usize = 600;

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("never: {what}");
}

fn recorded() -> Vec<Value> {
    let lines = include_str!("../../testdata/timeline/workloads.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Fewest and most ready pods, most endpoints, and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    ready_min: usize,
    ready_max: usize,
    endpoints_max: usize,
    seconds: f64,
}

// === impl Course ===

impl fmt::Display for Course {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most, endpoints) = (self.ready_min, self.ready_max, self.endpoints_max);
        write!(
            formatter,
            "{least} · {most} · {endpoints} · {:.1} s",
            self.seconds
        )
    }
}

/// The recorded course of the `nth` experiment of this name.
fn recorded_course(name: &str, nth: usize) -> Course {
    let begin = format!("{name}: fewest and most ready");
    let rows = recorded();
    let mut rows = rows.iter().filter(|row| {
        row["note"]
            .as_str()
            .is_some_and(|note| note.starts_with(&begin))
    });
    let value = &rows
        .nth(nth)
        .unwrap_or_else(|| panic!("{name} is recorded"))["value"];
    let number = |index: usize| usize::try_from(value[index].as_u64().unwrap()).unwrap();
    Course {
        ready_min: number(0),
        ready_max: number(1),
        endpoints_max: number(2),
        seconds: value[3].as_f64().unwrap(),
    }
}

fn course(before: &Look, looks: &[Look], start: Instant) -> Course {
    let ready = |look: &Look| {
        let ready = look.endpoints.iter().filter(|(_, state)| state == "RS-");
        ready.count()
    };
    let all: Vec<&Look> = std::iter::once(before).chain(looks).collect();
    let last = looks.last().map_or(start, |look| look.at);
    Course {
        ready_min: all.iter().map(|look| ready(look)).min().unwrap(),
        ready_max: all.iter().map(|look| ready(look)).max().unwrap(),
        endpoints_max: all.iter().map(|look| look.endpoints.len()).max().unwrap(),
        seconds: last.duration_since(start).as_secs_f64(),
    }
}

/// Same bounds, and about the same time. Pods that are ready in the same moment here came one after the other there, so
/// that one more may be seen. `--show-output` shows the rows of the table in `docs/simulation.md`.
#[expect(clippy::print_stdout, reason = "the rows of a table for the reader")]
fn compare(name: &str, recorded: Course, ours: Course) {
    println!(
        "| {name} | {recorded} | {ours} | ± {:.1} s |",
        TOLERANCE_SECONDS.max(recorded.seconds * TOLERANCE_SHARE)
    );
    assert_eq!(ours.ready_min, recorded.ready_min, "{name}: {ours:?}");
    assert!(
        (recorded.ready_max..=recorded.ready_max + 1).contains(&ours.ready_max),
        "{name}: {ours:?}, recorded {recorded:?}"
    );
    assert!(
        ours.endpoints_max.abs_diff(recorded.endpoints_max) <= 1,
        "{name}: {ours:?}, recorded {recorded:?}"
    );
    assert!(
        (ours.seconds - recorded.seconds).abs()
            <= TOLERANCE_SECONDS.max(recorded.seconds * TOLERANCE_SHARE),
        "{name}: {ours:?}, recorded {recorded:?}"
    );
}

struct Lab {
    cluster: Cluster,
    namespace: String,
    looks: Looks,
    _tasks: JoinSet<()>,
}

impl Lab {
    /// Nodes with recorded kubelets, and a Service `web` whose slice is watched.
    async fn new(nodes: usize) -> Self {
        let cluster = Cluster::start_without_kubelets(nodes).await;
        let namespace = cluster.namespace("r").await;
        let services: Api<Service> = Api::namespaced(cluster.client(), &namespace);
        services
            .create(&cluster.by(), &service("web"))
            .await
            .unwrap();
        let (looks, watching) = recorded_kubelets::watch_slices(cluster.client(), "web");
        let mut tasks = JoinSet::new();
        tasks.spawn(watching);
        tasks.spawn(recorded_kubelets::run(cluster.client()));
        Self {
            cluster,
            namespace,
            looks,
            _tasks: tasks,
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    /// Waits until exactly `count` pods are endpoints, all ready.
    async fn settled(&self, count: usize) {
        until("all endpoints are ready", async || {
            let looks = self.looks.borrow();
            looks.last().is_some_and(|last| {
                last.endpoints.len() == count
                    && last.endpoints.iter().all(|(_, state)| state == "RS-")
            })
        })
        .await;
    }

    /// Does `change` and returns what the slice went through until all of `is_done`'s pods, and no others, are endpoints.
    async fn experiment(&self, change: impl Future<Output = ()>, count: usize) -> Course {
        let before = self.looks.borrow().last().cloned().unwrap();
        let seen = self.looks.borrow().len();
        let start = Instant::now();
        change.await;
        until("something changed", async || {
            self.looks.borrow().len() > seen
        })
        .await;
        until("the change is over", async || {
            let pods = self
                .api::<Pod>()
                .list(&ListParams::default())
                .await
                .unwrap();
            let is_steady =
                pods.items.len() == count && pods.items.iter().all(super::cluster::is_ready);
            is_steady && self.is_complete().await
        })
        .await;
        self.settled(count).await;
        let looks = self.looks.borrow();
        course(&before, &looks[seen..], start)
    }

    /// Evicts two pods as `kubectl drain` does; returns how long it took.
    async fn drain(&self, names: &[String]) -> f64 {
        let pods = self.api::<Pod>();
        let start = Instant::now();
        let evict = async |name: &str| match pods.evict(name, &EvictParams::default()).await {
            Ok(_) => 201,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(evict(&names[0]).await, 201);
        assert_eq!(evict(&names[1]).await, 429, "the other one has to stay");
        // kubectl tries again every five seconds.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(evict(&names[1]).await, 201, "the replacement serves");
        until("both are gone", async || {
            let left = pods.list(&ListParams::default()).await.unwrap().items;
            let left = left
                .iter()
                .filter(|pod| names.contains(pod.metadata.name.as_ref().unwrap()));
            left.count() == 0
        })
        .await;
        let seconds = start.elapsed().as_secs_f64();
        self.settled(2).await;
        seconds
    }

    /// Whether no roll-out is under way.
    async fn is_complete(&self) -> bool {
        let list = ListParams::default();
        let deployments = self.api::<Deployment>().list(&list).await.unwrap();
        let sets = self.api::<DaemonSet>().list(&list).await.unwrap();
        let is_complete = deployments.items.iter().all(|deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            status.observed_generation == deployment.metadata.generation
                && status.updated_replicas.unwrap_or(0) == deployment.spec.replicas.unwrap()
        });
        is_complete
            && sets.items.iter().all(|set| {
                let status = set.status.clone().unwrap_or_default();
                status.observed_generation == set.metadata.generation
                    && status.updated_number_scheduled == Some(status.desired_number_scheduled)
            })
    }

    async fn patch<K>(&self, patch: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let params = PatchParams::default();
        self.api::<K>()
            .patch("web", &params, &Patch::Strategic(patch))
            .await
            .unwrap();
    }
}

/// Another template, with this strategy.
fn rolled(strategy: &Value, image: &str) -> Value {
    json!({ "spec": { "strategy": strategy, "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } } })
}

#[tokio::test(start_paused = true)]
async fn deployments_roll_out_and_scale_as_recorded() {
    let lab = Lab::new(6).await;
    let deployments = lab.api::<Deployment>();
    deployments
        .create(&lab.cluster.by(), &deployment("web", 10))
        .await
        .unwrap();
    lab.settled(10).await;
    let rolling = |unavailable: Value, surge: Value| json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": surge } });
    let roll_outs = [
        (
            "rolling update 25%/25%",
            rolling(json!("25%"), json!("25%")),
        ),
        (
            "rolling update maxUnavailable 0, maxSurge 25%",
            rolling(json!(0), json!("25%")),
        ),
        (
            "rolling update maxUnavailable 1, maxSurge 0",
            rolling(json!(1), json!(0)),
        ),
    ];
    for (number, (name, strategy)) in roll_outs.into_iter().enumerate() {
        let image = format!("app:{}", number + 2);
        let change = lab.patch::<Deployment>(rolled(&strategy, &image));
        compare(
            name,
            recorded_course(name, 0),
            lab.experiment(change, 10).await,
        );
    }
    for (replicas, nth) in [(4, 0), (10, 0), (0, 0), (10, 1)] {
        let change = lab.patch::<Deployment>(json!({ "spec": { "replicas": replicas } }));
        let name = format!("scale to {replicas}");
        let ours = lab.experiment(change, replicas).await;
        compare(&name, recorded_course(&name, nth), ours);
    }
    let strategy = json!({ "type": "Recreate", "rollingUpdate": null });
    let change = lab.patch::<Deployment>(rolled(&strategy, "app:9"));
    compare(
        "Recreate",
        recorded_course("Recreate", 0),
        lab.experiment(change, 10).await,
    );
    lab.cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn daemon_sets_roll_out_as_recorded() {
    let lab = Lab::new(6).await;
    let set = json!({
        "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            },
        },
    });
    let sets = lab.api::<DaemonSet>();
    sets.create(&lab.cluster.by(), &serde_json::from_value(set).unwrap())
        .await
        .unwrap();
    lab.settled(6).await;
    let roll_outs = [
        (
            r#"DaemonSet {"maxUnavailable": 1}"#,
            json!({ "maxUnavailable": 1 }),
        ),
        (
            r#"DaemonSet {"maxUnavailable": 0, "maxSurge": 1}"#,
            json!({ "maxUnavailable": 0, "maxSurge": 1 }),
        ),
    ];
    for (number, (name, rolling)) in roll_outs.into_iter().enumerate() {
        let image = format!("app:{}", number + 2);
        let patch = json!({ "spec": {
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling },
            "template": { "spec": { "containers": [{ "name": "app", "image": image }] } },
        } });
        let change = lab.patch::<DaemonSet>(patch);
        compare(
            name,
            recorded_course(name, 0),
            lab.experiment(change, 6).await,
        );
    }
    lab.cluster.stop().await;
}

/// The states that the endpoint of a pod goes through.
fn states(looks: &[Look], pod: &str) -> Vec<String> {
    let mut states: Vec<String> = looks
        .iter()
        .map(|look| {
            let endpoint = look.endpoints.iter().find(|(name, _)| name == pod);
            endpoint.map_or_else(String::new, |(_, state)| state.clone())
        })
        .collect();
    states.dedup();
    states
}

/// What `kubectl drain` does with two pods of which one has to stay.
#[tokio::test(start_paused = true)]
async fn a_budget_lets_two_pods_go_one_after_the_other_as_recorded() {
    let lab = Lab::new(2).await;
    let deployments = lab.api::<Deployment>();
    deployments
        .create(&lab.cluster.by(), &deployment("web", 2))
        .await
        .unwrap();
    lab.settled(2).await;
    let budgets = lab.api::<PodDisruptionBudget>();
    let budget = json!({ "metadata": { "name": "web" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } });
    budgets
        .create(&lab.cluster.by(), &serde_json::from_value(budget).unwrap())
        .await
        .unwrap();
    until("one may go", async || {
        let status = budgets.get("web").await.unwrap().status.unwrap_or_default();
        status.disruptions_allowed == Some(1)
    })
    .await;
    let pods = lab.api::<Pod>();
    let names: Vec<String> = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|pod| pod.metadata.name.unwrap())
        .collect();
    let seconds = lab.drain(&names).await;
    // kubectl's own polling of the last pod is in the recorded 11.9 s.
    let recorded_end = recorded()
        .iter()
        .filter(|row| row["kind"] == "Pod" && row["to"] == "gone")
        .filter_map(|row| row["t"].as_f64())
        .fold(0.0, f64::max);
    assert!(
        (seconds - recorded_end).abs() <= TOLERANCE_SECONDS,
        "{seconds}"
    );
    compare_states(&lab.looks.borrow(), &names);
    lab.cluster.stop().await;
}

/// Each pod that went, and each that came, was seen in the recorded states.
fn compare_states(looks: &[Look], names: &[String]) {
    for name in names {
        let gone_last = states(looks, name);
        let end = &gone_last[gone_last.len() - 3..];
        assert_eq!(end, ["RS-", "-ST", ""], "{name}: {gone_last:?}");
    }
    let recorded = recorded();
    let of_pod = |pod: &str| -> Vec<String> {
        let rows = recorded.iter().filter(|row| {
            row["kind"] == "Slice" && row["pod"].as_str() == Some(pod) && row["unit"] == "drain"
        });
        rows.map(|row| row["to"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(of_pod("pair-5b444bc89c-c4kqv"), ["-ST", ""]);
    let news: Vec<&String> = looks
        .last()
        .unwrap()
        .endpoints
        .iter()
        .map(|(name, _)| name)
        .collect();
    for name in news {
        let seen = states(looks, name);
        assert_eq!(seen[1..], of_pod("pair-5b444bc89c-xwnpb"), "{name}");
    }
}
