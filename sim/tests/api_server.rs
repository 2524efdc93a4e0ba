//! The model of the API server as kube-rs sees it: over TLS and HTTP, with the client and the watcher of the product.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use serde_json::json;
use tiergate_data_plane::net::TokioNet;
use tiergate_sim::api::{Options, Server, tls};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for the slowest machine; no test waits for it unless it fails.
const LIMIT: Duration = Duration::from_secs(30);

struct Running {
    server: Server,
    client: Client,
    ca_pem: String,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        Self::start_with(Options::new("secret", 7)).await
    }

    async fn start_with(options: Options) -> Self {
        let server = Server::new(options);
        let identity = tls::identity(&[]).expect("a certificate");
        let address = "127.0.0.1:0".parse().expect("an address");
        let bound = server
            .bind(&TokioNet, address, Some(identity.acceptor))
            .await
            .expect("bound");
        let address = bound.address().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(bound.run(async { _ = stopped.await }));
        let (port, ca_pem) = (address.port(), identity.ca_pem);
        let client = client(port, &ca_pem, "secret").await;
        Self {
            server,
            client,
            ca_pem,
            port,
            stop: Some(stop),
            task,
        }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn as_user(&self, token: &str) -> Client {
        client(self.port, &self.ca_pem, token).await
    }

    async fn stop(mut self) {
        drop(self.client);
        drop(self.stop.take());
        within(self.task).await.expect("the server ends cleanly");
    }
}

async fn client(port: u16, ca_pem: &str, token: &str) -> Client {
    _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca_pem),
        }}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it takes too long")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(
        json!({"metadata": {"name": name, "labels": {"app": "web"}}, "data": {"key": value}}),
    )
    .expect("a ConfigMap")
}

fn value_of(object: &ConfigMap) -> &str {
    object
        .data
        .as_ref()
        .and_then(|data| data.get("key"))
        .map_or("", String::as_str)
}

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let running = Running::start().await;
    let maps = running.config_maps();
    let made = maps
        .create(&PostParams::default(), &config_map("one", "1"))
        .await
        .expect("created");
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());

    let taken = maps
        .create(&PostParams::default(), &config_map("one", "1"))
        .await
        .expect_err("the name is taken");
    assert!(matches!(taken, kube::Error::Api(status) if status.code == 409));

    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    let changed = maps
        .patch("one", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_eq!(value_of(&changed), "2");

    let stale = maps
        .replace("one", &PostParams::default(), &made)
        .await
        .expect_err("another version");
    assert!(matches!(stale, kube::Error::Api(status) if status.reason == "Conflict"));

    let list = maps
        .list(&ListParams::default().labels("app=web"))
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
    let answer = maps
        .delete("one", &DeleteParams::default())
        .await
        .expect("deleted");
    assert!(
        answer.is_right(),
        "a finished deletion answers with a Status"
    );
    assert!(maps.get_opt("one").await.expect("asked").is_none());
    running.stop().await;
}

#[tokio::test]
async fn an_object_with_finalizers_stays_until_the_last_one_goes() {
    let running = Running::start().await;
    let maps = running.config_maps();
    let mut held = config_map("held", "1");
    held.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    maps.create(&PostParams::default(), &held)
        .await
        .expect("created");
    let answer = maps
        .delete("held", &DeleteParams::default())
        .await
        .expect("asked");
    let waiting = answer
        .left()
        .expect("an object that waits answers with itself");
    assert!(waiting.metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &patch)
        .await
        .expect("released");
    assert!(maps.get_opt("held").await.expect("asked").is_none());
    running.stop().await;
}

#[tokio::test]
async fn the_watcher_sees_what_exists_and_then_every_change_once() {
    let running = Running::start().await;
    let maps = running.config_maps();
    for name in ["b", "a"] {
        maps.create(&PostParams::default(), &config_map(name, "0"))
            .await
            .expect("created");
    }
    let mut events = watcher(maps.clone(), watcher::Config::default().timeout(20)).boxed();
    let mut initial = Vec::new();
    within(async {
        while let Some(event) = events.try_next().await.expect("no error") {
            match event {
                watcher::Event::InitApply(object) => {
                    initial.push(object.metadata.name.unwrap_or_default())
                }
                watcher::Event::InitDone => return,
                watcher::Event::Init | watcher::Event::Apply(_) | watcher::Event::Delete(_) => {}
            }
        }
    })
    .await;
    assert_eq!(initial, ["a", "b"]);

    const CHANGES: usize = 300;
    for change in 1..=CHANGES {
        let patch = Patch::Merge(json!({"data": {"key": change.to_string()}}));
        maps.patch("a", &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }
    maps.delete("b", &DeleteParams::default())
        .await
        .expect("deleted");
    let mut seen = Vec::new();
    within(async {
        while let Some(event) = events.try_next().await.expect("no error") {
            match event {
                watcher::Event::Apply(object) => seen.push(value_of(&object).to_owned()),
                watcher::Event::Delete(object) => {
                    return assert_eq!(object.metadata.name.as_deref(), Some("b"));
                }
                watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => {
                    panic!("the watch began anew")
                }
            }
        }
    })
    .await;
    let wanted: Vec<String> = (1..=CHANGES).map(|change| change.to_string()).collect();
    assert_eq!(seen, wanted, "no change is lost or doubled");
    running.stop().await;
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_ends_with_410() {
    const HISTORY_MAX: usize = 10;
    let options = Options {
        history_max: HISTORY_MAX,
        ..Options::new("secret", 7)
    };
    let running = Running::start_with(options).await;
    let maps = running.config_maps();
    maps.create(&PostParams::default(), &config_map("one", "0"))
        .await
        .expect("created");
    for change in 0..HISTORY_MAX + 2 {
        let patch = Patch::Merge(json!({"data": {"key": change.to_string()}}));
        maps.patch("one", &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }
    let mut events = maps
        .watch(&WatchParams::default().timeout(10), "2")
        .await
        .expect("the stream opens")
        .boxed();
    let first = within(events.try_next())
        .await
        .expect("an event")
        .expect("an event");
    assert!(
        matches!(first, WatchEvent::Error(status) if status.code == 410 && status.reason == "Expired")
    );
    running.stop().await;
}

#[tokio::test]
async fn a_watch_with_initial_events_ends_them_with_a_bookmark() {
    let running = Running::start().await;
    let maps = running.config_maps();
    maps.create(&PostParams::default(), &config_map("one", "0"))
        .await
        .expect("created");
    let parameters = WatchParams::default().initial_events();
    let mut events = maps
        .watch(&parameters, "0")
        .await
        .expect("the stream opens")
        .boxed();
    let first = within(events.try_next())
        .await
        .expect("an event")
        .expect("an event");
    assert!(matches!(first, WatchEvent::Added(_)));
    let second = within(events.try_next())
        .await
        .expect("an event")
        .expect("an event");
    assert!(
        matches!(second, WatchEvent::Bookmark(mark) if mark.metadata.annotations.contains_key("k8s.io/initial-events-end"))
    );
    running.stop().await;
}

#[tokio::test]
async fn pods_get_a_service_account_and_services_an_address_that_no_other_has() {
    let running = Running::start().await;
    let pods: Api<Pod> = Api::namespaced(running.client.clone(), "default");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    }))
    .expect("a pod");
    let refused = pods
        .create(&PostParams::default(), &pod)
        .await
        .expect_err("there is no service account");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(running.client.clone(), "default");
    let account =
        serde_json::from_value(json!({"metadata": {"name": "default"}})).expect("an account");
    accounts
        .create(&PostParams::default(), &account)
        .await
        .expect("created");
    let made = pods
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    assert_eq!(
        made.spec
            .and_then(|spec| spec.service_account_name)
            .as_deref(),
        Some("default")
    );

    let services: Api<Service> = Api::namespaced(running.client.clone(), "default");
    let mut addresses = BTreeMap::new();
    for index in 0..50 {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": format!("s{index}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]},
        }))
        .expect("a service");
        let made = services
            .create(&PostParams::default(), &service)
            .await
            .expect("created");
        let address = made
            .spec
            .and_then(|spec| spec.cluster_ip)
            .expect("an address");
        assert!(
            addresses.insert(address.clone(), index).is_none(),
            "{address} was given twice"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_token_speaks_for_its_account_and_the_log_tells_who_asked_for_what() {
    let running = Running::start().await;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(running.client.clone(), "default");
    let account =
        serde_json::from_value(json!({"metadata": {"name": "tier"}})).expect("an account");
    accounts
        .create(&PostParams::default(), &account)
        .await
        .expect("created");
    let request = serde_json::from_value(json!({"spec": {"audiences": []}})).expect("a request");
    let answer = accounts
        .create_token_request("tier", &PostParams::default(), &request)
        .await
        .expect("issued");
    let token = answer.status.expect("a status").token.expect("a token");
    let stranger = running.as_user("not a token").await;
    let refused = Api::<Namespace>::all(stranger)
        .list(&ListParams::default())
        .await
        .expect_err("unknown");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 401));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("requests.jsonl");
    running.server.log_requests_in(&file).expect("opened");
    let tier = running.as_user(&token).await;
    Api::<ConfigMap>::namespaced(tier, "default")
        .list(&ListParams::default())
        .await
        .expect("listed");
    let last = running.server.requests().pop().expect("a request");
    assert_eq!(last.user, "system:serviceaccount:default:tier");
    assert_eq!(
        (
            last.verb.as_str(),
            last.resource.as_str(),
            last.namespace.as_str()
        ),
        ("list", "configmaps", "default")
    );
    let written = std::fs::read_to_string(&file).expect("readable");
    let line: serde_json::Value = serde_json::from_str(&written).expect("one line of JSON");
    assert_eq!(line, serde_json::to_value(&last).expect("an entry"));
    assert_eq!(line["code"], 200);
    accounts
        .delete("tier", &DeleteParams::default())
        .await
        .expect("deleted");
    let late = running.as_user(&token).await;
    let refused = Api::<ConfigMap>::namespaced(late, "default")
        .list(&ListParams::default())
        .await
        .expect_err("gone");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 401));
    running.stop().await;
}

#[tokio::test]
async fn the_servers_own_service_names_where_it_listens_and_comes_back() {
    let running = Running::start().await;
    let services: Api<Service> = Api::namespaced(running.client.clone(), "default");
    let slices: Api<EndpointSlice> = Api::namespaced(running.client.clone(), "default");

    let service = services.get("kubernetes").await.expect("it is there");
    let spec = service.spec.expect("a spec");
    assert_eq!(spec.cluster_ip.as_deref(), Some("10.96.0.1"));
    let ports = spec.ports.expect("ports");
    assert_eq!(
        (ports[0].name.as_deref(), ports[0].port),
        (Some("https"), 443)
    );

    let slice = slices.get("kubernetes").await.expect("it is there");
    let endpoints = slice.endpoints.expect("endpoints");
    assert_eq!(endpoints[0].addresses, ["127.0.0.1"]);
    assert_eq!(
        slice.ports.expect("ports")[0].port,
        Some(i32::from(running.port))
    );

    let deletion = DeleteParams::default();
    services
        .delete("kubernetes", &deletion)
        .await
        .expect("may be deleted");
    slices
        .delete("kubernetes", &deletion)
        .await
        .expect("may be deleted");
    let is_back = async {
        while services.get("kubernetes").await.is_err() || slices.get("kubernetes").await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(is_back).await;
    running.stop().await;
}
