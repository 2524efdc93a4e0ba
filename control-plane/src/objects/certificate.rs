//! What we read of a TLS Secret: a certificate that can sign, or why there is none. Pure.
//!
//! In: `tls.crt` and `tls.key` (Kubernetes, "TLS Secrets"), and `ca.crt`, where somebody put it beside. Out: a key that rustls signs with, and authorities
//! that it believes. The Secret is read once, when it
//! arrives, because parsing a key costs more than all the rest of a translation. Validity in time is not judged.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tiergate_data_plane::host::HostPattern;

use super::{Content, Object, name_of};
use crate::scope::ObjectName;

/// Type of the Secrets that hold a certificate.
pub const SECRET_TYPE: &str = "kubernetes.io/tls";

/// Certificates of one chain; further ones make it unusable.
const CHAIN_MAX: usize = 16;

/// Authorities of one Secret: twice as many as a system believes.
const AUTHORITIES_MAX: usize = 256;

/// A Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// The certificate in it, or why it cannot be used.
    pub certificate: Result<Certificate, InvalidCertificate>,
    /// The authorities in `ca.crt`, or why they cannot be used.
    pub authorities: Result<Authorities, InvalidCertificate>,
}

/// Authorities whose certificates may be believed. Equal when the certificates are.
#[derive(Clone)]
pub struct Authorities {
    /// SHA-256 of their certificates.
    pub fingerprint: [u8; 32],
    /// What rustls verifies with.
    pub roots: Arc<RootCertStore>,
}

/// A certificate chain with its key. Equal when the chains are: a key that fits is a part of it.
#[derive(Clone)]
pub struct Certificate {
    /// SHA-256 of the chain.
    pub fingerprint: [u8; 32],
    /// What rustls signs with.
    pub key: Arc<CertifiedKey>,
}

/// Why there is no usable certificate of a Secret. Names the entry of `data` that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// An entry of `data` is not there.
    #[error("it has no entry {0} in data")]
    Missing(&'static str),
    /// No certificate in PEM.
    #[error("tls.crt holds no certificate in PEM form")]
    NoCertificate,
    /// Broken PEM.
    #[error("tls.crt is not valid PEM")]
    CertificatePem,
    /// PEM around something else.
    #[error("tls.crt holds something that is no X.509 certificate (version 3)")]
    CertificateDer,
    /// More certificates than `CHAIN_MAX`.
    #[error("tls.crt holds more than {CHAIN_MAX} certificates")]
    ChainTooLong,
    /// No private key in PEM.
    #[error("tls.key holds no private key in PEM form that is not encrypted")]
    KeyPem,
    /// A kind of key that cannot be used.
    #[error(
        "tls.key is of an unsupported kind; supported are RSA from 2048 bits, ECDSA P-256 and P-384, and Ed25519"
    )]
    KeyUnsupported,
    /// The key of another certificate.
    #[error("tls.key is not the key of the first certificate in tls.crt")]
    KeyMismatch,
    /// Authorities that cannot be read, none, or more than `AUTHORITIES_MAX`.
    #[error(
        "ca.crt does not hold 1 to {AUTHORITIES_MAX} X.509 certificates of authorities in PEM form"
    )]
    Authorities,
    /// A right is missing.
    #[error("the API server does not let this tier read it")]
    Forbidden,
    /// The API server has given no answer, or a useless one.
    #[error("the API server has not given it yet")]
    NotRead,
}

// === impl Secret ===

impl From<v1::Secret> for Object {
    fn from(secret: v1::Secret) -> Self {
        let name = name_of(&secret.metadata);
        let data = secret.data.unwrap_or_default();
        let entry = |key: &'static str| {
            data.get(key)
                .map(|ByteString(bytes)| bytes.as_slice())
                .ok_or(InvalidCertificate::Missing(key))
        };
        let certificate = entry("tls.crt")
            .and_then(|chain| Ok((chain, entry("tls.key")?)))
            .and_then(|(chain, key)| Certificate::from_pem(chain, key));
        Self {
            name,
            content: Content::Secret(Arc::new(Secret {
                certificate,
                authorities: entry("ca.crt").and_then(Authorities::from_pem),
            })),
        }
    }
}

// === impl Object ===

impl Object {
    /// A Secret that is asked for by its name and could not be read.
    pub(crate) fn unread_secret(name: ObjectName, why: InvalidCertificate) -> Self {
        Self {
            name,
            content: Content::Secret(Arc::new(Secret {
                certificate: Err(why.clone()),
                authorities: Err(why),
            })),
        }
    }
}

/// Of a list of certificates.
fn fingerprint(certificates: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for certificate in certificates {
        hash.update(certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    hash.finalize().into()
}

// === impl Authorities ===

impl Authorities {
    /// Reads the certificates of authorities.
    ///
    /// # Errors
    /// When one is broken, and when there are none or too many.
    pub fn from_pem(text: &[u8]) -> Result<Self, InvalidCertificate> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text)
            .take(AUTHORITIES_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidCertificate::Authorities)?;
        if !(1..=AUTHORITIES_MAX).contains(&certificates.len()) {
            return Err(InvalidCertificate::Authorities);
        }
        let fingerprint = fingerprint(&certificates);
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            let added = roots.add(certificate);
            added.map_err(|_| InvalidCertificate::Authorities)?;
        }
        Ok(Self {
            fingerprint,
            roots: Arc::new(roots),
        })
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// Shows what tells them apart.
impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fingerprint, roots } = self;
        write!(f, "Authorities({}, {:02x}…)", roots.len(), fingerprint[0])
    }
}

// === impl Certificate ===

impl Certificate {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// When one is broken or unsupported, or when they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, InvalidCertificate> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .take(CHAIN_MAX + 1)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidCertificate::CertificatePem)?;
        if chain.len() > CHAIN_MAX {
            return Err(InvalidCertificate::ChainTooLong);
        }
        let leaf = chain.first().ok_or(InvalidCertificate::NoCertificate)?;
        ParsedCertificate::try_from(leaf).map_err(|_| InvalidCertificate::CertificateDer)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidCertificate::KeyPem)?;
        let signing_key =
            ring::sign::any_supported_type(&key).map_err(|_| InvalidCertificate::KeyUnsupported)?;
        let key = CertifiedKey::new(chain, signing_key);
        key.keys_match()
            .map_err(|_| InvalidCertificate::KeyMismatch)?;
        Ok(Self {
            fingerprint: fingerprint(&key.cert),
            key: Arc::new(key),
        })
    }

    /// Whether a client that asks for this host accepts the name in the certificate.
    #[must_use]
    pub fn covers(&self, host: &HostPattern) -> bool {
        let name = match host {
            HostPattern::Exact(name) => name.to_string(),
            // A label that nobody has: only a wildcard name covers it.
            HostPattern::Wildcard(parent) => format!("any-label.{parent}"),
            HostPattern::Any => return false,
        };
        let Ok(name) = ServerName::try_from(name) else {
            return false;
        };
        self.key
            .end_entity_cert()
            .and_then(ParsedCertificate::try_from)
            .and_then(|leaf| rustls::client::verify_server_name(&leaf, &name))
            .is_ok()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// Shows neither chain nor key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(")?;
        self.fingerprint[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

#[cfg(test)]
pub(crate) mod tests;
