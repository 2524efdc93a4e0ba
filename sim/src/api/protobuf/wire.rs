//! Protobuf's wire format, read by the table of types.
//!
//! In: bytes and the struct that they are a message of. Out: JSON members; fields that the struct does not know are
//! skipped, as protobuf wants it. Pure. Depth is limited; length is limited by the body.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use crate::api::schema::time;
use crate::api::schema::types::{Field, Scalar, Shape, Struct, types};

/// The value of one field as it stands on the wire.
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// Reads a message field by field.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// Decodes a message; `depth` is how many levels may still follow.
pub(super) fn message(
    of: &'static Struct,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, Error> {
    let depth = depth
        .checked_sub(1)
        .ok_or(Error::Malformed("nested too deep"))?;
    let mut object = Map::new();
    for entry in Reader::new(bytes) {
        let (number, wire) = entry?;
        let Some(field) = of.declared.iter().find(|field| field.number == number) else {
            continue;
        };
        if field.name == "-" {
            let (Some(inner), Wire::Bytes(bytes)) = (field.shape.item_struct(), wire) else {
                return Err(Error::Malformed("wrong wire type"));
            };
            object.extend(message(inner, bytes, depth)?);
            continue;
        }
        add(&mut object, field, wire, depth)?;
    }
    Ok(object)
}

fn add(
    object: &mut Map<String, Value>,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), Error> {
    match &field.shape {
        Shape::List(item) | Shape::WrappedList(item) => {
            let list = object
                .entry(field.name)
                .or_insert_with(|| Value::Array(Vec::new()));
            let items = list
                .as_array_mut()
                .expect("the field only ever holds a list");
            match (item.as_ref(), wire) {
                (Shape::Scalar(Scalar::Int32 | Scalar::Int64), Wire::Bytes(packed)) => {
                    let mut reader = Reader::new(packed);
                    while !reader.rest.is_empty() {
                        items.push(Value::from(reader.varint()?.cast_signed()));
                    }
                }
                (item, wire) => items.push(value(item, wire, field.name, depth)?),
            }
        }
        Shape::Map(item) => {
            let Wire::Bytes(bytes) = wire else {
                return Err(Error::Malformed("wrong wire type"));
            };
            let (key, value) = map_entry(item, bytes, field.name, depth)?;
            let map = object
                .entry(field.name)
                .or_insert_with(|| Value::Object(Map::new()));
            map.as_object_mut()
                .expect("the field only ever holds a map")
                .insert(key, value);
        }
        shape @ (Shape::Scalar(_) | Shape::Struct(_)) => {
            let value = value(shape, wire, field.name, depth)?;
            object.insert(field.name.to_owned(), value);
        }
    }
    Ok(())
}

fn map_entry(
    item: &Shape,
    bytes: &[u8],
    name: &'static str,
    depth: usize,
) -> Result<(String, Value), Error> {
    let (mut key, mut held) = (String::new(), Value::Null);
    for entry in Reader::new(bytes) {
        match entry? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, wire) => held = value(item, wire, name, depth)?,
            _ => {}
        }
    }
    if held.is_null() && *item == Shape::Scalar(Scalar::String) {
        held = Value::from("");
    }
    Ok((key, held))
}

fn value(shape: &Shape, wire: Wire<'_>, name: &'static str, depth: usize) -> Result<Value, Error> {
    Ok(match (shape, wire) {
        (Shape::Struct(of), Wire::Bytes(bytes)) => {
            let of = types().get(of).ok_or(Error::Field(name))?;
            Value::Object(message(of, bytes, depth)?)
        }
        (Shape::WrappedList(item), Wire::Bytes(bytes)) => {
            let depth = depth
                .checked_sub(1)
                .ok_or(Error::Malformed("nested too deep"))?;
            let items = Reader::new(bytes).map(|entry| value(item, entry?.1, name, depth));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        (Shape::Scalar(scalar), Wire::Bytes(bytes)) => scalar_of_bytes(*scalar, bytes, name)?,
        (Shape::Scalar(Scalar::Bool), Wire::Varint(number)) => Value::from(number != 0),
        (Shape::Scalar(Scalar::Int32 | Scalar::Int64), Wire::Varint(number)) => {
            Value::from(number.cast_signed())
        }
        (Shape::Scalar(Scalar::Double), Wire::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
        _ => return Err(Error::Malformed("wrong wire type")),
    })
}

fn scalar_of_bytes(scalar: Scalar, bytes: &[u8], name: &'static str) -> Result<Value, Error> {
    let first = |number| -> Result<Option<Wire<'_>>, Error> {
        let mut found = None;
        for entry in Reader::new(bytes) {
            let (at, wire) = entry?;
            found = if at == number { Some(wire) } else { found };
        }
        Ok(found)
    };
    Ok(match scalar {
        Scalar::String => Value::from(text(bytes)?),
        Scalar::Bytes => Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Scalar::Quantity => match first(1)? {
            Some(Wire::Bytes(bytes)) => Value::from(text(bytes)?),
            _ => Value::from("0"),
        },
        Scalar::Time | Scalar::MicroTime => instant(scalar, bytes)?,
        Scalar::IntOrString => match (first(1)?, first(2)?, first(3)?) {
            (Some(Wire::Varint(1)), _, Some(Wire::Bytes(bytes))) => Value::from(text(bytes)?),
            (_, Some(Wire::Varint(number)), _) => Value::from(number.cast_signed()),
            _ => Value::from(0),
        },
        Scalar::Duration => match first(1)? {
            Some(Wire::Varint(nanoseconds)) => Value::from(duration(nanoseconds.cast_signed())),
            _ => Value::from("0s"),
        },
        Scalar::Raw | Scalar::Fields | Scalar::Json => match first(1)? {
            Some(Wire::Bytes(raw)) => serde_json::from_slice(raw)
                .map_err(|_| Error::Malformed("a raw field holds no JSON"))?,
            _ => Value::Null,
        },
        Scalar::SchemaOrBool | Scalar::SchemaOrArray | Scalar::SchemaOrStrings => {
            return Err(Error::Field(name));
        }
        Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double => {
            return Err(Error::Malformed("wrong wire type"));
        }
    })
}

/// An instant; an empty message is Go's zero time, which JSON writes as null.
fn instant(scalar: Scalar, bytes: &[u8]) -> Result<Value, Error> {
    let (mut seconds, mut nanoseconds) = (0_i64, 0_i64);
    for entry in Reader::new(bytes) {
        match entry? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanoseconds = number.cast_signed(),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let nanoseconds =
        i32::try_from(nanoseconds).map_err(|_| Error::Malformed("a time is out of range"))?;
    let at = Timestamp::new(seconds, nanoseconds)
        .map_err(|_| Error::Malformed("a time is out of range"))?;
    Ok(Value::from(if scalar == Scalar::MicroTime {
        time::format_micro(at)
    } else {
        time::format_seconds(at)
    }))
}

/// A duration as Go prints it, as far as clients send it: `1h2m3s`, `1.5s`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let (seconds, fraction) = (total / 1_000_000_000, total % 1_000_000_000);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 {
        String::new()
    } else {
        format!(".{fraction:09}").trim_end_matches('0').to_owned()
    };
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}{fraction}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}{fraction}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// Bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Malformed("a string is no UTF-8"))
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn varint(&mut self) -> Result<u64, Error> {
        prost::encoding::decode_varint(&mut self.rest)
            .map_err(|_| Error::Malformed("a number ends early"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.rest.len());
        let (taken, rest) = self
            .rest
            .split_at(length.ok_or(Error::Malformed("unexpected end of message"))?);
        self.rest = rest;
        Ok(taken)
    }

    fn entry(&mut self) -> Result<(u32, Wire<'a>), Error> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .map_err(|_| Error::Malformed("a field number is out of range"))?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Wire::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(Error::Malformed("unknown wire type")),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Wire<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}
