//! Colours of an input, and the bracket that belongs to the one at the cursor.

use super::commands::split;
use crate::script::pieces::{Kind, Piece, pieces};
use std::collections::BTreeMap;

const KEYWORD: &str = "35";
const CALL: &str = "34";
const LITERAL: &str = "36";
const TEXT: &str = "32";
const COMMENT: &str = "2";
const COMMAND: &str = "1;33";
const UNKNOWN: &str = "31";
const BRACKET: &str = "1;4;34";

/// `line` with colours; the brackets at byte `cursor` and its partner stand out.
pub(super) fn highlight(line: &str, cursor: Option<usize>) -> String {
    let (skip, command) = command(line);
    let pieces = pieces(&line[skip..]);
    let mut colors: BTreeMap<(usize, usize), &str> = BTreeMap::new();
    if command {
        colors.insert((0, skip), COMMAND);
    }
    for (i, piece) in pieces.iter().enumerate() {
        if let Some(color) = color(piece, pieces.get(i + 1), &line[skip..]) {
            colors.insert((piece.start + skip, piece.end + skip), color);
        }
    }
    if let Some((a, b)) = cursor.and_then(|at| brackets(&pieces, at.checked_sub(skip)?)) {
        for p in [a, b] {
            colors.insert((p.start + skip, p.end + skip), BRACKET);
        }
    }
    let mut out = String::with_capacity(line.len() * 2);
    let mut done = 0;
    for ((start, end), color) in colors {
        out.push_str(&line[done..start]);
        out.push_str(&format!("\x1b[{color}m{}\x1b[0m", &line[start..end]));
        done = end;
    }
    out + &line[done..]
}

/// Bytes at the start of `line` that are no script, and whether they are a command's name.
fn command(line: &str) -> (usize, bool) {
    let lead = line.len() - line.trim_start().len();
    let first = line[lead..].chars().next();
    match first {
        Some(':') if split(line).is_some() => {
            (line[lead..].find(char::is_whitespace).map_or(line.len(), |i| lead + i), true)
        }
        Some('?') => (lead + 1, true),
        _ => (0, false),
    }
}

fn color(piece: &Piece, next: Option<&Piece>, text: &str) -> Option<&'static str> {
    match piece.kind {
        Kind::Keyword => Some(KEYWORD),
        Kind::Literal => Some(LITERAL),
        Kind::Text | Kind::OpenText => Some(TEXT),
        Kind::Comment => Some(COMMENT),
        Kind::Unknown => Some(UNKNOWN),
        Kind::Symbol if piece.of(text) == "@" => Some(KEYWORD),
        // A call's parenthesis stands right behind its name.
        Kind::Name => next.filter(|n| n.start == piece.end && n.of(text) == "(").map(|_| CALL),
        Kind::Symbol | Kind::Open | Kind::Close => None,
    }
}

/// The bracket under byte `cursor`, or before it, and its partner.
fn brackets(pieces: &[Piece], cursor: usize) -> Option<(Piece, Piece)> {
    let bracket = |p: &&Piece| matches!(p.kind, Kind::Open | Kind::Close);
    let under = pieces.iter().position(|p| bracket(&p) && (p.start..p.end).contains(&cursor));
    let at = under.or_else(|| pieces.iter().position(|p| bracket(&p) && p.end == cursor))?;
    let partner = partner(pieces, at)?;
    Some((pieces[at], pieces[partner]))
}

/// Whether a bracket is at byte `cursor`.
pub(super) fn at_bracket(line: &str, cursor: usize) -> bool {
    let (skip, _) = command(line);
    cursor.checked_sub(skip).is_some_and(|at| brackets(&pieces(&line[skip..]), at).is_some())
}

/// The index of the bracket that belongs to the one at index `at`.
pub(super) fn partner(pieces: &[Piece], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut step = |p: &Piece, same: Kind, other: Kind| {
        match p.kind {
            k if k == same => depth += 1,
            k if k == other => depth -= 1,
            _ => {}
        }
        depth == 0
    };
    match pieces[at].kind {
        Kind::Open => (at..pieces.len()).find(|&i| step(&pieces[i], Kind::Open, Kind::Close)),
        Kind::Close => (0..=at).rev().find(|&i| step(&pieces[i], Kind::Close, Kind::Open)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colours as words: `[35|let]`.
    fn shown(line: &str, cursor: Option<usize>) -> String {
        highlight(line, cursor).replace("\x1b[0m", "]").replace("\x1b[", "[").replace('m', "|").replace("|]", "m]")
    }

    /// Protects the colours: keywords (ours too), calls, literals, strings, comments; the text itself is unchanged.
    #[test]
    fn colours_follow_the_lexer() {
        assert_eq!(shown("let x = f(1) // hi", None), "[35|let] x = [34|f]([36|1]) [2|// hi]");
        assert_eq!(shown("no_grad { a @ b }", None), "[35|no_grad] { a [35|@] b }");
        assert_eq!(shown("\"let\" + x", None), "[32|\"let\"] + x");
        assert_eq!(shown(":tie f(2)", None), "[1;33|:tie] [34|f]([36|2])");
        assert_eq!(shown("?f", None), "[1;33|?]f");
        for line in ["é(\"ü", ":", "?", "", "  :vars", "`${", "x // y\n\"z"] {
            let plain = highlight(line, Some(line.len())).replace("\x1b[0m", "");
            let plain: String = plain
                .split("\x1b[")
                .enumerate()
                .map(|(i, part)| if i == 0 { part } else { part.split_once('m').unwrap().1 })
                .collect();
            assert_eq!(plain, line);
        }
    }

    /// Protects the partner: found through nesting and strings, before and under the cursor, never in a string.
    #[test]
    fn brackets_find_their_partner() {
        assert_eq!(shown("(a[\")\"])", Some(0)), "[1;4;34|(]a[[32|\")\"]][1;4;34|)]");
        assert_eq!(shown("#{a}", Some(4)), "[1;4;34|#{]a[1;4;34|}]");
        assert_eq!(shown("(a", Some(0)), "(a");
        assert_eq!(shown("a)", Some(2)), "a)");
        assert!(at_bracket("f(x)", 4) && !at_bracket("f(x", 3) && !at_bracket("\"(x)\"", 1));
    }
}
