//! Settings in files: TOML or JSON, read into one kind of table.

use super::{Diagnostic, diagnostics::Place, sources::Sources};
use serde_json::Value as Json;
use std::path::Path;

/// Keys and values, in the file's order.
pub type Table = serde_json::Map<String, Json>;

/// The text of `path`, which diagnostics call `shown`.
pub(super) fn read_text(path: &Path, shown: &str) -> Result<String, Box<Diagnostic>> {
    std::fs::read_to_string(path)
        .map_err(|e| Box::new(Diagnostic::new("usage", format!("{shown} cannot be read: {e}"))))
}

/// The TOML `text` of `file`.
///
/// # Errors
/// What does not parse, at its line; a number that is not finite.
pub(super) fn from_toml(file: &str, text: &str) -> Result<Table, Box<Diagnostic>> {
    let table: toml::Table = toml::from_str(text).map_err(|e| {
        let place = e.span().map(|span| place(file, text, span.start));
        at(file, text, place, e.message())
    })?;
    let mut converted = Table::new();
    for (key, value) in table {
        let value = to_json(value).map_err(|e| {
            let place = line_of(text, &key).map(|line| Place { file: file.into(), line, column: 1 });
            at(file, text, place, &format!("`{key}` {e}"))
        })?;
        converted.insert(key, value);
    }
    Ok(converted)
}

/// The line (from 1) on which `key` is given a value or a table begins that is called so.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let given = |line: &str| {
        let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
        let rest = line.strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', ']', '.', ':']))
    };
    text.lines().position(given).map(|i| i + 1)
}

fn place(file: &str, text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    Place { file: file.into(), line, column }
}

fn at(file: &str, text: &str, place: Option<Place>, message: &str) -> Box<Diagnostic> {
    let sources = Sources::default();
    sources.insert(file, text, None);
    let first = message.lines().collect::<Vec<_>>().join("; ");
    Box::new(Diagnostic::new("usage", format!("{file}: {first}")).at(place, &sources))
}

fn to_json(value: toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(s) => Json::String(s),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(x) => serde_json::Number::from_f64(x)
            .map(Json::Number)
            .ok_or_else(|| format!("is {x}; expected a finite number"))?,
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(d) => Json::String(d.to_string()),
        toml::Value::Array(items) => Json::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(key, value)| Ok((key, to_json(value)?)));
            Json::Object(pairs.collect::<Result<_, String>>()?)
        }
    })
}
