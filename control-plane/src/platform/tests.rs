use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::Rng as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tiergate_data_plane::net::Listener;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

/// A network of one host, whose first address never answers.
#[derive(Clone)]
struct OneHost {
    accepted: mpsc::Sender<DuplexStream>,
}

/// Nobody listens on the client's side.
struct NoListener;

const DEAD: [u8; 4] = [10, 0, 0, 1];
const ALIVE: [u8; 4] = [10, 0, 0, 2];

impl Net for OneHost {
    type Stream = DuplexStream;
    type Listener = NoListener;

    async fn bind(&self, _: SocketAddr) -> io::Result<NoListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, to: SocketAddr, _: Option<IpAddr>) -> io::Result<DuplexStream> {
        if to.ip() == IpAddr::from(DEAD) {
            std::future::pending::<()>().await;
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.accepted.send(far).await.map_err(io::Error::other)?;
        Ok(near)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "api.test");
        Ok([DEAD, ALIVE].map(|ip| (ip, port).into()).to_vec())
    }
}

impl Listener for NoListener {
    type Stream = DuplexStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        std::future::pending().await
    }
}

fn network() -> (OneHost, mpsc::Receiver<DuplexStream>) {
    let (accepted, connections) = mpsc::channel(16);
    (OneHost { accepted }, connections)
}

/// Reads one request head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), status: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
}

const VERSION: &str = r#"{"major":"1","minor":"37","gitVersion":"v1.37.0","gitCommit":"","gitTreeState":"",
    "buildDate":"","goVersion":"","compiler":"","platform":""}"#;

#[tokio::test(start_paused = true)]
async fn a_request_goes_over_the_net_with_tls_and_the_token_past_an_address_that_is_dead() {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "the-token").unwrap();
    let mut config = kube::Config::new("https://api.test:6443".parse().unwrap());
    config.root_cert = Some(vec![certificate.der().to_vec()]);
    config.auth_info.token_file = Some(token_file.to_string_lossy().into_owned());

    let (net, mut connections) = network();
    let client = kube_client(net, config).unwrap();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let stream = connections.recv().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let mut stream = acceptor.accept(stream).await.unwrap();
        let head = head(&mut stream).await;
        answer(&mut stream, "200 OK", VERSION).await;
        head
    });
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.37.0");
    let head = server.join_next().await.unwrap().unwrap();
    assert!(head.starts_with("get /version http/1.1\r\n"), "{head}");
    assert!(
        head.contains("authorization: bearer the-token\r\n"),
        "{head}"
    );
    assert!(head.contains("user-agent: tiergate/"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_given_up() {
    let (net, mut connections) = network();
    let config = kube::Config::new("http://10.0.0.2:6443".parse().unwrap());
    let client = kube_client(net, config).unwrap();
    let begun = Instant::now();
    let server = async { connections.recv().await };
    let (version, _silent) = tokio::join!(client.apiserver_version(), server);
    let error = version.unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), RESPONSE_HEAD_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_cannot_be_reached_is_given_up() {
    let (net, _connections) = network();
    let config = kube::Config::new("http://10.0.0.1:6443".parse().unwrap());
    let client = kube_client(net, config).unwrap();
    let begun = Instant::now();
    assert!(client.apiserver_version().await.is_err());
    assert!(
        begun.elapsed() <= CONNECT_TIMEOUT_MAX,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_when_the_api_server_is_not_ready() {
    let (net, mut connections) = network();
    let config = kube::Config::new("http://10.0.0.2".parse().unwrap());
    let client = kube_client(net, config).unwrap();
    let server = async {
        let mut stream = connections.recv().await.unwrap();
        head(&mut stream).await;
        answer(&mut stream, "503 Service Unavailable", "").await;
        head(&mut stream).await;
        answer(&mut stream, "200 OK", VERSION).await;
        stream
    };
    let (version, _stream) = tokio::join!(client.apiserver_version(), server);
    assert_eq!(version.unwrap().minor, "37");
}

#[test]
fn each_part_of_a_process_has_randomness_of_its_own() {
    let draw = |seed, name| derive_rng(seed, name).random::<u64>();
    assert_eq!(draw(1, "watch"), draw(1, "watch"));
    assert_ne!(draw(1, "watch"), draw(2, "watch"));
    assert_ne!(draw(1, "watch"), draw(1, "worker"));
}
