//! Kubelets as the recorded experiments had them: a pod is ready a second after it is bound, and gone five seconds after it
//! is deleted. Time is tokio's, so that a test with paused time takes none.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const START: Duration = Duration::from_secs(1);
const STOP: Duration = Duration::from_secs(5);

/// What one look at the slices of a namespace showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    pub(crate) at: Instant,
    /// Pods by name, each with `RS-`, `-ST` and so on.
    pub(crate) endpoints: Vec<(String, String)>,
}

/// Every look so far.
pub(crate) type Looks = watch::Receiver<Vec<Look>>;

/// Runs what is bound and ends what is deleted, without end.
pub(crate) async fn run(client: Client) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut events = watcher(pods, watcher::Config::default()).boxed();
    let (mut started, mut stopped) = (BTreeSet::new(), BTreeSet::new());
    let mut work = JoinSet::new();
    let mut address = 0_u32;
    while let Some(event) = events.next().await {
        let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event.unwrap() else {
            continue;
        };
        let uid = pod.metadata.uid.clone().unwrap();
        let is_bound = pod.spec.as_ref().unwrap().node_name.is_some();
        if pod.metadata.deletion_timestamp.is_some() {
            if stopped.insert(uid) {
                work.spawn(stop(client.clone(), pod));
            }
        } else if is_bound && started.insert(uid) {
            address += 1;
            work.spawn(start(client.clone(), pod, address));
        }
        while work.try_join_next().is_some() {}
    }
}

async fn start(client: Client, pod: Pod, address: u32) {
    let ip = format!("127.8.{}.{}", address / 250, address % 250 + 1);
    let running = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] });
    say(&client, &pod, running, "False").await;
    tokio::time::sleep(START).await;
    say(&client, &pod, json!({}), "True").await;
}

async fn stop(client: Client, pod: Pod) {
    tokio::time::sleep(STOP).await;
    let now = DeleteParams::default().grace_period(0);
    let _ = api_of(&client, &pod)
        .delete(pod.metadata.name.as_deref().unwrap(), &now)
        .await;
}

async fn say(client: &Client, pod: &Pod, mut status: serde_json::Value, ready: &str) {
    status["conditions"] =
        json!([{ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let patch = Patch::Strategic(json!({ "status": status }));
    // The pod may be gone already.
    let _ = api_of(client, pod)
        .patch_status(
            pod.metadata.name.as_deref().unwrap(),
            &PatchParams::default(),
            &patch,
        )
        .await;
}

fn api_of(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap())
}

/// Looks at the one slice of a Service with each write of it.
pub(crate) fn watch_slices(client: Client, service: &str) -> (Looks, impl Future<Output = ()>) {
    let (sender, looks) = watch::channel(Vec::new());
    let config =
        watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
    let watching = async move {
        let slices: Api<EndpointSlice> = Api::all(client);
        let mut events = watcher(slices, config).boxed();
        while let Some(event) = events.next().await {
            if let watcher::Event::Apply(slice) | watcher::Event::InitApply(slice) = event.unwrap()
            {
                let look = Look {
                    at: Instant::now(),
                    endpoints: slice.endpoints.into_iter().flatten().map(letters).collect(),
                };
                sender.send_modify(|looks: &mut Vec<Look>| looks.push(look));
            }
        }
    };
    (looks, watching)
}

fn letters(endpoint: k8s_openapi::api::discovery::v1::Endpoint) -> (String, String) {
    let conditions = endpoint.conditions.unwrap();
    let letter = |letter, is: Option<bool>| if is == Some(true) { letter } else { '-' };
    let letters = [
        letter('R', conditions.ready),
        letter('S', conditions.serving),
        letter('T', conditions.terminating),
    ];
    let pod = endpoint.target_ref.unwrap().name.unwrap();
    (pod, letters.iter().collect())
}
