//! TLS to one endpoint: what its connections begin with.
//!
//! In: a fresh stream. Out: one on which TLS is spoken. Sessions are resumed at the endpoint where they began, and for the same
//! parameters only: a session of somebody who verifies nothing must not serve one who does. Time is the caller's: it limits how
//! long connecting takes as a whole.
//!
//! Who asks for no verification gets none, and no signature is looked at either: whoever answers could have made it.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::wall_now;
use crate::table::{Endpoint, UpstreamTls};

/// Sessions that are kept for one endpoint: as many as rustls keeps for one name.
const SESSIONS_MAX: usize = 8;
/// What a connection for HTTP/2 offers (RFC 7301): who does not choose `h2` gets HTTP/1.1.
const ALPN_OF_HTTP2: [&[u8]; 2] = [b"h2", b"http/1.1"];

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// How connections to one endpoint begin.
pub(super) struct Tls {
    asked: UpstreamTls,
    name: ServerName<'static>,
    configs: Result<Configs, rustls::Error>,
    /// When a handshake ended last: as long as that is not long ago, there are sessions to resume.
    shaken_at: Cell<Option<Instant>>,
}

struct Configs {
    http1: Arc<ClientConfig>,
    /// The same, and the same sessions, for connections that requests share.
    http2: Arc<ClientConfig>,
}

/// Believes everybody.
#[derive(Debug)]
struct Unverified;

/// The time in which certificates are valid.
#[derive(Debug)]
struct Clock;

/// Whether the endpoint agreed to HTTP/2.
pub(super) fn speaks_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(ALPN_OF_HTTP2[0])
}

/// Whether an earlier session goes on.
pub(super) fn is_resumed<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

// === impl Tls ===

impl Tls {
    pub(super) fn new(asked: &UpstreamTls, endpoint: &Endpoint) -> Self {
        let by_address = || ServerName::IpAddress(endpoint.address.ip().into());
        let name = asked.name.as_ref().and_then(|name| {
            // A name with what names in DNS do not have: no certificate is for it, and none is asked for.
            ServerName::try_from(name.as_str().to_owned()).ok()
        });
        Self {
            configs: Configs::new(asked, name.is_some()),
            name: name.unwrap_or_else(by_address),
            asked: asked.clone(),
            shaken_at: Cell::new(None),
        }
    }

    /// What it was made of.
    pub(super) fn asked(&self) -> &UpstreamTls {
        &self.asked
    }

    /// Speaks TLS on a fresh stream. Waits without limit: the caller sets one.
    pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        is_http2: bool,
    ) -> io::Result<Box<TlsStream<S>>> {
        let configs = self.configs.as_ref();
        let configs = configs.map_err(|error| io::Error::other(error.clone()))?;
        let config = if is_http2 {
            &configs.http2
        } else {
            &configs.http1
        };
        let connector = TlsConnector::from(config.clone());
        let stream = Box::new(connector.connect(self.name.clone(), stream).await?);
        self.shaken_at.set(Some(Instant::now()));
        Ok(stream)
    }

    /// Whether there may be sessions that are worth keeping.
    pub(super) fn is_kept(&self, now: Instant, idle_max: Duration) -> bool {
        let shaken_at = self.shaken_at.get();
        shaken_at.is_some_and(|shaken_at| now < shaken_at + idle_max)
    }
}

// === impl Configs ===

impl Configs {
    fn new(asked: &UpstreamTls, has_name: bool) -> Result<Self, rustls::Error> {
        let builder = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(Clock))
            .with_safe_default_protocol_versions()?;
        let builder = match &asked.verify {
            Some(authorities) => {
                let (roots, provider) = (authorities.roots.clone(), PROVIDER.clone());
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| {
                    rustls::Error::General(format!("its authorities are not usable: {error}"))
                })?;
                builder.with_webpki_verifier(verifier)
            }
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified)),
        };
        let mut http1 = match &asked.certificate {
            Some(certificate) => {
                let certificate = SingleCertAndKey::from(certificate.key.clone());
                builder.with_client_cert_resolver(Arc::new(certificate))
            }
            None => builder.with_no_client_auth(),
        };
        http1.enable_sni = asked.sends_name && has_name;
        http1.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let mut http2 = http1.clone();
        http2.alpn_protocols = ALPN_OF_HTTP2.map(<[u8]>::to_vec).into();
        Ok(Self {
            http1: Arc::new(http1),
            http2: Arc::new(http2),
        })
    }
}

// === impl Unverified ===

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// What can be checked, and P-521, which nobody has to check here.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = PROVIDER.signature_verification_algorithms;
        let mut schemes = algorithms.supported_schemes();
        schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
        schemes
    }
}

// === impl Clock ===

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = wall_now().duration_since(std::time::UNIX_EPOCH);
        since.ok().map(UnixTime::since_unix_epoch)
    }
}
