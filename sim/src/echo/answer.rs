//! What the echo server says about a request. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Version, header, request};
use serde::Serialize;

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the pod.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// The node that it runs on.
    pub node: String,
}

/// The JSON answer. Tests read these keys: they are a contract.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    pod: &'a str,
    namespace: &'a str,
    node: &'a str,
    client: String,
    port: u16,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    host: String,
    protocol: &'static str,
    headers: BTreeMap<&'a str, Vec<String>>,
    body_bytes: u64,
}

// === impl Answer ===

impl<'a> Answer<'a> {
    /// Describes a request that came in on `port`, on a connection from `client`. Bytes of a header that are no UTF-8 are shown as U+FFFD.
    #[must_use]
    pub fn new(
        identity: &'a Identity,
        client: IpAddr,
        port: u16,
        head: &'a request::Parts,
        body_bytes: u64,
    ) -> Self {
        let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.as_str()).or_default().push(value);
        }
        let authority = head.uri.authority().map(ToString::to_string);
        let host_header = headers.get(header::HOST.as_str());
        Self {
            pod: &identity.pod,
            namespace: &identity.namespace,
            node: &identity.node,
            client: client.to_string(),
            port,
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            host: authority
                .or_else(|| host_header.and_then(|values| values.first().cloned()))
                .unwrap_or_default(),
            protocol: protocol(head.version),
            headers,
            body_bytes,
        }
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut json = serde_json::to_vec(self).expect("texts and numbers always serialize");
        json.push(b'\n');
        Bytes::from(json)
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "unknown",
    }
}
