//! The tiers' own code in a world: the namespace tier as it is shipped, an API server over TLS, a pod and a client.

use kube::Api;
use kube::api::PostParams;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiergate_control_plane::config::{Layers, Tier, keys};
use tiergate_control_plane::platform::{self, Identity, Platform};

use super::*;
use crate::api;

const API: &str = "10.0.0.10";
const TIER: &str = "10.244.1.2";
const POD: &str = "10.244.3.2";
const OTHER_POD: &str = "10.244.3.3";
const TOKEN: &str = "a-token-of-this-test";

/// How to reach the API server: the certificate that it shows is of this authority.
fn client(authority: &str) -> kube::Client {
    let mut config = kube::Config::new(format!("https://{API}:6443").parse().unwrap());
    let certificates = rustls::pki_types::pem::PemObject::pem_slice_iter(authority.as_bytes());
    let certificates = certificates
        .map(|found: Result<rustls::pki_types::CertificateDer<'_>, _>| found.unwrap().to_vec());
    config.root_cert = Some(certificates.collect());
    config.auth_info.token = Some(TOKEN.to_owned().into());
    platform::kube_client(SimNet, config).unwrap()
}

async fn create<K>(client: &kube::Client, namespace: Option<&str>, object: Value)
where
    K: kube::Resource<DynamicType = ()>
        + DeserializeOwned
        + serde::Serialize
        + Clone
        + std::fmt::Debug,
{
    let api: Api<kube::core::DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(
            client.clone(),
            namespace,
            &kube::discovery::ApiResource::erase::<K>(&()),
        ),
        None => Api::all_with(
            client.clone(),
            &kube::discovery::ApiResource::erase::<K>(&()),
        ),
    };
    let object = serde_json::from_value(object).unwrap();
    while let Err(error) = api.create(&PostParams::default(), &object).await {
        assert!(!matches!(error, kube::Error::Api(_)), "{error}");
        sleep(SECOND).await;
    }
}

fn slice(addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "app-1", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": addresses.iter().map(|address| json!({"addresses": [address], "conditions": {"ready": true}})).collect::<Vec<_>>(),
    })
}

async fn fill(client: &kube::Client) {
    use k8s_openapi::api::{core::v1, discovery::v1::EndpointSlice, networking::v1::Ingress};
    create::<v1::Namespace>(client, None, json!({"metadata": {"name": "a"}})).await;
    let service = json!({"metadata": {"name": "app"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    create::<v1::Service>(client, Some("a"), service).await;
    create::<EndpointSlice>(client, Some("a"), slice(&[POD, OTHER_POD])).await;
    let backend = json!({"service": {"name": "app", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "app"}, "spec": {
        "ingressClassName": "tiergate",
        "rules": [{"host": "app.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
    }});
    create::<Ingress>(client, Some("a"), ingress).await;
}

/// Answers every request with its own address.
async fn pod(address: &'static str) {
    let mut listener = SimNet
        .bind(SocketAddr::new(ip(address), 8080))
        .await
        .unwrap();
    loop {
        let (mut stream, _) = listener.accept().await;
        tokio::task::spawn_local(async move {
            let (mut head, mut byte) = (Vec::new(), [0; 1]);
            while stream.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{address}",
                        address.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

async fn tier(authority: String, seed: u64) {
    let listen = |port: u16| vec![format!("{TIER}:{port}")];
    let layers = Layers::new(Tier::Namespace).flags([
        (&keys::HTTP_ADDRESS.about, listen(80)),
        (&keys::HTTPS_ADDRESS.about, listen(443)),
        (&keys::ADMIN_ADDRESS.about, listen(10254)),
        (&keys::WATCH_NAMESPACE.about, vec!["a".to_owned()]),
    ]);
    let mut config = tiergate_namespace::Config::from_layers(&layers).unwrap();
    config.common.worker_threads = 0;
    let variables = [("POD_NAME", "tier-0"), ("POD_NAMESPACE", "a")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let platform = Platform {
        net: SimNet,
        client: client(&authority),
        seed,
        identity: Identity::new(variables, String::new()),
    };
    let ended = tiergate_namespace::run(config, platform, None, std::future::pending()).await;
    panic!("the tier has ended: {ended:?}");
}

/// One request; the status and the body, or why there is none.
async fn get() -> String {
    let asking = async {
        let mut stream = SimNet.connect(SocketAddr::new(ip(TIER), 80), None).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok::<_, io::Error>(format!(
            "{status} {}",
            answer.rsplit("\r\n\r\n").next().unwrap_or_default()
        ))
    };
    // Longer than the tier waits for a connection, after which it goes to another pod.
    match timeout(10 * SECOND, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => format!("{:?}", error.kind()),
        Err(_) => "silence".to_owned(),
    }
}

struct Cluster {
    world: World,
    api: HostId,
    pods: [HostId; 2],
    client: HostId,
    server: Rc<RefCell<Option<api::Server>>>,
    authority: api::tls::Identity,
    seen: Seen,
}

fn cluster(seed: u64) -> Cluster {
    let mut options = Options::new(seed);
    options.step = Duration::from_millis(5);
    let mut world = World::new(options);
    let names = ["api", "tier", "pod-0", "pod-1", "client"];
    let [api, tier_host, one, two, client] = names.map(|name| world.add_host(name));
    for (host, address) in [
        (api, API),
        (tier_host, TIER),
        (one, POD),
        (two, OTHER_POD),
        (client, CLIENT),
    ] {
        world.assign(ip(address), host).unwrap();
    }
    let authority = api::tls::identity(&[ip(API)]).unwrap();
    let mut cluster = Cluster {
        world,
        api,
        pods: [one, two],
        client,
        server: Rc::default(),
        authority,
        seen: Seen::default(),
    };
    cluster.start_api();
    cluster.world.start(one, pod(POD)).unwrap();
    cluster.world.start(two, pod(OTHER_POD)).unwrap();
    let ca = cluster.authority.ca_pem.clone();
    cluster.world.start(tier_host, tier(ca, seed)).unwrap();
    cluster
}

impl Cluster {
    /// Its objects outlive it, as those in etcd do.
    fn start_api(&mut self) {
        let (server, acceptor) = (self.server.clone(), self.authority.acceptor.clone());
        let serving = async move {
            let kept = server.borrow().clone();
            let kept = kept.unwrap_or_else(|| api::Server::new(api::Options::new(TOKEN, 1)));
            server.replace(Some(kept.clone()));
            let bound = kept
                .bind(&SimNet, SocketAddr::new(ip(API), 6443), Some(acceptor))
                .await;
            bound.unwrap().run(std::future::pending()).await;
        };
        self.world.start(self.api, serving).unwrap();
    }

    /// Fills the cluster, and asks again and again.
    fn start_client(&mut self) {
        let (ca, seen) = (self.authority.ca_pem.clone(), self.seen.clone());
        let asking = async move {
            fill(&client(&ca)).await;
            loop {
                let answer = get().await;
                seen.borrow_mut().push(answer);
                sleep(Duration::from_millis(100)).await;
            }
        };
        self.world.start(self.client, asking).unwrap();
    }

    /// The answers since the last time, each once, in order.
    fn answers(&self) -> Vec<String> {
        let mut answers = std::mem::take(&mut *self.seen.borrow_mut());
        answers.sort();
        answers.dedup();
        answers
    }
}

/// A story of some seconds: all is well; a pod's node loses its power, so its endpoint stays; the API server is away; it comes back.
fn a_story(seed: u64) -> (Vec<Vec<String>>, u64, Vec<u64>) {
    let mut cluster = cluster(seed);
    cluster.start_client();
    let seen = cluster.seen.clone();
    let is_served = cluster.world.run_until(30 * SECOND, |_| {
        seen.borrow().iter().any(|answer| answer.starts_with("200"))
    });
    assert!(is_served, "{:?}", cluster.seen.borrow());
    cluster.answers();
    let mut chapters = Vec::new();
    cluster.world.run_for(5 * SECOND);
    chapters.push(cluster.answers());
    cluster.world.power_off(cluster.pods[0]);
    // A request on a connection that was kept to that pod waits for an answer: only a connect that fails is known to fail.
    cluster.world.run_for(15 * SECOND);
    cluster.answers();
    cluster.world.run_for(20 * SECOND);
    chapters.push(cluster.answers());
    cluster.world.power_off(cluster.api);
    cluster.world.run_for(20 * SECOND);
    chapters.push(cluster.answers());
    cluster.start_api();
    cluster.world.start(cluster.pods[0], pod(POD)).unwrap();
    cluster.world.run_for(60 * SECOND);
    cluster.answers();
    cluster.world.run_for(5 * SECOND);
    chapters.push(cluster.answers());
    let trace = cluster.world.trace();
    (chapters, trace.digest(), trace.checkpoints().to_vec())
}

#[test]
fn the_namespace_tier_serves_through_lost_power_and_an_absent_api_server_and_its_run_is_repeated_byte_for_byte()
 {
    let (chapters, digest, checkpoints) = on_a_thread(|| a_story(5));
    let both = [format!("200 {POD}"), format!("200 {OTHER_POD}")];
    assert_eq!(chapters[0], both);
    // The endpoint of the pod that is gone is still there, and nobody gets an error for it.
    assert_eq!(chapters[1], both[1..]);
    assert_eq!(chapters[2], both[1..]);
    assert_eq!(chapters[3], both);
    let again = on_a_thread(|| a_story(5));
    let parted = checkpoints
        .iter()
        .zip(&again.2)
        .position(|(one, other)| one != other);
    assert_eq!(
        parted, None,
        "the second after which two runs of one seed parted"
    );
    assert_eq!(again.1, digest);
    assert_ne!(on_a_thread(|| a_story(6)).1, digest);
}
