//! A node with an API server, and nobody else: pods are bound to it by hand.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerState, ContainerStatus, Event, ServiceAccount,
};
use kube::api::{DeleteParams, PostParams};
use rand::SeedableRng;
use serde_json::{Value, json};
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::{self, Server};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    number: u8,
    client: kube::Client,
    access: ApiAccess,
    folder: tempfile::TempDir,
    _stop: stop::Handle,
    _server: JoinSet<()>,
    node: JoinSet<()>,
    node_stop: stop::Handle,
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
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let authority: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let published =
        json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "the authority"}});
    let published = serde_json::from_value(published).unwrap();
    authority
        .create(&PostParams::default(), &published)
        .await
        .unwrap();
    let mut world = World {
        number,
        client,
        access: ApiAccess {
            server: url,
            ca_pem: "the authority".to_owned(),
        },
        folder,
        _stop: stop,
        _server: tasks,
        node: JoinSet::new(),
        node_stop: stop::channel().0,
    };
    world.start_node().await;
    world
}

impl World {
    fn options(&self) -> Options<TokioNet> {
        let app = self.folder.path().join("app");
        let image = format!("app={}", app.display()).parse().unwrap();
        Options {
            name: "node-1".to_owned(),
            slice: format!("127.61.{}.0/24", self.number).parse().unwrap(),
            address: Ipv4Addr::new(127, 61, self.number, 1),
            net: TokioNet,
            client: self.client.clone(),
            access: self.access.clone(),
            images: Arc::new(Images::new(vec![image], None).unwrap()),
            launcher: None,
            folder: self.folder.path().join("pods"),
            rng: SmallRng::seed_from_u64(1),
        }
    }

    async fn start_node(&mut self) {
        let node = Node::register(self.options()).await.unwrap();
        let (stop, stopping) = stop::channel();
        self.node_stop = stop;
        self.node.spawn(node.run(stopping));
    }

    async fn stop_node(&mut self) {
        self.node_stop.stop();
        self.node.join_next().await.unwrap().unwrap();
    }

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
            json!({"name": "app", "image": "app", "readinessProbe": {"tcpSocket": {"port": "no"}}}),
            "RunContainerError",
            "the container has no port named",
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

/// Every Event about a pod, sorted: type, reason, field path, message and count.
async fn events(world: &World, name: &str) -> Vec<String> {
    let api: Api<Event> = Api::namespaced(world.client.clone(), "default");
    let events = api.list(&kube::api::ListParams::default()).await.unwrap();
    let about = events
        .items
        .into_iter()
        .filter(|event| event.involved_object.name.as_deref() == Some(name));
    let mut lines: Vec<String> = about
        .map(|event| {
            let source = event.source.unwrap();
            assert_eq!(source.component.as_deref(), Some("kubelet"));
            assert_eq!(source.host.as_deref(), Some("node-1"));
            format!(
                "{} {} {} {} ×{}",
                event.type_.unwrap(),
                event.reason.unwrap(),
                event.involved_object.field_path.unwrap_or_default(),
                event.message.unwrap(),
                event.count.unwrap()
            )
        })
        .collect();
    lines.sort();
    lines
}

async fn until_events(world: &World, name: &str, wanted: &[&str]) {
    let waiting = async {
        loop {
            let events = events(world, name).await;
            let is_there = |wanted: &&str| events.iter().any(|event| event.contains(wanted));
            if wanted.iter().all(is_there) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{wanted:?} are not all in {:#?}", events(world, name).await);
    }
}

#[tokio::test]
async fn a_pod_tells_of_its_life_as_on_a_real_node() {
    let world = world(6, "").await;
    let web = json!({"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]});
    world.create_pod("web", web).await;
    world.until("web", is_ready).await;
    world.delete("web").await;
    world.until_gone("web").await;
    let killing = "Normal Killing spec.containers{web} Stopping container web ×1";
    until_events(&world, "web", &[killing]).await;
    expect_test::expect![[r#"
        [
            "Normal Created spec.containers{web} Container created ×1",
            "Normal Killing spec.containers{web} Stopping container web ×1",
            "Normal Pulled spec.containers{web} Container image \"web:1\" already present on machine and can be accessed by the pod ×1",
            "Normal Started spec.containers{web} Container started ×1",
        ]
    "#]]
    .assert_debug_eq(&events(&world, "web").await);
    expect_test::expect![[r#"
        [
            "Normal NodeAllocatableEnforced  Updated Node Allocatable limit across pods ×1",
            "Normal NodeHasNoDiskPressure  Node node-1 status is now: NodeHasNoDiskPressure ×1",
            "Normal NodeHasSufficientMemory  Node node-1 status is now: NodeHasSufficientMemory ×1",
            "Normal NodeHasSufficientPID  Node node-1 status is now: NodeHasSufficientPID ×1",
            "Normal NodeReady  Node node-1 status is now: NodeReady ×1",
            "Normal Starting  Starting kubelet. ×1",
        ]
    "#]]
    .assert_debug_eq(&events(&world, "node-1").await);
}

fn container_status(pod: &Pod) -> ContainerStatus {
    let status = pod.status.clone().unwrap_or_default();
    let statuses = status.container_statuses.unwrap_or_default();
    statuses.into_iter().next().unwrap_or_default()
}

#[tokio::test]
async fn a_container_that_no_longer_lives_is_started_again() {
    let world = world(7, "trap 'exit 9' TERM; while :; do sleep 0.05; done").await;
    let sign = world.folder.path().join("alive");
    std::fs::write(&sign, "").unwrap();
    let probe = |period: u8| {
        json!({
            "exec": {"command": ["cat", sign]},
            "periodSeconds": period,
            "failureThreshold": 1,
            "timeoutSeconds": 30,
            "terminationGracePeriodSeconds": 20,
        })
    };
    let container = json!({
        "name": "app", "image": "app",
        "startupProbe": probe(1), "livenessProbe": probe(1),
    });
    world.create_pod("app", container).await;
    let pod = world.until("app", is_ready).await;
    assert_eq!(container_status(&pod).started, Some(true));

    std::fs::remove_file(&sign).unwrap();
    let pod = world
        .until("app", |pod| container_status(pod).restart_count == 1)
        .await;
    let last = container_status(&pod).last_state.unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 9, "it was asked to end");
    let pod = world
        .until("app", |pod| {
            let is_running = state(pod).running.is_some();
            let waits = reason(pod) == "CrashLoopBackOff";
            is_running || waits
        })
        .await;
    let status = container_status(&pod);
    assert_eq!(
        (status.ready, status.started),
        (false, Some(false)),
        "until the startup probe is content: {status:?}"
    );
    std::fs::write(&sign, "").unwrap();
    let events = [
        "Warning Unhealthy spec.containers{app} Liveness probe failed: /usr/bin/cat: ",
        "Normal Killing spec.containers{app} Container app failed liveness probe, will be restarted ×1",
    ];
    until_events(&world, "app", &events).await;
    world.until("app", is_ready).await;
    let started = "Normal Started spec.containers{app} Container started ×";
    until_events(&world, "app", &[started]).await;
}

#[tokio::test]
async fn hooks_run_at_the_begin_and_at_the_end() {
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let world = world(8, script).await;
    let note = world.folder.path().join("app/note");
    std::fs::write(&note, "#!/bin/sh\necho \"$1\" >> notes\nexit $2\n").unwrap();
    std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = |first: &str| {
        json!({
            "name": "app", "image": "app", "command": ["run"],
            "lifecycle": {
                "postStart": {"exec": {"command": ["note", "hello", first]}},
                "preStop": {"exec": {"command": ["note", "bye", "7"]}},
            },
        })
    };
    world.create_pod("app", hooks("0")).await;
    let pod = world.until("app", is_ready).await;
    let folder = world.folder.path().join("pods").join(pod.uid().unwrap());
    let notes = || std::fs::read_to_string(folder.join("notes")).unwrap_or_default();
    assert_eq!(notes(), "hello\n");
    world.delete("app").await;
    world.until_gone("app").await;
    until_events(
        &world,
        "app",
        &["FailedPreStopHook spec.containers{app} PreStopHook failed"],
    )
    .await;

    world.create_pod("sad", hooks("1")).await;
    let events = [
        "FailedPostStartHook spec.containers{app} PostStartHook failed",
        "Killing spec.containers{app} FailedPostStartHook",
    ];
    until_events(&world, "sad", &events).await;
    world
        .until("sad", |pod| container_status(pod).restart_count >= 1)
        .await;
}

#[tokio::test]
async fn what_does_not_restart_ends_in_a_phase() {
    let world = world(9, "exit $1").await;
    let pod = |name: &str, policy: &str, init: &str, code: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": "node-1", "restartPolicy": policy,
                "initContainers": [{"name": "init", "image": "app", "args": [init]}],
                "containers": [{"name": "app", "image": "app", "args": [code]}],
            },
        })
    };
    let cases = [
        ("good", "Never", "0", "0", "Succeeded", "PodCompleted"),
        ("bad", "Never", "0", "3", "Failed", "PodFailed"),
        ("early", "Never", "4", "0", "Failed", "PodFailed"),
        ("once", "OnFailure", "0", "0", "Succeeded", "PodCompleted"),
    ];
    for (name, policy, init, code, phase, reason) in cases {
        let pod = serde_json::from_value(pod(name, policy, init, code)).unwrap();
        let parameters = PostParams::default();
        world.pods().create(&parameters, &pod).await.unwrap();
        let is_over = |pod: &Pod| {
            let status = pod.status.as_ref();
            matches!(
                status.and_then(|status| status.phase.as_deref()),
                Some("Succeeded" | "Failed")
            )
        };
        let pod = world.until(name, is_over).await;
        let status = pod.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some(phase), "{name}");
        let conditions = status.conditions.unwrap();
        let mut ready = conditions.iter().filter(|it| it.type_ == "Ready");
        assert_eq!(ready.next().unwrap().reason.as_deref(), Some(reason));
        world.delete(name).await;
        world.until_gone(name).await;
    }
    let again = pod("again", "OnFailure", "0", "5");
    let again = serde_json::from_value(again).unwrap();
    world
        .pods()
        .create(&PostParams::default(), &again)
        .await
        .unwrap();
    let pod = world
        .until("again", |pod| reason(pod) == "CrashLoopBackOff")
        .await;
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Running"));
    let backoff = "Warning BackOff spec.containers{app} Back-off restarting failed container app in pod again_default(";
    until_events(&world, "again", &[backoff]).await;
}

#[tokio::test]
async fn a_sidecar_starts_before_and_ends_after_the_others() {
    let script = "trap 'echo $1 ends >> ../order; exit 0' TERM; echo $1 begins >> ../order; while :; do sleep 0.05; done";
    let world = world(10, script).await;
    let pod = json!({
        "metadata": {"name": "app"},
        "spec": {
            "nodeName": "node-1",
            "initContainers": [{
                "name": "side", "image": "app", "args": ["side"], "restartPolicy": "Always",
                "startupProbe": {"exec": {"command": ["test", "-s", "../order"]}, "periodSeconds": 1},
            }],
            "containers": [{"name": "app", "image": "app", "args": ["main"]}],
        },
    });
    let pod = serde_json::from_value(pod).unwrap();
    world
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    world.until("app", is_ready).await;
    let order = world.folder.path().join("pods/order");
    let begun = || std::fs::read_to_string(&order).unwrap_or_default();
    while !begun().contains("main begins") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.delete("app").await;
    world.until_gone("app").await;
    assert_eq!(
        std::fs::read_to_string(&order).unwrap(),
        "side begins\nmain begins\nmain ends\nside ends\n"
    );
}

#[tokio::test]
async fn a_readiness_gate_is_opened_by_somebody_else() {
    let world = world(11, "").await;
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": "node-1",
            "readinessGates": [{"conditionType": "example.com/in-table"}],
            "containers": [{"name": "web", "image": "web"}],
        },
    });
    let pod = serde_json::from_value(pod).unwrap();
    world
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
    let pod = world.until("web", |pod| container_status(pod).ready).await;
    assert!(!is_ready(&pod));
    for (status, ready) in [("False", false), ("True", true), ("False", false)] {
        let patch = json!({"status": {"conditions": [
            {"type": "example.com/in-table", "status": status},
        ]}});
        let patch = kube::api::Patch::Strategic(patch);
        let parameters = kube::api::PatchParams::default();
        let pods = world.pods();
        let patched = pods.patch_status("web", &parameters, &patch);
        patched.await.unwrap();
        let is_told = |pod: &Pod| {
            let said = serde_json::to_string(&pod.status).unwrap();
            ready || said.contains("is not \\\"True\\\"")
        };
        world
            .until("web", |pod| is_ready(pod) == ready && is_told(pod))
            .await;
    }
}

#[tokio::test]
async fn what_others_wrote_is_set_right_at_the_next_tick() {
    let world = world(12, "").await;
    world
        .create_pod("web", json!({"name": "web", "image": "web"}))
        .await;
    world.until("web", is_ready).await;
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let patch = kube::api::Patch::Strategic(patch);
    let parameters = kube::api::PatchParams::default();
    let pods = world.pods();
    let patched = pods.patch_status("web", &parameters, &patch);
    assert!(!is_ready(&patched.await.unwrap()));
    world.until("web", is_ready).await;
}

#[tokio::test]
async fn two_pods_do_not_share_a_port_of_the_node() {
    let world = world(13, "").await;
    let web = json!({
        "name": "web", "image": "web",
        "ports": [{"containerPort": 8080, "hostPort": 8080}],
    });
    world.create_pod("first", web.clone()).await;
    world.until("first", is_ready).await;
    world.create_pod("second", web.clone()).await;
    let pod = world
        .until("second", |pod| {
            pod.status
                .as_ref()
                .is_some_and(|status| status.phase.as_deref() == Some("Failed"))
        })
        .await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NodePorts"));
    let message =
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    assert_eq!(status.message, Some(format!("Pod was rejected: {message}")));
    until_events(
        &world,
        "second",
        &[&format!("Warning NodePorts  {message} ×1")],
    )
    .await;
    for name in ["first", "second"] {
        world.delete(name).await;
        world.until_gone(name).await;
    }
    world.create_pod("third", web).await;
    world.until("third", is_ready).await;
}

#[tokio::test]
async fn a_new_kubelet_starts_the_pods_of_the_old_one_again() {
    let mut world = world(14, "trap '' TERM; while :; do sleep 0.05; done").await;
    let app = json!({"name": "app", "image": "app"});
    for name in ["stays", "leaves"] {
        world.create_pod(name, app.clone()).await;
    }
    let before = world.until("stays", is_ready).await;
    world.until("leaves", is_ready).await;
    world.stop_node().await;
    world.delete("leaves").await;
    assert!(world.pods().get_opt("leaves").await.unwrap().is_some());
    world.start_node().await;
    world.until_gone("leaves").await;
    let after = world
        .until("stays", |pod| {
            is_ready(pod) && container_status(pod).restart_count == 1
        })
        .await;
    assert_eq!(
        address(&before, 1),
        address(&after, 1),
        "it keeps its address"
    );
    let start = |pod: &Pod| pod.status.as_ref().unwrap().start_time.clone();
    assert_eq!(start(&before), start(&after));
    let last = container_status(&after)
        .last_state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (255, Some("Unknown"))
    );
    until_events(
        &world,
        "stays",
        &["Normal SandboxChanged  Pod sandbox changed"],
    )
    .await;
}

#[tokio::test]
async fn a_task_that_fails_frees_the_address_of_its_pod() {
    let world = world(15, "").await;
    let mut node = Node::register(world.options()).await.unwrap();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }))
    .unwrap();
    let pod = Arc::new(pod);
    node.apply(&pod);
    let taken = node.pods["u"].address.unwrap();
    assert!(!node.pool.reserve(taken), "it is taken");
    let (id, _) = node.tasks.pop_first().unwrap();
    node.running.abort_all();
    assert!(
        node.running
            .join_next()
            .await
            .unwrap()
            .unwrap_err()
            .is_cancelled()
    );
    let task = node
        .running
        .spawn(async { panic!("as a fault of ours would") });
    assert_ne!(task.id(), id);
    node.tasks.insert(task.id(), "u".to_owned());
    let ended = node.running.join_next_with_id().await.unwrap();
    node.forget(ended);
    assert!(node.pods.is_empty() && node.tasks.is_empty());
    assert!(node.pool.reserve(taken), "it is free again");
}
