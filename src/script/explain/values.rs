//! Values of the wrong kind or out of range, and values that were thrown.

use super::{Context, habits};
use crate::engine::{Error, error::Fact};
use crate::script::{
    catalog::friendly_type,
    diagnostics::{Diagnostic, Place},
    errors::ScriptError,
    line::{self, Line},
    locate,
};
use rhai::{Dynamic, Map};

/// `throw value`, or an engine error.
pub(super) fn thrown(value: &Dynamic, at: Option<&Place>, cx: &Context) -> Diagnostic {
    if let Some(err) = value.read_lock::<ScriptError>() {
        // Of an error that was caught and thrown on, the first is shown instead.
        let Some(err) = err.engine_error() else { return Diagnostic::new("throw", "an error") };
        return label_operands(Diagnostic::from(err), err, at, cx);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let text = |key: &str| map.get(key).filter(|v| !v.is_unit()).map(ToString::to_string);
        if let Some(message) = text("message") {
            let code = text("kind").or_else(|| text("error")).unwrap_or_else(|| "throw".into());
            let rest = map.iter().filter(|(k, _)| !["message", "kind", "error", "help"].contains(&k.as_str()));
            let mut diagnostic = Diagnostic::new(code, message);
            diagnostic.help.extend(text("help"));
            diagnostic.help.extend(rest.map(|(k, v)| format!("{k}: {v:?}")));
            return diagnostic;
        }
        return Diagnostic::new("throw", format!("{map:?}"));
    }
    let text = if value.is_unit() { "an empty `throw`".to_string() } else { value.to_string() };
    Diagnostic::new("throw", text)
}

/// Writes the shapes or dtypes under the two operands, where the operation is the one that is written there.
fn label_operands(mut d: Diagnostic, err: &Error, at: Option<&Place>, cx: &Context) -> Diagnostic {
    let (Some(op), Some(at)) = (err.op(), at) else { return d };
    let written = locate::token(at, cx.sources).unwrap_or_default();
    let symbol = match op {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "pow" => "**",
        "matmul" => "@",
        other => other,
    };
    if written != op && written.trim_end_matches('=') != symbol {
        return d;
    }
    let names: &[&str] = match op {
        "linear" | "rms_norm" => &["x", "weight"],
        "attention" => &["q", "k", "v"],
        _ => &["left", "right"],
    };
    let facts = err.facts();
    let spots = locate::arguments(at, cx.sources);
    if spots.len() < names.len() || (spots.len() > names.len() && names[0] == "left") {
        return d;
    }
    for (spot, name) in spots.into_iter().zip(names) {
        // The engine's words for an operand give way to the script's, where that is a name.
        let own = locate::path(&spot.0, cx.sources).join(".");
        if own.chars().count() == spot.1 {
            let engines = match *name {
                "left" => "a",
                "right" => "b",
                name => name,
            };
            d.help = d.help.iter().map(|h| h.replace(&format!("? {engines}."), &format!("? {own}."))).collect();
        }
        match facts.iter().find(|(n, _)| n == name) {
            Some((_, Fact::Shape(dims))) => d = d.with_label(spot, format!("{dims:?}"), cx.sources),
            Some((_, Fact::Text(text))) => d = d.with_label(spot, text.clone(), cx.sources),
            _ => {}
        }
    }
    d
}

/// Rhai's "Vec<Dynamic> [f64]".
pub(super) fn not_indexable(text: &str, cx: &Context) -> Diagnostic {
    let (of, by) = text.split_once(" [").unwrap_or((text, "]"));
    let (of, by) = (friendly_type(cx.engine, of), friendly_type(cx.engine, by.trim_end_matches(']')));
    let d = Diagnostic::new("type", format!("{of} cannot be indexed by {by}"));
    match (of.as_str(), by.as_str()) {
        ("map", _) => d.with_help("a map's keys are strings: `m.key` or `m[\"key\"]`"),
        ("array", _) => d.with_help("an array is indexed by an int or a range"),
        ("Tensor", "float") => d.with_help("`.to_int()` makes an index of a float"),
        _ => d,
    }
}

/// A value of type `found` where Rhai takes `wanted` only.
pub(super) fn mismatch(wanted: &str, found: &str, at: Option<&Place>, cx: &Context) -> Diagnostic {
    let (wanted, found) = (friendly_type(cx.engine, wanted), friendly_type(cx.engine, found));
    let d = Diagnostic::new("type", format!("expected {wanted}, found {found}"));
    let line = at.and_then(|at| line::line(at, cx.sources));
    if wanted == "string" && matches!(line.as_ref().and_then(Line::around), Some(("[", Some("index")))) {
        return d.with_help("the keys of a map are strings: `m[\"key\"]`, or `m.key`");
    }
    match habits::mismatch(&wanted, &found) {
        Some(help) => d.with_help(help),
        None => d,
    }
}

/// An index outside an array or a string.
pub(super) fn bounds(what: &str, of: &str, len: usize, index: i64) -> Diagnostic {
    let of = if len == 1 { of.trim_end_matches('s') } else { of };
    let d = Diagnostic::new("index", format!("index {index} is outside the {what}, which has {len} {of}"));
    match len {
        0 => d,
        1 => d.with_help("the only index is 0"),
        _ => d.with_help(format!("indices go from 0 to {}, or from -{len} to -1 counted from the end", len - 1)),
    }
}
