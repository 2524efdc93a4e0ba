//! What a schema asks of one value without parts: its type, its range, the values that it may have. Pure.

use serde_json::Value;

use super::Verdict;

pub(super) fn check_type(schema: &Value, value: &Value, path: &str, verdict: &mut Verdict) {
    verdict.checks += 1;
    let is_either = schema["x-kubernetes-int-or-string"] == true;
    let wanted = if is_either {
        "integer,string"
    } else {
        schema["type"].as_str().unwrap_or_default()
    };
    let is_fine = match value {
        _ if wanted.is_empty() => true,
        Value::Null => schema["nullable"] == true,
        Value::Bool(_) => wanted == "boolean",
        Value::String(_) => is_either || wanted == "string",
        Value::Array(_) => wanted == "array",
        Value::Object(_) => wanted == "object",
        Value::Number(number) => {
            let is_whole = !number.is_f64() || number.as_f64().is_some_and(|n| n.fract() == 0.0);
            wanted == "number" || (is_either || wanted == "integer") && is_whole
        }
    };
    if !is_fine {
        verdict.mistyped(path, wanted, type_name(value));
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub(super) fn check_enum(schema: &Value, value: &Value, path: &str, verdict: &mut Verdict) {
    let Some(allowed) = schema["enum"].as_array() else {
        return;
    };
    let is_same = |one: &Value| match (one.as_f64(), value.as_f64()) {
        (Some(one), Some(value)) => one.total_cmp(&value).is_eq(),
        _ => one == value,
    };
    if allowed.iter().any(is_same) {
        return;
    }
    let list: Vec<String> = allowed
        .iter()
        .map(|one| {
            let text = one.as_str().map_or_else(|| one.to_string(), str::to_owned);
            format!("{text:?}")
        })
        .collect();
    let what = format!(
        "Unsupported value: {value}: supported values: {}",
        list.join(", ")
    );
    verdict.add("FieldValueNotSupported", path, what);
}

pub(super) fn check_number(schema: &Value, value: &Value, path: &str, verdict: &mut Verdict) {
    let number = value.as_f64().unwrap_or_default();
    let shown = value.to_string();
    if schema["type"] == "integer" && schema["format"].is_null() && number.fract() != 0.0 {
        verdict.composite(&format!(
            "Checked value must be of type integer (default format) in {}",
            path.trim_start_matches('.')
        ));
    }
    if schema["type"] == "integer"
        && schema["format"] == "int32"
        && value.as_i64().is_none_or(|n| i32::try_from(n).is_err())
    {
        verdict.composite(&format!(
            "Checked value must be of type integer with format int32 in {}",
            path.trim_start_matches('.')
        ));
    }
    if let Some(factor) = schema["multipleOf"].as_f64().filter(|&factor| factor > 0.0) {
        let quotient = number / factor;
        if (quotient - quotient.round()).abs() > f64::EPSILON * quotient.abs().max(1.0) {
            let why = format!("should be a multiple of {}", schema["multipleOf"]);
            verdict.invalid(path, &shown, &why);
        }
    }
    let bounds = [
        ("minimum", "exclusiveMinimum", "greater than", -1.0),
        ("maximum", "exclusiveMaximum", "less than", 1.0),
    ];
    for (bound, exclusive, words, direction) in bounds {
        let Some(limit) = schema[bound].as_f64() else {
            continue;
        };
        let beyond = (number - limit) * direction;
        let is_exclusive = schema[exclusive] == true;
        if beyond > 0.0 || is_exclusive && beyond == 0.0 {
            let or_equal = if is_exclusive { "" } else { " or equal to" };
            let why = format!("should be {words}{or_equal} {}", schema[bound]);
            verdict.invalid(path, &shown, &why);
        }
    }
}
