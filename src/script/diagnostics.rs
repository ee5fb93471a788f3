//! What went wrong in a script, as plain data: made here from Rhai's errors, shown by [`super::render`].

use super::{errors::ScriptError, explain, explain::Context, locate, names, sources::Sources, stack::Panicked};
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
    /// The call as it is written there, shortened.
    pub call: Option<String>,
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

/// Part of a script's text: whole lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// Number of the first line, from 1.
    pub first: usize,
    /// The lines, without their ends.
    pub lines: Vec<String>,
}

/// A second place that belongs to a problem, and what it has to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// Characters from `place` on that are meant.
    pub width: usize,
    /// What is there: "int, expected Tensor", "first defined here".
    pub text: String,
    /// The text around, where it is not that of the diagnostic.
    pub snippet: Option<Snippet>,
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
    /// The text around `place`.
    pub snippet: Option<Snippet>,
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
            message: shortened(message.into()),
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
        self.help.push(shortened(help.into()));
        self
    }

    /// Adds a second place: `width` characters from `place` on, with the text around from `sources`.
    pub(super) fn with_label(
        mut self,
        (place, width): (Place, usize),
        text: impl Into<String>,
        sources: &Sources,
    ) -> Self {
        let snippet = locate::snippet(&place.file, place.line, sources);
        self.labels.push(Label { place, width, text: text.into(), snippet });
        self
    }

    /// Whether this is Ctrl-C and not a fault.
    pub fn is_interrupt(&self) -> bool {
        self.code == INTERRUPTED
    }

    /// Points at the word at `place`, with the text around from `sources`.
    pub(super) fn at(self, place: Option<Place>, sources: &Sources) -> Self {
        self.spanning(place.map(|p| locate::word(p, sources)), sources)
    }

    /// Points at the whole call or expression that Rhai names by `place`.
    pub(super) fn at_expression(self, place: Option<Place>, sources: &Sources) -> Self {
        self.spanning(place.map(|p| locate::expression(p, sources)), sources)
    }

    fn spanning(mut self, span: Option<(Place, usize)>, sources: &Sources) -> Self {
        self.snippet = span.as_ref().and_then(|(p, _)| locate::snippet(&p.file, p.line, sources));
        (self.place, self.width) = span.map_or((None, 1), |(place, width)| (Some(place), width));
        self
    }

    /// Gives every place the file and line that `f` has for its own.
    pub fn relocate(&mut self, f: impl Fn(&str, usize) -> Option<(String, usize)>) {
        let snippets = self.labels.iter_mut().map(|l| (Some(&mut l.place), l.snippet.as_mut()));
        let own = (self.place.as_mut(), self.snippet.as_mut());
        let frames = self.frames.iter_mut().map(|f| (f.called_at.as_mut(), None));
        for (place, snippet) in std::iter::once(own).chain(snippets).chain(frames) {
            let Some(place) = place else { continue };
            let Some((file, line)) = f(&place.file, place.line) else { continue };
            if let Some(snippet) = snippet {
                // Lines before the new first one belong to another text.
                let above = place.line - snippet.first.min(place.line);
                snippet.lines.drain(..above.saturating_sub(line - 1).min(snippet.lines.len()));
                snippet.first = line - above.min(line - 1);
            }
            *place = Place { file, line, ..*place };
        }
    }
}

/// `text`, or the beginning of one that is longer than anybody reads: scripts throw what they like.
fn shortened(text: String) -> String {
    const LONGEST: usize = 4000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} .. ({} bytes in all)", &text[..end], text.len()),
        None => text,
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
    explain::syntax(err.err_type(), err.position(), file, sources)
}

/// A script that failed: unwraps the calls and imports around the error, which become frames.
pub(super) fn from_eval_error(err: &EvalAltResult, file: &str, context: &Context) -> Diagnostic {
    let sources = context.sources;
    let mut file = file.to_string();
    let mut frames: Vec<Frame> = Vec::new();
    let mut function = None;
    let mut err = err;
    let at = loop {
        match err {
            EvalAltResult::ErrorInFunctionCall(name, source, inner, pos) => {
                // A closure sees the variables around it: no function's own.
                function = Some(names::plain(name)).filter(|n| !n.starts_with("anon$"));
                let called_at = place(&file, *pos);
                match (function, frames.last_mut()) {
                    // Native functions have no text: a closure is "called" where they are.
                    (None, Some(native)) if native.called_at == called_at => {
                        native.what = native.what.replacen("in ", "in a closure called by ", 1);
                    }
                    _ => {
                        let what = function.map_or("in a closure".into(), |name| format!("in `{name}`"));
                        let call = called_at.as_ref().and_then(|p| locate::call(p, sources));
                        frames.push(Frame { what, called_at, call });
                    }
                }
                if !source.is_empty() {
                    file.clone_from(source);
                }
                err = inner;
            }
            EvalAltResult::ErrorInModule(name, inner, pos) => {
                let what = format!("while importing `{name}`");
                frames.push(Frame { what, called_at: place(&file, *pos), call: None });
                file.clone_from(name);
                err = inner;
            }
            innermost => break place(&file, innermost.position()),
        }
    };
    frames.reverse();
    let script_error = match err {
        EvalAltResult::ErrorRuntime(value, _) => value.clone().try_cast::<ScriptError>(),
        _ => None,
    };
    if let Some((first, file)) = script_error.as_ref().and_then(ScriptError::caught) {
        let mut diagnostic = from_eval_error(first, file, context);
        diagnostic.frames.push(Frame { what: "caught and thrown on".into(), called_at: at, call: None });
        diagnostic.frames.extend(frames);
        return diagnostic;
    }
    let thrown = matches!(err, EvalAltResult::ErrorRuntime(..)) && script_error.is_none();
    let mut diagnostic = explain::error(err, at.as_ref(), &file, function, context);
    diagnostic = match err {
        EvalAltResult::ErrorParsing(..) => diagnostic,
        EvalAltResult::ErrorVariableNotFound(..) => diagnostic.at(at, sources),
        EvalAltResult::ErrorArrayBounds(..)
        | EvalAltResult::ErrorStringBounds(..)
        | EvalAltResult::ErrorIndexingType(..) => diagnostic.spanning(at.map(|p| locate::indexed(p, sources)), sources),
        _ => diagnostic.at_expression(at, sources),
    };
    if frames.len() > FRAMES {
        let left_out = frames.len() - FRAMES;
        let what = format!("{left_out} calls more");
        frames.splice(FRAMES / 2..FRAMES / 2 + left_out, [Frame { what, called_at: None, call: None }]);
    }
    diagnostic.frames = frames;
    if file.starts_with(LIBRARY) { blame_the_caller(diagnostic, thrown, sources) } else { diagnostic }
}

/// Calls shown at most: the innermost and the outermost.
const FRAMES: usize = 40;

/// What begins the names of the standard library's modules.
const LIBRARY: &str = "std/";

/// An error inside the standard library is shown where the user's own script called it: that is the line that can be
/// mended. What the library threw on purpose says enough; for anything else its own line is shown, too.
fn blame_the_caller(mut diagnostic: Diagnostic, thrown: bool, sources: &Sources) -> Diagnostic {
    let own = |f: &Frame| f.called_at.as_ref().is_some_and(|p| !p.file.starts_with(LIBRARY));
    let Some(k) = diagnostic.frames.iter().position(own) else { return diagnostic };
    let Some(origin) = diagnostic.place.take() else { return diagnostic };
    let width = diagnostic.width;
    let raised = diagnostic.frames[0].what.replacen("in ", "raised in ", 1);
    let caller = diagnostic.frames.remove(k).called_at;
    diagnostic.frames.insert(0, Frame { what: raised, called_at: Some(origin.clone()), call: None });
    // What is marked inside the library helps nobody who cannot change it.
    diagnostic.labels.clear();
    diagnostic = diagnostic.at_expression(caller, sources);
    if !thrown {
        diagnostic = diagnostic.with_label((origin, width), "raised here", sources);
    }
    diagnostic
}

fn place(file: &str, pos: Position) -> Option<Place> {
    Some(Place { file: file.to_string(), line: pos.line()?, column: pos.position().unwrap_or(0) })
}
