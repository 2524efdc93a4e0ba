//! The keys of a JSON text in the order in which they stand there, and those that come twice.
//!
//! In: the raw text, because a parsed value has forgotten both. Out: dotted paths. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// One key as it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// `spec.ports[0].name`.
    pub(crate) path: String,
    /// The same object had this key before.
    pub(crate) again: bool,
}

/// Paths of the keys that an object of the text has twice; none for a text that is no JSON.
pub fn duplicates(text: &[u8]) -> Vec<String> {
    let keys = keys(text).unwrap_or_default();
    keys.into_iter()
        .filter(|key| key.again)
        .map(|key| key.path)
        .collect()
}

/// All keys of a JSON text, or `None` when it is no JSON.
pub(crate) fn keys(text: &[u8]) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(text);
    Level {
        path: String::new(),
        keys: &mut keys,
    }
    .deserialize(&mut parser)
    .ok()?;
    Some(keys)
}

/// One value in the text, and where it stands.
struct Level<'a> {
    path: String,
    keys: &'a mut Vec<Key>,
}

// === impl Level ===

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.path)
            };
            let again = !seen.insert(name);
            self.keys.push(Key {
                path: path.clone(),
                again,
            });
            map.next_value_seed(Level {
                path,
                keys: self.keys,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while items
            .next_element_seed(Level {
                path: format!("{}[{index}]", self.path),
                keys: self.keys,
            })?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
