//! `?name`: what a name means here, whether a function, a module, a type, a variable, or a member of a variable.

use super::commands::look::type_line;
use super::complete::types;
use super::names::Names;
use super::prompt::{Prompt, visible};
use super::show::{self, table};
use crate::engine::error::unknown_name;
use crate::script::{Diagnostic, catalog::Signature};

/// Columns of a value in its description.
const VALUE: usize = 70;

/// The description of `name`: signatures, what the doc comment says, options, example; or what there is below it.
///
/// # Errors
/// If nothing is called so, with the near name.
pub(super) fn describe(prompt: &dyn Prompt, name: &str) -> Result<String, Box<Diagnostic>> {
    let name = name.trim_end_matches("()");
    let names = Names::of(prompt, Vec::new());
    if let Some((_, _, value)) = visible(prompt.scope()).into_iter().find(|(n, ..)| *n == name) {
        let line = format!("{name}: {}", type_line(prompt, value));
        let brief = show::brief(prompt.engine(), value, VALUE);
        let outline = names.variables.get(name).map_or("any", |o| o.type_name());
        return Ok(join([line, brief, members(prompt, &names, outline)]));
    }
    if let Some((object, member)) = name.rsplit_once('.') {
        let of = types::of_text(&names, object).map(|o| o.type_name().to_string()).unwrap_or_else(|| object.into());
        let all: Vec<&Signature> = names.members(&of).filter(|s| is_called(s, member)).collect();
        if !all.is_empty() {
            return Ok(functions(&all));
        }
        let known: Vec<&str> = names.members(&of).map(|s| s.property().unwrap_or(&s.name)).collect();
        return Err(Box::new((&unknown_name(&format!("member of {of}"), member, known)).into()));
    }
    let all: Vec<&Signature> = match name.rsplit_once("::") {
        Some((module, function)) => names.of_module(module).filter(|s| s.name == function).collect(),
        None => {
            names.free().chain(names.catalog.iter()).filter(|s| s.namespace.is_empty() && is_called(s, name)).collect()
        }
    };
    if !all.is_empty() {
        return Ok(functions(&all));
    }
    let inside: Vec<&Signature> = names.of_module(name).collect();
    if !inside.is_empty() {
        return Ok(join([format!("module {name}"), list(prompt, &inside)]));
    }
    let of_type = members(prompt, &names, name);
    if !of_type.is_empty() {
        return Ok(join([format!("type {name}"), String::new(), of_type]));
    }
    let known = names.free().map(|s| s.name.as_str()).chain(names.module_names());
    let known = known
        .chain(names.variables.keys().map(String::as_str))
        .chain(names.catalog.iter().map(|s| s.namespace.as_str()));
    let paths: Vec<String> = names.catalog.iter().map(Signature::path).collect();
    Err(Box::new((&unknown_name("name", name, known.chain(paths.iter().map(String::as_str)))).into()))
}

fn is_called(s: &Signature, name: &str) -> bool {
    s.name == name || s.property() == Some(name) || s.name.strip_prefix("set$") == Some(name)
}

fn join<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Overloads with their common description: the longest of theirs.
fn functions(all: &[&Signature]) -> String {
    let mut seen: Vec<&&Signature> = Vec::new();
    for s in all {
        if !seen.contains(&s) {
            seen.push(s);
        }
    }
    let lines: Vec<String> = seen.iter().map(|s| head(s)).collect();
    let doc = seen.iter().map(|s| s.doc.as_str()).max_by_key(|d| d.len()).unwrap_or_default();
    join([lines.join("\n"), if doc.is_empty() { String::new() } else { format!("\n{doc}") }])
}

/// `t.shape: array` for a property, the signature for everything else.
fn head(s: &Signature) -> String {
    let of = s.params.first().map_or("any", |(_, of)| of.as_str());
    match (s.property(), s.name.strip_prefix("set$")) {
        (Some(property), _) => format!("{of}.{property}: {}", if s.returns.is_empty() { "any" } else { &s.returns }),
        (_, Some(property)) => {
            format!("{of}.{property} = {}", s.params.get(1).map_or("any", |(_, value)| value.as_str()))
        }
        _ => s.to_string(),
    }
}

/// Properties and methods of a type, each with its first sentence.
fn members(prompt: &dyn Prompt, names: &Names, of: &str) -> String {
    let all: Vec<&Signature> =
        names.members(of).filter(|s| s.property().is_some() || (s.callable() && of != "any")).collect();
    list(prompt, &all)
}

/// Functions by name, each once, with the first sentence about it.
fn list(prompt: &dyn Prompt, all: &[&Signature]) -> String {
    let name = |s: &Signature| match s.property() {
        Some(property) => property.to_string(),
        None => format!("{}()", s.name),
    };
    let mut rows: Vec<[String; 2]> = Vec::new();
    for s in all {
        let sentence = s.doc.lines().next().unwrap_or_default().to_string();
        match rows.iter_mut().find(|[n, _]| *n == name(s)) {
            Some([_, known]) if known.is_empty() => *known = sentence,
            Some(_) => {}
            None => rows.push([name(s), sentence]),
        }
    }
    rows.sort_by_key(|[n, _]| (n.ends_with(')'), n.clone()));
    let rows: Vec<[String; 2]> = rows.into_iter().map(|[n, d]| [format!("  {n}"), d]).collect();
    table(&rows, &[], prompt.ctx().output.screen().width).join("\n")
}
