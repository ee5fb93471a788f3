//! Completion: what may stand at the cursor.

mod paths;
mod place;
pub(super) mod types;

use super::commands::Completes;
use super::names::Names;
use crate::script::catalog::Signature;
use crate::script::embedded;
use place::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Something that may be written: the text, and how it is listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) text: String,
    pub(super) listed: String,
}

impl Candidate {
    fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Candidate { listed: text.clone(), text }
    }

    fn call(name: &str) -> Self {
        Candidate { text: name.to_string(), listed: format!("{name}()") }
    }
}

/// Words of the language.
const KEYWORDS: [&str; 24] = [
    "let", "const", "if", "else", "for", "in", "while", "loop", "do", "until", "break", "continue", "return", "fn",
    "import", "as", "try", "catch", "throw", "switch", "no_grad", "autocast", "true", "false",
];

/// What may stand at the end of `before`, which is a line up to the cursor: where it begins, and the candidates.
pub(super) fn complete(names: &Names, before: &str) -> (usize, Vec<Candidate>) {
    let lead = before.len() - before.trim_start().len();
    let text = &before[lead..];
    if let Some(line) = text.strip_prefix(':') {
        let Some((name, rest)) = line.split_once(char::is_whitespace) else {
            let known = names.commands.iter().map(|(name, _)| *name).filter(|n| n.starts_with(line));
            return (lead + 1, known.map(Candidate::plain).collect());
        };
        let skipped = before.len() - rest.len();
        let completes = names.commands.iter().find(|(n, _)| *n == name).map(|(_, c)| *c);
        let (start, found) = match completes.unwrap_or(Completes::Nothing) {
            Completes::Nothing => (0, Vec::new()),
            Completes::Script | Completes::Name => script(names, rest),
            Completes::File => {
                let file = rest.trim_start().trim_start_matches('"');
                let (at, found) = paths::complete(file);
                (rest.len() - file.len() + at, found)
            }
        };
        return (skipped + start, found);
    }
    let skip = if text.starts_with('?') { lead + 1 } else { 0 };
    let (start, found) = script(names, &before[skip..]);
    (skip + start, found)
}

fn script(names: &Names, before: &str) -> (usize, Vec<Candidate>) {
    let (start, place) = place::find(before);
    let word = &before[start..];
    let mut found = match place {
        Place::Nothing => return (before.len(), Vec::new()),
        Place::Text { callee } => return text(before, start, callee.as_deref()),
        Place::Name if word.is_empty() => return (start, Vec::new()),
        Place::Name => free(names),
        Place::InModule(path) => names.of_module(&path).map(|s| Candidate::call(&s.name)).collect(),
        Place::Member(object) => match types::of_text(names, &object) {
            Some(outline) => members(names, &outline),
            None => any_members(names, word),
        },
        Place::Key { callee, written } => {
            let mut keys = options(names, &callee);
            keys.retain(|k| !written.contains(&k.text));
            keys
        }
    };
    found.retain(|c| c.text.starts_with(word) && c.text != "_");
    found.sort_by_key(|c| (c.listed.ends_with(')'), c.text.clone()));
    found.dedup_by(|a, b| a.text == b.text);
    (start, found)
}

/// What may begin an expression.
fn free(names: &Names) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = names.variables.keys().map(Candidate::plain).collect();
    // In Rhai every method is a function too; what takes one of our objects first is meant to be called on it.
    let method = |s: &&Signature| s.params.first().is_some_and(|(_, of)| of.starts_with(char::is_uppercase));
    found.extend(names.free().filter(|s| !method(s)).map(|s| Candidate::call(&s.name)));
    found.extend(names.module_names().into_iter().map(|n| Candidate::plain(format!("{n}::"))));
    found.extend(KEYWORDS.map(Candidate::plain));
    found
}

/// Properties, keys and methods of a value.
fn members(names: &Names, outline: &types::Outline) -> Vec<Candidate> {
    let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
    for s in names.members(outline.type_name()) {
        if let Some(property) = s.property() {
            found.insert(property.to_string(), Candidate::plain(property));
        } else if s.callable() {
            found.entry(s.name.clone()).or_insert_with(|| Candidate::call(&s.name));
        }
    }
    if let types::Outline::Map(keys) = outline {
        let simple = keys.keys().filter(|k| rhai::is_valid_identifier(k));
        found.extend(simple.map(|k| (k.clone(), Candidate::plain(k))));
    }
    found.into_values().collect()
}

/// Where the type is not known: everything that some type has, once a word is begun.
fn any_members(names: &Names, word: &str) -> Vec<Candidate> {
    if word.is_empty() {
        return Vec::new();
    }
    let of = |s: &Signature| match s.property() {
        Some(property) => Some(Candidate::plain(property)),
        None => (s.callable() && s.namespace.is_empty() && !s.params.is_empty()).then(|| Candidate::call(&s.name)),
    };
    names.catalog.iter().filter_map(of).collect()
}

/// The keys that a call of `callee` takes in its trailing map.
fn options(names: &Names, callee: &str) -> Vec<Candidate> {
    let mut keys = BTreeSet::new();
    for s in types::called(names, callee) {
        keys.extend(documented(&s.doc));
    }
    keys.into_iter().collect()
}

/// The options that a doc comment lists: "Options: `rank` (8), ..".
fn documented(doc: &str) -> Vec<Candidate> {
    let Some((_, listed)) = doc.split_once("Options") else { return Vec::new() };
    let listed = listed.split("\n\n").next().unwrap_or_default();
    let names = listed.split('`').skip(1).step_by(2).filter(|n| rhai::is_valid_identifier(n));
    names.map(Candidate::plain).collect()
}

/// Inside a string: what its place in the script calls for, or files.
fn text(before: &str, start: usize, callee: Option<&str>) -> (usize, Vec<Candidate>) {
    let word = &before[start..];
    let fixed: Vec<String> = match callee {
        Some("import") => embedded::STDLIB.iter().map(|(name, _)| format!("std/{name}")).collect(),
        Some("autocast") => ["off", "bf16", "f16"].map(String::from).to_vec(),
        Some("llama::load") => vec!["builtin:stories260K".into()],
        Some("data::load") => vec!["builtin:seed-tasks".into()],
        _ => Vec::new(),
    };
    let matching: Vec<Candidate> = fixed.into_iter().filter(|f| f.starts_with(word)).map(Candidate::plain).collect();
    let (at, files) = paths::complete(word);
    // A file's candidate replaces its name alone, a fixed one the whole string.
    if matching.is_empty() {
        return (start + at, files);
    }
    let files = files.into_iter().map(|f| Candidate { text: format!("{}{}", &word[..at], f.text), ..f });
    (start, matching.into_iter().chain(files).collect())
}

#[cfg(test)]
mod tests;
