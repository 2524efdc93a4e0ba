//! Whether a value is what a schema asks for, in the words and the order of the real validator.
//!
//! In: a schema, a value, and for a change the value before it. Out: [`Verdict`]. Pure. A value that is as it was is
//! not judged again, so that an object which was good under an older schema can still be changed elsewhere.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::format;
use crate::api::validate::Cause;

mod scalars;

/// Complaints beyond this many are not collected.
const CAUSES_MAX: usize = 100;

/// Schemas deeper than this are not followed; a body of three megabytes could otherwise nest without end.
const DEPTH_MAX: usize = 200;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The faults, in the order of the checks.
    pub causes: Vec<Cause>,
    /// How many checks were made: of several alternatives that fail, the one with the most is explained.
    checks: usize,
}

/// Judges one object; keeps the regular expressions of its schema.
#[derive(Default)]
pub(super) struct Judge {
    patterns: BTreeMap<String, Option<Regex>>,
}

// === impl Verdict ===

impl Verdict {
    fn is_good(&self) -> bool {
        self.causes.is_empty()
    }

    fn add(&mut self, reason: &'static str, path: &str, message: String) {
        if self.causes.len() < CAUSES_MAX {
            self.causes.push(Cause {
                reason,
                message,
                field: path.trim_start_matches('.').to_owned(),
            });
        }
    }

    fn invalid(&mut self, path: &str, shown: &str, why: &str) {
        let what = format!("Invalid value: {shown}: {}{why}", subject(path));
        self.add("FieldValueInvalid", path, what);
    }

    /// A value of a wrong type or form; `shown` is text.
    fn mistyped(&mut self, path: &str, wanted: &str, shown: &str) {
        let message = format!(
            "Invalid value: {shown:?}: {}must be of type {wanted}: {shown:?}",
            subject(path)
        );
        self.add("FieldValueTypeInvalid", path, message);
    }

    /// A fault that the real validator ties to no field.
    fn composite(&mut self, message: &str) {
        let message = format!("Invalid value: \"\": {message}");
        self.add("FieldValueInvalid", "<nil>", message);
    }

    fn merge(&mut self, other: Self) {
        self.checks += other.checks;
        let room = CAUSES_MAX.saturating_sub(self.causes.len());
        self.causes.extend(other.causes.into_iter().take(room));
    }
}

/// `spec.size in body `, as complaints begin.
fn subject(path: &str) -> String {
    format!("{} in body ", path.trim_start_matches('.'))
}

// === impl Judge ===

impl Judge {
    /// Judges a value; `old` is what stood in its place before.
    pub(super) fn check(
        &mut self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) -> Verdict {
        self.check_at(schema, value, old, path, 0)
    }

    fn check_at(
        &mut self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        depth: usize,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        if old == Some(value) || depth > DEPTH_MAX {
            return verdict;
        }
        scalars::check_type(schema, value, path, &mut verdict);
        if value.is_null() {
            scalars::check_enum(schema, value, path, &mut verdict);
            return verdict;
        }
        self.junctors(schema, value, path, depth, &mut verdict);
        match value {
            Value::String(text) => self.text(schema, text, path, &mut verdict),
            Value::Number(_) => scalars::check_number(schema, value, path, &mut verdict),
            Value::Array(items) => self.items(schema, items, old, path, depth, &mut verdict),
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
        scalars::check_enum(schema, value, path, &mut verdict);
        if let Value::Object(fields) = value {
            self.fields(schema, fields, old, path, depth, &mut verdict);
        }
        verdict.checks += 1;
        verdict
    }

    fn junctors(
        &mut self,
        schema: &Value,
        value: &Value,
        path: &str,
        depth: usize,
        verdict: &mut Verdict,
    ) {
        let shown = path.trim_start_matches('.');
        let alternatives = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        let any = alternatives("anyOf");
        if !any.is_empty() {
            let (good, best) = self.alternatives(&any, value, path, depth);
            if good == 0 {
                verdict.composite(&format!(
                    "{shown:?} must validate at least one schema (anyOf)"
                ));
                verdict.merge(best);
            }
        }
        let one = alternatives("oneOf");
        if !one.is_empty() {
            let (good, best) = self.alternatives(&one, value, path, depth);
            let found = match good {
                1 => String::new(),
                0 => "Found none valid".to_owned(),
                _ => format!("Found {good} valid alternatives"),
            };
            if good != 1 {
                verdict.composite(&format!(
                    "{shown:?} must validate one and only one schema (oneOf). {found}"
                ));
            }
            if good == 0 {
                verdict.merge(best);
            }
        }
        let all = alternatives("allOf");
        let mut good = 0;
        for schema in &all {
            let one = self.check_at(schema, value, None, path, depth + 1);
            good += usize::from(one.is_good());
            verdict.merge(one);
        }
        if good != all.len() {
            let none = if good == 0 { ". None validated" } else { "" };
            verdict.composite(&format!(
                "{shown:?} must validate all the schemas (allOf){none}"
            ));
        }
        if schema["not"].is_object()
            && self
                .check_at(&schema["not"], value, None, path, depth + 1)
                .is_good()
        {
            verdict.composite(&format!("{shown:?} must not validate the schema (not)"));
        }
    }

    /// How many alternatives hold, and what the one that came farthest complains of.
    fn alternatives(
        &mut self,
        schemas: &[Value],
        value: &Value,
        path: &str,
        depth: usize,
    ) -> (usize, Verdict) {
        let mut good = 0;
        let mut best: Option<Verdict> = None;
        for schema in schemas {
            let one = self.check_at(schema, value, None, path, depth + 1);
            if one.is_good() {
                good += 1;
            } else if best.as_ref().is_none_or(|best| one.checks > best.checks) {
                best = Some(one);
            }
        }
        (good, best.unwrap_or_default())
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str, verdict: &mut Verdict) {
        let length = text.chars().count() as u64;
        let too_long = schema["maxLength"].as_u64().filter(|&max| length > max);
        let too_short = schema["minLength"].as_u64().filter(|&min| length < min);
        let shown = Value::from(text).to_string();
        // The real validator stops at the first of these three.
        if let Some(max) = too_long {
            let what = format!("Too long: may not be more than {max} bytes");
            verdict.add("FieldValueTooLong", path, what);
        } else if let Some(min) = too_short {
            verdict.invalid(
                path,
                &shown,
                &format!("should be at least {min} chars long"),
            );
        } else if let Some(pattern) = schema["pattern"].as_str().filter(|text| !text.is_empty())
            && !self.is_match(pattern, text)
        {
            verdict.invalid(path, &shown, &format!("should match '{pattern}'"));
        }
        if let Some(name) = format::unmet(schema, text) {
            verdict.mistyped(path, name, text);
        }
    }

    /// A pattern that this engine cannot read is passed over: the definition was accepted with it.
    fn is_match(&mut self, pattern: &str, text: &str) -> bool {
        let known = self
            .patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).ok());
        known.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }

    fn items(
        &mut self,
        schema: &Value,
        items: &[Value],
        old: Option<&Value>,
        path: &str,
        depth: usize,
        verdict: &mut Verdict,
    ) {
        if schema["items"].is_object() {
            for (index, item) in items.iter().enumerate() {
                let before = old.and_then(|old| same_item(schema, old, item));
                let below = format!("{path}[{index}]");
                verdict.merge(self.check_at(&schema["items"], item, before, &below, depth + 1));
            }
        }
        let count = items.len() as u64;
        if let Some(min) = schema["minItems"].as_u64().filter(|&min| count < min) {
            let why = format!("should have at least {min} items");
            verdict.invalid(path, &count.to_string(), &why);
        }
        if let Some(max) = schema["maxItems"].as_u64().filter(|&max| count > max) {
            let what = format!("Too many: {count}: must have at most {max} items");
            verdict.add("FieldValueTooMany", path, what);
        }
    }

    fn fields(
        &mut self,
        schema: &Value,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        path: &str,
        depth: usize,
        verdict: &mut Verdict,
    ) {
        let count = fields.len() as u64;
        if let Some(min) = schema["minProperties"].as_u64().filter(|&min| count < min) {
            let why = format!("should have at least {min} properties");
            verdict.invalid(path, &count.to_string(), &why);
        }
        if let Some(max) = schema["maxProperties"].as_u64().filter(|&max| count > max) {
            let what = format!("Too many: {count}: must have at most {max} items");
            verdict.add("FieldValueTooMany", path, what);
        }
        let others = &schema["additionalProperties"];
        for (name, value) in fields {
            let known = &schema["properties"][name];
            let below = format!("{path}.{name}");
            let before = old.and_then(|old| old.get(name));
            if known.is_object() {
                verdict.merge(self.check_at(known, value, before, &below, depth + 1));
            } else if others.is_object() {
                verdict.merge(self.check_at(others, value, before, &below, depth + 1));
            } else if others == &Value::Bool(false) {
                let shown = path.trim_start_matches('.');
                verdict.add(
                    "FieldValueInvalid",
                    path,
                    format!("Invalid value: \"\": {shown}.{name} in body is a forbidden property"),
                );
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let message = "Required value".to_owned();
                verdict.add("FieldValueRequired", &format!("{path}.{name}"), message);
            }
        }
    }
}

/// The item of an old list that is the same one: only lists with keys can tell.
fn same_item<'a>(schema: &Value, old: &'a Value, item: &Value) -> Option<&'a Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let mut keys = keys.iter().filter_map(Value::as_str).peekable();
    keys.peek()?;
    let keys: Vec<&str> = keys.collect();
    old.as_array()?
        .iter()
        .find(|one| keys.iter().all(|&key| one[key] == item[key]))
}
