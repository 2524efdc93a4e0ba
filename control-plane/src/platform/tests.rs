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

/// A configuration with a token file, which holds this token.
fn with_token_file(folder: &tempfile::TempDir, token: &str) -> (kube::Config, std::path::PathBuf) {
    let path = folder.path().join("token");
    std::fs::write(&path, token).unwrap();
    let mut config = kube::Config::new("http://10.0.0.2".parse().unwrap());
    config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
    (config, path)
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_replaced_in_its_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = with_token_file(&folder, "first\n");
    let (net, mut connections) = network();
    let client = kube_client(net, config).unwrap();
    let server = async {
        let mut stream = connections.recv().await.unwrap();
        for (status, wanted) in [
            ("200 OK", "first"),
            // Replaced, and still within the time for which the first is known.
            ("401 Unauthorized", "first"),
            // Read anew because of the answer.
            ("200 OK", "second"),
            // Gone from the disk: the last one is used.
            ("200 OK", "second"),
            // Replaced without any answer, and time has passed.
            ("200 OK", "third"),
        ] {
            let head = head(&mut stream).await;
            let header = format!("authorization: bearer {wanted}\r\n");
            assert!(head.contains(&header), "{wanted}: {head}");
            answer(
                &mut stream,
                status,
                if status.starts_with("200") {
                    VERSION
                } else {
                    ""
                },
            )
            .await;
        }
        stream
    };
    let asking = async {
        client.apiserver_version().await.unwrap();
        std::fs::write(&path, "second").unwrap();
        let refused = client.apiserver_version().await.unwrap_err();
        client.apiserver_version().await.unwrap();
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        client.apiserver_version().await.unwrap();
        std::fs::write(&path, "third").unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        client.apiserver_version().await.unwrap();
        refused
    };
    let (refused, _stream) = tokio::join!(asking, server);
    let kube::Error::Api(status) = refused else {
        panic!("{refused:?} is no refusal");
    };
    assert_eq!(status.code, 401);
    let wanted = format!(
        "the API server http://10.0.0.2 does not accept the token in {} (401 Unauthorized): it has expired, or it was made for another cluster; put a new one there, it is read again every 10 s",
        path.display()
    );
    assert_eq!(status.message, wanted);
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for token in ["", " \n", "two\nlines"] {
        let (config, path) = with_token_file(&folder, token);
        let error = kube_client(network().0, config).err().unwrap();
        let said = format!("{error:#}");
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
}

/// Why a client does not go on with a server that has a certificate for this name and that this authority may have made.
async fn refused_certificate(name: &str, is_known: bool, is_expired: bool) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_expired {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let certificate = parameters.self_signed(&key).unwrap();
    let other = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let mut config = kube::Config::new("https://api.test:6443".parse().unwrap());
    let authority = if is_known {
        certificate.der()
    } else {
        other.cert.der()
    };
    config.root_cert = Some(vec![authority.to_vec()]);
    let (net, mut connections) = network();
    let client = kube_client(net, config).unwrap();
    let server = async {
        let stream = connections.recv().await.unwrap();
        let _ = tokio_rustls::TlsAcceptor::from(Arc::new(tls))
            .accept(stream)
            .await;
    };
    let (answer, ()) = tokio::join!(client.apiserver_version(), server);
    crate::failure::with_causes(&answer.unwrap_err())
}

#[tokio::test]
async fn a_wrong_certificate_of_the_api_server_is_told_with_its_cure() {
    let mut said = Vec::new();
    for (name, is_known, is_expired) in [
        ("api.test", false, false),
        ("api.test", true, true),
        ("other.test", true, false),
    ] {
        said.push(refused_certificate(name, is_known, is_expired).await);
    }
    expect_test::expect![[r#"
        the certificate of the API server https://api.test:6443 was not issued by the certificate-authority of the kubeconfig: put the authority of this cluster there and start the tier anew
        the certificate of the API server https://api.test:6443 has expired, or the clock of this machine is wrong: renew it on the control plane
        the certificate of the API server does not name the host of https://api.test:6443: use an address that it names, or renew it with this one"#]].assert_eq(&said.join("\n"));
}

#[test]
fn each_part_of_a_process_has_randomness_of_its_own() {
    let draw = |seed, name| derive_rng(seed, name).random::<u64>();
    assert_eq!(draw(1, "watch"), draw(1, "watch"));
    assert_ne!(draw(1, "watch"), draw(2, "watch"));
    assert_ne!(draw(1, "watch"), draw(1, "worker"));
}
