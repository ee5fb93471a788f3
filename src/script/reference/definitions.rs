//! What editors read: `.d.rhai` definitions in the form of Rhai's own, with our documentation, and the catalog as JSON.
//!
//! Rhai can write definitions by itself, from what is registered; it knows neither the pages beside the bindings nor
//! the standard library.

use super::super::catalog::{Kind, Origin, Signature, alternatives};
use super::{Entry, entries};
use serde_json::json;
use std::collections::BTreeMap;

/// Files for editors: name and text.
pub fn definitions(catalog: &[Signature]) -> Vec<(String, String)> {
    let all = entries(catalog);
    let mut modules: BTreeMap<&str, String> = BTreeMap::new();
    let written = all.values().filter(|e| e.doc().kind != Kind::Syntax);
    for entry in written.clone() {
        let module = modules.entry(&entry.doc().namespace).or_default();
        for signature in &entry.signatures {
            *module += &format!("\n{}{}\n", comment(&signature.doc), definition(signature));
        }
    }
    let file = |(name, text): (&str, String)| match name {
        "" => ("__static__.d.rhai".to_string(), format!("module static;\n{text}")),
        // The standard library's modules have the path that scripts import them by.
        std if std.starts_with("std/") => {
            (format!("{}.d.rhai", std.replace('/', "-")), format!("module \"{std}\";\n{text}"))
        }
        name => (format!("{name}.d.rhai"), format!("module {name};\n{text}")),
    };
    let mut files: Vec<(String, String)> = modules.into_iter().map(file).collect();
    files.push(("catalog.json".to_string(), metadata(&all)));
    files
}

fn comment(doc: &str) -> String {
    doc.lines().map(|line| format!("/// {line}").trim_end().to_string() + "\n").collect()
}

fn definition(s: &Signature) -> String {
    let of = |t: &str| alternatives(t).into_iter().map(editor_type).collect::<Vec<_>>().join(" | ");
    let returns = if s.returns.is_empty() { "()".to_string() } else { of(&s.returns) };
    let params: Vec<String> = s.params.iter().map(|(name, t)| format!("{name}: {}", of(t))).collect();
    let types: Vec<String> = s.params.iter().map(|(_, t)| of(t)).collect();
    match s.kind {
        Kind::Operator => format!("op {}({}) -> {returns};", s.name, types.join(", ")),
        Kind::Property if s.name.starts_with("set$") => format!("fn set {}({}) -> ();", s.short(), params.join(", ")),
        Kind::Property => format!("fn get {}({}) -> {returns};", s.short(), params.join(", ")),
        Kind::Constant => format!("const {}: {returns};", s.name),
        _ => format!("fn {}({}) -> {returns};", s.name, params.join(", ")),
    }
}

/// A type as Rhai's definitions write it.
fn editor_type(of: &str) -> &str {
    match of {
        "any" => "?",
        "string" => "String",
        "array" => "Array",
        "map" => "Map",
        "blob" => "Blob",
        "function" => "FnPtr",
        "range" => "Range<int>",
        other => other,
    }
}

/// The catalog: one object for each entry, its documentation taken apart.
fn metadata(all: &BTreeMap<String, Entry>) -> String {
    let overload = |s: &Signature| {
        let params: Vec<_> =
            s.params.iter().map(|(name, of)| json!({ "name": name, "types": alternatives(of) })).collect();
        json!({ "usage": s.usage(), "params": params, "returns": if s.returns.is_empty() { json!([]) } else { json!(alternatives(&s.returns)) } })
    };
    let entry = |e: &Entry| {
        let doc = e.doc();
        json!({
            "key": e.key,
            "name": e.short(),
            "module": doc.namespace,
            "of": doc.object(),
            "kind": doc.kind,
            "origin": doc.origin,
            "settable": e.signatures.iter().any(|s| s.name.starts_with("set$")),
            "signatures": e.signatures.iter().filter(|s| !s.name.starts_with("set$")).map(overload).collect::<Vec<_>>(),
            "summary": doc.summary(),
            "description": doc.description(),
            "options": e.signatures.iter().map(Signature::options).max_by_key(Vec::len),
            "errors": doc.section("Errors"),
            "examples": e.parts().iter().flat_map(|(_, s)| s.examples()).collect::<Vec<_>>(),
        })
    };
    let list: Vec<_> = all.values().filter(|e| e.doc().origin != Origin::Script).map(entry).collect();
    let catalog = json!({ "version": env!("CARGO_PKG_VERSION"), "entries": list });
    // Values made above always have a text.
    serde_json::to_string_pretty(&catalog).unwrap_or_default() + "\n"
}
