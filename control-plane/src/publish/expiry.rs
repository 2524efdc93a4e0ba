//! When the certificates that are served expire, as a metric.
//!
//! In: the certificates of a table. Out: a gauge for each Secret. A certificate is parsed when it is seen first, not in each
//! publication. Whether one is still valid is for those who look at the gauge.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tiergate_data_plane::table::{Certificate, Certificates};

/// Secrets with series of their own; the first to expire of the others has [`OVERFLOW`].
const SECRETS_MAX: usize = 5_000;

/// Both labels of the series that the Secrets beyond the limit share.
const OVERFLOW: &str = "_overflow";

/// The gauges, and what has been parsed.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    family: Family<SecretLabels, Gauge>,
    shown: BTreeMap<SecretLabels, i64>,
    /// By the fingerprint of the chain, in seconds since 1970. None: it cannot be read.
    parsed: BTreeMap<[u8; 32], Option<i64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct SecretLabels {
    tenant: String,
    secret: String,
}

// === impl Expiries ===

impl Expiries {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let expiries = Self::default();
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a Secret that is served expires, by namespace and name of the Secret",
            expiries.family.clone(),
        );
        expiries
    }

    /// Shows these certificates, and no others any more.
    pub(super) fn show(&mut self, certificates: &Certificates) {
        let mut parsed = BTreeMap::new();
        let mut expiries = BTreeMap::new();
        for certificate in all(certificates) {
            let fingerprint = certificate.fingerprint;
            let known = self.parsed.get(&fingerprint).copied();
            let expiry = known.unwrap_or_else(|| not_after(certificate));
            parsed.insert(fingerprint, expiry);
            let Some(expiry) = expiry else { continue };
            let labels = labels(certificate, &expiries);
            let first = expiries.entry(labels).or_insert(expiry);
            *first = expiry.min(*first);
        }
        for gone in self
            .shown
            .keys()
            .filter(|labels| !expiries.contains_key(labels))
        {
            self.family.remove(gone);
        }
        for (labels, &expiry) in &expiries {
            self.family.get_or_create(labels).set(expiry);
        }
        self.shown = expiries;
        self.parsed = parsed;
    }
}

fn all(certificates: &Certificates) -> impl Iterator<Item = &Certificate> {
    let named = [&certificates.exact, &certificates.wildcard];
    named
        .into_iter()
        .flat_map(|hosts| hosts.in_order())
        .map(|(_, certificate)| certificate)
        .chain(&certificates.default)
        .flat_map(Certificate::all)
}

fn labels(certificate: &Certificate, others: &BTreeMap<SecretLabels, i64>) -> SecretLabels {
    let named = |tenant: &str, secret: &str| SecretLabels {
        tenant: tenant.to_owned(),
        secret: secret.to_owned(),
    };
    let (namespace, name) = certificate.secret.split_once('/').unwrap_or_default();
    let own = named(namespace, name);
    if others.len() < SECRETS_MAX || others.contains_key(&own) {
        own
    } else {
        named(OVERFLOW, OVERFLOW)
    }
}

/// The end of the first certificate of the chain, which is the one that clients check against the host.
fn not_after(certificate: &Certificate) -> Option<i64> {
    let leaf = certificate.key.cert.first()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    Some(leaf.validity().not_after.timestamp())
}
