//! The pages of `bindings::docs`, taken apart: topics, and the entry of each key.

use super::doc_comment;
use super::signature::{Kind, Origin, Signature};
use crate::bindings::docs::PAGES;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A page of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name in links and files.
    pub name: &'static str,
    /// Title as people read it.
    pub title: &'static str,
    /// What stands before the first entry.
    pub intro: String,
    /// Keys of its entries, in the order of the page.
    pub keys: Vec<String>,
}

/// The pages and what they say of each key.
struct Pages {
    topics: Vec<Topic>,
    docs: HashMap<String, String>,
    words: Vec<Signature>,
}

static READ: LazyLock<Pages> = LazyLock::new(|| {
    let mut pages = Pages { topics: Vec::new(), docs: HashMap::new(), words: Vec::new() };
    for (name, text) in PAGES {
        let entries = doc_comment::sections(text);
        let (title, intro) = entries[0].body.split_once('\n').unwrap_or((entries[0].body, ""));
        let mut topic = Topic { name, title, intro: doc_comment::unwrap(intro), keys: Vec::new() };
        for entry in &entries[1..] {
            let doc = doc_comment::unwrap(&raise(entry.body));
            let key = match entry.title.split_once(": ") {
                Some((word, form)) => {
                    pages.words.push(word_of(word, form, doc.clone()));
                    word
                }
                None => entry.title,
            };
            topic.keys.push(key.to_string());
            pages.docs.insert(key.to_string(), doc);
        }
        pages.topics.push(topic);
    }
    pages
});

/// The topics, in the order of the reference.
pub fn topics() -> &'static [Topic] {
    &READ.topics
}

/// What the pages say of `key`.
pub fn doc(key: &str) -> Option<&'static str> {
    READ.docs.get(key).map(String::as_str)
}

/// The words of the language: entries headed `word: how it is written`.
pub(super) fn words() -> impl Iterator<Item = Signature> {
    READ.words.iter().cloned()
}

fn word_of(word: &str, form: &str, doc: String) -> Signature {
    Signature {
        kind: Kind::Syntax,
        origin: Origin::Host,
        returns: form.to_string(),
        doc,
        ..Signature::of_script(word, [])
    }
}

/// An entry's headings as a comment's: `## Options` is `# Options`.
fn raise(entry: &str) -> String {
    let mut code = false;
    let mut lines = Vec::new();
    for line in entry.lines() {
        code ^= line.starts_with("```");
        let heading = line.starts_with("## ") && !code;
        lines.push(if heading { &line[1..] } else { line });
    }
    lines.join("\n")
}
