//! A name with certificates of several kinds of keys: each client gets one that it can check.
//!
//! The key in `rsa/` was made for these tests and is used nowhere else; ring, which makes the others, makes no RSA keys:
//! `openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj /CN=a.example -addext subjectAltName=DNS:a.example -addext
//! basicConstraints=critical,CA:FALSE`.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::table::{Certificate, Table, TableBuilder};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{config, proxy, run};
use crate::tls::{Made, make};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn rsa() -> Made {
    let certificate = include_bytes!("rsa/certificate.pem");
    let der = CertificateDer::from_pem_slice(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("rsa/key.pem")).expect("a key");
    let key = ring::sign::any_supported_type(&key).expect("a usable key");
    let certificate = Certificate {
        secret: "team/rsa".into(),
        fingerprint: [99; 32],
        key: Arc::new(CertifiedKey::new(vec![der.clone()], key)),
        alternative: None,
    };
    Made { der, certificate }
}

fn table(host: &HostPattern, certificate: &Certificate) -> Table {
    let mut builder = TableBuilder::new();
    let _ = builder.certificate(host, Some(certificate.clone()));
    builder.build()
}

fn exact() -> HostPattern {
    HostPattern::Exact(HostName::try_from("a.example").expect("a name"))
}

/// The certificate that a client is shown which can check only these signatures.
async fn shown(
    to: SocketAddr,
    roots: &[&Made],
    can_check: fn(SignatureScheme) -> bool,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<CertificateDer<'static>> {
    let mut provider = ring::default_provider();
    let known = provider.signature_verification_algorithms;
    let mapping: Vec<_> = known
        .mapping
        .iter()
        .copied()
        .filter(|(scheme, _)| can_check(*scheme))
        .collect();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        mapping: mapping.leak(),
        ..known
    };
    let mut store = RootCertStore::empty();
    for made in roots {
        store.add(made.der.clone()).expect("a root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").expect("a name");
    let stream = TcpStream::connect(to).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().expect("a chain");
    Ok(chain[0].clone())
}

fn of_ecdsa(scheme: SignatureScheme) -> bool {
    format!("{scheme:?}").starts_with("ECDSA")
}

fn of_rsa(scheme: SignatureScheme) -> bool {
    format!("{scheme:?}").starts_with("RSA")
}

#[test]
fn each_client_gets_a_certificate_that_it_can_check() {
    run(async {
        let (ecdsa, rsa) = (make("a.example", 1), rsa());
        let of_either_order = [
            ecdsa.certificate.clone().join(rsa.certificate.clone()),
            rsa.certificate.clone().join(ecdsa.certificate.clone()),
        ];
        for joined in of_either_order {
            let joined = joined.expect("keys of two kinds");
            let proxy = proxy(config(), table(&exact(), &joined)).await;
            let roots = [&ecdsa, &rsa];
            for version in VERSIONS {
                for (can_check, made) in [
                    (of_ecdsa as fn(_) -> _, &ecdsa),
                    (of_rsa, &rsa),
                    (|_| true, &ecdsa),
                ] {
                    let der = shown(proxy.https, &roots, can_check, version).await;
                    assert_eq!(der.expect("a handshake"), made.der, "{version:?}");
                }
                let neither = |scheme| scheme == SignatureScheme::ED25519;
                assert!(shown(proxy.https, &roots, neither, version).await.is_err());
            }
            proxy
                .until("tiergate_tls_handshakes_total{result=\"failed\"}", 2.0)
                .await;
        }
    });
}

#[test]
fn with_one_certificate_the_other_clients_are_refused_until_there_is_a_second() {
    run(async {
        let (ecdsa, rsa) = (make("a.example", 1), rsa());
        // A wildcard is looked up by what stands behind it.
        let name = HostName::try_from("example").expect("a name");
        let host = HostPattern::Wildcard(name);
        let proxy = proxy(config(), table(&host, &ecdsa.certificate)).await;
        for version in VERSIONS {
            let roots = [&ecdsa, &rsa];
            proxy.cell.publish(table(&host, &ecdsa.certificate));
            assert!(shown(proxy.https, &roots, of_rsa, version).await.is_err());
            let joined = ecdsa.certificate.clone().join(rsa.certificate.clone());
            let joined = joined.expect("keys of two kinds");
            proxy.cell.publish(table(&host, &joined));
            let der = shown(proxy.https, &roots, of_rsa, version).await;
            assert_eq!(der.expect("a handshake"), rsa.der);
            // The one is renewed, and the other stays.
            let renewed = make("a.example", 2);
            let joined = renewed.certificate.clone().join(rsa.certificate.clone());
            proxy
                .cell
                .publish(table(&host, &joined.expect("keys of two kinds")));
            let roots = [&renewed, &rsa];
            for (can_check, made) in [(of_ecdsa as fn(_) -> _, &renewed), (of_rsa, &rsa)] {
                let der = shown(proxy.https, &roots, can_check, version).await;
                assert_eq!(der.expect("a handshake"), made.der, "{version:?}");
            }
        }
    });
}

#[test]
fn a_second_key_of_one_kind_is_none() {
    let (one, other) = (make("a.example", 1), make("a.example", 2));
    let joined = one.certificate.clone().join(rsa().certificate);
    let joined = joined.expect("keys of two kinds");
    let holder = joined.clone().join(other.certificate).unwrap_err();
    assert_eq!(holder.secret, one.certificate.secret);
    let secrets: Vec<&str> = joined.all().map(|one| &*one.secret).collect();
    assert_eq!(secrets, ["team/1", "team/rsa"]);
}
