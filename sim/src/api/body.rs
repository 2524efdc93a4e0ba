//! Reads the body of a write: JSON, YAML or protobuf, of the kind that the URL names.
//!
//! In: bytes and a content type. Out: one object whose fields are known, and warnings; or a [`Failure`]. Pure.

use serde_json::{Value, json};

use super::call::Call;
use super::resources::Resource;
use super::schema::types::types;
use super::status::Failure;
use super::{custom, protobuf, schema};

/// The longest body.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What to do about unknown fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Refuse them.
    Strict,
    /// Tell.
    Warn,
    /// Drop them silently.
    Ignore,
}

/// The strictness that a call asks for.
pub(crate) fn strictness(call: &Call) -> Strictness {
    match call.query.text("fieldValidation") {
        "Strict" => Strictness::Strict,
        "Ignore" => Strictness::Ignore,
        _ => Strictness::Warn,
    }
}

/// Any object; no matter of which kind.
pub(crate) fn value(call: &Call) -> Result<Value, Failure> {
    match call.content_type.as_str() {
        "" | "application/json" => serde_json::from_slice(&call.body).map_err(|error| {
            Failure::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {error}",
                call.resource().kind
            ))
        }),
        "application/yaml" => serde_norway::from_slice(&call.body)
            .map_err(|error| Failure::bad_request(format!("yaml: {error}"))),
        "application/vnd.kubernetes.protobuf" => {
            protobuf::decode(&call.body).map_err(|error| {
                let text = String::from_utf8_lossy(&call.body);
                Failure::bad_request(format!(
                    "the object provided is unrecognized (must be of type {}): {error} ({})",
                    call.resource().kind,
                    summary(&text)
                ))
            })
        }
        _ => Err(Failure::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {MEDIA_TYPES}"
        ))),
    }
}

/// An object of the resource, with kind and apiVersion filled in; unknown fields are refused, told or dropped.
pub(crate) fn object(call: &Call, warnings: &mut Vec<String>) -> Result<Value, Failure> {
    let resource = call.resource();
    let mut object = value(call)?;
    check_kind(resource, &mut object, &String::from_utf8_lossy(&call.body))?;
    let unknown = faults(resource, &mut object, &call.body)?;
    match strictness(call) {
        Strictness::Strict if !unknown.is_empty() => Err(Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            resource.kind,
            resource.version,
            resource.kind,
            unknown.join(", ")
        ))),
        Strictness::Warn => {
            warnings.extend(unknown);
            Ok(object)
        }
        Strictness::Strict | Strictness::Ignore => Ok(object),
    }
}

fn check_kind(resource: &Resource, object: &mut Value, text: &str) -> Result<(), Failure> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal into Go value",
            resource.kind
        )));
    };
    let kind = fields
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let group_version = fields
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if resource.is_custom() && kind.is_empty() {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{text}' ({})",
            resource.kind,
            summary(text)
        )));
    }
    let expected = resource.group_version();
    let version = if group_version.is_empty() {
        &expected
    } else {
        &group_version
    };
    let sent_kind = if kind.is_empty() {
        &resource.kind
    } else {
        &kind
    };
    if *sent_kind != resource.kind || *version != expected {
        let is_known = types().kind(version, sent_kind).is_some();
        let why = if is_known {
            let package = if resource.group.is_empty() {
                "core"
            } else {
                &resource.group
            };
            format!(
                "converting ({}.{sent_kind}) to ({package}.{}): unknown conversion",
                version.replace('/', "."),
                resource.kind
            )
        } else {
            format!(
                "no kind {sent_kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        };
        return Err(Failure::bad_request(format!(
            "{sent_kind} in version {:?} cannot be handled as a {}: {why}",
            version.rsplit('/').next().unwrap_or_default(),
            resource.kind
        )));
    }
    fields.insert("kind".to_owned(), json!(resource.kind));
    fields.insert("apiVersion".to_owned(), json!(expected));
    Ok(())
}

/// The beginning of a body, as complaints show it.
fn summary(text: &str) -> String {
    const SHOWN_MAX: usize = 30;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Drops the unknown fields of a custom object; the faults that strict decoding finds, as sentences. Fields of a wrong
/// type are refused.
pub(crate) fn faults(
    resource: &Resource,
    object: &mut Value,
    text: &[u8],
) -> Result<Vec<String>, Failure> {
    if let Some(custom) = &resource.custom {
        let unknown = custom::prune(custom, object);
        return Ok(unknown
            .iter()
            .map(|field| format!("unknown field {field:?}"))
            .collect());
    }
    let group_version = resource.group_version();
    if let Some(wrong) = schema::check(&resource.kind, &group_version, object).wrong {
        return Err(Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {wrong}",
            resource.kind, resource.version, resource.kind
        )));
    }
    Ok(schema::strict_faults(
        &resource.kind,
        &group_version,
        object,
        text,
    ))
}
