//! Parsing without running: one grammar for the options reader, the session's line editor and the host.

use super::syntax::{self, Modes};
use rhai::{AST, Engine, LexError, OptimizationLevel, ParseError, ParseErrorType};
use std::sync::LazyLock;

/// Nesting of expressions, at the top level and inside functions.
const EXPR_DEPTHS: (usize, usize) = (128, 64);

/// An engine that knows the grammar and no function: for parsing, and for evaluating literals.
static GRAMMAR: LazyLock<Engine> = LazyLock::new(|| {
    let mut engine = Engine::new_raw();
    engine.set_optimization_level(OptimizationLevel::None);
    configure(&mut engine, Modes::NONE);
    engine
});

/// The grammar and its limits.
pub(super) fn configure(engine: &mut Engine, modes: Modes) {
    syntax::register(engine, modes);
    engine.set_max_expr_depths(EXPR_DEPTHS.0, EXPR_DEPTHS.1);
}

/// `text` as written: nothing folded, every key and position kept.
pub(super) fn parse(text: &str) -> Result<AST, ParseError> {
    GRAMMAR.compile(text)
}

/// The engine behind [`parse`].
pub(super) fn grammar() -> &'static Engine {
    &GRAMMAR
}

/// Whether `text` is a script.
pub fn parses(text: &str) -> bool {
    parse(text).is_ok()
}

/// Whether `text` is the beginning of something longer: the session's editor then asks for another line.
pub fn incomplete(text: &str) -> bool {
    // A doc comment is about what follows it.
    let doc = text.lines().last().is_some_and(|line| line.trim_start().starts_with("///"));
    if doc || open_comment(text) {
        return true;
    }
    let Err(err) = parse(text) else { return false };
    match err.err_type() {
        ParseErrorType::UnexpectedEOF | ParseErrorType::BadInput(LexError::UnterminatedString) => true,
        // A token missing at the very end may still come; one missing before other text will not.
        ParseErrorType::MissingToken(..) => at_end(text, &err),
        _ => false,
    }
}

/// Whether `err` is about what is missing behind the last word of `text`.
pub(super) fn at_end(text: &str, err: &ParseError) -> bool {
    let position = err.position();
    let Some(line) = position.line() else { return true };
    let mut rest = text.lines().skip(line - 1);
    let here = rest.next().unwrap_or_default();
    let after: String = here.chars().skip(position.position().unwrap_or(1).saturating_sub(1)).collect();
    after.trim().is_empty() && rest.all(|l| l.trim().is_empty())
}

/// Whether a `/*` is still open at the end. Rhai takes the end of the text for the end of the comment.
fn open_comment(text: &str) -> bool {
    let mut depth = 0usize;
    for (mark, _) in marks(text) {
        match mark {
            Mark::Open => depth += 1,
            Mark::Close => depth = depth.saturating_sub(1),
            Mark::Line => {}
        }
    }
    depth > 0
}

enum Mark {
    Open,
    Close,
    Line,
}

/// Where the comment of line `line` of code starts, as a byte offset: `//` outside strings and block comments.
pub(super) fn line_comment(line: &str) -> Option<usize> {
    marks(line).into_iter().find_map(|(mark, at)| matches!(mark, Mark::Line).then_some(at))
}

/// The comment marks of `text`, outside strings, with their byte offsets.
fn marks(text: &str) -> Vec<(Mark, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut i, mut depth) = (0, 0usize);
    let mut quote = None;
    while i < bytes.len() {
        let pair = (bytes[i], bytes.get(i + 1).copied().unwrap_or(0));
        let step = match (quote, pair) {
            (Some(_), (b'\\', _)) => 2,
            (Some(q), (c, _)) if c == q => {
                quote = None;
                1
            }
            (Some(_), _) => 1,
            (None, (b'/', b'*')) => {
                depth += 1;
                found.push((Mark::Open, i));
                2
            }
            (None, (b'*', b'/')) if depth > 0 => {
                depth -= 1;
                found.push((Mark::Close, i));
                2
            }
            (None, _) if depth > 0 => 1,
            (None, (b'/', b'/')) => {
                found.push((Mark::Line, i));
                bytes[i..].iter().position(|&b| b == b'\n').unwrap_or(bytes.len() - i)
            }
            (None, (q @ (b'"' | b'`'), _)) => {
                quote = Some(q);
                1
            }
            _ => 1,
        };
        i += step;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects multi-line input: what may go on asks for more, what is wrong is reported at once.
    #[test]
    fn incomplete_input_is_recognised() {
        for text in [
            "fn f(x) {",
            "let x = [1,",
            "#{ a: 1,",
            "\"abc",
            "1 +",
            "/* note",
            "f(1, (2",
            "no_grad {",
            "`a ${",
            "/// doc",
        ] {
            assert!(incomplete(text), "{text:?} may go on");
        }
        for text in ["1 + 1", "let x = 1;", "fn f() { }", "let = 3", "1 1", ") + 2", "\"/*\"", "// /*", "x }"] {
            assert!(!incomplete(text), "{text:?} is complete or wrong");
        }
    }

    /// Protects option help texts: a `//` inside a string is no comment.
    #[test]
    fn line_comments_are_found_outside_strings() {
        assert_eq!(line_comment(r#"url: "http://x", // where"#), Some(17));
        assert_eq!(line_comment(r#"url: "http://x","#), None);
    }
}
