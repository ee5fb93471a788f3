//! Diagnostics for reading, in the form that rustc made familiar, drawn by rustc's own library.
//!
//! ```text
//! error[unknown-function]: no function `matmul` takes (Tensor, int)
//!  --> train.rhai:3:9
//!   |
//! 3 | let y = x.matmul(3);
//!   |         ^^^^^^^^^-^
//!   |                  |
//!   |                  int, expected Tensor
//!   |
//!   = in `step`, called at train.rhai:9:5 as `step(batch)`
//!   = help: candidate: matmul(t: Tensor, other: Tensor) -> Tensor
//! ```
//!
//! The text is the same on a terminal and in a file, colours apart, so that what is pasted into an issue reads as it did.

use super::diagnostics::{Diagnostic, Frame, Place, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Columns where nothing says how many there are: rustc's own choice.
pub const COLUMNS: usize = 140;

/// `diagnostic` as text, without a final line break; `color` with the escapes of a terminal. Lines of a script that are
/// longer than `columns` are cut around what is meant.
pub fn render(diagnostic: &Diagnostic, color: bool, columns: usize) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let level = match diagnostic.severity {
        _ if diagnostic.is_interrupt() => Level::WARNING.with_name("stopped"),
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (title, rest) = diagnostic.message.split_once('\n').unwrap_or((&diagnostic.message, ""));
    let title = level.primary_title(title);
    let title = if diagnostic.is_interrupt() { title } else { title.id(&diagnostic.code) };

    let texts = texts(diagnostic);
    let mut report = Group::with_title(title);
    if !rest.is_empty() {
        report = report.element(Level::NOTE.no_name().message(rest));
    }
    if let (Some(place), None) = (&diagnostic.place, texts.first()) {
        let origin = Origin::path(&place.file).line(place.line);
        report = report.element(if place.column > 0 { origin.char_column(place.column) } else { origin });
    }
    for text in &texts {
        let snippet = Snippet::source(&text.source).path(text.file).line_start(text.first).fold(false);
        report = report.element(snippet.annotations(text.marks.iter().map(|mark| {
            let kind = if mark.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(mark.start..mark.end).label(mark.label)
        })));
    }
    for line in diagnostic.frames.iter().map(frame) {
        report = report.element(Level::NOTE.no_name().message(line));
    }
    for help in &diagnostic.help {
        report = report.element(Level::HELP.message(help));
    }
    let text = renderer.term_width(columns).render(&[report]);
    if diagnostic.place.is_some() { text } else { without_gutter(&text) }
}

/// Without the line `|` that sets notes apart from a snippet, where there is none.
fn without_gutter(text: &str) -> String {
    let empty =
        |line: &&str| line.trim_start().strip_prefix("\u{1b}[1m\u{1b}[94m").unwrap_or(line.trim()).starts_with('|');
    let gutter = text.lines().position(|line| empty(&line));
    let kept = text.lines().enumerate().filter(|(i, _)| Some(*i) != gutter).map(|(_, line)| line);
    kept.collect::<Vec<_>>().join("\n")
}

fn frame(frame: &Frame) -> String {
    let Frame { what, called_at, call } = frame;
    let verb = if what.starts_with("in `") || what == "in a closure" { ", called" } else { "" };
    let at = called_at.as_ref().map_or(String::new(), |place| format!("{verb} at {place}"));
    let call = call.as_ref().map_or(String::new(), |call| format!(": {call}"));
    format!("{what}{at}{call}")
}

/// Lines of one script, with what is marked in them by byte.
struct Text<'a> {
    file: &'a str,
    first: usize,
    source: String,
    marks: Vec<Mark<'a>>,
}

struct Mark<'a> {
    primary: bool,
    start: usize,
    end: usize,
    label: Option<&'a str>,
}

/// The texts to show: that of the place first, labels in it or in texts of their own.
fn texts(diagnostic: &Diagnostic) -> Vec<Text<'_>> {
    let own = diagnostic.place.as_ref().map(|place| (place, diagnostic.width, diagnostic.snippet.as_ref(), None));
    let labels = diagnostic.labels.iter().map(|l| (&l.place, l.width, l.snippet.as_ref(), Some(l.text.as_str())));
    let mut texts: Vec<Text> = Vec::new();
    for (i, (place, width, snippet, label)) in own.into_iter().chain(labels).enumerate() {
        let primary = i == 0 && diagnostic.place.is_some();
        let shown = texts.iter().position(|t| t.file == place.file && t.mark(place, width).is_some());
        let text = match (shown, snippet) {
            (Some(at), _) => &mut texts[at],
            (None, Some(snippet)) => {
                let source = snippet.lines.iter().map(|l| l.trim_end_matches('\r').to_string() + "\n").collect();
                texts.push(Text { file: &place.file, first: snippet.first, source, marks: Vec::new() });
                let last = texts.len() - 1;
                &mut texts[last]
            }
            (None, None) => continue,
        };
        // A place whose column is not known is its whole line.
        if let Some((start, end)) = text.mark(place, width) {
            text.marks.push(Mark { primary, start, end, label });
        }
    }
    texts
}

impl Text<'_> {
    /// The bytes of `width` characters from `place` on, if its line is among these.
    fn mark(&self, place: &Place, width: usize) -> Option<(usize, usize)> {
        let above = place.line.checked_sub(self.first)?;
        let mut lines = self.source.split_inclusive('\n');
        let start: usize = lines.by_ref().take(above).map(str::len).sum();
        let line = lines.next()?.trim_end();
        let at = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        Some(match place.column.checked_sub(1) {
            Some(column) => (start + at(column), start + at(column + width)),
            None => (start + line.len() - line.trim_start().len(), start + line.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Label, Snippet};

    fn diagnostic(line: &str, column: usize) -> Diagnostic {
        let place = |line, column| Place { file: "a.rhai".into(), line, column };
        let mut d = Diagnostic::new("type", "expected int, found string").with_help("use 1");
        d.place = Some(place(12, column));
        d.snippet = Some(Snippet { first: 11, lines: vec!["let ab = 1;\r".into(), format!("{line}\r")] });
        d.width = 2;
        d.frames = vec![Frame { what: "in `f`".into(), called_at: Some(place(20, 1)), call: Some("f(1)".into()) }];
        d
    }

    /// Protects the layout: gutter, neighbours, carets under their word behind tabs and wide characters, frames, help.
    #[test]
    fn layout() {
        let text = "\
error[type]: expected int, found string
  --> a.rhai:12:9
   |
11 | let ab = 1;
12 |     f(\"日本\", ab)
   |               ^^
   |
   = in `f`, called at a.rhai:20:1: f(1)
   = help: use 1";
        assert_eq!(render(&diagnostic("\tf(\"日本\", ab)", 10), false, 80).replace(":10\n", ":9\n"), text);
        assert!(render(&diagnostic("ab", 1), true, 80).contains("\u{1b}[91merror[type]"));
    }

    /// Protects labels: in the same lines, and in another file.
    #[test]
    fn labels() {
        let mut d = diagnostic("f(ab)", 3);
        let label = |file: &str, line, snippet| Label {
            place: Place { file: file.into(), line, column: 1 },
            width: 1,
            text: "this".into(),
            snippet,
        };
        let other = Snippet { first: 1, lines: vec!["g(x)".into()] };
        d.labels = vec![label("a.rhai", 12, None), label("std/b", 1, Some(other))];
        let text = render(&d, false, 80);
        assert!(
            text.contains(
                "12 | f(ab)\n   | - ^^\n   | |\n   | this\n   |\n  ::: std/b:1:1\n   |\n 1 | g(x)\n   | - this"
            ),
            "{text}"
        );
    }

    /// Protects readability where a script has a line of a thousand characters: the caret's surroundings are shown.
    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let line = format!("{}here{}", "a".repeat(500), "b".repeat(500));
        let mut d = diagnostic(&line, 501);
        d.width = 4;
        let text = render(&d, false, 100);
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[5].find('^').unwrap();
        assert!(lines.iter().all(|l| l.len() <= 101) && lines[4][caret..].starts_with("here"), "{text}");
    }

    /// Protects a terminal from a script's control characters.
    #[test]
    fn control_characters_are_shown_not_sent() {
        let mut d = diagnostic("let x = \"\u{1b}[2J\";", 5);
        d.message = "bad \u{1b}[31mthing\nsecond".into();
        assert!(!render(&d, false, 80).contains('\u{1b}'));
    }

    /// Protects places without a column or without text.
    #[test]
    fn partial_places() {
        let mut d = diagnostic("  let x = 1;", 0);
        assert!(render(&d, false, 80).contains("12 |   let x = 1;\n   |   ^^^^^^^^^^\n"), "{}", render(&d, false, 80));
        d.snippet = None;
        assert!(render(&d, false, 80).contains("--> a.rhai:12\n"), "{}", render(&d, false, 80));
        d.place = None;
        let text = "error[type]: expected int, found string\n  = in `f`, called at a.rhai:20:1: f(1)\n  = help: use 1";
        assert_eq!(render(&d, false, 80).replace("\n = ", "\n  = "), text);
        assert_eq!(render(&d, true, 80).lines().count(), 3);
    }
}
