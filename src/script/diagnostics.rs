//! What went wrong in a script, as plain data: made here from Rhai's errors, shown by [`super::render`].

use super::{explain, explain::Context, sources::Sources, stack::Panicked};
use crate::engine::Error;
use rhai::{EvalAltResult, ParseError, Position};
use serde::Serialize;

/// A place in a script's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The script's name: a path, `std/...`, or `repl`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; 0 where only the line is known.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.column > 0 { write!(f, ":{}", self.column) } else { Ok(()) }
    }
}

/// One step of the way from the script's top level to the error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// What ran, in words: "in `step`", "in a closure", "while importing `std/train`".
    pub what: String,
    /// Where it was called from.
    pub called_at: Option<Place>,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The script failed, or cannot run.
    Error,
    /// The script runs, but this is probably not what was meant.
    Warning,
}

/// A second place that belongs to a problem, and what it has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// Characters from `place` on that are meant.
    pub width: usize,
    /// What is there: "argument 2 is int", "first defined here".
    pub text: String,
}

/// One problem, with everything that helps to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the script can run in spite of it.
    pub severity: Severity,
    /// Short, stable name of the kind of problem: `syntax`, `unknown-function`, `shape`, ...
    pub code: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// The line of text at `place`.
    pub snippet: Option<String>,
    /// Characters from `place` on that are meant.
    pub width: usize,
    /// Further places, in the order to read them.
    pub labels: Vec<Label>,
    /// The way there, innermost first.
    pub frames: Vec<Frame>,
    /// What to do: suggestions, candidates.
    pub help: Vec<String>,
}

/// The code of an interruption, which is no error.
const INTERRUPTED: &str = "interrupted";

impl Diagnostic {
    /// A problem without a place in a script.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code: code.into(),
            message: message.into(),
            place: None,
            snippet: None,
            width: 1,
            labels: Vec::new(),
            frames: Vec::new(),
            help: Vec::new(),
        }
    }

    /// As [`Diagnostic::new`], for what a script runs in spite of.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::new(code, message) }
    }

    /// Adds a suggestion.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a second place: `width` characters from `place` on.
    pub fn with_label(mut self, place: Place, width: usize, text: impl Into<String>) -> Self {
        self.labels.push(Label { place, width, text: text.into() });
        self
    }

    /// Whether this is Ctrl-C and not a fault.
    pub fn is_interrupt(&self) -> bool {
        self.code == INTERRUPTED
    }

    /// Points at `place`, with its line from `sources`.
    pub(super) fn at(mut self, place: Option<Place>, sources: &Sources) -> Self {
        self.snippet = place.as_ref().and_then(|p| sources.line(&p.file, p.line));
        self.width = match (&self.snippet, &place) {
            (Some(line), Some(p)) => word_width(line, p.column),
            _ => 1,
        };
        self.place = place;
        self
    }
}

impl From<Panicked> for Diagnostic {
    fn from(bug: Panicked) -> Self {
        Diagnostic::new("bug", bug.to_string())
            .with_help("this is a fault of host, not of your script: please report it with the script")
    }
}

impl From<&Error> for Diagnostic {
    fn from(err: &Error) -> Self {
        let diagnostic = Diagnostic::new(err.kind(), err.to_string());
        match err.help() {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    }
}

/// A script that does not parse.
pub(super) fn from_parse_error(err: &ParseError, file: &str, sources: &Sources) -> Diagnostic {
    let place = syntax_place(file, err.position(), sources);
    explain::syntax(err.err_type()).at(place, sources)
}

/// A script that failed: unwraps the calls and imports around the error, which become frames.
pub(super) fn from_eval_error(err: &EvalAltResult, file: &str, context: &Context) -> Diagnostic {
    let mut file = file.to_string();
    let mut frames = Vec::new();
    let mut function = None;
    let mut err = err;
    let place_of = loop {
        match err {
            EvalAltResult::ErrorInFunctionCall(name, source, inner, pos) => {
                // A closure sees the variables around it: no function's own.
                function = Some(name.as_str()).filter(|n| !n.starts_with("anon$"));
                let what = function.map_or("in a closure".into(), |name| format!("in `{name}`"));
                frames.push(Frame { what, called_at: place(&file, *pos) });
                if !source.is_empty() {
                    file.clone_from(source);
                }
                err = inner;
            }
            EvalAltResult::ErrorInModule(name, inner, pos) => {
                frames.push(Frame { what: format!("while importing `{name}`"), called_at: place(&file, *pos) });
                file.clone_from(name);
                err = inner;
            }
            EvalAltResult::ErrorParsing(_, pos) => break syntax_place(&file, *pos, context.sources),
            innermost => break place(&file, innermost.position()),
        }
    };
    frames.reverse();
    let mut diagnostic = explain::error(err, &file, function, context).at(place_of, context.sources);
    diagnostic.frames = frames;
    diagnostic
}

fn place(file: &str, pos: Position) -> Option<Place> {
    Some(Place { file: file.to_string(), line: pos.line()?, column: pos.position().unwrap_or(0) })
}

/// Where text does not parse; a text that breaks off does so at its last word, not on the line behind it.
fn syntax_place(file: &str, pos: Position, sources: &Sources) -> Option<Place> {
    let place = place(file, pos).filter(|p| sources.line(file, p.line).is_some_and(|l| !l.trim().is_empty()));
    place.or_else(|| last_word(file, sources))
}

fn last_word(file: &str, sources: &Sources) -> Option<Place> {
    let text = sources.get(file)?.text;
    let (line, last) = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).last()?;
    Some(Place { file: file.to_string(), line: line + 1, column: last.chars().count() })
}

/// Length in characters of the word, number, string or operator at `column` of `line`.
fn word_width(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column.saturating_sub(1)).collect();
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let symbol = |c: &char| "+-*/%=<>!&|^@?".contains(*c);
    let run = |f: &dyn Fn(&char) -> bool| rest.iter().take_while(|c| f(c)).count();
    match rest.first() {
        Some('"') => 2 + rest[1..].iter().take_while(|c| **c != '"').count().min(rest.len().saturating_sub(2)),
        Some(c) if word(c) => run(&word),
        Some(c) if symbol(c) => run(&symbol),
        _ => 1,
    }
}
