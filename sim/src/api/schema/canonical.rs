//! Objects in the one form in which the API server answers them.
//!
//! In: an object of a built-in kind. Out: the same object as if it had gone through the Go structs and the store: unknown
//! fields and empty values gone, values that Go always writes there (`status: {}`, `endpoints: null`), quantities and
//! times in one spelling. Pure. Sets no defaults.

use serde_json::{Map, Value};

use super::types::{Field, Scalar, Shape, Struct, types};
use super::{quantity, time};

/// Brings an object into canonical form; objects of unknown kinds stay as they are.
pub(crate) fn canonicalise(kind: &str, object: &mut Value) {
    if let Some(of) = types().of(kind, object) {
        *object = structure(of, object.take());
    }
}

fn structure(of: &Struct, value: Value) -> Value {
    let mut given = match value {
        Value::Object(given) => given,
        Value::Null => Map::new(),
        mistyped @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return mistyped;
        }
    };
    let mut out = Map::new();
    for (name, field) in &of.fields {
        if let Some(value) = member(field, given.remove(*name).unwrap_or(Value::Null)) {
            out.insert((*name).to_owned(), value);
        }
    }
    Value::Object(out)
}

/// The value of a field as it is written, or `None` when Go leaves it out.
fn member(field: &Field, given: Value) -> Option<Value> {
    if field.pointer {
        if given.is_null() {
            return (!field.omit_empty).then_some(Value::Null);
        }
        return Some(shaped(&field.shape, given));
    }
    let value = shaped(&field.shape, given);
    let left_out = match (&field.shape, &value) {
        (Shape::Struct(_), _) => false,
        (Shape::Scalar(Scalar::Time | Scalar::MicroTime), value) => {
            field.omit_zero && value.is_null()
        }
        (
            Shape::Scalar(Scalar::Raw | Scalar::IntOrString | Scalar::Quantity | Scalar::Duration),
            _,
        ) => false,
        (_, Value::Null | Value::Bool(false)) => field.omit_empty,
        (_, Value::String(text)) => field.omit_empty && text.is_empty(),
        (_, Value::Number(number)) => field.omit_empty && number.as_f64() == Some(0.0),
        _ => false,
    };
    (!left_out).then_some(value)
}

/// A value of a shape in canonical form; null becomes Go's zero value.
fn shaped(shape: &Shape, value: Value) -> Value {
    match (shape, value) {
        (Shape::Struct(name), value) => match types().get(name) {
            Some(of) => structure(of, value),
            None => value,
        },
        (Shape::List(_) | Shape::WrappedList(_), Value::Array(items)) if items.is_empty() => {
            Value::Null
        }
        (Shape::List(item) | Shape::WrappedList(item), Value::Array(items)) => {
            items.into_iter().map(|value| shaped(item, value)).collect()
        }
        (Shape::Map(_), Value::Object(entries)) if entries.is_empty() => Value::Null,
        (Shape::Map(item), Value::Object(entries)) => entries
            .into_iter()
            .map(|(key, value)| (key, shaped(item, value)))
            .collect(),
        (Shape::List(_) | Shape::WrappedList(_) | Shape::Map(_), value) => value,
        (Shape::Scalar(scalar), value) => plain(*scalar, value),
    }
}

fn plain(scalar: Scalar, value: Value) -> Value {
    match (scalar, value) {
        (Scalar::String, Value::Null) => Value::from(""),
        (Scalar::Bool, Value::Null) => Value::from(false),
        (Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString, Value::Null) => Value::from(0),
        (Scalar::Double, Value::Null) => Value::from(0),
        (Scalar::Quantity, Value::Null) => Value::from("0"),
        (Scalar::Duration, Value::Null) => Value::from("0s"),
        (Scalar::Quantity, Value::String(text)) => {
            Value::from(quantity::canonical(&text).unwrap_or(text))
        }
        (Scalar::Quantity, Value::Number(number)) => {
            let text = number.to_string();
            Value::from(quantity::canonical(&text).unwrap_or(text))
        }
        (Scalar::Time, Value::String(text)) => Value::from(time::seconds(&text).unwrap_or(text)),
        (Scalar::MicroTime, Value::String(text)) => Value::from(time::micro(&text).unwrap_or(text)),
        (_, value) => value,
    }
}
