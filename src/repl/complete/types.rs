//! The type of an expression before it runs: variables from the scope, calls and properties from the catalog.

use crate::repl::highlight::partner;
use crate::repl::names::Names;
pub(super) use crate::repl::names::Outline;
use crate::script::catalog::{self, Signature};
use crate::script::pieces::{Kind, Piece, pieces};

/// The outline of the value of `expression`, if it is a chain of names, calls, properties and indices, or a literal.
pub(in crate::repl) fn of_text(names: &Names, expression: &str) -> Option<Outline> {
    let all = pieces(expression);
    (chain_start(expression, &all, all.len()) == 0).then(|| outline(names, expression, &all))?
}

/// The functions that a call of `callee` may mean: `optim::adamw`, `model.inject_lora`.
pub(super) fn called<'a>(names: &'a Names, callee: &str) -> Vec<&'a Signature> {
    let all = pieces(callee);
    let Some((last, before)) = all.split_last() else { return Vec::new() };
    let name = last.of(callee);
    let Some(mark) = before.last() else {
        return names.free().filter(|s| s.name == name).collect();
    };
    let object = &callee[..mark.start];
    match mark.of(callee) {
        "::" => names.of_module(object).filter(|s| s.name == name).collect(),
        _ => match of_text(names, object) {
            Some(of) => names.members(of.type_name()).filter(|s| s.name == name).collect(),
            None => names.catalog.iter().filter(|s| s.kind == catalog::Kind::Method && s.name == name).collect(),
        },
    }
}

/// The index of the piece that begins the chain which ends before piece `end`; `end` if there is none.
pub(super) fn chain_start(text: &str, all: &[Piece], end: usize) -> usize {
    let mut start = end;
    loop {
        let Some(last) = start.checked_sub(1).map(|i| all[i]) else { return start };
        start = match last.kind {
            Kind::Name | Kind::Text | Kind::Literal => start - 1,
            Kind::Keyword if last.of(text) == "this" => start - 1,
            Kind::Close => match partner(all, start - 1) {
                Some(open) => open,
                None => return end,
            },
            _ => return end,
        };
        let Some(before) = start.checked_sub(1).map(|i| all[i]) else { return start };
        // What a bracket applies to: a call's or an index's object.
        let applied = matches!(all[start].of(text), "(" | "[" | "?[") && all[start].start == before.end;
        match before.of(text) {
            "." | "?." | "::" => start -= 1,
            _ if applied && matches!(before.kind, Kind::Name | Kind::Close | Kind::Text) => {}
            _ => return start,
        }
    }
}

/// The outline of the chain `all`.
fn outline(names: &Names, text: &str, all: &[Piece]) -> Option<Outline> {
    let (last, before) = all.split_last()?;
    match last.kind {
        Kind::Text => Some(Outline::of_type("string")),
        Kind::Literal => Some(Outline::of_type(literal(last.of(text)))),
        Kind::Name => match before.last().map(|p| p.of(text)) {
            None => names.variables.get(last.of(text)).cloned(),
            Some("." | "?.") => property(names, &outline(names, text, &before[..before.len() - 1])?, last.of(text)),
            _ => None,
        },
        Kind::Close => {
            let open = partner(all, all.len() - 1)?;
            let object = &all[..open];
            match (all[open].of(text), object.is_empty()) {
                ("(", true) => outline(names, text, &all[1..all.len() - 1]),
                ("(", false) => call(names, text, object),
                ("[", true) => {
                    Some(Outline::Array(outline(names, text, first_item(text, &all[1..all.len() - 1])).map(Box::new)))
                }
                ("#{", true) => Some(Outline::of_type("map")),
                ("[" | "?[", false) => index(names, text, object, &all[open + 1..all.len() - 1]),
                _ => None,
            }
        }
        _ => None,
    }
}

fn first_item<'a>(text: &str, inside: &'a [Piece]) -> &'a [Piece] {
    let end = inside.iter().position(|p| p.of(text) == ",").unwrap_or(inside.len());
    &inside[..end]
}

fn literal(word: &str) -> &'static str {
    match word {
        "true" | "false" => "bool",
        n if !n.starts_with("0x") && n.contains(['.', 'e']) => "float",
        _ => "int",
    }
}

fn property(names: &Names, object: &Outline, name: &str) -> Option<Outline> {
    if let Outline::Map(keys) = object
        && let Some(value) = keys.get(name)
    {
        return Some(value.clone());
    }
    returned(names.members(object.type_name()).filter(|s| s.property() == Some(name)))
}

/// What a call of the function that `callee` ends in gives.
fn call(names: &Names, text: &str, callee: &[Piece]) -> Option<Outline> {
    let (first, last) = (callee.first()?, callee.last()?);
    returned(called(names, &text[first.start..last.end]).into_iter())
}

fn index(names: &Names, text: &str, object: &[Piece], by: &[Piece]) -> Option<Outline> {
    let object = outline(names, text, object)?;
    let key = match by {
        [one] if one.kind == Kind::Text => Some(one.of(text).trim_matches(['"', '`'])),
        _ => None,
    };
    match (&object, key) {
        (Outline::Map(keys), Some(key)) => keys.get(key).cloned(),
        (Outline::Array(first), None) => first.as_deref().cloned(),
        _ => returned(names.members(object.type_name()).filter(|s| s.name == "index$get$")),
    }
}

/// What all of `functions` return, if they agree.
fn returned<'a>(functions: impl Iterator<Item = &'a Signature>) -> Option<Outline> {
    let mut of: Option<&str> = None;
    for s in functions.filter(|s| !s.returns.is_empty() && s.returns != "any") {
        if of.is_some_and(|of| of != s.returns) {
            return None;
        }
        of = Some(&s.returns);
    }
    of.filter(|of| !of.contains(" or ")).map(Outline::of_type)
}
