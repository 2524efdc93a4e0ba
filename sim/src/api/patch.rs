//! The three ways to change an object by a patch: JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge patch.
//!
//! In: the object as it is and the patch. Out: the object as it shall be, or why the patch cannot be applied. Pure. The
//! result is not checked, defaulted or brought into canonical form here.

mod strategic;

use serde_json::Value;
use thiserror::Error;

pub(crate) use strategic::go_text;
pub use strategic::strategic;

/// More operations than this in one JSON patch are refused.
pub const JSON_OPERATIONS_MAX: usize = 10_000;

/// Why a patch was not applied.
#[derive(Debug, Error)]
pub enum Error {
    /// The body is no patch of that type: 400.
    #[error("error decoding patch: {0}")]
    Decode(String),
    /// A JSON patch with too many operations: 413.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {JSON_OPERATIONS_MAX}, got {0}"
    )]
    TooManyOperations(usize),
    /// An operation of a JSON patch did not fit, or its `test` failed: 422.
    #[error("the server rejected our request due to an error in our request")]
    Rejected(#[source] Option<json_patch::PatchError>),
    /// A strategic merge patch contradicts itself or the kind: 500, as the API server has it.
    #[error("{0}")]
    Strategic(String),
}

// === impl Error ===

impl Error {
    /// The HTTP status that the API server answers with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Decode(_) => 400,
            Self::TooManyOperations(_) => 413,
            Self::Rejected(_) => 422,
            Self::Strategic(_) => 500,
        }
    }
}

/// Applies a JSON patch.
pub fn json(_kind: &str, current: &Value, patch: &Value) -> Result<Value, Error> {
    let Value::Array(operations) = patch else {
        return Err(mistyped(patch, "jsonpatch.Patch"));
    };
    if operations.len() > JSON_OPERATIONS_MAX {
        return Err(Error::TooManyOperations(operations.len()));
    }
    if let Some(wrong) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(mistyped(wrong, "jsonpatch.Operation"));
    }
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|_| Error::Rejected(None))?;
    let mut changed = current.clone();
    json_patch::patch(&mut changed, &patch).map_err(|error| Error::Rejected(Some(error)))?;
    Ok(changed)
}

/// Applies a merge patch.
pub fn merge(_kind: &str, current: &Value, patch: &Value) -> Result<Value, Error> {
    if !patch.is_object() {
        return Err(mistyped(patch, "map[string]interface {}"));
    }
    let mut changed = current.clone();
    json_patch::merge(&mut changed, patch);
    Ok(changed)
}

fn mistyped(value: &Value, wanted: &str) -> Error {
    let what = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Error::Decode(format!(
        "json: cannot unmarshal {what} into Go value of type {wanted}"
    ))
}

#[cfg(test)]
mod tests;
