//! A node with an API server, and nobody else: pods are bound to it by hand.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use rand::SeedableRng;
use serde_json::{Value, json};
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::{self, Server};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    client: kube::Client,
    folder: tempfile::TempDir,
    _stop: stop::Handle,
    _tasks: JoinSet<()>,
}

/// An API server and one node whose pods live in 127.61.NUMBER.0/24. The image `app` is the folder `app`.
async fn world(number: u8, script: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    std::fs::create_dir(&app).unwrap();
    let program = app.join("run");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();

    let server = Server::new(api::Options::new("admin", 1));
    let bound = server
        .bind(&TokioNet, "127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let url = format!("http://{}", bound.address().unwrap());
    let (stop, stopping) = stop::channel();
    let mut tasks = JoinSet::new();
    let mut signal = stopping.clone();
    tasks.spawn(bound.run(async move { signal.wait().await }));

    let mut config = kube::Config::new(url.parse().unwrap());
    config.auth_info.token = Some("admin".to_owned().into());
    let client = tiergate_control_plane::platform::kube_client(TokioNet, config).unwrap();
    let image = format!("app={}", app.display()).parse().unwrap();
    let node = Node::register(Options {
        name: "node-1".to_owned(),
        slice: format!("127.61.{number}.0/24").parse().unwrap(),
        address: Ipv4Addr::new(127, 61, number, 1),
        net: TokioNet,
        client: client.clone(),
        access: ApiAccess {
            server: url,
            ca_pem: "the authority".to_owned(),
        },
        images: Arc::new(Images::new(vec![image], None).unwrap()),
        launcher: None,
        folder: folder.path().join("pods"),
        rng: SmallRng::seed_from_u64(1),
    })
    .await
    .unwrap();
    tasks.spawn(node.run(stopping));

    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    World {
        client,
        folder,
        _stop: stop,
        _tasks: tasks,
    }
}

impl World {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create_pod(&self, name: &str, container: Value) {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": "node-1", "containers": [container]},
        });
        let pod = serde_json::from_value(pod).unwrap();
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
    }

    /// The pod, as soon as `is_wanted`.
    async fn until(&self, name: &str, is_wanted: impl Fn(&Pod) -> bool) -> Pod {
        let waiting = async {
            loop {
                let pod = self.pods().get(name).await.unwrap();
                if is_wanted(&pod) {
                    return pod;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        match waited {
            Ok(pod) => pod,
            Err(_) => panic!("{:#?}", self.pods().get(name).await.unwrap().status),
        }
    }

    async fn until_gone(&self, name: &str) {
        let waiting = async {
            while self.pods().get_opt(name).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.pods()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    fn log_of(&self, pod: &Pod) -> String {
        let folder = self.folder.path().join("pods").join(pod.uid().unwrap());
        std::fs::read_to_string(folder.join("app.log")).unwrap_or_default()
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn state(pod: &Pod) -> ContainerState {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|statuses| statuses.first())
        .and_then(|status| status.state.clone())
        .unwrap_or_default()
}

fn address(pod: &Pod, port: u16) -> SocketAddr {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.clone())
        .unwrap();
    SocketAddr::new(address.parse().unwrap(), port)
}

async fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TokioNet.connect(address, None).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_pod_of_an_unknown_image_answers_on_its_ports_until_it_is_deleted() {
    let world = world(1, "").await;
    let container = json!({
        "name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
    });
    world.create_pod("web", container).await;
    let pod = world.until("web", is_ready).await;
    let ready = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
    assert!(
        ready.iter().all(|condition| condition.reason.is_none()),
        "{ready:?}"
    );
    assert!(
        get(address(&pod, 8080))
            .await
            .unwrap()
            .contains(r#""pod":"web""#)
    );

    // A Service that comes later brings a port of its own.
    assert!(get(address(&pod, 9000)).await.is_err());
    let services: Api<Service> = Api::namespaced(world.client.clone(), "default");
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 9000}]},
    });
    let service = serde_json::from_value(service).unwrap();
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    let answering = async {
        while get(address(&pod, 9000)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answering).await.unwrap();

    world.delete("web").await;
    let leaving = world
        .until("web", |pod| pod.metadata.deletion_timestamp.is_some())
        .await;
    assert!(
        is_ready(&leaving),
        "a terminating pod stays ready: {leaving:?}"
    );
    assert!(
        get(address(&pod, 8080)).await.is_ok(),
        "and goes on for a moment"
    );
    world.until_gone("web").await;
    assert!(get(address(&pod, 8080)).await.is_err());
}

#[tokio::test]
async fn a_process_has_its_variables_its_token_and_time_to_end() {
    let script = "trap 'echo asked; exit 0' TERM; echo \"$LISTEN $1 $KUBECONFIG\"; while :; do sleep 0.05; done";
    let world = world(2, script).await;
    let container = json!({
        "name": "app", "image": "app", "command": ["run"], "args": ["--at=$(LISTEN)"],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LISTEN", "value": "$(POD_IP):80"},
        ],
    });
    world.create_pod("app", container).await;
    let pod = world
        .until("app", |pod| !world.log_of(pod).is_empty())
        .await;
    let log = world.log_of(&pod);
    let words: Vec<&str> = log.split_whitespace().collect();
    assert_eq!(words[..2], ["127.61.2.2:80", "--at=127.61.2.2:80"]);

    let kubeconfig: Value = serde_json::from_slice(&std::fs::read(words[2]).unwrap()).unwrap();
    let token_file = kubeconfig["users"][0]["user"]["tokenFile"]
        .as_str()
        .unwrap();
    assert!(!std::fs::read_to_string(token_file).unwrap().is_empty());
    let folder = Path::new(token_file).parent().unwrap();
    assert_eq!(
        std::fs::read_to_string(folder.join("namespace")).unwrap(),
        "default"
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("ca.crt")).unwrap(),
        "the authority"
    );

    world.until("app", is_ready).await;
    world.delete("app").await;
    world.until_gone("app").await;
    assert!(!folder.exists(), "nothing of the pod is left");
}

#[tokio::test]
async fn a_process_that_does_not_end_is_killed_after_its_grace() {
    let world = world(3, "trap '' TERM; echo up; while :; do sleep 0.05; done").await;
    world
        .create_pod("app", json!({"name": "app", "image": "app"}))
        .await;
    world.until("app", |pod| world.log_of(pod) == "up\n").await;
    let begin = tokio::time::Instant::now();
    let parameters = DeleteParams::default().grace_period(1);
    world.pods().delete("app", &parameters).await.unwrap();
    world.until_gone("app").await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_crash_is_shown_with_its_last_words_and_started_again() {
    let world = world(4, "echo it broke; exit 3").await;
    world
        .create_pod("app", json!({"name": "app", "image": "app"}))
        .await;
    let pod = world
        .until("app", |pod| {
            let waiting = state(pod).waiting.and_then(|waiting| waiting.message);
            waiting.is_some_and(|message| message.starts_with("back-off 10s restarting failed"))
        })
        .await;
    let status = &pod.status.unwrap().container_statuses.unwrap()[0];
    assert_eq!(status.restart_count, 1);
    let last = status
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!(
        (last.exit_code, last.message.as_deref()),
        (3, Some("it broke"))
    );
    world.delete("app").await;
    world.until_gone("app").await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let world = world(5, "").await;
    let _taken = TcpListener::bind("127.61.5.2:8080").unwrap();
    let web = json!({"name": "web", "image": "web", "ports": [{"containerPort": 8080}]});
    world.create_pod("taken", web).await;
    world
        .until("taken", |pod| reason(pod) == "CrashLoopBackOff")
        .await;
    let pod = world.pods().get("taken").await.unwrap();
    let status = &pod.status.unwrap().container_statuses.unwrap()[0];
    let last = status
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    let message = last.message.as_deref().unwrap_or_default();
    assert!(
        message.contains("127.61.5.2:8080") && message.contains("--pod-cidr"),
        "{message}"
    );

    let cases = [
        (
            json!({"name": "app", "image": "app", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}}]}),
            "CreateContainerConfigError",
            "configmap \"no\" not found",
        ),
        (
            json!({"name": "app", "image": "app", "command": ["other"]}),
            "RunContainerError",
            "executable file not found",
        ),
        (
            json!({"name": "app", "image": "app", "readinessProbe": {"exec": {"command": ["true"]}}}),
            "RunContainerError",
            "not modelled",
        ),
    ];
    for (index, (container, expected, message)) in cases.into_iter().enumerate() {
        let name = format!("broken-{index}");
        world.create_pod(&name, container).await;
        let pod = world.until(&name, |pod| reason(pod) == expected).await;
        let told = state(&pod).waiting.unwrap().message.unwrap_or_default();
        assert!(told.contains(message), "{name}: {told}");
        world.delete(&name).await;
        world.until_gone(&name).await;
    }
}

fn reason(pod: &Pod) -> String {
    let waiting = state(pod).waiting;
    waiting
        .and_then(|waiting| waiting.reason)
        .unwrap_or_default()
}
