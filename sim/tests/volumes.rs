//! A node whose pods are started by the real program: their mount namespaces, volumes and what they leave behind (nothing).
//!
//! Mount namespaces need root or something like it: where there is none, each test says so and looks at what is there instead.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiergate_data_plane::net::TokioNet;
use tiergate_sim::api::{self, Server};
use tiergate_sim::images::Images;
use tiergate_sim::kubelet::{ApiAccess, Launcher, Node, Options};
use tiergate_sim::stop;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    client: kube::Client,
    folder: tempfile::TempDir,
    launcher: Launcher,
    _stop: stop::Handle,
    _tasks: JoinSet<()>,
}

/// An API server and one node with addresses in 127.63.NUMBER.0/24. The image `app` runs `script`.
async fn world(number: u8, script: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("app");
    fs::create_dir(&programs).unwrap();
    let program = programs.join("run");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let image = format!("app={}", programs.display()).parse().unwrap();
    let server = Server::new(api::Options::new("admin", 1));
    let address = "127.0.0.1:0".parse().unwrap();
    let bound = server.bind(&TokioNet, address, None).await.unwrap();
    let url = format!("http://{}", bound.address().unwrap());
    let (stop, stopping) = stop::channel();
    let mut tasks = JoinSet::new();
    let mut signal = stopping.clone();
    tasks.spawn(bound.run(async move { signal.wait().await }));
    let mut config = kube::Config::new(url.parse().unwrap());
    config.auth_info.token = Some("admin".to_owned().into());
    let client = tiergate_control_plane::platform::kube_client(TokioNet, config).unwrap();

    let program = PathBuf::from(env!("CARGO_BIN_EXE_tiergate-sim"));
    let launcher = Launcher::new(program, folder.path()).await;
    let world = World {
        client: client.clone(),
        launcher: launcher.clone(),
        _stop: stop,
        _tasks: JoinSet::new(),
        folder,
    };
    let account = json!({"metadata": {"name": "default"}});
    world.create::<ServiceAccount>(account).await;
    let authority =
        json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "the authority"}});
    world.create::<ConfigMap>(authority).await;
    let node = Node::register(Options {
        name: "node-1".to_owned(),
        slice: format!("127.63.{number}.0/24").parse().unwrap(),
        address: Ipv4Addr::new(127, 63, number, 1),
        net: TokioNet,
        client,
        access: ApiAccess {
            server: url,
            ca_pem: String::new(),
        },
        images: Arc::new(Images::new(vec![image], None).unwrap()),
        launcher: Some(launcher),
        folder: world.folder.path().join("pods"),
        rng: SmallRng::seed_from_u64(1),
    })
    .await
    .unwrap();
    tasks.spawn(node.run(stopping));
    World {
        _tasks: tasks,
        ..world
    }
}

impl World {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let created = self.api().create(&PostParams::default(), &object).await;
        created.unwrap();
    }

    /// A pod with one container of the image `app`.
    async fn create_pod(&self, container: Value, volumes: Value) {
        let mut container = container;
        container["name"] = json!("app");
        container["image"] = json!("app:1");
        self.create::<Pod>(json!({
            "metadata": {"name": "pod", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "containers": [container], "volumes": volumes},
        }))
        .await;
    }

    /// Deletes the pod at once, and waits until another one may have its name.
    async fn delete_pod(&self) {
        let pods: Api<Pod> = self.api();
        let now = DeleteParams::default().grace_period(0);
        pods.delete("pod", &now).await.unwrap();
        let going = async {
            while pods.get_opt("pod").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, going)
            .await
            .expect("the pod goes");
    }

    /// What the container printed, as soon as it printed a line that is `end`.
    async fn output(&self) -> Vec<String> {
        let log = self.until(|pod| {
            let uid = pod.metadata.uid.clone().unwrap();
            let log = self.folder.path().join("pods").join(uid).join("app.log");
            let text = fs::read_to_string(log).unwrap_or_default();
            text.lines().any(|line| line == "end").then_some(text)
        });
        log.await.lines().map(str::to_owned).collect()
    }

    async fn until<T>(&self, seen: impl Fn(&Pod) -> Option<T>) -> T {
        let pods: Api<Pod> = self.api();
        let waiting = async {
            loop {
                if let Some(found) = seen(&pods.get("pod").await.unwrap()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{:#?}", pods.get("pod").await.unwrap().status),
        }
    }

    /// Whether pods have mount namespaces here. Where they have none, the reason is shown.
    fn has_mounts(&self) -> bool {
        if let Some(note) = self.launcher.note() {
            eprintln!("skipped: {note}");
        }
        self.launcher.without_mounts.is_none()
    }
}

/// The mount table of this very process: what pods mount must not be in it.
fn machine() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Prints what it sees of each volume, and tries to write.
const LOOK: &str = "
cd /tiergate-test-volumes || exit 1
echo \"$(cat settings/colour) $(cat settings/sub/shape)\"
echo \"$(cat /tiergate-test-volumes/one-file)\"
echo \"$(cat keys/key) $(stat -L -c %a keys/key)\"
echo \"$(cat pod/labels) $(cat pod/name)\"
account=/var/run/secrets/kubernetes.io/serviceaccount
echo \"$(cat $account/namespace) $(cat $account/ca.crt) $(wc -w < $account/token)\"
echo \"$KUBERNETES_SERVICE_HOST ${KUBECONFIG:-no kubeconfig}\"
echo written > data/file && cat data/file
echo written > settings/colour || echo settings are read-only
echo written > /tiergate-test-root && cat /tiergate-test-root
cat host/from-the-machine; echo from-the-pod > host/from-the-pod
echo end; sleep 1000";

/// Mounts and volumes of a pod that has one of each kind.
fn one_of_each(host: &Path) -> (Value, Value) {
    let at = |name: &str, path: &str| json!({"name": name, "mountPath": format!("/tiergate-test-volumes/{path}")});
    let mut one_file = at("settings", "one-file");
    one_file["subPath"] = json!("colour");
    let mounts = json!([
        at("settings", "settings"),
        one_file,
        at("keys", "keys"),
        at("pod", "pod"),
        at("data", "data"),
        at("host", "host"),
    ]);
    let volumes = json!([
        {"name": "settings", "configMap": {"name": "settings", "items": [
            {"key": "colour", "path": "colour"}, {"key": "shape", "path": "sub/shape"}]}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 256}},
        {"name": "pod", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "data", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
    ]);
    (mounts, volumes)
}

#[tokio::test]
async fn a_container_sees_its_volumes_where_it_mounts_them_and_the_machine_sees_nothing() {
    let world = world(1, LOOK).await;
    if !world.has_mounts() {
        return;
    }
    let host = world.folder.path().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("from-the-machine"), "from-the-machine\n").unwrap();
    let settings =
        json!({"metadata": {"name": "settings"}, "data": {"colour": "blue", "shape": "round"}});
    world.create::<ConfigMap>(settings).await;
    let keys = json!({"metadata": {"name": "keys"}, "stringData": {"key": "secret"}});
    world.create::<Secret>(keys).await;
    let before = machine();
    let (mounts, volumes) = one_of_each(&host);
    world
        .create_pod(json!({"volumeMounts": mounts}), volumes)
        .await;

    let output = world.output().await;
    let expected = [
        "blue round",
        "blue",
        "secret 400",
        "app=\"web\" pod",
        "default the authority 1",
        "127.0.0.1 no kubeconfig",
        "written",
    ];
    assert_eq!(output[..expected.len()], expected);
    let rest = &output[expected.len()..];
    for line in [
        "settings are read-only",
        "written",
        "from-the-machine",
        "end",
    ] {
        assert!(rest.iter().any(|found| found == line), "{line}: {rest:?}");
    }
    assert_eq!(
        machine(),
        before,
        "a mount of the pod is seen outside of it"
    );
    for path in ["/tiergate-test-root", "/tiergate-test-volumes"] {
        assert!(
            !Path::new(path).exists(),
            "{path} was written on the machine"
        );
    }
    let written = fs::read_to_string(host.join("from-the-pod")).unwrap();
    assert_eq!(written, "from-the-pod\n");
}

#[tokio::test]
async fn a_read_only_root_takes_writes_to_volumes_only() {
    let script = "
touch /tiergate-test-root 2>/dev/null || echo root is read-only
touch /var/tmp/tiergate-test 2>/dev/null || echo var is read-only
touch /data/file && echo data is not
pwd
echo end; sleep 1000";
    let world = world(2, script).await;
    if !world.has_mounts() {
        return;
    }
    let container = json!({
        "securityContext": {"readOnlyRootFilesystem": true},
        "workingDir": "/data",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    world
        .create_pod(container, json!([{"name": "data", "emptyDir": {}}]))
        .await;
    let expected = [
        "root is read-only",
        "var is read-only",
        "data is not",
        "/data",
        "end",
    ];
    assert_eq!(world.output().await, expected);
}

#[tokio::test]
async fn a_pod_waits_for_a_volume_whose_source_is_missing() {
    let world = world(3, "echo end; sleep 1000").await;
    let volumes = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
    let container =
        json!({"volumeMounts": [{"name": "settings", "mountPath": "/tiergate-test-settings"}]});
    world.create_pod(container, volumes).await;
    let sentence =
        "MountVolume.SetUp failed for volume \"settings\" : configmap \"settings\" not found";
    let events: Api<Event> = world.api();
    let told = async {
        loop {
            let list = events.list(&ListParams::default()).await.unwrap();
            let is_it = |event: &Event| {
                event.reason.as_deref() == Some("FailedMount")
                    && event.message.as_deref() == Some(sentence)
            };
            if list.items.iter().any(is_it) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("the event comes");
    let reason = world
        .until(|pod| {
            let status = pod.status.as_ref()?.container_statuses.as_ref()?;
            status[0].state.as_ref()?.waiting.as_ref()?.reason.clone()
        })
        .await;
    assert_eq!(reason, "ContainerCreating");
    let settings = json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}});
    world.create::<ConfigMap>(settings).await;
    assert_eq!(world.output().await, ["end"]);
}

#[tokio::test]
async fn hostile_mounts_make_nothing_on_the_machine() {
    let script = "touch /dev/shm/tiergate-test-left && echo has shared memory
[ -d /tiergate-test-all/proc ] && echo sees the machine
echo end; sleep 1000";
    let world = world(8, script).await;
    if !world.has_mounts() {
        return;
    }
    let machine_folder = world.folder.path().join("machine");
    let host = world.folder.path().join("host");
    fs::create_dir(&machine_folder).unwrap();
    fs::create_dir(&host).unwrap();
    // Where the machine's files are while a container is prepared, and a link there that an earlier container may have left.
    let old_root = format!("/.machine{}", machine_folder.display());
    std::os::unix::fs::symlink(&old_root, host.join("link")).unwrap();
    let volumes = json!([
        {"name": "data", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": &host}},
        {"name": "all", "hostPath": {"path": "/"}},
    ]);
    let data = |path: &str| json!({"name": "data", "mountPath": path});
    let container = json!({"volumeMounts": [data(&format!("{old_root}/by-name")), data("/../tiergate-test-up/../x"),
        {"name": "all", "mountPath": "/tiergate-test-all"}]});
    world.create_pod(container, volumes.clone()).await;
    assert_eq!(
        world.output().await,
        ["has shared memory", "sees the machine", "end"]
    );

    for (container, words) in [
        (
            json!({"volumeMounts": [{"name": "host", "mountPath": "/v"}, data("/v/link/by-link")]}),
            "cannot mount /v/link/by-link",
        ),
        (
            json!({"volumeMounts": [data("/dev/tiergate-test")]}),
            "/dev is the machine's, where nothing is made",
        ),
        (
            json!({"workingDir": "/dev/tiergate-test"}),
            "/dev is the machine's, where nothing is made",
        ),
        (
            json!({"volumeMounts": [data("/")]}),
            "a volume cannot be the root",
        ),
    ] {
        world.delete_pod().await;
        world.create_pod(container, volumes.clone()).await;
        let message = world
            .until(|pod| {
                let status = pod.status.as_ref()?.container_statuses.as_ref()?;
                let ended = status[0].last_state.as_ref()?.terminated.as_ref()?;
                assert_eq!(ended.exit_code, 126);
                ended.message.clone()
            })
            .await;
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(fs::read_dir(&machine_folder).unwrap().count(), 0);
    for path in [
        "/dev/tiergate-test",
        "/dev/shm/tiergate-test-left",
        "/tiergate-test-up",
        "/tiergate-test-all",
        "/x",
    ] {
        assert!(!Path::new(path).exists(), "{path} was made on the machine");
    }
}
