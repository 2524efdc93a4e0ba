//! Bodies in protobuf, as kubectl's typed commands send them, turned into JSON.
//!
//! In: the envelope `k8s\0` and a message in it, of any built-in kind. Out: the object in canonical JSON form. Pure.
//! Answers are never written in protobuf: clients that send it take JSON back.

mod wire;

use serde_json::Value;
use thiserror::Error;

use super::schema::canonical::canonicalise;
use super::schema::types::types;
use wire::{Reader, Wire};

/// What every protobuf body of Kubernetes begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// Why a body could not be decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The first four bytes are not `k8s\0`.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    Magic,
    /// The bytes end early, or are no protobuf.
    #[error("proto: {0}")]
    Malformed(&'static str),
    /// The kind is none of ours.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Kind {
        /// As the envelope says.
        api_version: String,
        /// As the envelope says.
        kind: String,
    },
    /// The content is compressed or of another type.
    #[error("content of the envelope has encoding {0:?}, which is not supported")]
    Encoding(String),
    /// A field of a type that no client sends in protobuf.
    #[error("field {0} cannot be decoded from protobuf")]
    Field(&'static str),
}

/// The envelope: `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    encoding: String,
    content_type: String,
}

/// Decodes a body into the object that it carries, `kind` and `apiVersion` included.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    let envelope = Envelope::read(body.strip_prefix(MAGIC).ok_or(Error::Magic)?)?;
    if !envelope.encoding.is_empty() {
        return Err(Error::Encoding(envelope.encoding));
    }
    if envelope.content_type == "application/json" {
        return serde_json::from_slice(envelope.raw)
            .map_err(|_| Error::Malformed("the envelope holds no JSON"));
    }
    // Every group has its own registration of the same DeleteOptions.
    let group_version = if envelope.kind == "DeleteOptions" {
        "v1"
    } else {
        &envelope.api_version
    };
    let Some(of) = types().kind(group_version, &envelope.kind) else {
        return Err(Error::Kind {
            api_version: envelope.api_version,
            kind: envelope.kind,
        });
    };
    let mut object = wire::message(of, envelope.raw, DEPTH_MAX)?;
    object.insert("apiVersion".to_owned(), envelope.api_version.clone().into());
    object.insert("kind".to_owned(), envelope.kind.clone().into());
    let mut object = Value::Object(object);
    canonicalise(&envelope.kind, &mut object);
    Ok(object)
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut envelope = Self::default();
        for entry in Reader::new(bytes) {
            match entry? {
                (1, Wire::Bytes(type_meta)) => {
                    for entry in Reader::new(type_meta) {
                        match entry? {
                            (1, Wire::Bytes(text)) => envelope.api_version = wire::text(text)?,
                            (2, Wire::Bytes(text)) => envelope.kind = wire::text(text)?,
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (3, Wire::Bytes(text)) => envelope.encoding = wire::text(text)?,
                (4, Wire::Bytes(text)) => envelope.content_type = wire::text(text)?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests;
