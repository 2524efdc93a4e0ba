//! `tiergate-sim attach` as a user runs it, on an API server with controllers in this process: what it refuses, and a Deployment whose
//! image changes from one folder of programs to another.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;
use tiergate_sim::account::Account;
use tiergate_sim::{actors, api};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(120);

/// What the pods of the test listen on.
const PORT: u16 = 8000;

/// An API server and its controllers. They end with this value.
struct World {
    client: kube::Client,
    folder: tempfile::TempDir,
    url: String,
    _parts: JoinSet<()>,
}

// === impl World ===

impl World {
    async fn start() -> Self {
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
        let mut parts = JoinSet::new();
        parts.spawn(bound.run(std::future::pending()));
        let options = actors::Options::new(1, "the authority".to_owned());
        let clients = |account: &Account| client_of(server.token_of(account));
        let actors = actors::start_all(clients, options).unwrap();
        parts.spawn(async move { actors.run(std::future::pending()).await.unwrap() });
        let world = Self {
            client,
            folder: tempfile::tempdir().unwrap(),
            url,
            _parts: parts,
        };
        world.write_kubeconfig("good", &world.url, "secret");
        let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), "default");
        eventually("the ServiceAccount", || async {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_kubeconfig(&self, name: &str, server: &str, token: &str) {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        fs::write(self.path(name), kubeconfig.to_string()).unwrap();
    }

    /// `tiergate-sim attach` with the service proxy off: the Services of this world have addresses that nobody can bind.
    fn attach(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiergate-sim"));
        command
            .args(["attach", "--service-proxy", "off"])
            // Under cargo it would build the tiers first.
            .env_remove("CARGO")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// What it says and how it ends.
    async fn attach_in_vain(&self, arguments: &str) -> Output {
        let output = self.attach().args(arguments.split_whitespace()).output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        output.expect("it ends").unwrap()
    }

    /// A folder with a program that answers with `text`.
    fn image(&self, text: &str) -> PathBuf {
        let folder = self.path(text);
        fs::create_dir(&folder).unwrap();
        let itself = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nANSWER={text} exec {} --exact the_program_of_the_pods\n",
            itself.display()
        );
        let program = folder.join("run");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// What the pods of an image answer, as soon as two of them, and no other pods, are there and do.
    async fn answers(&self, image: &str) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        eventually(&format!("pods of {image}"), || async {
            let list = pods.list(&ListParams::default()).await.unwrap().items;
            let is_of_image = |pod: &Pod| {
                let spec = pod.spec.as_ref().unwrap();
                spec.containers[0].image.as_deref() == Some(image)
            };
            if list.len() != 2 || !list.iter().all(is_of_image) {
                return None;
            }
            list.iter().map(answer_of).collect()
        })
        .await
    }
}

/// The first line of what a pod says.
fn answer_of(pod: &Pod) -> Option<String> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let mut stream = TcpStream::connect(SocketAddr::new(address, PORT)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Not a test: pods run this very program, so that they need nothing else of the machine. Started with the tests, it does nothing.
#[test]
fn the_program_of_the_pods() {
    let Ok(answer) = std::env::var("ANSWER") else {
        return;
    };
    let address: std::net::IpAddr = std::env::var("POD_IP").unwrap().parse().unwrap();
    let listener = TcpListener::bind(SocketAddr::new(address, PORT)).unwrap();
    for stream in listener.incoming() {
        // Whoever only connects, as the probe does, hears nothing and harms nobody.
        let _ = stream.and_then(|mut stream| writeln!(stream, "{answer}"));
    }
}

/// Arguments, the exit code that they earn, and what the sentence holds.
fn wrong(world: &World) -> Vec<(String, i32, &'static str)> {
    let file = |name: &str| world.path(name).display().to_string();
    let good = format!("--nodes 1 --kubeconfig {}", file("good"));
    vec![
        (String::new(), 2, "--kubeconfig <FILE>"),
        (
            "--kubeconfig /nowhere/at/all".to_owned(),
            3,
            "cannot use the kubeconfig /nowhere/at/all",
        ),
        (
            format!("--kubeconfig {}", file("broken")),
            3,
            "name one with --kubeconfig that kubectl can use",
        ),
        (
            format!("{good} --context other"),
            3,
            "name one with --kubeconfig that kubectl can use",
        ),
        (
            format!("--kubeconfig {}", file("away")),
            4,
            "see that it runs and that --kubeconfig names the right place",
        ),
        (
            format!("--kubeconfig {}", file("stranger")),
            3,
            "get a new kubeconfig with valid credentials",
        ),
        (
            format!("{good} --node-prefix there --pod-cidr 127.64.0.0/24"),
            3,
            "`kubectl delete node there1`",
        ),
        (
            format!("{good} --pod-cidr 127.64.64.0/24"),
            3,
            "overlaps 127.64.64.0/24, which the cluster uses for pods of node there1",
        ),
        (
            format!("{good} --pod-cidr 127.64.0.0/24 --node-cidr 127.64.64.0/26"),
            3,
            "choose another --node-cidr",
        ),
        (
            format!("{good} --pod-cidr 10.96.0.0/24"),
            3,
            "which the cluster uses for Service",
        ),
        (
            format!("{good} --pod-cidr 203.0.113.0/24"),
            4,
            "`ip route add local 203.0.113.0/24 dev lo`",
        ),
        (
            format!("{good} --pod-cidr 127.64.80.0/24"),
            4,
            "cannot listen on 127.64.80.1:10250",
        ),
        (
            format!("{good} --image a:1={}", file("empty")),
            3,
            "holds no executable file",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_in_one_sentence_with_the_cure() {
    let world = World::start().await;
    fs::write(world.path("broken"), "a: b: c\nd").unwrap();
    world.write_kubeconfig("stranger", &world.url, "wrong");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    world.write_kubeconfig("away", &format!("http://{address}"), "secret");
    fs::create_dir(world.path("empty")).unwrap();
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = json!({"metadata": {"name": "there1"}, "spec": {"podCIDR": "127.64.64.0/24", "podCIDRs": ["127.64.64.0/24"]}});
    let node = serde_json::from_value(node).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let _kubelet = TcpListener::bind("127.64.80.1:10250").unwrap();

    for (arguments, code, sentence) in wrong(&world) {
        let output = world.attach_in_vain(&arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
        assert!(said.contains(sentence), "{arguments}: {said}");
        let errors = said.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{arguments}: {said}");
        if code != 2 {
            let last = said.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("error: "),
                "{arguments}: more than a sentence: {said}"
            );
        }
    }
    let there = nodes.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(there.len(), 1, "a node was added in vain: {there:#?}");
}

/// Two pods of the image `app:1`.
fn deployment() -> Deployment {
    let deployment = json!({
        "metadata": {"name": "app"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "app", "image": "app:1",
                    "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                }]},
            },
        },
    });
    serde_json::from_value(deployment).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_image_is_another_program_and_nothing_stays_at_the_end() {
    let world = World::start().await;
    let image = |tag: &str, folder: &Path| format!("app:{tag}={}", folder.display());
    let mut attached = world
        .attach()
        .arg("--kubeconfig")
        .arg(world.path("good"))
        .args([
            "--nodes",
            "2",
            "--pod-cidr",
            "127.65.0.0/24",
            "--node-prefix",
            "w-",
        ])
        .args(["--image", &image("1", &world.image("old"))])
        .args(["--image", &image("2", &world.image("new"))])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    let ready =
        async { while lines.next_line().await.unwrap().expect("it says `ready`") != "ready" {} };
    tokio::time::timeout(PATIENCE, ready)
        .await
        .expect("it is ready in time");

    let deployment = deployment();
    let by = PostParams::default();
    world.deployments().create(&by, &deployment).await.unwrap();
    assert_eq!(world.answers("app:1").await, ["old", "old"]);
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}});
    let change = Patch::Strategic(change);
    let by = PatchParams::default();
    let deployments = world.deployments();
    deployments.patch("app", &by, &change).await.unwrap();
    assert_eq!(world.answers("app:2").await, ["new", "new"]);

    let process = Pid::from_raw(attached.id().unwrap().try_into().unwrap());
    kill(process, Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(PATIENCE, attached.wait()).await;
    let status = ended.expect("it ends in time").unwrap();
    assert_eq!(status.code(), Some(0));
    let nodes: Api<Node> = Api::all(world.client.clone());
    assert!(
        nodes
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "kube-node-lease");
    assert!(
        leases
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let pods: Api<Pod> = Api::all(world.client.clone());
    let bound = pods.list(&ListParams::default()).await.unwrap().items;
    let bound = bound
        .iter()
        .filter(|pod| pod.spec.as_ref().unwrap().node_name.is_some());
    assert_eq!(bound.count(), 0);
}
