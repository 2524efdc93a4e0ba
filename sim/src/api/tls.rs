//! The certificate authority of the cluster and the certificate of its API server, made anew at every start.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The authority and the server's certificate.
pub struct Identity {
    /// The authority's certificate, for kubeconfigs and for pods.
    pub ca_pem: String,
    /// Ready to accept connections.
    pub acceptor: TlsAcceptor,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rcgen refuses.
    #[error("cannot make the certificate of the API server")]
    Certificate(#[from] rcgen::Error),
    /// rustls refuses.
    #[error("cannot use the certificate of the API server")]
    Tls(#[from] rustls::Error),
}

/// Names under which the server is known, besides the addresses it is told.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Makes an authority and a certificate for the usual names, 127.0.0.1 and `addresses`.
///
/// # Errors
/// When the libraries refuse, which would be a fault of ours.
pub fn identity(addresses: &[IpAddr]) -> Result<Identity, Error> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "tiergate-sim CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut names: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    names.push("127.0.0.1".to_owned());
    names.extend(addresses.iter().map(ToString::to_string));
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(names)?;
    server
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &issuer)?;

    let chain: Vec<CertificateDer<'static>> = vec![
        certificate.der().clone(),
        authority_certificate.der().clone(),
    ];
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| rustls::Error::General(error.to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Identity {
        ca_pem: authority_certificate.pem(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
    })
}
