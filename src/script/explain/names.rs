//! Names that stand for nothing: variables, properties, keys, modules, and the ones that were probably meant.

use super::{
    Context,
    declared::{Declared, declared, declared_in},
    habits, lower_first, spelling,
};
use crate::script::{
    catalog::{self, Signature, friendly_type},
    diagnostics::{Diagnostic, Place},
    embedded, locate,
};

/// The known name most like `name`, if any is like it.
pub(in crate::script) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .filter(|k| *k != name)
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(score, k)| *score > 0.85 && (name.len() > 4 || strsim::damerau_levenshtein(name, k) < 2))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_string())
}

/// `d` with the near `name`, if there is one.
pub(super) fn with_near(d: Diagnostic, name: Option<String>) -> Diagnostic {
    match name {
        Some(name) => d.with_help(format!("did you mean `{name}`?")),
        None => d,
    }
}

/// A variable that is not there.
pub(super) fn variable(name: &str, at: Option<&Place>, file: &str, function: Option<&str>, cx: &Context) -> Diagnostic {
    let d = Diagnostic::new("unknown-variable", format!("no variable `{name}`"));
    let Declared { mut variables, own, imports, .. } = declared_in(file, function, cx);
    variables.extend(cx.variables.iter().cloned());
    if function.is_some() && variables.contains(name) {
        return d.with_help(format!(
            "functions do not see variables from outside: pass `{name}` as an argument, or use a closure"
        ));
    }
    let all = catalog::collect(cx.engine);
    let path = at.map(|at| locate::path(at, cx.sources)).unwrap_or_default();
    if all.iter().any(|s| s.namespace == name) || imports.iter().any(|(_, alias)| alias == name) {
        let member = path.get(1).map_or("name", String::as_str);
        return d.with_help(format!("`{name}` is a module: write `{name}::{member}`"));
    }
    if at.is_some_and(|at| locate::follows(at, "import", cx.sources)) {
        return d.with_help(spelling::IMPORT);
    }
    if let Some(help) = habits::variable(name, &path, all.iter()) {
        return d.with_help(help);
    }
    if all.iter().any(|s| s.name == name && s.callable()) {
        return d.with_help(format!("`{name}` is a function: call it as `{name}(..)`"));
    }
    let visible = if function.is_some() { &own } else { &variables };
    let help = near(name, visible.iter().map(String::as_str));
    with_near(d, help)
}

/// A key that a map does not have.
pub(super) fn key(name: &str, file: &str, cx: &Context) -> Diagnostic {
    let keys = declared(file, cx).keys;
    let help = near(name, keys.iter().map(String::as_str));
    with_near(Diagnostic::new("unknown-key", format!("the map has no key `{name}`")), help)
        .with_help(format!("`.get(\"{name}\")` gives () where a key may be missing"))
}

/// A module that is not there.
pub(super) fn module(name: &str, cx: &Context) -> Diagnostic {
    let d = Diagnostic::new("unknown-module", format!("no module `{name}`: neither built in nor imported here"));
    if embedded::module(name).is_some() {
        return d.with_help(format!("import it first: `import \"std/{name}\" as {name};`"));
    }
    if let Some(help) = habits::module(name) {
        return d.with_help(help);
    }
    let all = catalog::collect(cx.engine);
    with_near(d, near(name, all.iter().map(|s| s.namespace.as_str()).filter(|n| !n.is_empty() && !n.contains('/'))))
}

/// Rhai says "Unknown property 'x' - a getter is not registered for type 'T'", or the same of a setter.
pub(super) fn property(text: &str, cx: &Context) -> Diagnostic {
    let quoted: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
    let &[name, of, ..] = quoted.as_slice() else {
        return Diagnostic::new("unknown-property", lower_first(text));
    };
    let of = friendly_type(cx.engine, of);
    let all = catalog::collect(cx.engine);
    let first = |s: &Signature| s.params.first().is_some_and(|(_, t)| *t == of);
    let readable: Vec<&str> = all.iter().filter(|s| first(s)).filter_map(Signature::property).collect();
    if text.starts_with("No writable") && readable.contains(&name) {
        let message = match quoted.get(2) {
            Some(value) if all.iter().any(|s| first(s) && s.name == format!("set${name}")) => {
                format!("property `{name}` of {of} does not take {}", friendly_type(cx.engine, value))
            }
            _ => format!("property `{name}` of {of} can be read, not set"),
        };
        return Diagnostic::new("unknown-property", message);
    }
    let d = Diagnostic::new("unknown-property", format!("{of} has no property `{name}`"));
    if let Some(help) = habits::property(&of, name) {
        return d.with_help(help);
    }
    if all.iter().any(|s| first(s) && s.name == name) {
        return d.with_help(format!("`{name}` is a method: call it as `.{name}(..)`"));
    }
    let help = near(name, readable.iter().copied());
    match (&help, readable.is_empty()) {
        (None, false) => d.with_help(format!("properties: {}", readable.join(", "))),
        _ => with_near(d, help),
    }
}
