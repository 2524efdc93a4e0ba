//! Pods that speak only TLS, behind a namespace tier that is a process of its own: whom it believes, when its Secret changes, and what it refuses.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::lone_tier::LoneTier;
use tiergate_tests::objects::{endpoints, ingress, tls_secret};
use tiergate_tests::tls::{Pair, self_signed};
use tiergate_tests::wait;

const NAMESPACE: &str = "sealed";
/// The name in the pod's certificate.
const NAME: &str = "web.sealed.svc";
const PORT: u16 = 8443;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("tls-to-pods", &["--empty"]))
        .in_test()
}

/// Answers within TLS at an address of the pod network where no node has pods, as long as the test program runs.
#[expect(
    clippy::disallowed_methods,
    reason = "the server of a test, outside of every tier"
)]
fn pod(cluster: &Cluster, pair: &Pair) -> Ipv4Addr {
    let network = cluster.pod_network().split('/').next();
    let network: Ipv4Addr = network.unwrap_or_default().parse().expect("a CIDR");
    let [first, second, ..] = network.octets();
    let ip = Ipv4Addr::new(first, second, 127, 1);
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.expect("a certificate")], key);
    let config = Arc::new(config.expect("they belong together"));
    let listener = TcpListener::bind((ip, PORT)).expect("nobody else has the address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // Its end is that of the connection.
            thread::spawn(move || drop(answer(config, stream)));
        }
    });
    ip
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsealed")?;
        stream.flush()?;
    }
}

/// A Service whose port says that its pods speak TLS, with one that does.
fn service(ip: Ipv4Addr) -> String {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-by-hand", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": PORT, "protocol": "TCP"}],
        "endpoints": endpoints(&[ip]),
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"ports": [{"name": "web", "port": 80, "targetPort": PORT, "appProtocol": "https"}]},
    });
    format!("{service}\n---\n{slice}\n")
}

fn host(name: &str) -> String {
    format!("{name}.sealed.example.test")
}

/// An Ingress of the Service with these annotations of ingress-nginx.
fn annotated(name: &str, annotations: &[(&str, &str)]) -> String {
    if annotations.is_empty() {
        return ingress(name, Some("tiergate"), &host(name), "web");
    }
    let lines = annotations
        .iter()
        .map(|(name, value)| format!("    nginx.ingress.kubernetes.io/{name}: \"{value}\"\n"));
    let named = format!("  name: {name}\n");
    let with = format!("{named}  annotations:\n{}", lines.collect::<String>());
    ingress(name, Some("tiergate"), &host(name), "web").replacen(&named, &with, 1)
}

/// A Secret with a certificate that is not asked for, and whom to believe.
fn authorities(believed: &Pair) -> String {
    let own = self_signed(&["tier.test"]);
    let indented = believed.certificate.trim().replace('\n', "\n    ");
    tls_secret("pods", &own.certificate, &own.key) + "  ca.crt: |\n    " + &indented + "\n"
}

fn until_status(tier: &LoneTier, name: &str, status: u16) {
    let what = format!("{status} for {name}");
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let response = fetch(tier.http, &Request::get(&host(name), "/"));
        let response = response.map_err(|error| error.to_string())?;
        let is_whole = status != 200 || response.text() == "sealed";
        wait::seen(response.status == status && is_whole, response.text())
    });
}

fn until_told(tier: &LoneTier, name: &str, reason: &str) {
    let (what, object) = (
        format!("{reason} for {name}"),
        format!("{NAMESPACE}/{name}"),
    );
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let conditions = tier.model()["conditions"].clone();
        let all = conditions.as_array().cloned().unwrap_or_default();
        let is_there = all
            .iter()
            .any(|one| one["reason"] == reason && one.to_string().contains(&object));
        wait::seen(is_there, conditions.to_string())
    });
}

#[test]
fn a_pod_is_believed_as_its_ingress_says_and_no_longer() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let own = self_signed(&[NAME]);
    let ip = pod(&cluster, &own);
    kubectl.create_namespace(NAMESPACE);
    kubectl.apply(NAMESPACE, &service(ip));
    kubectl.apply(NAMESPACE, &authorities(&own));
    let verified = [
        ("proxy-ssl-secret", "sealed/pods"),
        ("proxy-ssl-verify", "on"),
        ("proxy-ssl-name", NAME),
    ];
    let misnamed = [verified[0], verified[1], ("proxy-ssl-name", "other.test")];
    for (name, annotations) in [
        ("trusting", &[][..]),
        ("verified", &verified),
        ("misnamed", &misnamed),
        ("unsaid", &verified[1..]),
    ] {
        kubectl.apply(NAMESPACE, &annotated(name, annotations));
    }
    let (folder, kubeconfig) = (cluster.folder(), cluster.kubeconfig());
    let tier = LoneTier::start("tls-to-pods", folder, &kubeconfig, NAMESPACE);
    wait::until("the tier is ready", wait::CHANGE_SECONDS, || tier.ready());
    until_status(&tier, "trusting", 200);
    until_status(&tier, "verified", 200);
    until_status(&tier, "misnamed", 502);
    until_status(&tier, "unsaid", 503);
    until_told(&tier, "unsaid", "AnnotationInvalid");
    // A connection that is open was believed by what the Secret said before.
    kubectl.apply(NAMESPACE, &authorities(&self_signed(&[NAME])));
    until_status(&tier, "verified", 502);
    until_status(&tier, "trusting", 200);
    kubectl.apply(NAMESPACE, &authorities(&own));
    until_status(&tier, "verified", 200);
    kubectl.ok(&format!("delete secret pods -n {NAMESPACE}"));
    until_status(&tier, "verified", 503);
    until_told(&tier, "verified", "SecretNotFound");
    until_status(&tier, "trusting", 200);
    assert!(tier.is_running());
}
