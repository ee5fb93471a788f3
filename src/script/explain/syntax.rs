//! Text that does not parse: what is missing or wrong there, and how it is written here.

use super::{habits, lower_first};
use crate::script::{
    diagnostics::{Diagnostic, Place},
    sources::Sources,
};
use rhai::{LexError, ParseErrorType};

/// The problem `kind` that the parser found `at` a place of a text in `sources`.
pub(in crate::script) fn syntax(kind: &ParseErrorType, at: Option<&Place>, sources: &Sources) -> Diagnostic {
    let d = plain(kind);
    match at.and_then(|at| habits::syntax(at, sources)) {
        Some(help) => {
            // What Rhai advises is for those who meant what Rhai read.
            Diagnostic { help: Vec::new(), ..d }.with_help(help)
        }
        None => d,
    }
}

fn plain(kind: &ParseErrorType) -> Diagnostic {
    use ParseErrorType as P;
    let new = |message: String| Diagnostic::new("syntax", message);
    match kind {
        P::UnexpectedEOF => new("the script breaks off".into()),
        P::MissingToken(token, _) if token == ";" => new("expected `;` at the end of this statement".into()),
        P::MissingToken(token, why) => new(format!("expected `{token}` {why}")),
        P::BadInput(LexError::UnterminatedString) => new("this string has no end".into()),
        P::BadInput(LexError::UnexpectedInput(what)) => new(format!("unexpected `{what}`")),
        P::BadInput(LexError::MalformedChar(_)) => {
            new("'..' holds one character".into()).with_help("strings are in double quotes")
        }
        P::Reserved(word) if word.starts_with(|c: char| c.is_alphabetic()) => {
            new(format!("`{word}` is a reserved word")).with_help("choose another name")
        }
        P::Reserved(symbol) => new(format!("`{symbol}` is no operator here")),
        P::ForbiddenVariable(name) => new(format!("`{name}` cannot be a variable's name")),
        P::ExprTooDeep => new("this expression is nested too deeply".into()).with_help("name its parts with `let`"),
        P::WrongFnDefinition => new("functions are defined at the top level of a script only".into())
            .with_help("inside a function, use a closure: `let f = |x| x + 1;`"),
        P::UnknownOperator(op) => new(format!("unknown operator `{op}`")),
        other => new(lower_first(&other.to_string())),
    }
}
