//! What kind of whole a value is to apply: one thing, a map of members, a list with keys, a set.
//!
//! In: a value and its type. Out: the set of its fields, and how it differs from another. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Kind;
use super::set::{Changes, Set};
use crate::api::schema::types::{Field, ListKind, Scalar, Shape, Struct, types};

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Typed<'a> {
    /// A custom object: metadata is known, the rest is what its schema says, if there is one.
    Custom(Option<&'a Value>),
    /// A part of a custom object.
    Schema(&'a Value),
    /// Anything: maps have members, lists are taken whole.
    Free,
    Struct(&'static Struct),
    Field(&'static Field),
    Shape(&'static Shape),
}

/// How a value is owned.
pub(super) enum Whole<'a> {
    /// As one thing.
    Atomic,
    /// Member by member.
    Members,
    /// Item by item, told apart by these fields.
    Keyed(Vec<&'a str>),
    /// Item by item, told apart by value.
    Values,
}

// === impl Typed ===

impl<'a> Typed<'a> {
    /// The type of an object.
    pub(super) fn root(kind: Kind<'a>, object: &Value) -> Self {
        let known = types()
            .of(kind.name, object)
            .filter(|_| kind.schema.is_none());
        known.map_or(Self::Custom(kind.schema), Self::Struct)
    }

    /// How a value of this type is owned.
    pub(super) fn whole(self) -> Whole<'a> {
        match self {
            Self::Custom(_) | Self::Free => Whole::Members,
            Self::Schema(schema) => whole_by_schema(schema),
            Self::Struct(of) if of.atomic => Whole::Atomic,
            Self::Struct(_) => Whole::Members,
            Self::Field(field) if field.list == ListKind::Atomic => Whole::Atomic,
            Self::Field(field) => match (&field.shape, field.list) {
                (Shape::List(_) | Shape::WrappedList(_), ListKind::Keys(keys)) => {
                    Whole::Keyed(keys.to_vec())
                }
                (Shape::List(_) | Shape::WrappedList(_), ListKind::Set) => Whole::Values,
                (shape, _) => Self::Shape(shape).whole(),
            },
            Self::Shape(Shape::Struct(name)) => types()
                .get(name)
                .map_or(Whole::Atomic, |of| Self::Struct(of).whole()),
            Self::Shape(Shape::Map(_)) => Whole::Members,
            Self::Shape(_) => Whole::Atomic,
        }
    }

    /// The type of a member.
    pub(super) fn member(self, name: &str) -> Self {
        match self {
            Self::Custom(_) if name == "metadata" => types()
                .get("meta.ObjectMeta")
                .map_or(Self::Free, Self::Struct),
            Self::Custom(Some(schema)) | Self::Schema(schema) => member_by_schema(schema, name),
            Self::Custom(None) | Self::Free => Self::Free,
            Self::Struct(of) => of.fields.get(name).map_or(Self::Free, Self::Field),
            Self::Field(field) => Self::Shape(&field.shape).member(name),
            Self::Shape(Shape::Struct(of)) => types()
                .get(of)
                .map_or(Self::Free, |of| Self::Struct(of).member(name)),
            Self::Shape(Shape::Map(item)) => Self::Shape(item),
            Self::Shape(_) => Self::Free,
        }
    }

    /// The type of an item of a list.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Field(field) => Self::Shape(&field.shape).item(),
            Self::Shape(Shape::List(item) | Shape::WrappedList(item)) => Self::Shape(item),
            Self::Schema(schema) if schema["items"].is_object() => Self::Schema(&schema["items"]),
            Self::Schema(_) | Self::Shape(_) | Self::Custom(_) | Self::Free | Self::Struct(_) => {
                Self::Free
            }
        }
    }

    /// The parts of a value by step, or `None` when it is one thing. Items that cannot be told apart have no step.
    pub(super) fn parts(self, value: &Value) -> Option<BTreeMap<String, (Self, &Value)>> {
        match (self.whole(), value) {
            (Whole::Members, Value::Object(entries)) => {
                let parts = entries
                    .iter()
                    .map(|(name, value)| (format!("f:{name}"), (self.member(name), value)));
                Some(parts.collect())
            }
            (Whole::Keyed(keys), Value::Array(items)) => {
                let parts = items
                    .iter()
                    .filter_map(|item| Some((self.key_step(&keys, item)?, (self.item(), item))));
                Some(parts.collect())
            }
            (Whole::Values, Value::Array(items)) => Some(
                items
                    .iter()
                    .map(|item| (format!("v:{item}"), (self.item(), item)))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The step to an item of a keyed list. A key that is left out has its default; without one it is no key.
    pub(super) fn key_step(self, keys: &[&str], item: &Value) -> Option<String> {
        let default_of = |key: &str| match (self, key) {
            (Self::Schema(schema), key) => {
                let known = &schema["items"]["properties"][key];
                known.get("default").cloned()
            }
            // The only key of a built-in list that can be left out.
            (_, "protocol") => Some(Value::from("TCP")),
            _ => None,
        };
        let mut found = Map::new();
        for &key in keys {
            let given = item.get(key).filter(|value| !value.is_null());
            let value = given.cloned().or_else(|| default_of(key));
            found.extend(value.map(|value| (key.to_owned(), value)));
        }
        (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
    }

    /// The fields of a value that is applied.
    pub(super) fn fields(self, value: &Value) -> Set {
        let mut set = Set::default();
        for (step, (typed, value)) in self.parts(value).unwrap_or_default() {
            let mut below = typed.fields(value);
            below.is_member = below.below.is_empty() || !step.starts_with("f:");
            set.insert(&step, below);
        }
        set
    }

    /// How `after` differs from `before`.
    pub(super) fn changes(self, before: Option<&Value>, after: Option<&Value>) -> Changes {
        let mut changes = Changes::default();
        match (self.parts_to_compare(before), self.parts_to_compare(after)) {
            (Some(old), Some(new)) => self.compare(&old, &new, &mut changes),
            (None, Some(new)) if before.is_none() => {
                changes.added.is_member = true;
                self.compare(&BTreeMap::new(), &new, &mut changes);
            }
            (Some(old), None) if after.is_none() => {
                changes.removed.is_member = true;
                self.compare(&old, &BTreeMap::new(), &mut changes);
            }
            _ => match (before, after) {
                (None, None) => {}
                (None, Some(_)) => changes.added.is_member = true,
                (Some(_), None) => changes.removed.is_member = true,
                (Some(old), Some(new)) => changes.modified.is_member = old != new,
            },
        }
        changes
    }

    /// The parts of a value that is compared; null is a whole without parts, unless it is one thing.
    fn parts_to_compare(self, value: Option<&Value>) -> Option<BTreeMap<String, (Self, &Value)>> {
        let value = value?;
        if value.is_null() && !matches!(self.whole(), Whole::Atomic) {
            return Some(BTreeMap::new());
        }
        self.parts(value)
    }

    fn compare(
        self,
        old: &BTreeMap<String, (Self, &Value)>,
        new: &BTreeMap<String, (Self, &Value)>,
        changes: &mut Changes,
    ) {
        for (step, &(typed, value)) in old {
            let after = new.get(step).map(|&(_, value)| value);
            changes.insert(step, typed.changes(Some(value), after));
        }
        for (step, &(typed, value)) in new.iter().filter(|(step, _)| !old.contains_key(*step)) {
            changes.insert(step, typed.changes(None, Some(value)));
        }
    }

    /// Why a value does not fit, in the words of the merging library; `None` when it does.
    pub(super) fn mistyped(self, value: &Value, path: String) -> Option<String> {
        let shape = match self {
            Self::Field(field) => Some(&field.shape),
            Self::Shape(shape) => Some(shape),
            Self::Custom(_) | Self::Schema(_) | Self::Free | Self::Struct(_) => None,
        };
        let expected = match (shape, value) {
            (_, Value::Null) => return None,
            (Some(Shape::Scalar(Scalar::String)), value) if !value.is_string() => Some("string"),
            (Some(Shape::Scalar(Scalar::Bool)), value) if !value.is_boolean() => Some("boolean"),
            (Some(Shape::Scalar(Scalar::Int32 | Scalar::Int64)), value) if !value.is_number() => {
                Some("numeric (int or float)")
            }
            (Some(Shape::List(_)), value) if !value.is_array() => Some("list"),
            (Some(Shape::Map(_) | Shape::Struct(_)), value) if !value.is_object() => Some("map"),
            _ => None,
        };
        if let Some(expected) = expected {
            let shown = super::super::patch::go_text(value);
            return Some(format!(
                "{path}: expected {expected}, got &value.valueUnstructured{{Value:{shown}}}"
            ));
        }
        match value {
            Value::Object(entries) => entries.iter().find_map(|(name, value)| {
                self.member(name).mistyped(value, format!("{path}.{name}"))
            }),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(index, value)| {
                    self.item().mistyped(value, format!("{path}[{index}]"))
                })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

fn whole_by_schema(schema: &Value) -> Whole<'_> {
    if schema["x-kubernetes-map-type"] == "atomic" {
        return Whole::Atomic;
    }
    if schema["type"] != "array" {
        return Whole::Members;
    }
    match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let keys = keys.into_iter().flatten().filter_map(Value::as_str);
            Whole::Keyed(keys.collect())
        }
        Some("set") => Whole::Values,
        _ => Whole::Atomic,
    }
}

fn member_by_schema<'a>(schema: &'a Value, name: &str) -> Typed<'a> {
    if name == "metadata" && schema["x-kubernetes-embedded-resource"] == true {
        return types()
            .get("meta.ObjectMeta")
            .map_or(Typed::Free, Typed::Struct);
    }
    let known = &schema["properties"][name];
    if known.is_object() {
        Typed::Schema(known)
    } else if schema["additionalProperties"].is_object() {
        Typed::Schema(&schema["additionalProperties"])
    } else {
        Typed::Free
    }
}
