//! TLS in front of an endpoint that speaks none: what it hears in handshakes is recorded, and all else is passed on.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a client said in a handshake that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) is_resumed: bool,
    pub(crate) has_certificate: bool,
}

/// A listening endpoint.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// Connections end without a word of TLS when the endpoint behind closes.
    pub(crate) cuts: Rc<Cell<bool>>,
    heard: Rc<RefCell<Vec<Heard>>>,
}

/// An authority, and what it signs.
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// A chain with its key.
pub(crate) struct Signed {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// What an endpoint with this certificate says. `clients` is the authority of those it answers.
pub(crate) fn server(signed: &Signed, alpn: &[&str], clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(authority) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authority.roots().into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(signed.chain.clone(), signed.key.clone_key())
        .expect("a certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Starts a front whose certificate nobody could verify.
pub(crate) async fn self_signed(to: SocketAddr, alpn: &[&str]) -> Front {
    front(
        server(&Authority::new().sign("nobody.test"), alpn, None),
        to,
    )
    .await
}

/// Starts a front of `to`.
pub(crate) async fn front(config: ServerConfig, to: SocketAddr) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let front = Front {
        address: listener.local_addr().expect("an address"),
        cuts: Rc::default(),
        heard: Rc::default(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (heard, cuts) = (front.heard.clone(), front.cuts.clone());
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, heard, cuts) = (acceptor.clone(), heard.clone(), cuts.clone());
            tokio::task::spawn_local(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                heard.borrow_mut().push(Heard::of(&stream));
                let mut behind = TcpStream::connect(to).await.expect("connected");
                if cuts.get() {
                    let (mut from, mut to) = behind.split();
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    tokio::select! {
                        _ = tokio::io::copy(&mut read, &mut to) => {}
                        _ = tokio::io::copy(&mut from, &mut write) => {}
                    }
                } else {
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                }
            });
        }
    });
    front
}

// === impl Front ===

impl Front {
    /// What was said in each handshake, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }
}

// === impl Heard ===

impl Heard {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        let connection = stream.get_ref().1;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(text),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            has_certificate: connection.peer_certificates().is_some(),
        }
    }
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params
            .self_signed(&key)
            .expect("an authority")
            .der()
            .clone();
        let issuer = rcgen::Issuer::new(params, key);
        Self { der, issuer }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        roots
    }

    pub(crate) fn sign(&self, name: &str) -> Signed {
        self.sign_until(name, 4096)
    }

    /// A certificate that is not valid from the first day of this year on.
    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Signed {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        }
    }
}
