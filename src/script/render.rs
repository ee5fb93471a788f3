//! Diagnostics for reading, in the form that rustc made familiar.
//!
//! ```text
//! error[unknown-function]: no function `matmul` takes (Tensor, int)
//!  --> train.rhai:3:11
//!   |
//! 3 | let y = x.matmul(3);
//!   |           ^^^^^^
//!   = in `step`, called at train.rhai:9:5
//!   = help: candidate: matmul(Tensor, Tensor) -> Tensor
//! ```

use super::diagnostics::{Diagnostic, Severity};
use unicode_width::UnicodeWidthStr;

/// Columns of text shown of a long line.
const COLUMNS: usize = 110;

/// `diagnostic` as text, without a final line break; `color` with the escapes of a terminal.
pub fn render(diagnostic: &Diagnostic, color: bool) -> String {
    let paint = Paint(color);
    let mut out = Vec::new();
    let (label, of) = match diagnostic.severity {
        _ if diagnostic.is_interrupt() => ("stopped", YELLOW),
        Severity::Error => ("error", RED),
        Severity::Warning => ("warning", YELLOW),
    };
    let label = if diagnostic.is_interrupt() { label.to_string() } else { format!("{label}[{}]", diagnostic.code) };
    let mut message = diagnostic.message.lines();
    let first = message.next().unwrap_or_default();
    out.push(format!("{}{}", paint.with(of, &label), paint.with(BOLD, &format!(": {first}"))));

    let gutter = diagnostic.place.as_ref().map_or(0, |p| p.line.to_string().len());
    let margin = " ".repeat(gutter);
    let bar = paint.with(BLUE, "|");
    out.extend(message.map(|line| format!("{margin} {line}")));
    if let Some(place) = &diagnostic.place {
        out.push(format!("{margin}{} {place}", paint.with(BLUE, "-->")));
        if let Some(line) = &diagnostic.snippet {
            let (line, column) = window(line, place.column);
            out.push(format!("{margin} {bar}"));
            out.push(format!("{} {bar} {}", paint.with(BLUE, &place.line.to_string()), line.trim_end()));
            if column > 0 {
                let carets = diagnostic.width.min(line.chars().count().saturating_sub(column - 1).max(1));
                out.push(format!("{margin} {bar} {}{}", blank(&line, column), paint.with(of, &"^".repeat(carets))));
            }
        }
    }
    let equals = paint.with(BLUE, "=");
    for label in &diagnostic.labels {
        out.push(format!("{margin} {equals} {}: {}", label.place, label.text));
    }
    for frame in &diagnostic.frames {
        let at = frame.called_at.as_ref().map_or(String::new(), |place| format!(", called at {place}"));
        let at = if frame.what.starts_with("while") { at.replacen(", called at", " at", 1) } else { at };
        out.push(format!("{margin} {equals} {}{at}", frame.what));
    }
    for help in &diagnostic.help {
        let help = help.replace('\n', &format!("\n{margin}   "));
        out.push(format!("{margin} {equals} {}: {help}", paint.with(BOLD, "help")));
    }
    out.join("\n")
}

/// The part of a long line around `column`, and the column in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().collect();
    if chars.len() <= COLUMNS {
        return (line.to_string(), column);
    }
    let start = column.saturating_sub(COLUMNS / 2).min(chars.len() - COLUMNS);
    let shown: String = chars[start..start + COLUMNS].iter().collect();
    let (before, after) = (start > 0, start + COLUMNS < chars.len());
    let text = format!("{}{shown}{}", if before { "..." } else { "" }, if after { "..." } else { "" });
    (text, (column - start.min(column)) + if before { 3 } else { 0 })
}

/// As much blank space as the text before `column` takes, tabs kept, wide characters counted twice.
fn blank(line: &str, column: usize) -> String {
    let before: String = line.chars().take(column - 1).collect();
    before.split('\t').map(|part| " ".repeat(part.width())).collect::<Vec<_>>().join("\t")
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Frame, Place};

    fn diagnostic(line: &str, column: usize) -> Diagnostic {
        let place = |line, column| Place { file: "a.rhai".into(), line, column };
        let mut d = Diagnostic::new("type", "expected int, found string").with_help("use 1");
        d.place = Some(place(12, column));
        d.snippet = Some(line.into());
        d.width = 2;
        d.frames = vec![Frame { what: "in `f`".into(), called_at: Some(place(20, 1)) }];
        d
    }

    /// Protects the layout: gutter, caret under its word, frames, help.
    #[test]
    fn layout() {
        let text = "error[type]: expected int, found string\n  --> a.rhai:12:6\n   |\n12 | \tf(é, ab)\n   | \t     ^^\n   = in `f`, called at a.rhai:20:1\n   = help: use 1";
        assert_eq!(render(&diagnostic("\tf(é, ab)", 7), false), text.replace("12:6", "12:7"));
        assert!(render(&diagnostic("ab", 1), true).starts_with("\x1b[1;31merror[type]\x1b[0m"));
    }

    /// Protects readability where a script has a line of a thousand characters: the caret's surroundings are shown.
    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let line = format!("{}here{}", "a".repeat(500), "b".repeat(500));
        let text = render(&diagnostic(&line, 501), false);
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[4].find('^').unwrap();
        assert!(lines[3].len() < 130 && lines[3][caret..].starts_with("here"), "{text}");
    }
}
