//! Completion: what may stand at the cursor.

mod paths;
mod place;
pub(super) mod types;

use super::commands::Completes;
use super::names::Names;
use crate::script::catalog::{Kind, Signature};
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
const KEYWORDS: [&str; 22] = [
    "let", "const", "if", "else", "for", "in", "while", "loop", "do", "until", "break", "continue", "return", "fn",
    "import", "as", "try", "catch", "throw", "switch", "true", "false",
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
            Completes::Script => script(names, rest),
            Completes::Name => described(names, rest),
            Completes::File => {
                let file = rest.trim_start().trim_start_matches('"');
                let (at, found) = paths::complete(file);
                (rest.len() - file.len() + at, found)
            }
        };
        return (skipped + start, found);
    }
    let Some(asked) = text.strip_prefix('?') else { return script(names, before) };
    let (start, found) = described(names, asked);
    (lead + 1 + start, found)
}

/// What has a description: types too.
fn described(names: &Names, before: &str) -> (usize, Vec<Candidate>) {
    let of_type = before.rsplit_once('.').filter(|(of, _)| names.types().contains(of));
    if let Some((of, word)) = of_type {
        let mut found = members(names, &types::Outline::Of(of.to_string()));
        found.retain(|c| c.text.starts_with(word));
        return (before.len() - word.len(), found);
    }
    let (start, mut found) = script(names, before);
    if start == 0 && !before.is_empty() {
        found.extend(names.types().into_iter().filter(|t| t.starts_with(before)).map(Candidate::plain));
    }
    (start, found)
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
    found.retain(|c| c.text.starts_with(word) && !["_", "to_debug"].contains(&c.text.as_str()));
    found.sort_by_key(|c| (c.listed.ends_with(')'), c.text.clone()));
    found.dedup_by(|a, b| a.text == b.text);
    (start, found)
}

/// What may begin an expression.
fn free(names: &Names) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = names.variables.keys().map(Candidate::plain).collect();
    found.extend(names.free().map(|s| Candidate::call(&s.name)));
    found.extend(names.module_names().into_iter().map(|n| Candidate::plain(format!("{n}::"))));
    found.extend(names.words().map(Candidate::plain));
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
        None => (s.kind == Kind::Method).then(|| Candidate::call(&s.name)),
    };
    names.catalog.iter().filter_map(of).collect()
}

/// The keys that a call of `callee` takes in its trailing map.
fn options(names: &Names, callee: &str) -> Vec<Candidate> {
    let mut keys = BTreeSet::new();
    for s in types::called(names, callee) {
        for option in s.options() {
            let default = if option.default.is_empty() { String::new() } else { format!(" ({})", option.default) };
            keys.insert(Candidate { listed: format!("{}{default}", option.name), text: option.name });
        }
    }
    keys.into_iter().collect()
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
