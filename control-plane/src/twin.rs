//! Versioned twins of objects, model and table, for `/debug` and `explain`. Pure.
//!
//! In: the internal types, which cannot be serialized. Out: serde types whose form changes only with [`VERSION`]. Keys and
//! certificates are not shown: of a certificate there are its Secret and the first bytes of its fingerprint.

mod balancing;
mod model;
mod objects;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use balancing::AffinityTwin;
use serde::Serialize;
use tiergate_data_plane::table::{
    Algorithm, Authorities, Backend, Certificate, Endpoint, PathPolicy, Policy, Protocol, Redirect,
    Table, UpstreamTls,
};

use crate::objects::Objects;
use crate::translate::Translation;
use crate::translate::condition::Condition;

pub use model::ModelTwin;
pub use objects::ObjectsTwin;
pub use table::TableTwin;

/// Version of the form. A field may be added without a new one.
pub const VERSION: u32 = 1;

/// A [`Condition`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionTwin {
    object: String,
    field: String,
    reason: &'static str,
    message: String,
}

/// A backend with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTwin {
    protocol: &'static str,
    endpoints: Vec<EndpointTwin>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointTwin {
    address: String,
    identity: String,
}

/// A certificate, without what is secret or long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateTwin {
    secret: String,
    fingerprint: String,
    /// For clients that cannot check its signatures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alternatives: Vec<CertificateTwin>,
}

/// What an Ingress asks for beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    body_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsTwin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balance: Option<&'static str>,
    /// As the data plane has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affinity: Option<AffinityTwin>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    delegates: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_closed: bool,
}

/// What is asked of TLS to pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TlsTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sends_name: bool,
    /// The Secret with the authorities, and their fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateTwin>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_refused: bool,
}

/// What is done to the requests of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PathPolicyTwin {
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite_target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded_prefix: Option<String>,
}

/// The objects as they are read, and what the API server does not give at present.
#[must_use]
pub fn objects(objects: &Objects, troubles: BTreeMap<String, String>) -> ObjectsTwin {
    ObjectsTwin::new(objects, troubles)
}

/// The model and its conditions.
#[must_use]
pub fn model(translation: &Translation) -> ModelTwin {
    ModelTwin::from(translation)
}

/// The table with its generation.
#[must_use]
pub fn table(table: &Table, generation: u64) -> TableTwin {
    TableTwin::new(table, generation)
}

/// The conditions, sorted.
#[must_use]
pub fn conditions(conditions: &[Condition]) -> Vec<ConditionTwin> {
    conditions.iter().map(ConditionTwin::from).collect()
}

fn shown(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::H2c => "h2c",
        Protocol::Https => "HTTP/1.1 in TLS",
        Protocol::H2 => "h2",
    }
}

/// The first bytes of a SHA-256, enough to tell two certificates apart.
fn short_hex(fingerprint: &[u8; 32]) -> String {
    let mut text = String::with_capacity(16);
    for byte in &fingerprint[..8] {
        write!(text, "{byte:02x}").expect("a String takes any text");
    }
    text
}

// === impl ConditionTwin ===

impl From<&Condition> for ConditionTwin {
    fn from(condition: &Condition) -> Self {
        Self {
            object: condition.object.to_string(),
            field: condition.field.clone(),
            reason: condition.reason.as_str(),
            message: condition.message.clone(),
        }
    }
}

// === impl BackendTwin ===

impl BackendTwin {
    fn new(protocol: Protocol, endpoints: &[Endpoint]) -> Self {
        Self {
            protocol: shown(protocol),
            endpoints: endpoints.iter().map(EndpointTwin::from).collect(),
        }
    }
}

impl From<&Backend> for BackendTwin {
    fn from(backend: &Backend) -> Self {
        Self::new(backend.protocol, &backend.endpoints)
    }
}

// === impl PolicyTwin ===

impl From<&Policy> for PolicyTwin {
    fn from(policy: &Policy) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        Self {
            body_bytes_max: policy.body_bytes_max,
            connect_seconds: seconds(policy.connect),
            send_seconds: seconds(policy.send),
            read_seconds: seconds(policy.read),
            protocol: policy.protocol.map(shown),
            tls: policy.tls.as_deref().map(TlsTwin::from),
            load_balance: policy.algorithm.map(Algorithm::as_str),
            hash_by: policy.hash_by.as_ref().map(balancing::shown),
            affinity: policy.affinity.as_deref().map(AffinityTwin::from),
            delegates: policy.delegates,
            is_closed: policy.is_closed,
        }
    }
}

// === impl TlsTwin ===

impl From<&UpstreamTls> for TlsTwin {
    fn from(tls: &UpstreamTls) -> Self {
        let authorities = |one: &Authorities| {
            let fingerprint = short_hex(&one.fingerprint);
            format!("{} {fingerprint}", one.secret)
        };
        Self {
            name: tls.name.as_ref().map(ToString::to_string),
            sends_name: tls.sends_name,
            verified_by: tls.verify.as_ref().map(authorities),
            certificate: tls.certificate.as_ref().map(CertificateTwin::from),
            is_refused: tls.is_refused,
        }
    }
}

// === impl PathPolicyTwin ===

impl PathPolicyTwin {
    /// None: nothing is done.
    fn of(policy: &PathPolicy) -> Option<Self> {
        if *policy == PathPolicy::default() {
            return None;
        }
        let PathPolicy { redirect, rewrite } = policy;
        let rewrite = rewrite.as_ref();
        let prefix = rewrite.and_then(|rewrite| rewrite.prefix.as_ref());
        let prefix = prefix.map(|prefix| String::from_utf8_lossy(prefix.value().as_bytes()));
        Some(Self {
            redirect: match redirect {
                Redirect::Never => None,
                Redirect::WhereServed => Some("toHttpsWhereServed"),
                Redirect::Always => Some("toHttps"),
            },
            rewrite_target: rewrite.map(|rewrite| rewrite.target.text().to_owned()),
            forwarded_prefix: prefix.map(|prefix| prefix.into_owned()),
        })
    }
}

// === impl EndpointTwin ===

impl From<&Endpoint> for EndpointTwin {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address.to_string(),
            identity: endpoint.identity.to_string(),
        }
    }
}

// === impl CertificateTwin ===

impl From<&Certificate> for CertificateTwin {
    fn from(certificate: &Certificate) -> Self {
        Self {
            secret: certificate.secret.to_string(),
            fingerprint: short_hex(&certificate.fingerprint),
            alternatives: certificate
                .alternative
                .iter()
                .map(|other| (&**other).into())
                .collect(),
        }
    }
}
