//! One line of a script as tokens: what a parser stumbled over, and what stands around it.

use super::{
    diagnostics::Place,
    locate::{Spot, open_before},
    sources::Sources,
    tokens::{self, Kind, Token},
};
use std::sync::Arc;

/// A line of a text, as tokens, and the one at a place.
pub(super) struct Line {
    text: Arc<str>,
    tokens: Vec<Token>,
    first: usize,
    count: usize,
    /// Number in the line of the token at the place.
    pub(super) at: usize,
}

/// The line of `place`; `None` if there is nothing in it.
pub(super) fn line(place: &Place, sources: &Sources) -> Option<Line> {
    let Spot { text, offset, .. } = Spot::new(place, sources)?;
    let tokens = tokens::cut(&text);
    let start = text[..offset].rfind('\n').map_or(0, |n| n + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |n| offset + n);
    let first = tokens.iter().position(|t| t.end > start && t.start < end)?;
    let count = tokens[first..].iter().take_while(|t| t.start < end).count();
    let at = tokens[first..first + count].iter().rposition(|t| t.start <= offset).unwrap_or(0);
    Some(Line { text, tokens, first, count, at })
}

impl Line {
    fn get(&self, i: usize) -> Option<&Token> {
        if i < self.count { self.tokens.get(self.first + i) } else { None }
    }

    /// Token `i` of the line; nothing behind its end.
    pub(super) fn word(&self, i: usize) -> &str {
        self.get(i).map_or("", |t| &self.text[t.start..t.end])
    }

    /// What token `i` is.
    pub(super) fn kind(&self, i: usize) -> Option<Kind> {
        self.get(i).map(|t| t.kind)
    }

    /// Column of token `i`, in characters from 1.
    pub(super) fn column(&self, i: usize) -> usize {
        let start = self.get(i).map_or(0, |t| t.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |n| n + 1);
        self.text[line_start..start].chars().count() + 1
    }

    /// The token that is `word`.
    pub(super) fn find(&self, word: &str) -> Option<usize> {
        (0..self.count).find(|i| self.word(*i) == word)
    }

    /// Whether token `i` may be the key of a map.
    pub(super) fn is_key(&self, i: usize) -> bool {
        matches!(self.kind(i), Some(Kind::Word | Kind::Literal))
    }

    /// The letter before a string: `f"..."`.
    pub(super) fn prefixed_string(&self) -> Option<usize> {
        (0..self.count).find(|&i| {
            let adjacent = self.get(i).zip(self.get(i + 1)).is_some_and(|(a, b)| a.end == b.start);
            adjacent && ["f", "r", "b"].contains(&self.word(i)) && self.word(i + 1).starts_with(['"', '\''])
        })
    }

    /// Whether more than one character stands in single quotes.
    pub(super) fn quoted_text(&self) -> bool {
        (0..self.count).any(|i| {
            let text = self.word(i);
            text.starts_with('\'') && !text.starts_with("'\\") && text.chars().count() != 3
        })
    }

    /// The bracket around the place, and what it belongs to: `index`, `call`, or nothing.
    pub(super) fn around(&self) -> Option<(&str, Option<&'static str>)> {
        let open = open_before(&self.tokens, self.first + self.at)?;
        let text = |i: usize| &self.text[self.tokens[i].start..self.tokens[i].end];
        let owner = open.checked_sub(1).and_then(|b| match (text(open), self.tokens[b].kind) {
            ("[", Kind::Word | Kind::Close) => Some("index"),
            ("(", Kind::Word) => Some("call"),
            _ => None,
        });
        Some((text(open), owner))
    }
}
