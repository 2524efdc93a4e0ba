//! TLS of a probe: whose certificates are good, and the handshake.
//!
//! In: an open stream and the name it should belong to. Out: the stream in TLS. There are no roots of the system: an image without
//! anything else in it has none, so the file is named.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whose certificates are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities in this PEM file.
    Authorities(PathBuf),
    /// Everybody's: the probe asks whether somebody answers, not who.
    Everybody,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of authorities is not there.
    #[error("cannot read {}: {source}; name a readable PEM file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file holds no authority.
    #[error("{} holds no certificate; name a PEM file with one", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// No name that a certificate can have.
    #[error("{0:?} is no name for TLS; give one by --host")]
    Name(String),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// Takes every certificate, but none whose key the peer does not have.
#[derive(Debug)]
struct Everybody(CryptoProvider);

/// Speaks TLS on a stream.
pub(super) async fn handshake<S>(
    trust: &Trust,
    name: &str,
    stream: S,
) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::Name(name.to_owned()))?;
    let connector = TlsConnector::from(Arc::new(config(trust)?));
    connector
        .connect(name, stream)
        .await
        .map_err(Error::Handshake)
}

fn config(trust: &Trust) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let builder = match trust {
        Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?),
        Trust::Everybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Everybody(ring::default_provider()))),
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(path: &PathBuf) -> Result<RootCertStore, Error> {
    let text = std::fs::read(path).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots
        .add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    if added == 0 {
        return Err(Error::NoAuthority { path: path.clone() });
    }
    Ok(roots)
}

// === impl Everybody ===

impl ServerCertVerifier for Everybody {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
