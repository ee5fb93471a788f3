//! As much of a Rust parser as the layer rules need: the paths a file names, resolved to the crate's root, and its macros.

use std::fs;
use std::path::Path;

/// A path as it stands in the source: `super::error::Result`.
pub struct NamedPath {
    pub line: usize,
    /// Its segments as written; a group `a::{b, c}` is one path for each member.
    pub written: Vec<String>,
    /// Its segments from the crate's root, for paths that begin with `crate`, `self`, `super`, `lora_host`; else empty.
    pub absolute: Vec<String>,
}

/// A macro that is called: `println` of `println!(..)`.
pub struct MacroCall {
    pub line: usize,
    pub name: String,
    /// In a `mod tests`, or a file of that name.
    pub in_tests: bool,
}

/// A file under src.
pub struct Source {
    /// Relative to the project: `src/engine/rng.rs`.
    pub name: String,
    /// Its module path; `main` or `lib` for the two roots.
    pub module: Vec<String>,
    pub lines: usize,
    pub first_line: String,
    pub paths: Vec<NamedPath>,
    pub macros: Vec<MacroCall>,
}

impl Source {
    pub fn read(root: &Path, path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let mut module: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_string).collect();
        if module.last().is_some_and(|m| m == "mod") {
            module.pop();
        }
        Source::parse(format!("src/{name}"), module, &text)
    }

    pub fn parse(name: String, module: Vec<String>, text: &str) -> Source {
        let mut scan = Scan { tokens: tokens(&code_only(text)), at: 0, paths: Vec::new(), macros: Vec::new() };
        scan.run(&module);
        let first_line = text.lines().next().unwrap_or_default().to_string();
        Source { name, module, lines: text.lines().count(), first_line, paths: scan.paths, macros: scan.macros }
    }
}

/// The text with comments, strings and characters blanked; line breaks stay.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
        } else if starts(at, "/*") {
            let (mut depth, mut i) = (1, at + 2);
            while i < chars.len() && depth > 0 {
                match (starts(i, "/*"), starts(i, "*/")) {
                    (true, _) => (depth, i) = (depth + 1, i + 2),
                    (_, true) => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
            }
            i
        } else if let Some(hashes) = raw_string(&chars, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = at + 2 + hashes; // past r, the hashes, the quote
            (open..chars.len()).find(|&i| starts(i, &close)).map_or(chars.len(), |i| i + close.len())
        } else if chars[at] == '"' {
            let mut i = at + 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i + 1
        } else if chars[at] == '\'' && chars.get(at + 1) == Some(&'\\') {
            (at + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1)
        } else if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            out.push(chars[at]);
            at += 1;
            continue;
        };
        let end = end.min(chars.len());
        out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// The number of hashes, if a raw string opens here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b';
    if chars[at] != 'r' || inside_word {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Words, `::` and single characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let len = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                n => n,
            };
            out.push((number + 1, rest[..len].to_string()));
            rest = rest[len..].trim_start();
        }
    }
    out
}

struct Scan {
    tokens: Vec<(usize, String)>,
    at: usize,
    paths: Vec<NamedPath>,
    macros: Vec<MacroCall>,
}

impl Scan {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |t| t.1.as_str())
    }

    fn run(&mut self, file_module: &[String]) {
        // Inline modules that are open, each with the brace depth outside it.
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut depth = 0;
        while self.at < self.tokens.len() {
            let line = self.tokens[self.at].0;
            match self.peek(0) {
                "{" => depth += 1,
                "}" => {
                    depth = usize::saturating_sub(depth, 1);
                    open.retain(|m| m.0 < depth);
                }
                "mod" if self.peek(2) == "{" => {
                    open.push((depth, self.peek(1).to_string()));
                    self.at += 1;
                }
                word if is_word(word) && self.peek(1) == "!" && self.peek(2) != "=" => {
                    let in_tests = file_module.iter().chain(open.iter().map(|m| &m.1)).any(|m| m == "tests");
                    self.macros.push(MacroCall { line, name: word.to_string(), in_tests });
                }
                word if is_word(word)
                    && (self.peek(1) == "::" || self.at > 0 && self.tokens[self.at - 1].1 == "use") =>
                {
                    let module: Vec<String> = file_module.iter().chain(open.iter().map(|m| &m.1)).cloned().collect();
                    self.path_tree(&module, Vec::new());
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Reads `a::b`, `a::*` or `a::{b, c::d}` and records every path in it; stands after it.
    fn path_tree(&mut self, module: &[String], mut prefix: Vec<String>) {
        let line = self.tokens[self.at].0;
        while is_word(self.peek(0)) || self.peek(0) == "*" {
            prefix.push(self.peek(0).to_string());
            self.at += 1;
            if self.peek(0) != "::" {
                break;
            }
            self.at += 1;
            if self.peek(0) == "{" {
                self.at += 1;
                while self.at < self.tokens.len() && self.peek(0) != "}" {
                    if is_word(self.peek(0)) || self.peek(0) == "*" {
                        self.path_tree(module, prefix.clone());
                        if self.peek(0) == "as" {
                            self.at += 2;
                        }
                    } else {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
        }
        let absolute = resolve(module, &prefix);
        self.paths.push(NamedPath { line, written: prefix, absolute });
    }
}

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// The path from the crate's root, as `module` would understand it.
fn resolve(module: &[String], written: &[String]) -> Vec<String> {
    let supers = written.iter().take_while(|s| *s == "super").count();
    match written.first().map(String::as_str) {
        Some("crate" | "lora_host") => written[1..].to_vec(),
        // `use crate::engine;` makes this spelling possible.
        Some("engine") => written.to_vec(),
        Some("self") => module.iter().chain(&written[1..]).cloned().collect(),
        Some("super") => {
            module[..module.len().saturating_sub(supers)].iter().chain(&written[supers..]).cloned().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("src/engine/ops/x.rs".into(), ["engine", "ops", "x"].map(String::from).to_vec(), text)
    }

    fn absolutes(text: &str) -> Vec<String> {
        parse(text).paths.iter().map(|p| p.absolute.join("::")).filter(|p| !p.is_empty()).collect()
    }

    /// A rule that misses a spelling would pass over the very import it forbids.
    #[test]
    fn every_spelling_of_an_import_is_resolved() {
        assert_eq!(
            absolutes("use crate::engine::{Error, data::{a as b, *}};"),
            ["engine::Error", "engine::data::a", "engine::data::*"]
        );
        assert_eq!(
            absolutes("fn f() -> super::super::run::Run { self::g() }"),
            ["engine::run::Run", "engine::ops::x::g"]
        );
        assert_eq!(absolutes("mod tests { use super::super::y; } use super::z;"), ["engine::ops::y", "engine::ops::z"]);
        assert_eq!(absolutes("fn f<T: Into<crate::cli::A>>() {}"), ["cli::A"]);
    }

    /// A word in a comment or a string imports nothing.
    #[test]
    fn comments_and_strings_are_not_code() {
        let text = "// crate::cli::a\n/* crate::cli /* b */ */ let s = \"crate::cli::c\"; let r = r#\"crate::cli::\"d\"#;\n\
                    let q = ['\"', '\\'', 'x']; fn f<'a>(x: &'a u8) { crate::engine::ok() }";
        assert_eq!(absolutes(text), ["engine::ok"]);
    }

    /// The script language may be named by a path or by an import alone.
    #[test]
    fn foreign_crates_are_seen_as_written() {
        let written: Vec<_> =
            parse("use rhai; fn f() { rhai::Engine::new() }").paths.into_iter().map(|p| p.written).collect();
        assert_eq!(written, [vec!["rhai"], vec!["rhai", "Engine", "new"]]);
    }

    /// Tests may print why they were skipped; the code they test may not.
    #[test]
    fn macros_know_whether_they_are_in_tests() {
        let found = parse("fn f() { println!(); if a != b {} } mod tests { fn g() { eprintln!(); } }");
        let macros: Vec<_> = found.macros.iter().map(|m| (m.name.as_str(), m.in_tests)).collect();
        assert_eq!(macros, [("println", false), ("eprintln", true)]);
    }
}
