//! Text that does not parse: what is missing or wrong there, and how it is written here.

use super::{lower_first, spelling};
use crate::script::{
    diagnostics::{Diagnostic, Place},
    locate,
    sources::Sources,
};
use rhai::{LexError, ParseErrorType, Position};

/// The problem `kind` that the parser found at `pos` of `file`.
pub(in crate::script) fn syntax(kind: &ParseErrorType, pos: Position, file: &str, sources: &Sources) -> Diagnostic {
    let missing = match kind {
        ParseErrorType::MissingToken(token, _) => Some(token.as_str()),
        _ => None,
    };
    let d = plain(kind);
    let Some(at) = place(file, pos, sources) else {
        let found = match locate::unclosed(file, sources) {
            Some((open, symbol)) => {
                let d = Diagnostic::new("syntax", format!("the script breaks off: a `{symbol}` is not closed"));
                d.with_label((open, symbol.len()), "opened here", sources)
            }
            None => d,
        };
        return found.at(locate::last_token(file, sources), sources);
    };
    if let Some(advice) = spelling::advice(missing, &at, sources) {
        // What Rhai would have missed is not what is wrong.
        let (at, word) = advice.word.unwrap_or_else(|| {
            let word = locate::token(&at, sources).unwrap_or_default();
            (at.clone(), word)
        });
        let message = if missing.is_some() { format!("unexpected `{word}`") } else { d.message };
        return Diagnostic::new("syntax", message).with_help(advice.help).at(Some(at), sources);
    }
    match missing {
        // A `;` is missing behind the last word, not before the next.
        Some(";") => d.at(locate::behind_previous(&at, sources).or(Some(at)), sources),
        Some(")" | "]" | "}" | ",") => {
            let open = locate::bracket_around(&at, sources);
            let stopped = locate::token(&at, sources).is_some_and(|t| t == ";");
            let d = match &open {
                Some((_, symbol)) if stopped => Diagnostic::new("syntax", format!("this `{symbol}` is not closed")),
                _ => d,
            };
            let d = d.at(Some(at), sources);
            match open {
                Some((open, symbol)) => d.with_label((open, symbol.len()), "opened here", sources),
                None => d,
            }
        }
        _ => d.at(Some(at), sources),
    }
}

/// Where it does not parse; `None` behind the end.
fn place(file: &str, pos: Position, sources: &Sources) -> Option<Place> {
    let (line, column) = (pos.line()?, pos.position().unwrap_or(0));
    let text = sources.line(file, line)?;
    // The line is empty behind the last word.
    let more = sources.get(file)?.text.lines().skip(line).any(|l| !l.trim().is_empty());
    let behind = text.chars().skip(column.saturating_sub(1)).all(char::is_whitespace);
    (!behind || more).then(|| Place { file: file.to_string(), line, column })
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
        P::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "=" => {
            new("unexpected `=`".into()).with_help("`=` assigns; compare with `==`")
        }
        P::BadInput(LexError::ImproperSymbol(symbol, _)) if !symbol.is_empty() => new(format!("unexpected `{symbol}`")),
        P::Reserved(word) if word.starts_with(|c: char| c.is_alphabetic()) => {
            new(format!("`{word}` is a reserved word")).with_help("choose another name")
        }
        P::Reserved(symbol) => new(format!("`{symbol}` is no operator here")),
        P::ForbiddenVariable(name) => new(format!("`{name}` cannot be a variable's name")),
        P::ExprTooDeep => new("this expression is nested too deeply".into()).with_help("name its parts with `let`"),
        P::MismatchedType(wanted, found) => {
            let d = new(format!("expected {wanted}, found {found}"));
            match wanted.as_str() {
                _ if wanted.contains("boolean") => d.with_help("a condition is a bool: compare, as in `x != 0`"),
                _ if wanted.contains("iterable") => d.with_help("count with `for i in 0..n { .. }`"),
                _ => d,
            }
        }
        P::AssignmentToConstant(name) => {
            new(format!("`{name}` is a constant")).with_help("declare it with `let` if it has to change")
        }
        P::WrongFnDefinition => new("functions are defined at the top level of a script only".into())
            .with_help("inside a function, use a closure: `let f = |x| x + 1;`"),
        P::UnknownOperator(op) => new(format!("unknown operator `{op}`")),
        other => new(lower_first(&other.to_string())),
    }
}
