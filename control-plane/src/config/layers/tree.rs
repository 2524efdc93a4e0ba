//! Values by their paths: takes trees of settings apart and puts them together. Pure.

use figment::value::{Dict, Value};

use super::super::key::{About, Arity};

/// A text that stands for all values of a setting.
pub(super) fn split(about: &About, text: &str) -> Value {
    match about.arity {
        Arity::One | Arity::Switch => text.into(),
        Arity::List => Value::from(
            text.split(',')
                .map(|part| part.trim().into())
                .collect::<Vec<Value>>(),
        ),
    }
}

/// A single value as text; none for lists and sections.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, character) => Some(character.to_string()),
        Value::Bool(_, switch) => Some(switch.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string())),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

/// All values with the path of each. A null is as good as absent: that is how charts leave a value out.
pub(super) fn flatten(prefix: &str, values: Dict, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in values {
        let name = format!("{prefix}{key}");
        match value {
            Value::Dict(_, inner) => flatten(&format!("{name}."), inner, leaves),
            Value::Empty(..) => {}
            Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Array(..) => leaves.push((name, value)),
        }
    }
}

/// Puts a value where its path says.
pub(super) fn insert(values: &mut Dict, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            values.insert(name.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = values
                .entry(section.to_owned())
                .or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
