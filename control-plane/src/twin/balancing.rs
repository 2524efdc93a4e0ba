//! The twins of what decides on the endpoint. Pure.

use serde::Serialize;
use tiergate_data_plane::table::{Affinity, AffinityMode, HashBy, HashPart};

/// An [`Affinity`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AffinityTwin {
    mode: &'static str,
    cookie: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// As they stand in `Set-Cookie`.
    #[serde(skip_serializing_if = "String::is_empty")]
    attributes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_secure: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changes_on_failure: bool,
}

/// What is hashed, in the words of nginx.
pub(super) fn shown(hash_by: &HashBy) -> String {
    let part = |part: &HashPart| match part {
        HashPart::Text(text) => text.to_string(),
        HashPart::Host => "${host}".to_owned(),
        HashPart::RequestUri => "${request_uri}".to_owned(),
        HashPart::Uri => "${uri}".to_owned(),
        HashPart::Query => "${args}".to_owned(),
        HashPart::Method => "${request_method}".to_owned(),
        HashPart::Scheme => "${scheme}".to_owned(),
        HashPart::RemoteAddress => "${remote_addr}".to_owned(),
        HashPart::Header(name) => format!("${{http_{}}}", name.as_str().replace('-', "_")),
        HashPart::Argument(name) => format!("${{arg_{name}}}"),
        HashPart::Cookie(name) => format!("${{cookie_{name}}}"),
    };
    hash_by.0.iter().map(part).collect()
}

// === impl AffinityTwin ===

impl From<&Affinity> for AffinityTwin {
    fn from(affinity: &Affinity) -> Self {
        Self {
            mode: match affinity.mode {
                AffinityMode::Balanced => "balanced",
                AffinityMode::Persistent => "persistent",
            },
            cookie: affinity.cookie.to_string(),
            path: affinity.path.as_deref().map(str::to_owned),
            attributes: affinity.attributes.trim_start_matches("; ").to_owned(),
            expires_seconds: affinity.expires.map(|time| time.as_secs()),
            is_secure: affinity.is_secure,
            changes_on_failure: affinity.changes_on_failure,
        }
    }
}
