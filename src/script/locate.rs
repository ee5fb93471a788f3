//! From a place in a script to the text that is meant there.

use super::{
    diagnostics::{Place, Snippet},
    sources::Sources,
    spans::Spans,
};
use std::ops::Range;
use std::sync::Arc;

/// Lines shown above and below the one that is meant.
const CONTEXT: usize = 1;

/// Characters of a call in a frame.
const CALL_CHARS: usize = 60;

/// A script's text and a byte of it.
struct Spot {
    file: String,
    text: Arc<str>,
    offset: usize,
}

impl Spot {
    /// `None` where `place` has no column or lies outside the text.
    fn new(place: &Place, sources: &Sources) -> Option<Spot> {
        let text = sources.get(&place.file)?.text;
        let line_start = match place.line {
            0 => return None,
            1 => 0,
            line => text.match_indices('\n').nth(line - 2)?.0 + 1,
        };
        let line = text[line_start..].lines().next().unwrap_or_default();
        let (at, _) = line.char_indices().nth(place.column.checked_sub(1)?)?;
        Some(Spot { file: place.file.clone(), text, offset: line_start + at })
    }

    fn place(&self, range: &Range<usize>) -> (Place, usize) {
        let before = &self.text[..range.start];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let first = self.text[range.clone()].lines().next().unwrap_or_default();
        let place = Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        };
        (place, first.chars().count().max(1))
    }
}

/// The token at `place`, and its width in characters.
pub(super) fn word(place: Place, sources: &Sources) -> (Place, usize) {
    match Spot::new(&place, sources) {
        Some(spot) => spot.place(&Spans::new(&spot.text).word(spot.offset)),
        None => (place, 1),
    }
}

/// The expression that Rhai names by `place`, and its width in characters.
pub(super) fn expression(place: Place, sources: &Sources) -> (Place, usize) {
    match Spot::new(&place, sources) {
        Some(spot) => spot.place(&Spans::new(&spot.text).expression(spot.offset)),
        None => (place, 1),
    }
}

/// The arguments of the call at `place`, the object of a method among them.
pub(super) fn arguments(place: &Place, sources: &Sources) -> Vec<(Place, usize)> {
    let Some(spot) = Spot::new(place, sources) else { return Vec::new() };
    Spans::new(&spot.text).arguments(spot.offset).iter().map(|range| spot.place(range)).collect()
}

/// What is written at `place`: the call, shortened.
pub(super) fn call(place: &Place, sources: &Sources) -> Option<String> {
    let spot = Spot::new(place, sources)?;
    let text = &spot.text[Spans::new(&spot.text).expression(spot.offset)];
    if text.chars().count() <= CALL_CHARS {
        return Some(text.to_string());
    }
    Some(text.chars().take(CALL_CHARS - 2).chain("..".chars()).collect())
}

/// The lines around line `line` of `file`.
pub(super) fn snippet(file: &str, line: usize, sources: &Sources) -> Option<Snippet> {
    let text = sources.get(file)?.text;
    let first = line.checked_sub(CONTEXT).filter(|l| *l > 0).unwrap_or(1);
    let mut lines: Vec<String> =
        text.lines().skip(first - 1).take(line + CONTEXT + 1 - first).map(Into::into).collect();
    let at = line.checked_sub(first).filter(|at| *at < lines.len())?;
    // Empty lines say nothing.
    let mut first = first;
    while lines.len() > at + 1 && lines.last().is_some_and(|l| l.trim().is_empty()) {
        lines.pop();
    }
    let blank = lines[..at].iter().take_while(|l| l.trim().is_empty()).count();
    lines.drain(..blank);
    first += blank;
    Some(Snippet { first, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Place {
        Place { file: "a".into(), line, column }
    }

    /// Protects columns: they count characters, whatever bytes those take, and lines may end as on Windows.
    #[test]
    fn places_count_characters() {
        let sources = Sources::default();
        sources.insert("a", "let é = 1;\r\nlet y = \"日本\".pad(é);\r\n", None);
        assert_eq!(expression(at(2, 14), &sources), (at(2, 9), 11));
        assert_eq!(arguments(&at(2, 14), &sources), [(at(2, 9), 4), (at(2, 18), 1)]);
        assert_eq!(call(&at(2, 14), &sources).unwrap(), "\"日本\".pad(é)");
        for outside in [at(1, 0), at(1, 99), at(9, 1), at(0, 1)] {
            assert_eq!(word(outside.clone(), &sources), (outside.clone(), 1));
            assert_eq!(call(&outside, &sources), None);
        }
    }

    /// Protects the surroundings: the neighbours that say something.
    #[test]
    fn snippets_have_neighbours() {
        let sources = Sources::default();
        sources.insert("a", "one\ntwo\n\nfour\n", None);
        let lines = |line| snippet("a", line, &sources).map(|s| (s.first, s.lines.join("|")));
        assert_eq!(lines(1), Some((1, "one|two".into())));
        assert_eq!(lines(2), Some((1, "one|two".into())));
        assert_eq!(lines(4), Some((4, "four".into())));
        assert_eq!((lines(5), lines(0)), (None, None));
    }
}
