//! Puts objects into the form that the client asked for: whole, only metadata, or as a table.
//!
//! In: stored objects and a [`Form`]. Out: bytes.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use super::call::{Answer, Call, Content, List};
use super::request::Form;
use super::resources::Resource;
use super::status::Failure;
use super::store::{Stored, to_json};
use super::{custom, events, table};

/// How to show objects of one kind to one client.
#[derive(Clone, Debug)]
pub(crate) struct Presentation {
    /// The form.
    pub form: Form,
    /// What the rows of a table carry besides the cells: `Metadata`, `Object` or `None`.
    pub include_object: String,
    /// The time, for ages.
    pub now: jiff::Timestamp,
}

/// The content type and the bytes of an answer that is no watch.
pub(crate) fn answer(
    call: &Call,
    content: &Content,
    now: jiff::Timestamp,
) -> Result<(&'static str, Bytes), Failure> {
    let presentation = Presentation::of(call, now)?;
    let bytes = match content {
        Content::Bytes(content_type, bytes) => return Ok((content_type, bytes.clone())),
        Content::Watch(_) => return Ok(("application/json", Bytes::new())),
        Content::Object(object) => presentation.object(call.resource(), object)?,
        // A Scale, a Status or a review has no table and no metadata form worth the name.
        Content::Value(value) => to_json(value),
        Content::List(list) => presentation.list(list)?,
    };
    if presentation.form == Form::Yaml {
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::internal(error.to_string()))?;
        let text = serde_norway::to_string(&value)
            .map_err(|error| Failure::internal(error.to_string()))?;
        return Ok(("application/yaml", Bytes::from(text)));
    }
    Ok(("application/json", bytes))
}

// === impl Presentation ===

impl Presentation {
    /// What a call asks for.
    pub(crate) fn of(call: &Call, now: jiff::Timestamp) -> Result<Self, Failure> {
        let include_object = call.query.text("includeObject").to_owned();
        let is_table = matches!(call.form, Form::Table { .. });
        if is_table && !matches!(include_object.as_str(), "" | "Metadata" | "Object" | "None") {
            return Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {include_object:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            )));
        }
        Ok(Self {
            form: call.form,
            include_object,
            now,
        })
    }

    /// Whether objects are shown just as they are stored.
    pub(crate) fn is_as_stored(&self, resource: &Resource) -> bool {
        let is_plain = matches!(self.form, Form::Plain | Form::Yaml);
        let stored_as = resource.custom.as_ref().map(|custom| &custom.stored_as);
        is_plain
            && resource.group != "events.k8s.io"
            && stored_as.is_none_or(|version| *version == resource.group_version())
    }

    /// One object.
    pub(crate) fn object(&self, resource: &Resource, object: &Stored) -> Result<Bytes, Failure> {
        match self.form {
            Form::Plain | Form::Yaml => Ok(plain(resource, object)),
            Form::Partial => Ok(to_json(&partial(&object.value))),
            Form::PartialList => Err(Failure::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*core.{})",
                resource.kind
            ))),
            Form::Table { .. } => {
                let value = view(resource, &object.value);
                let version = value["metadata"]["resourceVersion"].clone();
                Ok(to_json(&self.table(
                    resource,
                    &[&value],
                    &json!({ "resourceVersion": version }),
                    true,
                )))
            }
        }
    }

    /// One object of a watch; tables have columns only in the first event.
    pub(crate) fn event(&self, resource: &Resource, object: &Stored, is_first: bool) -> Bytes {
        match self.form {
            Form::Table { .. } => self.table_event(resource, &object.value, is_first),
            // In a watch the form of a list means its items.
            Form::Partial | Form::PartialList => to_json(&partial(&object.value)),
            Form::Plain | Form::Yaml => plain(resource, object),
        }
    }

    /// A bookmark: an object that has only a version.
    pub(crate) fn bookmark(
        &self,
        resource: &Resource,
        version: u64,
        ends_initial_events: bool,
        is_first: bool,
    ) -> Bytes {
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.group_version(),
            "metadata": {"resourceVersion": version.to_string()},
        });
        if ends_initial_events {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        match self.form {
            Form::Plain | Form::Yaml => to_json(&object),
            Form::Partial | Form::PartialList => to_json(&partial(&object)),
            Form::Table { .. } => self.table_event(resource, &object, is_first),
        }
    }

    fn table_event(&self, resource: &Resource, object: &Value, is_first: bool) -> Bytes {
        let value = view(resource, object);
        let version = value["metadata"]["resourceVersion"].clone();
        to_json(&self.table(
            resource,
            &[&value],
            &json!({ "resourceVersion": version }),
            is_first,
        ))
    }

    fn list(&self, list: &List) -> Result<Bytes, Failure> {
        let resource = &*list.resource;
        let mut metadata = json!({"resourceVersion": list.version.to_string()});
        if let Some(token) = &list.token {
            metadata["continue"] = json!(token);
        }
        if let Some(remaining) = list.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        match self.form {
            Form::Plain | Form::Yaml => Ok(plain_list(list, metadata)),
            Form::Partial => Err(Failure::not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*core.{}List)",
                resource.kind
            ))),
            Form::PartialList => {
                let items: Vec<Value> = list
                    .objects
                    .iter()
                    .map(|object| partial(&object.value))
                    .collect();
                Ok(to_json(&json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata, "items": items,
                })))
            }
            Form::Table { .. } => {
                let views: Vec<Cow<'_, Value>> = list
                    .objects
                    .iter()
                    .map(|object| view(resource, &object.value))
                    .collect();
                let values: Vec<&Value> = views.iter().map(|one| &**one).collect();
                Ok(to_json(&self.table(resource, &values, &metadata, true)))
            }
        }
    }

    fn table(
        &self,
        resource: &Resource,
        objects: &[&Value],
        metadata: &Value,
        has_columns: bool,
    ) -> Value {
        let table = match &resource.custom {
            Some(custom) => table::render_custom(&custom.columns, objects, self.now),
            None => table::render(&resource.kind, objects, self.now),
        };
        let rows: Vec<Value> = table
            .rows
            .iter()
            .zip(objects)
            .map(|(cells, object)| {
                let object = match self.include_object.as_str() {
                    "None" => Value::Null,
                    "Object" => (*object).clone(),
                    _ => partial(object),
                };
                json!({"cells": cells, "object": object})
            })
            .collect();
        let version = if matches!(self.form, Form::Table { is_beta: true }) {
            "v1beta1"
        } else {
            "v1"
        };
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            "columnDefinitions": if has_columns { json!(table.columns) } else { Value::Null },
            "rows": rows,
        })
    }
}

fn plain_list(list: &List, mut metadata: Value) -> Bytes {
    let resource = &*list.resource;
    let is_new_event = resource.group == "events.k8s.io";
    if resource.is_custom() && list.token.is_none() {
        metadata["continue"] = json!("");
    }
    let head = format!(
        "{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{metadata},\"items\":[",
        format!("{}List", resource.kind),
        resource.group_version(),
    );
    let mut bytes = BytesMut::from(head.as_bytes());
    for (index, object) in list.objects.iter().enumerate() {
        if index > 0 {
            bytes.put_u8(b',');
        }
        if is_new_event {
            let mut value = events::to_new(&object.value);
            if let Some(fields) = value.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            bytes.put(to_json(&value));
        } else if resource.is_custom() {
            bytes.put(plain(resource, object));
        } else {
            bytes.put(object.item_json());
        }
    }
    bytes.put_slice(b"]}");
    bytes.freeze()
}

/// The object in the version of its resource.
pub(crate) fn view<'a>(resource: &Resource, value: &'a Value) -> Cow<'a, Value> {
    if resource.group == "events.k8s.io" {
        Cow::Owned(events::to_new(value))
    } else {
        custom::in_version(resource, value)
    }
}

/// A whole object; what is stored in the form that is asked for is written only once.
fn plain(resource: &Resource, object: &Stored) -> Bytes {
    match view(resource, &object.value) {
        Cow::Borrowed(_) => object.json(),
        Cow::Owned(value) => to_json(&value),
    }
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// A finished request's answer as far as the log needs it.
pub(crate) fn code(answer: &Result<Answer, Failure>) -> u16 {
    match answer {
        Ok(answer) => answer.code,
        Err(failure) => failure.code,
    }
}
