//! Certificates by name, their hot swap, ALPN, and what happens without one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tiergate_data_plane::host::HostName;
use tiergate_data_plane::table::{
    Certificate, Certificates, PathMatch, Protocol, Table, TableBuilder,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::client::{Client, values};
use crate::harness::endpoint::echo;
use crate::harness::{backend, config, owner, proxy, run};
use tiergate_data_plane::host::HostPattern;

/// A certificate of its own authority for a name.
pub(crate) struct Made {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) certificate: Certificate,
}

pub(crate) fn make(name: &str, number: u8) -> Made {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let der = params
        .self_signed(&key)
        .expect("a certificate")
        .der()
        .clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a usable key");
    let certificate = Certificate {
        secret: format!("team/{number}").into(),
        fingerprint: [number; 32],
        alternative: None,
        key: Arc::new(rustls::sign::CertifiedKey::new(vec![der.clone()], key)),
    };
    Made { der, certificate }
}

fn table(endpoint: SocketAddr, certificates: Certificates) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, &[endpoint]));
    let route = builder.route(owner("web"), id);
    let _ = builder.path(&HostPattern::Any, PathMatch::Prefix, "/", route);
    builder.certificates(certificates);
    builder.build()
}

pub(crate) async fn handshake(
    to: SocketAddr,
    name: &str,
    root: &CertificateDer<'static>,
    alpn: &[&str],
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = client_config(root, alpn, version);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TcpStream::connect(to).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn client_config(
    root: &CertificateDer<'static>,
    alpn: &[&str],
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn name(text: &str) -> HostName {
    HostName::try_from(text).expect("a name")
}

#[test]
fn the_most_special_certificate_is_shown_and_a_new_one_at_once() {
    run(async {
        let endpoint = echo().await;
        let exact = make("a.example", 1);
        let wild = make("*.wild.example", 2);
        let rest = make("other.test", 3);
        let certificates = |exact: &Made| Certificates {
            exact: [(name("a.example"), exact.certificate.clone())].into(),
            wildcard: [(name("wild.example"), wild.certificate.clone())].into(),
            default: Some(rest.certificate.clone()),
        };
        let proxy = proxy(config(), table(endpoint.address, certificates(&exact))).await;
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            for (sni, made) in [
                ("a.example", &exact),
                ("b.wild.example", &wild),
                ("other.test", &rest),
            ] {
                let stream = handshake(proxy.https, sni, &made.der, &[], version).await;
                let mut client = Client::of(stream.expect(sni));
                client
                    .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .await;
                let response = client.response().await;
                assert_eq!(values(response.text(), "x-forwarded-proto"), ["https"]);
                assert_eq!(values(response.text(), "x-forwarded-port"), ["443"]);
            }
        }
        let tls13 = &rustls::version::TLS13;
        let kept = handshake(proxy.https, "a.example", &exact.der, &[], tls13).await;
        let mut kept = Client::of(kept.expect("a handshake"));
        let renewed = make("a.example", 4);
        proxy
            .cell
            .publish(table(endpoint.address, certificates(&renewed)));
        assert!(
            handshake(proxy.https, "a.example", &exact.der, &[], tls13)
                .await
                .is_err()
        );
        assert!(
            handshake(proxy.https, "a.example", &renewed.der, &[], tls13)
                .await
                .is_ok()
        );
        kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(
            kept.response().await.status,
            200,
            "a running connection keeps its own"
        );
    });
}

#[test]
fn a_session_is_resumed() {
    run(async {
        let endpoint = echo().await;
        let made = make("a.example", 1);
        let certificates = Certificates {
            default: Some(made.certificate.clone()),
            ..Certificates::default()
        };
        let proxy = proxy(config(), table(endpoint.address, certificates)).await;
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let config = Arc::new(client_config(&made.der, &[], version));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let name = ServerName::try_from("a.example").expect("a name");
                let stream = TcpStream::connect(proxy.https).await.expect("connected");
                let connecting = TlsConnector::from(config.clone()).connect(name, stream);
                let mut client = Client::of(connecting.await.expect("a handshake"));
                // Tickets come with the first data.
                client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
                assert_eq!(client.response().await.status, 200);
                kinds.push(client.stream.get_ref().1.handshake_kind());
            }
            let [first, second] = [HandshakeKind::Full, HandshakeKind::Resumed];
            assert_eq!(kinds, [Some(first), Some(second)], "{version:?}");
        }
    });
}

#[test]
fn without_a_certificate_the_handshake_is_refused_and_counted() {
    run(async {
        let made = make("a.example", 1);
        let proxy = proxy(
            config(),
            table(([127, 0, 0, 1], 9).into(), Certificates::default()),
        )
        .await;
        let tls13 = &rustls::version::TLS13;
        let refused = handshake(proxy.https, "a.example", &made.der, &[], tls13).await;
        assert!(refused.is_err());
        let sample = "tiergate_tls_handshakes_total{result=\"no_certificate\"}";
        proxy.until(sample, 1.0).await;
        let mut plain = Client::connect(proxy.https).await;
        plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        plain.rest().await;
        proxy
            .until("tiergate_tls_handshakes_total{result=\"failed\"}", 1.0)
            .await;
    });
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    run(async {
        let mut config = config();
        config.timeouts.tls_handshake = Duration::from_millis(50);
        let proxy = proxy(
            config,
            table(([127, 0, 0, 1], 9).into(), Certificates::default()),
        )
        .await;
        let mut client = Client::connect(proxy.https).await;
        client.send("\x16\x03\x01").await;
        assert_eq!(client.rest().await, b"");
        let sample = "tiergate_tls_handshakes_total{result=\"timeout\"}";
        assert!((proxy.sample(sample) - 1.0).abs() < 0.1);
    });
}

#[test]
fn what_alpn_chose_is_what_is_spoken() {
    run(async {
        let endpoint = echo().await;
        let made = make("a.example", 1);
        let certificates = Certificates {
            default: Some(made.certificate.clone()),
            ..Certificates::default()
        };
        let proxy = proxy(config(), table(endpoint.address, certificates)).await;
        let tls13 = &rustls::version::TLS13;
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        for (offer, chosen) in [
            (&["http/1.1"][..], Some("http/1.1")),
            (&["http/1.1", "h2"][..], Some("h2")),
            (&[], None),
        ] {
            let stream = handshake(proxy.https, "a.example", &made.der, offer, tls13).await;
            let stream = stream.expect("a handshake");
            let connection = stream.get_ref().1;
            assert_eq!(connection.alpn_protocol(), chosen.map(str::as_bytes));
            assert_eq!(
                connection.protocol_version(),
                Some(ProtocolVersion::TLSv1_3)
            );
            let mut client = Client::of(stream);
            client.send(request).await;
            if chosen == Some("h2") {
                // HTTP/1 on a connection that chose HTTP/2 gets frames or nothing, never an answer.
                let rest = client.rest().await;
                assert!(!rest.starts_with(b"HTTP/1"), "{rest:?}");
            } else {
                assert_eq!(client.response().await.status, 200);
            }
        }
        assert_eq!(endpoint.received().len(), 2);
        let stream = handshake(proxy.https, "a.example", &made.der, &["http/1.1"], tls13).await;
        let mut client = Client::of(stream.expect("a handshake"));
        client
            .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await;
        let answer = client.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{answer:?}"
        );
    });
}
