//! The inputs that succeeded, which together are a script.

use crate::script::pieces::{Kind, Piece, pieces};
use crate::script::{Diagnostic, incomplete};

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Record(Vec<String>);

impl Record {
    /// Keeps an input.
    pub(super) fn add(&mut self, input: &str) {
        self.0.push(input.trim_end().to_string());
    }

    /// All inputs as one script: statements end where an input ended, and of a function that was defined again only the
    /// last definition is left.
    ///
    /// # Errors
    /// If there is nothing yet.
    pub(super) fn script(&self) -> Result<String, Box<Diagnostic>> {
        if self.0.is_empty() {
            return Err(Box::new(Diagnostic::new("command", "there is nothing to save: no input has succeeded yet")));
        }
        let mut later: Vec<(String, usize)> = Vec::new();
        let mut parts = Vec::new();
        for input in self.0.iter().rev() {
            let mut text = input.clone();
            for function in definitions(input).into_iter().rev() {
                let key = (function.name, function.params);
                match later.contains(&key) {
                    true => text.replace_range(function.start..function.end, ""),
                    false => later.push(key),
                }
            }
            if !text.trim().is_empty() {
                parts.push(ended(&text));
            }
        }
        parts.reverse();
        Ok(parts.join("\n") + "\n")
    }
}

/// `text` so that another statement can follow it.
fn ended(text: &str) -> String {
    let all = pieces(text);
    let Some(last) = all.iter().rev().find(|p| p.kind != Kind::Comment) else { return text.to_string() };
    // A block needs no semicolon, a map that ends in the same brace does.
    let block = last.of(text) == "}" && !broken(&format!("{text}\n0"));
    if last.of(text) == ";" || block {
        return text.to_string();
    }
    format!("{};{}", &text[..last.end], &text[last.end..])
}

fn broken(text: &str) -> bool {
    incomplete(text) || !crate::script::parses(text)
}

struct Definition {
    name: String,
    params: usize,
    start: usize,
    end: usize,
}

/// The functions that `text` defines.
fn definitions(text: &str) -> Vec<Definition> {
    let all = pieces(text);
    let partner = |at: usize| super::highlight::partner(&all, at);
    let definition = |i: usize| {
        let name = all.get(i + 1).filter(|p| p.kind == Kind::Name)?;
        let close = partner(i + 2)?;
        let body = partner(close + 1)?;
        let names = all[i + 2..close].iter().filter(|p| p.kind == Kind::Name);
        let start = comments_before(text, &all, if i > 0 && all[i - 1].of(text) == "private" { i - 1 } else { i });
        Some(Definition { name: name.of(text).to_string(), params: names.count(), start, end: all[body].end })
    };
    let starts = (0..all.len()).filter(|&i| all[i].kind == Kind::Keyword && all[i].of(text) == "fn");
    starts.filter_map(definition).collect()
}

/// Where the doc comments begin that belong to piece `at`.
fn comments_before(text: &str, all: &[Piece], at: usize) -> usize {
    let doc = |p: &&Piece| p.kind == Kind::Comment && p.of(text).starts_with("///");
    all[..at].iter().rev().take_while(doc).last().map_or(all[at].start, |p| p.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(inputs: &[&str]) -> String {
        let mut record = Record::default();
        inputs.iter().for_each(|i| record.add(i));
        record.script().unwrap()
    }

    /// Protects saved sessions: they parse, whatever ended the inputs.
    #[test]
    fn inputs_become_statements() {
        let text =
            script(&["let a = 1", "a + 1 // what", "if a > 0 { a }", "let m = #{ a: 1 }", "let b = 2;", "// note"]);
        assert_eq!(text, "let a = 1;\na + 1; // what\nif a > 0 { a }\nlet m = #{ a: 1 };\nlet b = 2;\n// note\n");
        assert!(crate::script::parses(&text));
    }

    /// Protects saved sessions from two functions of one name: the one that was in force last is kept, by arity.
    #[test]
    fn the_last_definition_is_kept() {
        let text = script(&[
            "/// Old.\nfn f(x) { x }\nlet a = f(1);",
            "fn f(x, y) { #{ a: x } }",
            "fn f(x) {\n  x + 1\n}",
            "f(2)",
        ]);
        assert_eq!(text, "\nlet a = f(1);\nfn f(x, y) { #{ a: x } }\nfn f(x) {\n  x + 1\n}\nf(2);\n");
        assert!(crate::script::parses(&text));
    }
}
