//! How endpoints are spoken to within TLS: what an Ingress may ask for. Pure.
//!
//! In: values that the control plane has checked. Out: what `upstream` connects with. Two that are equal may share connections and
//! sessions; two that differ never do, for what one of them asks for would be given to the other.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;

use super::Certificate;
use crate::host::HostName;

/// What is asked of TLS to endpoints. Nothing set: what is sent is encrypted, and whoever answers is believed.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// The name that a certificate must be for, where it is verified.
    pub name: Option<HostName>,
    /// Whether the endpoint is told the name (SNI, RFC 6066 §3).
    pub sends_name: bool,
    /// Whose certificates are believed. None: the endpoint's certificate is not looked at.
    pub verify: Option<Authorities>,
    /// What is shown to an endpoint that asks for it.
    pub certificate: Option<Certificate>,
    /// What it asks for cannot be given, and to do without would do harm: requests that would go by TLS are answered with 503.
    pub is_refused: bool,
}

/// Authorities whose certificates are believed.
#[derive(Clone)]
pub struct Authorities {
    /// `namespace/name` of their Secret.
    pub secret: Arc<str>,
    /// Changes whenever they change.
    pub fingerprint: [u8; 32],
    /// What rustls verifies with.
    pub roots: Arc<RootCertStore>,
}

/// What tells two of them apart.
type Key<'t> = (
    Option<&'t HostName>,
    bool,
    Option<(&'t str, [u8; 32])>,
    Option<(&'t str, [u8; 32])>,
    bool,
);

// === impl UpstreamTls ===

impl UpstreamTls {
    /// Encrypted, and no more.
    pub const NONE: &'static Self = &Self {
        name: None,
        sends_name: false,
        verify: None,
        certificate: None,
        is_refused: false,
    };

    fn key(&self) -> Key<'_> {
        let verify = self.verify.as_ref();
        let certificate = self.certificate.as_ref();
        (
            self.name.as_ref(),
            self.sends_name,
            verify.map(|one| (&*one.secret, one.fingerprint)),
            certificate.map(|one| (&*one.secret, one.fingerprint)),
            self.is_refused,
        )
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for UpstreamTls {}

impl PartialOrd for UpstreamTls {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UpstreamTls {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

// === impl Authorities ===

/// Shows what tells them apart.
impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({}, ", self.secret)?;
        self.fingerprint[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}
