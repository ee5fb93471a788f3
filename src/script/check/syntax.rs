//! Parsing that goes on after a mistake, so that one run shows them all.
//!
//! Rhai's parser stops at the first mistake. The smallest statement around it whose removal lets the parser get
//! further is blanked out, and the rest is read again. Names in blanked text count as used, and those that it defines or
//! assigns as unknown: guessing would report faults that are not there.

use super::super::parsing;
use super::text::{self, Text};
use rhai::{AST, ParseError, ParseErrorType};
use std::collections::BTreeSet;

/// Mistakes after which reading on is given up.
const LIMIT: usize = 40;

/// A script read as far as it can be.
#[derive(Debug)]
pub(super) struct Parsed {
    /// What could be read.
    pub(super) text: String,
    /// Its syntax tree.
    pub(super) ast: AST,
    /// What could not, in the order of the text.
    pub(super) errors: Vec<ParseError>,
    /// Words in the text that was left out.
    pub(super) blanked: BTreeSet<String>,
    /// Those of them that are defined there.
    pub(super) defined: BTreeSet<String>,
    /// Those of them that may be assigned there.
    pub(super) assigned: BTreeSet<String>,
}

/// Reads `text`.
pub(super) fn parse(text: &str) -> Parsed {
    let mut text = text.to_string();
    let mut errors: Vec<ParseError> = Vec::new();
    let (mut blanked, mut defined, mut assigned) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    loop {
        let err = match parsing::parse(&text) {
            Ok(ast) => {
                errors.sort_by_key(|e| text::place(e.position()));
                return Parsed { text, ast, errors, blanked, defined, assigned };
            }
            Err(err) => err,
        };
        let whole = 0..text.len();
        let pieces = if errors.len() < LIMIT { Text::new(&text).pieces_around(err.position()) } else { Vec::new() };
        for piece in pieces.iter().chain(std::iter::once(&whole)) {
            let shorter = blank(&text, piece.clone());
            if shorter != text && (*piece == whole || gets_further(&text, &err, &shorter)) {
                let left_out = &text[piece.clone()];
                blanked.extend(words(left_out));
                defined.extend(definitions(left_out));
                assigned.extend(assignments(left_out));
                text = shorter;
                break;
            }
        }
        errors.push(err);
    }
}

/// Whether `shorter`, made of `text` with its mistake `err`, parses beyond it.
fn gets_further(text: &str, err: &ParseError, shorter: &str) -> bool {
    match parsing::parse(shorter) {
        Ok(_) => true,
        // What is not closed is still not closed when something inside it is left out.
        Err(_) if parsing::at_end(text, err) => false,
        Err(next) => text::place(next.position()) > text::place(err.position()),
    }
}

/// `text` with spaces in place of `piece`, lines kept.
fn blank(text: &str, piece: std::ops::Range<usize>) -> String {
    let spaces: String = text[piece.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    format!("{}{spaces}{}", &text[..piece.start], &text[piece.end..])
}

/// The names in `text`; those inside broken strings too.
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with(|c: char| c.is_alphabetic() || c == '_')).map(str::to_string)
}

/// The names that `text` defines: those behind `let`, `fn` and the like.
fn definitions(text: &str) -> Vec<String> {
    let words: Vec<String> = words(text).collect();
    let by = |word: &str| matches!(word, "let" | "const" | "fn" | "for" | "as");
    let pairs = words.windows(2).filter(|w| by(&w[0])).map(|w| w[1].clone());
    // `for (item, counter) in ..`
    let counters = words.windows(4).filter(|w| w[0] == "for" && w[3] == "in").map(|w| w[2].clone());
    pairs.chain(counters).collect()
}

/// The names that `text` may assign: those between the beginning of a statement and a `=`.
fn assignments(text: &str) -> Vec<String> {
    let pieces = text.split([';', '{', '}', '(', ',']);
    let targets = pieces.filter_map(|piece| {
        let at = piece.find('=')?;
        let comparison = piece[at + 1..].starts_with(['=', '>']) || piece[..at].ends_with(['!', '<', '>']);
        (!comparison).then(|| &piece[..at])
    });
    targets.flat_map(words).collect()
}

/// Whether the mistake is a function inside a function although it begins at the left margin: a `}` is missing above.
pub(super) fn unclosed_above(err: &ParseError) -> bool {
    matches!(err.err_type(), ParseErrorType::WrongFnDefinition) && err.position().position() == Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        parse(text).errors.iter().map(|e| text::place(e.position()).0).collect()
    }

    /// Protects the promise of one run: each mistake is reported once, at its line, and the rest is still read.
    #[test]
    fn every_mistake_is_found() {
        let text = "let a = 1;\nlet b = ;\nfn f(x) {\n  let y = (x;\n  y\n}\nlet c = 2 +* 3;\nfn g() { 1 }\nprint(a);";
        assert_eq!(lines(text), [2, 4, 7]);
        let parsed = parse(text);
        assert!(["b", "y", "x", "c"].iter().all(|w| parsed.blanked.contains(*w)), "{:?}", parsed.blanked);
        assert_eq!(parsed.ast.iter_functions().count(), 2);
        assert!(!parsed.blanked.contains("a"));
        assert_eq!(parsed.defined.iter().collect::<Vec<_>>(), ["b", "c", "y"]);
    }

    /// Protects against reports that follow from a missing brace alone.
    #[test]
    fn a_missing_brace_is_one_mistake() {
        let text = "fn f(x) {\n  if x {\n    print(x);\n}\nfn g() { 1 }\nprint(g());";
        assert_eq!(lines(text), [5]);
        assert_eq!(parse(text).ast.iter_functions().map(|f| f.name).collect::<Vec<_>>(), ["g"]);
        assert_eq!(lines("print(1);\nlet x = \"abc;\nprint(2);"), [2]);
    }
}
