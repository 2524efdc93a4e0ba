use k8s_openapi::api::{core, discovery, networking};
use serde_json::{Value, json};
use tiergate_data_plane::metrics::Metrics as DataPlaneMetrics;
use tiergate_data_plane::net::TokioNet;

use super::*;
use crate::objects::certificate::tests::pem;
use crate::objects::ingress::spec::Tls;
use crate::objects::{Content, Object};
use crate::scope::ObjectName;
use crate::watch::mock;

/// A control plane without watches: the test is the source of news.
struct World {
    news: mpsc::Sender<News>,
    handle: Handle,
    cell: Arc<SnapshotCell>,
    registry: Registry,
    _task: tokio::task::JoinSet<()>,
}

fn scope() -> Scope {
    Scope {
        classes: vec!["tiergate".to_owned()],
        ..Scope::default()
    }
}

fn parts(client: kube::Client) -> (ControlPlane, Handle, Arc<SnapshotCell>, Registry) {
    let mut registry = Registry::default();
    let cell = Arc::new(SnapshotCell::new(DataPlaneMetrics::register(&mut registry)));
    let platform = Platform {
        net: TokioNet,
        client,
        seed: 7,
        identity: crate::platform::Identity::new([], "here".to_owned()),
    };
    let (control_plane, handle) =
        ControlPlane::new(&platform, scope(), Arc::clone(&cell), &mut registry);
    (control_plane, handle, cell, registry)
}

impl World {
    fn new() -> Self {
        let (mut control_plane, handle, cell, registry) = parts(mock::client().0);
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { control_plane.publish_changes(receiver).await });
        Self {
            news,
            handle,
            cell,
            registry,
            _task: tasks,
        }
    }

    async fn synced() -> Self {
        let world = Self::new();
        for kind in watches::kinds(&scope()) {
            world.tell(Change::Replace(kind, Vec::new())).await;
        }
        world.handle.wait_synced().await;
        world
    }

    async fn tell(&self, change: Change) {
        let heard = Instant::now();
        let change = Some(change);
        let news = News {
            heard,
            change,
            version: None,
        };
        self.news.send(news).await.unwrap();
    }

    /// Waits until a condition holds, in simulated time.
    async fn until(&self, holds: impl Fn(&SnapshotCell) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(&self.cell) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not come to hold"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun.elapsed()
    }

    fn generation(&self) -> u64 {
        self.cell.load_full().generation
    }

    fn assert_metric(&self, line: &str) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        assert!(
            text.lines().any(|other| other == line),
            "no {line} in\n{text}"
        );
    }
}

fn ingress(name: &str, service: &str) -> Object {
    let object: networking::v1::Ingress = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ingressClassName": "tiergate", "rules": [{"host": format!("{name}.example"), "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}},
        ]}}]},
    }))
    .unwrap();
    Object::from(object)
}

fn service() -> Object {
    let object: core::v1::Service = serde_json::from_value(mock::service("web", "1", 80)).unwrap();
    Object::from(object)
}

fn slice(addresses: &[String]) -> Object {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    let object: discovery::v1::EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    }))
    .unwrap();
    Object::from(object)
}

fn endpoints(cell: &SnapshotCell) -> usize {
    let backends = cell.load_full();
    let backends = backends.table.backends().into_iter();
    backends.map(|backend| backend.endpoints.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_before_every_kind_was_listed() {
    let world = World::new();
    let mut kinds = watches::kinds(&scope());
    let last = kinds.pop().unwrap();
    for kind in kinds {
        world.tell(Change::Replace(kind, Vec::new())).await;
    }
    world.tell(Change::Apply(ingress("web", "web"))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((world.generation(), world.handle.is_synced()), (0, false));

    world.tell(Change::Replace(last, Vec::new())).await;
    world.handle.wait_synced().await;
    assert_eq!((world.generation(), world.handle.is_synced()), (1, true));
    assert_eq!(world.cell.load_full().table.hosts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_alone_is_published_at_once() {
    let world = World::synced().await;
    for change in [
        Change::Apply(service()),
        Change::Apply(ingress("web", "web")),
    ] {
        world.tell(change).await;
    }
    world
        .until(|cell| !cell.load_full().table.backends().is_empty())
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let told = Instant::now();
    world
        .tell(Change::Apply(slice(&["10.0.0.1".to_owned()])))
        .await;
    world.until(|cell| endpoints(cell) == 1).await;
    assert!(
        told.elapsed() <= Duration::from_millis(2),
        "{:?}",
        told.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_is_published_in_few_tables_and_ends_in_the_last() {
    let world = World::synced().await;
    world.tell(Change::Apply(service())).await;
    world.tell(Change::Apply(ingress("web", "web"))).await;
    let begun = world.generation();
    let told = Instant::now();
    for count in 1..=200_usize {
        let addresses: Vec<_> = (1..=count).map(|last| format!("10.0.0.{last}")).collect();
        world.tell(Change::Apply(slice(&addresses))).await;
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    world.until(|cell| endpoints(cell) == 200).await;
    let rests = told.elapsed().as_millis() / REST_MIN.as_millis();
    let tables = u128::from(world.generation() - begun);
    assert!(
        tables >= 5 && tables <= rests + 2,
        "{tables} tables in {rests} rests"
    );
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_makes_no_new_generation() {
    let world = World::synced().await;
    world.tell(Change::Apply(ingress("web", "web"))).await;
    world.until(|cell| cell.load_full().generation == 2).await;
    // Read, but by no rule.
    let mut unused = service();
    unused.name = ObjectName::new("shop", "unused");
    world.tell(Change::Apply(unused)).await;
    // The same object again.
    world.tell(Change::Apply(ingress("web", "web"))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.generation(), 2);
    world.assert_metric(r#"config_applies_total{result="published"} 2"#);
    world.assert_metric(r#"config_applies_total{result="unchanged"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_bad_object_is_counted_until_it_is_put_right() {
    let world = World::synced().await;
    world.tell(Change::Apply(ingress("good", "web"))).await;
    world.tell(Change::Apply(ingress("bad", "missing"))).await;
    world.tell(Change::Apply(service())).await;
    world
        .until(|cell| cell.load_full().table.hosts().len() == 2)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.assert_metric(r#"config_objects{tenant="shop",kind="Ingress",state="accepted"} 1"#);
    world.assert_metric(r#"config_objects{tenant="shop",kind="Ingress",state="rejected"} 1"#);
    world.assert_metric(r#"config_conditions{reason="ServiceNotFound"} 1"#);
    world.assert_metric(r#"config_backends{tenant="shop",state="empty"} 2"#);
    let conditions = world.handle.model_json()["conditions"].clone();
    assert_eq!(conditions[0]["object"], "Ingress shop/bad");

    world.tell(Change::Apply(ingress("bad", "web"))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.assert_metric(r#"config_objects{tenant="shop",kind="Ingress",state="accepted"} 2"#);
    world.assert_metric(r#"config_conditions{reason="ServiceNotFound"} 0"#);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
    assert!(!text.contains("state=\"rejected\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn keys_and_certificates_are_not_shown() {
    let world = World::synced().await;
    let (chain, key) = pem("web.example", &rcgen::PKCS_ECDSA_P256_SHA256);
    let secret: core::v1::Secret = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"secret": key}},
        "type": "kubernetes.io/tls",
    }))
    .unwrap();
    let data = [("tls.crt", &chain), ("tls.key", &key)].map(|(name, pem)| {
        (
            name.to_owned(),
            k8s_openapi::ByteString(pem.clone().into_bytes()),
        )
    });
    let secret = core::v1::Secret {
        data: Some(data.into()),
        ..secret
    };
    let mut web = ingress("web", "web");
    if let Content::Ingress(read) = &mut web.content {
        Arc::make_mut(read).spec.tls = Box::new([Tls {
            hosts: Box::new(["web.example".into()]),
            secret: "web".into(),
        }]);
    }
    world.tell(Change::Apply(Object::from(secret))).await;
    world.tell(Change::Apply(web)).await;
    world
        .until(|cell| cell.load_full().table.certificates().exact.len() == 1)
        .await;
    let handle = &world.handle;
    for shown in [
        handle.objects_json(),
        handle.model_json(),
        handle.table_json(),
    ] {
        assert_eq!(shown["version"], 1);
        let text = shown.to_string();
        assert!(text.contains("shop/web"), "{text}");
        for pem in [&chain, &key] {
            let secret = pem.lines().nth(1).unwrap();
            assert!(!text.contains(secret), "{text}");
        }
    }
    // What rcgen gives a certificate that says nothing of its time: the first day of 4096.
    world.assert_metric(
        r#"tls_certificate_expiry_timestamp_seconds{tenant="shop",secret="web"} 67090118400"#,
    );

    world.tell(Change::Apply(ingress("web", "web"))).await;
    world
        .until(|cell| cell.load_full().table.certificates().exact.is_empty())
        .await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).unwrap();
    assert!(!text.contains("secret=\"web\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_last_table_stays_when_the_api_server_goes_away() {
    let (client, mut calls) = mock::client();
    let (control_plane, handle, cell, _registry) = parts(client);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(control_plane.run(async {
        let _ = stopped.await;
    }));
    let mut unread = watches::kinds(&scope()).len();
    while unread > 0 {
        let call = calls.recv().await.unwrap();
        if call.path == "/version" {
            continue;
        }
        unread -= 1;
        let items = if call.path.ends_with("/services") {
            vec![mock::service("web", "1", 80)]
        } else {
            Vec::new()
        };
        call.list(&items, "5", "");
    }
    handle.wait_synced().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3600) {
        // Every connection is refused.
        drop(calls.recv().await.unwrap());
    }
    assert!(handle.is_synced());
    assert_eq!(cell.load_full().generation, 1);
    assert!(handle.objects_json()["services"]["shop/web"].is_object());

    drop(stop);
    tasks.join_next().await.unwrap().unwrap();
    assert!(handle.is_synced(), "a tier that drains still serves");
}

#[tokio::test(start_paused = true)]
async fn secrets_that_are_read_by_their_names_are_there_before_the_first_table() {
    let (client, mut calls) = mock::client();
    let mut registry = Registry::default();
    let cell = Arc::new(SnapshotCell::new(DataPlaneMetrics::register(&mut registry)));
    let platform = Platform {
        net: TokioNet,
        client,
        seed: 7,
        identity: crate::platform::Identity::new([], "here".to_owned()),
    };
    let scope = Scope {
        secrets: Secrets::ByName {
            namespaces: ["shop".to_owned()].into(),
            refresh: Duration::from_secs(30),
        },
        ..scope()
    };
    let (control_plane, handle) =
        ControlPlane::new(&platform, scope, Arc::clone(&cell), &mut registry);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(control_plane.run(std::future::pending()));
    let (chain, key) = pem("web.example", &rcgen::PKCS_ECDSA_P256_SHA256);
    let with_tls = |namespace: &str, version: &str| {
        json!({
            "metadata": {"name": "web", "namespace": namespace, "resourceVersion": version},
            "spec": {
                "ingressClassName": "tiergate",
                "tls": [{"hosts": ["web.example"], "secretName": "web"}],
                "rules": [{"host": "web.example"}],
            },
        })
    };
    // The Secret is asked for as soon as all that can name one is there, and only where that is allowed.
    let secret = loop {
        let call = calls.recv().await.unwrap();
        match call.path.as_str() {
            "/version" => {}
            path if path.contains("/secrets") => break call,
            path if path.ends_with("/ingresses") && !call.is_watch() => {
                let items = [with_tls("shop", "1"), with_tls("other", "2")];
                call.list(&items, "5", "");
            }
            _ if call.is_watch() => {}
            _ => call.list(&[], "5", ""),
        }
    };
    assert_eq!(secret.path, "/api/v1/namespaces/shop/secrets/web");
    assert!(!handle.is_synced(), "it is not read yet");
    let told = handle.unread()[&Kind::Secret].clone();
    assert!(told.starts_with("1 that are named"), "{told}");
    let base64 = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    let data = json!({"tls.crt": base64(&chain), "tls.key": base64(&key)});
    secret.object(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "3"},
    }));
    handle.wait_synced().await;
    assert_eq!(cell.load_full().generation, 1);
    assert_eq!(cell.load_full().table.certificates().exact.len(), 1);
    let conditions = handle.model_json()["conditions"].clone();
    assert_eq!(conditions[0]["reason"], "SecretNotAllowed", "{conditions}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("config_conditions{reason=\"SecretNotAllowed\"} 1"),
        "{text}"
    );
}
