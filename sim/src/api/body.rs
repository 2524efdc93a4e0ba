//! Reads the body of a write: JSON, YAML or protobuf, of the kind that the URL names.
//!
//! In: bytes and a content type. Out: one object whose fields are known, and warnings; or a [`Failure`]. Pure.

use serde_json::{Value, json};

use super::call::Call;
use super::resources::Resource;
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
                "the object provided is unrecognized (must be of type {}): {error}",
                call.resource().kind
            ))
        }),
        "application/yaml" => serde_norway::from_slice(&call.body)
            .map_err(|error| Failure::bad_request(format!("yaml: {error}"))),
        "application/vnd.kubernetes.protobuf" => {
            protobuf::decode(&call.body).map_err(|error| Failure::bad_request(error.to_string()))
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
    check_kind(resource, &mut object)?;
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

fn check_kind(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    let shown = object.to_string();
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
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{shown}'",
            resource.kind
        )));
    }
    let expected = resource.group_version();
    if !kind.is_empty() && kind != resource.kind
        || !group_version.is_empty() && group_version != expected
    {
        return Err(Failure::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: converting ({group_version}.{kind}) to ({expected}.{}): \
             unknown conversion",
            group_version.rsplit('/').next().unwrap_or_default(),
            resource.kind,
            resource.kind
        )));
    }
    fields.insert("kind".to_owned(), json!(resource.kind));
    fields.insert("apiVersion".to_owned(), json!(expected));
    Ok(())
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
