//! Strict decoding: which fields a body has that its kind does not know, which come twice, which have a wrong type.
//!
//! In: an object as JSON, or its raw text. Out: a [`Report`], or sentences in the order of the document. Pure. Custom
//! kinds are left alone here; their own schema judges them.

pub(crate) mod canonical;
pub(crate) mod duplicates;
pub(crate) mod quantity;
pub(crate) mod time;
pub(crate) mod types;

use base64::Engine as _;
use serde_json::Value;

pub use duplicates::duplicates;
use types::{Scalar, Shape, Struct, types};

/// Faults beyond this many are not listed.
const FAULTS_MAX: usize = 100;

/// What strict decoding found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Paths of unknown fields: `spec.rules[0].http.paths[0].backend.serviceName`.
    pub unknown: Vec<String>,
    /// Why the object cannot be decoded at all, in the words that follow `cannot be handled as a KIND: `.
    pub wrong: Option<String>,
}

/// Checks an object against its kind; kinds that are not built in give an empty report.
pub fn check(kind: &str, group_version: &str, object: &Value) -> Report {
    let mut walk = Walk {
        kind,
        report: Report::default(),
    };
    if let Some(of) = types().kind(group_version, kind) {
        walk.object(of, object, "");
    }
    walk.report
}

/// The faults of strict decoding as sentences (`unknown field "a.b"`, `duplicate field "c"`), in the order in which
/// they stand in the text. Text that is no JSON has none.
pub fn strict_faults(kind: &str, group_version: &str, object: &Value, text: &[u8]) -> Vec<String> {
    let unknown = check(kind, group_version, object).unknown;
    let keys = duplicates::keys(text).unwrap_or_default();
    if keys.is_empty() {
        return unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
    }
    let mut faults: Vec<String> = Vec::new();
    for key in keys {
        let fault = if key.again {
            format!("duplicate field {:?}", key.path)
        } else if unknown.contains(&key.path) {
            format!("unknown field {:?}", key.path)
        } else {
            continue;
        };
        if faults.len() < FAULTS_MAX && !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    faults
}

/// One pass over one object.
struct Walk<'a> {
    kind: &'a str,
    report: Report,
}

// === impl Walk ===

impl Walk<'_> {
    fn object(&mut self, of: &Struct, value: &Value, path: &str) {
        let Value::Object(entries) = value else {
            if !value.is_null() {
                self.mistyped(value, path, of.name.replace('.', "/v1."));
            }
            return;
        };
        for (name, value) in entries {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match of.fields.get(name.as_str()) {
                Some(field) => self.shape(&field.shape, value, &below),
                None if self.report.unknown.len() < FAULTS_MAX => self.report.unknown.push(below),
                None => {}
            }
        }
    }

    fn shape(&mut self, shape: &Shape, value: &Value, path: &str) {
        match (shape, value) {
            (_, Value::Null) => {}
            (Shape::Struct(name), value) => {
                if let Some(of) = types().get(name) {
                    self.object(of, value, path);
                }
            }
            (Shape::List(item) | Shape::WrappedList(item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.shape(item, value, &format!("{path}[{index}]"));
                }
            }
            (Shape::Map(item), Value::Object(entries)) => {
                for (key, value) in entries {
                    self.shape(item, value, &format!("{path}.{key}"));
                }
            }
            (Shape::List(_) | Shape::WrappedList(_) | Shape::Map(_), value) => {
                self.mistyped(value, path, go_name(shape));
            }
            (Shape::Scalar(scalar), value) => self.scalar(*scalar, value, path),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value, path: &str) {
        let fits = match scalar {
            Scalar::String => value.is_string(),
            Scalar::Bool => value.is_boolean(),
            Scalar::Int32 => value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            Scalar::Int64 => value.as_i64().is_some(),
            Scalar::Double => value.is_number(),
            Scalar::IntOrString => {
                value.is_string()
                    || value
                        .as_i64()
                        .is_some_and(|number| i32::try_from(number).is_ok())
            }
            Scalar::Raw | Scalar::Fields => value.is_object(),
            Scalar::Json
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrStrings => true,
            Scalar::Bytes
            | Scalar::Time
            | Scalar::MicroTime
            | Scalar::Duration
            | Scalar::Quantity => {
                return self.text(scalar, value, path);
            }
        };
        if !fits {
            self.mistyped(value, path, go_name(&Shape::Scalar(scalar)));
        }
    }

    /// Values that are text with a form of their own.
    fn text(&mut self, scalar: Scalar, value: &Value, path: &str) {
        if scalar == Scalar::Quantity {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            if let Err(error) = quantity::canonical(&text) {
                self.wrong(error.to_string());
            }
            return;
        }
        let Value::String(text) = value else {
            return self.mistyped(value, path, go_name(&Shape::Scalar(scalar)));
        };
        if scalar == Scalar::Bytes {
            if let Err(error) = base64::engine::general_purpose::STANDARD.decode(text) {
                self.wrong(format!("illegal base64 data: {error}"));
            }
            return;
        }
        let layout = if scalar == Scalar::MicroTime {
            time::MICRO_LAYOUT
        } else {
            time::LAYOUT
        };
        let understood = scalar == Scalar::Duration
            || if scalar == Scalar::MicroTime {
                time::micro(text).is_some()
            } else {
                time::seconds(text).is_some()
            };
        if !understood {
            let (rest, element) = time::first_fault(text, layout);
            self.wrong(format!(
                "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"
            ));
        }
    }

    fn mistyped(&mut self, value: &Value, path: &str, wanted: String) {
        let what = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kind = self.kind;
        let field = if path.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{path}")
        };
        self.wrong(format!(
            "json: cannot unmarshal {what} into Go struct field {field} of type {wanted}"
        ));
    }

    fn wrong(&mut self, words: String) {
        self.report.wrong.get_or_insert(words);
    }
}

/// A shape in the words of Go's decoder.
fn go_name(shape: &Shape) -> String {
    match shape {
        Shape::Struct(name) => name.replacen('.', "/v1.", 1),
        Shape::List(item) | Shape::WrappedList(item) => format!("[]{}", go_name(item)),
        Shape::Map(item) => format!("map[string]{}", go_name(item)),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Bytes => "[]uint8",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Raw => "runtime.RawExtension",
            Scalar::Fields => "v1.FieldsV1",
            Scalar::Json
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrStrings => "v1.JSON",
        }
        .to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
