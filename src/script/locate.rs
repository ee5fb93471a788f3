//! From a place in a script to the text that is meant there.

use super::{
    diagnostics::{Place, Snippet},
    sources::Sources,
    spans::Spans,
    tokens::{self, Kind, Token},
};
use std::ops::Range;
use std::sync::Arc;

/// Lines shown above and below the one that is meant.
const CONTEXT: usize = 1;

/// Characters of a call in a frame.
const CALL_CHARS: usize = 60;

/// A script's text and a byte of it.
pub(super) struct Spot {
    file: String,
    pub(super) text: Arc<str>,
    pub(super) offset: usize,
}

impl Spot {
    /// `None` where `place` has no column or lies outside the text.
    pub(super) fn new(place: &Place, sources: &Sources) -> Option<Spot> {
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

/// The indexing whose index is at `place`, and its width in characters.
pub(super) fn indexed(place: Place, sources: &Sources) -> (Place, usize) {
    match Spot::new(&place, sources) {
        Some(spot) => spot.place(&Spans::new(&spot.text).indexed(spot.offset)),
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

/// The token at `place`.
pub(super) fn token(place: &Place, sources: &Sources) -> Option<String> {
    let spot = Spot::new(place, sources)?;
    Some(spot.text[Spans::new(&spot.text).word(spot.offset)].to_string())
}

/// The names of the dotted path that begins at `place`: `torch.nn.relu`, `nn::relu`.
pub(super) fn path(place: &Place, sources: &Sources) -> Vec<String> {
    let Some(spot) = Spot::new(place, sources) else { return Vec::new() };
    let text = |t: &Token| &spot.text[t.start..t.end];
    let tokens = tokens::cut(&spot.text);
    let mut rest = tokens.iter().skip_while(|t| t.start < spot.offset);
    let mut names = Vec::new();
    while let Some(name) = rest.next().filter(|t| t.kind == Kind::Word) {
        names.push(text(name).to_string());
        if !rest.next().is_some_and(|t| [".", "::"].contains(&text(t))) {
            break;
        }
    }
    names
}

/// Whether the token before `place` is `word`.
pub(super) fn follows(place: &Place, word: &str, sources: &Sources) -> bool {
    Spot::new(place, sources).is_some_and(|spot| {
        let tokens = tokens::cut(&spot.text);
        let before = tokens.iter().take_while(|t| t.start < spot.offset).last();
        before.is_some_and(|t| &spot.text[t.start..t.end] == word)
    })
}

/// The place right behind the token before `place`.
pub(super) fn behind_previous(place: &Place, sources: &Sources) -> Option<Place> {
    let spot = Spot::new(place, sources)?;
    let end = tokens::cut(&spot.text).iter().take_while(|t| t.start < spot.offset).last()?.end;
    Some(spot.place(&(end..end)).0)
}

/// The last bracket before token `i` that is open there.
pub(super) fn open_before(tokens: &[Token], i: usize) -> Option<usize> {
    let mut depth = 0usize;
    for i in (0..i).rev() {
        match tokens[i].kind {
            Kind::Close => depth += 1,
            Kind::Open if depth > 0 => depth -= 1,
            Kind::Open => return Some(i),
            _ => {}
        }
    }
    None
}

/// The bracket that is open at `place`.
pub(super) fn bracket_around(place: &Place, sources: &Sources) -> Option<(Place, String)> {
    let spot = Spot::new(place, sources)?;
    let tokens = tokens::cut(&spot.text);
    let i = tokens.iter().take_while(|t| t.start < spot.offset).count();
    bracket(&spot, &tokens, open_before(&tokens, i)?)
}

/// The bracket that is open at the end of `file`.
pub(super) fn unclosed(file: &str, sources: &Sources) -> Option<(Place, String)> {
    let spot = Spot { file: file.to_string(), text: sources.get(file)?.text, offset: 0 };
    let tokens = tokens::cut(&spot.text);
    bracket(&spot, &tokens, open_before(&tokens, tokens.len())?)
}

fn bracket(spot: &Spot, tokens: &[Token], i: usize) -> Option<(Place, String)> {
    let range = tokens[i].start..tokens[i].end;
    Some((spot.place(&range).0, spot.text[range].to_string()))
}

/// The last token of `file`.
pub(super) fn last_token(file: &str, sources: &Sources) -> Option<Place> {
    let spot = Spot { file: file.to_string(), text: sources.get(file)?.text, offset: 0 };
    let last = *tokens::cut(&spot.text).last()?;
    Some(spot.place(&(last.start..last.end)).0)
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
