//! The reference: the catalog in chapters and entries, for help in the session, `host doc`, and pages.

mod definitions;
mod html;
mod lookup;
mod markdown;
mod text;

pub use definitions::definitions;
pub use html::html;
pub use lookup::{Found, lookup};
pub use markdown::markdown;
pub use text::{Style, render, render_entry, render_list, render_text};

use super::catalog::{Kind, Origin, Signature};
use super::{embedded, parsing, topics};
use std::collections::BTreeMap;

/// Everything under one key: overloads, or a property's getter and setter. They share their documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `optim::adamw`, `Tensor.sum`, `Tensor @`, `no_grad`; see [`Signature::key`].
    pub key: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

impl Entry {
    /// The signature that carries the documentation.
    pub fn doc(&self) -> &Signature {
        &self.signatures[0]
    }

    /// The name without its type or module: `sum`.
    pub fn short(&self) -> &str {
        match self.doc().kind {
            Kind::Indexer => &self.key,
            _ => self.doc().short(),
        }
    }

    /// How it is written, one line for each overload, in parts that are documented together. Most entries are one part;
    /// functions of the standard library may say something else of each overload.
    pub fn parts(&self) -> Vec<(Vec<String>, &Signature)> {
        let mut parts: Vec<(Vec<String>, &Signature)> = Vec::new();
        for signature in &self.signatures {
            let usage = signature.usage();
            match parts.iter_mut().find(|(_, first)| first.doc == signature.doc) {
                Some((usages, _)) if usages.contains(&usage) => {}
                Some((usages, _)) => usages.push(usage),
                None => parts.push((vec![usage], signature)),
            }
        }
        parts
    }

    /// What it is, in a word or two.
    pub fn kind(&self) -> &'static str {
        let settable = self.signatures.iter().any(|s| s.name.starts_with("set$"));
        match self.doc().kind {
            Kind::Function => "function",
            Kind::Method => "method",
            Kind::Property if settable => "property, can be set",
            Kind::Property => "property",
            Kind::Operator => "operator",
            Kind::Indexer => "indexer",
            Kind::Syntax => "syntax",
            Kind::Constant => "constant",
        }
    }
}

/// A topic with its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// Name in links and files.
    pub name: String,
    /// Title as people read it.
    pub title: String,
    /// What stands before the entries: Markdown.
    pub intro: String,
    /// In reading order.
    pub entries: Vec<Entry>,
    /// Who provides them.
    pub origin: Origin,
}

impl Chapter {
    /// An entry's name within the chapter: without the module where the chapter is that module.
    pub fn listed<'a>(&self, entry: &'a Entry) -> &'a str {
        entry.key.strip_prefix(&format!("{}::", self.name)).unwrap_or(&entry.key)
    }
}

/// How values become text, which every type has.
const TEXT: [&str; 4] = ["to_string", "to_debug", "print", "debug"];
/// Parts of Rhai's library that are of no use here: byte strings, reflection.
const USELESS: [&str; 5] = ["blob", "to_blob", "back_trace", "get_fn_metadata_list", "is_anonymous"];

/// The entries of `catalog`, by key. Internals of Rhai and conversions to text are left out.
pub fn entries(catalog: &[Signature]) -> BTreeMap<String, Entry> {
    let mut found: BTreeMap<String, Entry> = BTreeMap::new();
    for s in catalog {
        let name = s.name.as_str();
        let text = TEXT.contains(&name) && (s.origin == Origin::Host || s.kind == Kind::Method);
        let rhai = s.doc.is_empty() || USELESS.contains(&name) || s.params.first().is_some_and(|(_, of)| of == "blob");
        if text || name.starts_with("anon$") || s.origin == Origin::Rhai && rhai {
            continue;
        }
        let key = s.key();
        let entry = found.entry(key.clone()).or_insert_with(|| Entry { key, signatures: Vec::new() });
        entry.signatures.push(s.clone());
    }
    for entry in found.values_mut() {
        // The host's own words first, where it adds to a function of Rhai's; then from few parameters to many.
        entry.signatures.sort_by_key(|s| (s.origin, s.name.starts_with("set$"), s.params.len()));
        entry.signatures.dedup();
    }
    found
}

/// Rhai's library by type; the last takes the rest.
const RHAI: [(&str, &str); 5] = [
    ("array", "arrays"),
    ("map", "maps"),
    ("string", "strings"),
    ("range", "ranges"),
    ("values", "numbers and others"),
];

/// The chapters: the topics of the bindings' pages, `std/*`, what has no page, Rhai's own library.
pub fn chapters(catalog: &[Signature]) -> Vec<Chapter> {
    let mut left = entries(catalog);
    let mut chapters: Vec<Chapter> = topics::topics()
        .iter()
        .map(|topic| Chapter {
            name: topic.name.to_string(),
            title: topic.title.to_string(),
            intro: topic.intro.clone(),
            entries: topic.keys.iter().filter_map(|key| left.remove(key)).collect(),
            origin: Origin::Host,
        })
        .collect();
    for (name, source) in embedded::STDLIB {
        let name = format!("std/{name}");
        let (of_it, others) = left.into_iter().partition(|(_, e)| e.doc().namespace == name);
        left = others;
        let mut entries: Vec<Entry> = BTreeMap::into_values(of_it).collect();
        // As the module's author put them.
        entries.sort_by_key(|e| source.find(&format!("fn {}(", e.doc().name)));
        let intro = module_doc(source);
        chapters.push(Chapter { title: name.clone(), name, intro, entries, origin: Origin::Std });
    }
    let (rhai, others): (Vec<Entry>, Vec<Entry>) = left.into_values().partition(|e| e.doc().origin == Origin::Rhai);
    if !others.is_empty() {
        let (name, title) = ("more".to_string(), "More".to_string());
        chapters.push(Chapter { name, title, intro: String::new(), entries: others, origin: Origin::Host });
    }
    let mut by_type: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
    for entry in rhai {
        let of = entry.doc().object().unwrap_or_default();
        let place = RHAI.iter().position(|(name, _)| *name == of).unwrap_or(RHAI.len() - 1);
        by_type.entry(place).or_default().push(entry);
    }
    for (place, entries) in by_type {
        let (of, title) = RHAI[place];
        let intro = "From Rhai's own library, with its documentation.".to_string();
        let (name, title) = (format!("rhai-{of}"), format!("Rhai: {title}"));
        chapters.push(Chapter { name, title, intro, entries, origin: Origin::Rhai });
    }
    chapters.retain(|c| !c.entries.is_empty());
    chapters
}

/// The `//!` lines of a module.
fn module_doc(source: &str) -> String {
    let Ok(ast) = parsing::parse(source) else { return String::new() };
    let lines = ast.doc().lines().map(|l| l.trim_start_matches("//!"));
    let text = lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n");
    super::doc_comment::unwrap(&text)
}
