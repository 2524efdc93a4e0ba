//! Server-side apply and managed fields. Pure.
#![allow(missing_docs, reason = "replaced")]
use serde_json::Value;
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);
pub fn apply(
    kind: &str,
    current: Option<&Value>,
    applied: &Value,
    _manager: &str,
    _force: bool,
    _subresource: &str,
    _now: jiff::Timestamp,
) -> Result<Value, Error> {
    match current {
        Some(c) => super::patch::merge(kind, c, applied).map_err(|e| Error(e.to_string())),
        None => Ok(applied.clone()),
    }
}
pub fn record_update(
    _kind: &str,
    _old: &Value,
    _new: &mut Value,
    _manager: &str,
    _operation: &str,
    _subresource: &str,
    _now: jiff::Timestamp,
) {
}
