//! The types of the built-in kinds, from `types.txt`.
//!
//! In: the table that is compiled in. Out: [`Types`], from which decoding, defaulting, patching and applying read what
//! a field is. Pure. Custom kinds are not here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// The table as text; its head explains the columns.
const TABLE: &str = include_str!("types.txt");

static TYPES: LazyLock<Types> = LazyLock::new(|| Types::parse(TABLE));

/// All built-in kinds and types.
pub(crate) fn types() -> &'static Types {
    &TYPES
}

/// Kinds by group version and name, and the structs that they are made of.
pub(crate) struct Types {
    kinds: BTreeMap<(&'static str, &'static str), &'static str>,
    structs: BTreeMap<&'static str, Struct>,
}

/// One struct.
pub(crate) struct Struct {
    /// `core.Container`.
    pub(crate) name: &'static str,
    /// As declared: embedded structs are one field named `-`. This is what the wire shows.
    pub(crate) declared: Vec<Field>,
    /// By JSON name, embedded structs laid flat. This is what JSON shows.
    pub(crate) fields: BTreeMap<&'static str, Field>,
    /// Owned as a whole by one manager.
    pub(crate) atomic: bool,
}

/// One field of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Protobuf field number; 0 when the field is not on the wire.
    pub(crate) number: u32,
    pub(crate) shape: Shape,
    /// A pointer in Go: absent and zero are different things.
    pub(crate) pointer: bool,
    pub(crate) omit_empty: bool,
    pub(crate) omit_zero: bool,
    pub(crate) list: ListKind,
    /// Strategic merge: the list merges by this key; the empty key merges a list of scalars as a set.
    pub(crate) merge_key: Option<&'static str>,
    /// Strategic merge: `$retainKeys` is expected here.
    pub(crate) retain_keys: bool,
    /// OpenAPI: must be there.
    pub(crate) required: bool,
    /// OpenAPI: these values and no others; empty when any will do.
    pub(crate) allowed: &'static str,
}

/// What a value looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Scalar(Scalar),
    /// Name of a [`Struct`].
    Struct(&'static str),
    List(Box<Shape>),
    /// A list that is a message of its own where a map holds it.
    WrappedList(Box<Shape>),
    Map(Box<Shape>),
}

/// Values without fields of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// Any object, as bytes on the wire.
    Raw,
    /// `fieldsV1` of managed fields.
    Fields,
    /// Any JSON value.
    Json,
    /// A JSON schema or a boolean, a list of schemas, or a list of names: not looked into.
    SchemaOrBool,
    SchemaOrArray,
    SchemaOrStrings,
}

/// How server-side apply sees a list or a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Unmarked,
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Keys(&'static [&'static str]),
}

// === impl Types ===

impl Types {
    /// The type of a kind; without a group version that of the core group, else the newest of that name.
    pub(crate) fn kind(&self, group_version: &str, kind: &str) -> Option<&Struct> {
        let group_version = if group_version.is_empty() {
            "v1"
        } else {
            group_version
        };
        let exact = self.kinds.get(&(group_version, kind));
        let name = exact.or_else(|| {
            let mut others = self.kinds.iter().rev();
            others
                .find(|((_, known), _)| group_version == "v1" && *known == kind)
                .map(|(_, name)| name)
        });
        name.and_then(|name| self.get(name))
    }

    /// The type of an object, by its own `apiVersion` where it has one.
    pub(crate) fn of(&self, kind: &str, object: &Value) -> Option<&Struct> {
        self.kind(object["apiVersion"].as_str().unwrap_or(""), kind)
    }

    /// A struct by its name in the table.
    pub(crate) fn get(&self, name: &str) -> Option<&Struct> {
        self.structs.get(name)
    }

    /// Group version and name of every kind.
    #[cfg(test)]
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.kinds.keys().copied()
    }

    fn parse(table: &'static str) -> Self {
        let mut types = Self {
            kinds: BTreeMap::new(),
            structs: BTreeMap::new(),
        };
        let mut current: Option<Struct> = None;
        for line in table
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let mut word = || words.next().expect("the table has all its columns");
            if line.starts_with(' ') {
                let field = Field::parse(word(), word(), word(), words);
                let owner = current.as_mut().expect("a field stands below its type");
                owner.declared.push(field);
                continue;
            }
            if line.contains('=') && line.contains(" = ") {
                let (group_version, kind, _, name) = (word(), word(), word(), word());
                types.kinds.insert((group_version, kind), name);
                continue;
            }
            types.close(current.take());
            let name = word();
            let atomic = words.any(|flag| flag == "atomic");
            current = Some(Struct {
                name,
                declared: Vec::new(),
                fields: BTreeMap::new(),
                atomic,
            });
        }
        types.close(current);
        types.flatten();
        types
    }

    fn close(&mut self, done: Option<Struct>) {
        if let Some(done) = done {
            self.structs.insert(done.name, done);
        }
    }

    fn flatten(&mut self) {
        let names: Vec<&'static str> = self.structs.keys().copied().collect();
        for name in names {
            let mut flat = BTreeMap::new();
            self.collect(name, &mut flat);
            self.structs
                .get_mut(name)
                .expect("the name is one of the keys")
                .fields = flat;
        }
    }

    fn collect(&self, name: &str, flat: &mut BTreeMap<&'static str, Field>) {
        for field in &self.structs[name].declared {
            if let ("-", Shape::Struct(inner)) = (field.name, &field.shape) {
                self.collect(inner, flat);
            } else {
                flat.insert(field.name, field.clone());
            }
        }
    }
}

// === impl Field ===

impl Field {
    fn parse(
        name: &'static str,
        number: &str,
        shape: &'static str,
        flags: impl Iterator<Item = &'static str>,
    ) -> Self {
        let bare = shape.strip_prefix('*');
        let mut field = Self {
            name,
            number: number.parse().expect("the second column is a number"),
            shape: Shape::parse(bare.unwrap_or(shape)),
            pointer: bare.is_some(),
            omit_empty: false,
            omit_zero: false,
            list: ListKind::Unmarked,
            merge_key: None,
            retain_keys: false,
            required: false,
            allowed: "",
        };
        for flag in flags {
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("empty", _) => field.omit_empty = true,
                ("zero", _) => field.omit_zero = true,
                ("atomic", _) => field.list = ListKind::Atomic,
                ("set", _) => field.list = ListKind::Set,
                ("keys", keys) => {
                    let keys: Vec<&'static str> = keys.split(',').collect();
                    field.list = ListKind::Keys(keys.leak());
                }
                ("merge", key) => field.merge_key = Some(key),
                ("retain", _) => field.retain_keys = true,
                ("required", _) => field.required = true,
                ("enum", values) => field.allowed = values,
                (other, _) => panic!("the table knows no flag {other}"),
            }
        }
        field
    }
}

// === impl Shape ===

impl Shape {
    fn parse(text: &'static str) -> Self {
        let text = text.strip_prefix('*').unwrap_or(text);
        if let Some(rest) = text.strip_prefix("wrapped[]") {
            return Self::WrappedList(Box::new(Self::parse(rest)));
        }
        if let Some(rest) = text.strip_prefix("[]") {
            return Self::List(Box::new(Self::parse(rest)));
        }
        if let Some(rest) = text.strip_prefix("map:") {
            return Self::Map(Box::new(Self::parse(rest)));
        }
        Self::Scalar(match text {
            "string" => Scalar::String,
            "bool" => Scalar::Bool,
            "int32" => Scalar::Int32,
            "int64" => Scalar::Int64,
            "double" => Scalar::Double,
            "bytes" => Scalar::Bytes,
            "time" => Scalar::Time,
            "microtime" => Scalar::MicroTime,
            "duration" => Scalar::Duration,
            "quantity" => Scalar::Quantity,
            "intstr" => Scalar::IntOrString,
            "raw" => Scalar::Raw,
            "fields" => Scalar::Fields,
            "json" => Scalar::Json,
            "schema-or-bool" => Scalar::SchemaOrBool,
            "schema-or-array" => Scalar::SchemaOrArray,
            "schema-or-strings" => Scalar::SchemaOrStrings,
            name => return Self::Struct(name),
        })
    }

    /// The struct, if this is one.
    pub(crate) fn as_struct(&self) -> Option<&'static Struct> {
        if let Self::Struct(name) = self {
            types().get(name)
        } else {
            None
        }
    }

    /// The struct behind this shape, or behind its items.
    pub(crate) fn item_struct(&self) -> Option<&'static Struct> {
        match self {
            Self::Struct(name) => types().get(name),
            Self::List(item) | Self::WrappedList(item) | Self::Map(item) => item.item_struct(),
            Self::Scalar(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_that_a_field_names_is_in_the_table() {
        for owner in types().structs.values() {
            for field in &owner.declared {
                let mut shape = &field.shape;
                while let Shape::List(inner) | Shape::WrappedList(inner) | Shape::Map(inner) = shape
                {
                    shape = inner;
                }
                if let Shape::Struct(name) = shape {
                    assert!(
                        types().get(name).is_some(),
                        "{}.{} has type {name}",
                        owner.name,
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn kinds_resolve_with_and_without_group_version() {
        assert_eq!(
            types().kind("apps/v1", "Deployment").map(|s| s.name),
            Some("apps.Deployment")
        );
        assert_eq!(
            types().kind("", "Ingress").map(|s| s.name),
            Some("networking.Ingress")
        );
        assert_eq!(
            types().kind("events.k8s.io/v1", "Event").map(|s| s.name),
            Some("events.Event")
        );
        assert!(types().kind("apps/v2", "Deployment").is_none());
    }

    #[test]
    fn embedded_structs_lie_flat_in_json_and_apart_on_the_wire() {
        let volume = types().get("core.Volume").unwrap();
        assert!(volume.fields.contains_key("configMap"));
        assert_eq!(volume.declared[1].name, "-");
    }
}
