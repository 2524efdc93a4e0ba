//! Custom objects as tables, by the printer columns of their definition.
//!
//! In: `additionalPrinterColumns` and objects. Out: a table that begins with the name; without columns it shows the age.
//! Pure. Paths go down by name, index and one comparison; what they do not find is an empty cell.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Table, name, since};

/// Paths with more steps than this find nothing.
const STEPS_MAX: usize = 64;

/// One step of a path.
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    All,
    /// `[?(@.a=="b")]`
    Where(&'a str, &'a str),
}

/// Renders custom objects; `printer_columns` is what the version of the definition says, null or empty for the default.
pub fn render_custom(printer_columns: &Value, objects: &[&Value], now: Timestamp) -> Table {
    let default =
        [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})];
    let given = printer_columns
        .as_array()
        .filter(|columns| !columns.is_empty())
        .map_or(&default[..], Vec::as_slice);
    let mut columns = vec![Column::titled("Name")];
    columns.extend(given.iter().map(|column| {
        let text = |field: &str| column[field].as_str().unwrap_or_default().to_owned();
        Column {
            name: text("name"),
            cell_type: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column["priority"].as_i64().unwrap_or_default(),
        }
    }));
    let rows = objects.iter().map(|object| {
        let cells = given.iter().map(|column| cell(column, object, now));
        std::iter::once(name(object)).chain(cells).collect()
    });
    Table {
        columns,
        rows: rows.collect(),
    }
}

fn cell(column: &Value, object: &Value, now: Timestamp) -> Value {
    let found = steps(column["jsonPath"].as_str().unwrap_or_default())
        .and_then(|steps| find(object, &steps));
    let Some(found) = found else {
        return Value::Null;
    };
    match column["type"].as_str().unwrap_or_default() {
        "date" => Value::from(since(found, now)),
        "integer" => found.as_i64().map_or(Value::Null, Value::from),
        "number" => found.as_f64().map_or(Value::Null, Value::from),
        "boolean" => found.as_bool().map_or(Value::Null, Value::from),
        _ => Value::from(super::plain(found)),
    }
}

fn find<'a>(value: &'a Value, steps: &[Step<'_>]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return (!value.is_null()).then_some(value);
    };
    match step {
        Step::Name(name) => find(value.get(*name)?, rest),
        Step::Index(index) => find(value.get(*index)?, rest),
        Step::All => value.as_array()?.iter().find_map(|item| find(item, rest)),
        Step::Where(field, wanted) => {
            let mut items = value.as_array()?.iter();
            find(
                items.find(|item| item[*field].as_str() == Some(*wanted))?,
                rest,
            )
        }
    }
}

/// Takes a path apart; `None` when it has a form that is not known here.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() && steps.len() < STEPS_MAX {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            steps.push(Step::Name(&name[..end]));
            rest = &name[end..];
            continue;
        }
        let (inside, after) = bracket(rest)?;
        steps.push(bracketed(inside)?);
        rest = after;
    }
    rest.is_empty().then_some(steps)
}

/// `[inside]after`
fn bracket(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('[')?;
    let close = if inner.starts_with("?(") { ")]" } else { "]" };
    let (inside, after) = inner.split_once(close)?;
    Some((inside, after))
}

fn bracketed(inside: &str) -> Option<Step<'_>> {
    if let Some(filter) = inside.strip_prefix("?(@.") {
        let (field, wanted) = filter.split_once("==")?;
        return Some(Step::Where(
            field.trim(),
            wanted.trim().trim_matches(['"', '\'']),
        ));
    }
    if inside == "*" {
        return Some(Step::All);
    }
    let quoted = inside
        .strip_prefix('\'')
        .and_then(|inside| inside.strip_suffix('\''));
    quoted
        .map(Step::Name)
        .or_else(|| inside.parse().ok().map(Step::Index))
}
