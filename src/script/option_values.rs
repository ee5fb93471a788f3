//! Values of options: text from the command line, JSON from files, typed by the default that the script declares.
//!
//! `kind` is that default. `current` is the value so far, which a map's missing keys are taken from.

use rhai::{Array, Dynamic, FLOAT, INT, ImmutableString, Map};
use serde_json::Value;

/// What kind of value `default` stands for, as `--help` shows it.
pub(super) fn placeholder(default: &Dynamic) -> String {
    if let Some(array) = default.read_lock::<Array>() {
        return array.first().map_or("LIST".into(), |first| format!("{},..", placeholder(first)));
    }
    match default.type_name() {
        "i64" => "INT",
        "f64" => "FLOAT",
        "bool" => "BOOL",
        "map" => "JSON",
        "()" => "VALUE",
        _ => "TEXT",
    }
    .into()
}

/// What is expected where `default` stands, in words.
fn expected(default: &Dynamic) -> String {
    if let Some(array) = default.read_lock::<Array>() {
        let of = array.first().map_or("values".into(), |first| plural(first).to_string());
        return format!("a list of {of}, separated by commas or as JSON");
    }
    match default.type_name() {
        "i64" => "an int",
        "f64" => "a number",
        "bool" => "true or false",
        "map" => "a JSON object",
        _ => "text",
    }
    .into()
}

fn plural(of: &Dynamic) -> &'static str {
    match of.type_name() {
        "i64" => "ints",
        "f64" => "numbers",
        "bool" => "bools",
        "string" => "strings",
        "map" => "objects",
        _ => "values",
    }
}

/// `text` as a value of `kind`'s type; the error says what was expected.
pub(super) fn parse(kind: &Dynamic, current: &Dynamic, text: &str) -> Result<Dynamic, String> {
    let no = || expected(kind);
    if let Some(array) = kind.read_lock::<Array>() {
        return list(&array, text).ok_or_else(no);
    }
    match kind.type_name() {
        "i64" => int(text).map(Dynamic::from_int).ok_or_else(no),
        "f64" => float(text).map(Dynamic::from_float).ok_or_else(no),
        "bool" => boolean(text).map(Dynamic::from_bool).ok_or_else(no),
        "map" => {
            let json = serde_json::from_str(text).map_err(|e| format!("a JSON object ({e})"))?;
            from_json(kind, current, json)
        }
        "()" => Ok(untyped(text)),
        _ => Ok(Dynamic::from(text.to_string())),
    }
}

/// As [`parse`], for the key at `path`, dotted, inside a map.
pub(super) fn parse_at(kind: &Dynamic, current: &Dynamic, path: Option<&str>, text: &str) -> Result<Dynamic, String> {
    let Some(path) = path else { return parse(kind, current, text) };
    let Some(keys) = kind.read_lock::<Map>() else { return Err(format!("{}: it has no keys", expected(kind))) };
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let mut changed = current.read_lock::<Map>().map_or_else(|| keys.clone(), |m| m.clone());
    let value = match keys.get(key) {
        Some(kind) => parse_at(kind, changed.get(key).unwrap_or(kind), rest, text)?,
        None if keys.is_empty() && rest.is_none() => untyped(text),
        None => {
            let keys: Vec<_> = keys.keys().map(ToString::to_string).collect();
            return Err(format!("one of the keys {}", keys.join(", ")));
        }
    };
    changed.insert(key.into(), value);
    Ok(Dynamic::from(changed))
}

fn int(text: &str) -> Option<INT> {
    text.replace('_', "").parse().ok()
}

fn float(text: &str) -> Option<FLOAT> {
    text.replace('_', "").parse().ok().filter(|x: &FLOAT| x.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A number where it reads as one, else text: the value of an option whose default is `()`.
fn untyped(text: &str) -> Dynamic {
    match (int(text), float(text)) {
        (Some(n), _) => Dynamic::from_int(n),
        (_, Some(x)) => Dynamic::from_float(x),
        _ => Dynamic::from(text.to_string()),
    }
}

fn list(default: &Array, text: &str) -> Option<Dynamic> {
    let element = default.first().cloned().unwrap_or_default();
    // Whole numbers in a list of numbers: `[0.9, 1]`.
    let element = match default.iter().find(|v| v.is_float()) {
        Some(float) => float.clone(),
        None => element,
    };
    let items: Result<Array, _> = if text.trim_start().starts_with('[') {
        let Ok(Value::Array(items)) = serde_json::from_str(text) else { return None };
        items.into_iter().map(|item| from_json(&element, &element, item)).collect()
    } else {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| parse(&element, &element, t)).collect()
    };
    items.ok().map(Dynamic::from)
}

/// `json` as a value of `kind`'s type. The keys of a map are those of `kind`; where none is given, `current`'s value stays.
pub(super) fn from_json(kind: &Dynamic, current: &Dynamic, json: Value) -> Result<Dynamic, String> {
    if let Some(keys) = kind.read_lock::<Map>() {
        let Value::Object(given) = json else { return Err(expected(kind)) };
        let mut merged = current.read_lock::<Map>().map_or_else(|| keys.clone(), |m| m.clone());
        for (key, value) in given {
            let value = match keys.get(key.as_str()) {
                Some(kind) => {
                    let current = merged.get(key.as_str()).unwrap_or(kind);
                    from_json(kind, current, value).map_err(|e| format!("{e} for `{key}`"))?
                }
                None if keys.is_empty() => untyped_json(value),
                None => {
                    let keys: Vec<_> = keys.keys().map(ToString::to_string).collect();
                    return Err(format!("a JSON object with the keys {}; `{key}` is none of them", keys.join(", ")));
                }
            };
            merged.insert(key.into(), value);
        }
        return Ok(Dynamic::from(merged));
    }
    let typed = match (kind.type_name(), &json) {
        ("()", _) => Some(untyped_json(json)),
        ("i64", Value::Number(n)) => n.as_i64().map(Dynamic::from_int),
        ("f64", Value::Number(n)) => n.as_f64().map(Dynamic::from_float),
        ("bool", Value::Bool(b)) => Some(Dynamic::from_bool(*b)),
        ("string", Value::String(s)) => Some(Dynamic::from(s.clone())),
        ("array", Value::Array(_)) => kind.read_lock::<Array>().and_then(|of| list(&of, &json.to_string())),
        _ => None,
    };
    typed.ok_or_else(|| expected(kind))
}

fn untyped_json(json: Value) -> Dynamic {
    match json {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => Dynamic::from_bool(b),
        Value::Number(n) => match n.as_i64() {
            Some(n) => Dynamic::from_int(n),
            None => Dynamic::from_float(n.as_f64().unwrap_or(FLOAT::NAN)),
        },
        Value::String(s) => Dynamic::from(s),
        Value::Array(items) => Dynamic::from(items.into_iter().map(untyped_json).collect::<Array>()),
        Value::Object(map) => Dynamic::from(map.into_iter().map(|(k, v)| (k.into(), untyped_json(v))).collect::<Map>()),
    }
}

/// `value` as it would be given on the command line.
pub(super) fn show(value: &Dynamic) -> String {
    if let Some(array) = value.read_lock::<Array>() {
        return array.iter().map(show).collect::<Vec<_>>().join(",");
    }
    match value.read_lock::<ImmutableString>() {
        Some(text) if text.is_empty() => "\"\"".into(),
        Some(text) => text.to_string(),
        None if value.is_map() => {
            rhai::format_map_as_json(&value.read_lock::<Map>().map(|m| m.clone()).unwrap_or_default())
        }
        // `1e-4` rather than `0.0001`: how rates are written.
        None => match value.as_float() {
            Ok(x) if x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
            _ => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default(literal: &str) -> Dynamic {
        rhai::Engine::new().eval(literal).unwrap()
    }

    /// Protects typing: each default accepts its own kind of text and names what it wanted otherwise.
    #[test]
    fn text_takes_the_type_of_the_default() {
        let ok = |d: &str, text: &str| format!("{:?}", parse(&default(d), &default(d), text).unwrap());
        assert_eq!(ok("3", "1_000"), "1000");
        assert_eq!(ok("1.0", "3e-4"), "0.0003");
        assert_eq!(ok("1.0", "2"), "2.0");
        assert_eq!(ok("true", "off"), "false");
        assert_eq!(ok(r#""x""#, "7"), r#""7""#);
        assert_eq!(ok(r#"["q"]"#, "k, v"), r#"["k", "v"]"#);
        assert_eq!(ok(r#"["q"]"#, r#"["a,b"]"#), r#"["a,b"]"#);
        assert_eq!(ok("[0.9, 1]", "1,2"), "[1.0, 2.0]");
        assert_eq!(ok("[1]", ""), "[]");
        assert_eq!(ok("()", "7"), "7");
        assert_eq!(ok("()", "7b"), r#""7b""#);
        assert_eq!(ok("#{r: 8, on: true}", r#"{"r": 16}"#), r#"#{"on": true, "r": 16}"#);

        let no = |d: &str, text: &str| parse(&default(d), &default(d), text).unwrap_err();
        assert_eq!(no("3", "3.5"), "an int");
        assert_eq!(no("3.0", "nan"), "a number");
        assert_eq!(no("[1]", "1,x"), "a list of ints, separated by commas or as JSON");
        assert_eq!(no("#{r: 8}", r#"{"q": 1}"#), "a JSON object with the keys r; `q` is none of them");
        assert_eq!(no("#{r: 8}", r#"{"r": "x"}"#), "an int for `r`");
    }
}
