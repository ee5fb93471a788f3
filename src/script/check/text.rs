//! A script's text: where words stand that the syntax tree keeps no place of, and where statements end.

use crate::script::tokens::{self, Kind, Token};
use rhai::Position;
use std::ops::Range;

/// Line and column, both from 1.
pub(super) fn place(pos: Position) -> (usize, usize) {
    (pos.line().unwrap_or(1), pos.position().unwrap_or(1).max(1))
}

/// A text and its tokens.
pub(super) struct Text<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// Where lines begin.
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    /// Cuts `text`.
    pub(super) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Text { text, tokens: tokens::cut(text), lines }
    }

    fn is(&self, i: usize, what: &str) -> bool {
        self.tokens.get(i).is_some_and(|t| &self.text[t.start..t.end] == what)
    }

    fn word(&self, i: usize) -> Option<&'a str> {
        let token = self.tokens.get(i)?;
        (token.kind == Kind::Word).then(|| &self.text[token.start..token.end])
    }

    fn offset(&self, pos: Position) -> usize {
        let (line, column) = place(pos);
        let Some(&start) = self.lines.get(line - 1).filter(|_| !pos.is_none()) else { return self.text.len() };
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(i, _)| i)
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let column = self.text[self.lines[line - 1]..offset].chars().count() + 1;
        match (u16::try_from(line), u16::try_from(column)) {
            (Ok(line), Ok(column)) => Position::new(line, column),
            _ => Position::NONE,
        }
    }

    /// Where the name and the parameters stand of the function whose body begins at `body`.
    pub(super) fn heading(&self, body: Position) -> (Position, Vec<(String, Position)>) {
        let offset = self.offset(body);
        let end = self.tokens.partition_point(|t| t.start < offset);
        let Some(start) = (0..end).rfind(|i| self.is(*i, "fn")) else { return (body, Vec::new()) };
        let open = (start..end).find(|i| self.is(*i, "(")).unwrap_or(end);
        let at = |i: usize| self.position(self.tokens[i].start);
        let name = (start + 1..open).rfind(|i| self.word(*i).is_some()).map_or(body, at);
        let params = (open..end).filter_map(|i| Some((self.word(i)?.to_string(), at(i)))).collect();
        (name, params)
    }

    /// The pieces around the place `pos` that may be left out to read on after a mistake there, smallest first:
    /// statements, then what begins at the left margin.
    pub(super) fn pieces_around(&self, pos: Position) -> Vec<Range<usize>> {
        let here = self.offset(pos);
        let end_of = |i: usize| self.tokens.get(i + 1).map_or(self.text.len(), |t| t.start);
        let statements = self.statements().into_iter().map(|s| self.tokens[s.start].start..end_of(s.end - 1));
        let items = self.items();
        // A function that is met inside another one means that the one before is not closed: that one is left out.
        let margin = pos.position() == Some(1);
        let first: Vec<_> = items.iter().filter(|i| margin && i.end == here).cloned().collect();
        let mut found: Vec<Range<usize>> = statements.chain(items.iter().cloned()).collect();
        found.retain(|r| r.start <= here && here <= r.end && !first.contains(r));
        found.sort_by_key(|r| r.end - r.start);
        found.dedup();
        first.into_iter().chain(found).collect()
    }

    /// Token ranges of statements, at every depth; what is still open ends with the text.
    fn statements(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut open = vec![Open { bracket: "{", start: None }];
        for (i, token) in self.tokens.iter().enumerate() {
            let shown = &self.text[token.start..token.end];
            match shown {
                "}" => {
                    // What was opened inside and not closed ends here too.
                    let Some(brace) = open.iter().skip(1).rposition(|o| o.bracket.ends_with('{')) else { continue };
                    let block = open[brace + 1].bracket == "{";
                    found.extend(open.drain(brace + 1..).filter_map(|o| Some(o.start?..i)));
                    let Some(top) = open.last_mut() else { continue };
                    if block && top.bracket == "{" && !self.goes_on(i + 1) {
                        found.extend(top.start.take().map(|s| s..i + 1));
                    }
                }
                ")" | "]" => {
                    let opening = if shown == ")" { "(" } else { "[" };
                    if open.len() > 1 && open.last().is_some_and(|o| o.bracket.ends_with(opening)) {
                        open.pop();
                    }
                }
                ";" => {
                    // A bracket that is open at a semicolon was forgotten.
                    let block = open.iter().rposition(|o| o.bracket == "{").unwrap_or(0);
                    open.truncate(block + 1);
                    found.extend(open[block].start.take().map(|s| s..i + 1));
                }
                _ => {
                    if let Some(top) = open.last_mut().filter(|o| o.bracket == "{") {
                        top.start.get_or_insert(i);
                    }
                    if token.kind == Kind::Open {
                        open.push(Open { bracket: shown, start: None });
                    }
                }
            }
        }
        found.extend(open.into_iter().filter_map(|o| Some(o.start?..self.tokens.len())));
        found.retain(|r| !r.is_empty());
        found
    }

    /// Whether a statement that has come to a `}` goes on with token `i`.
    fn goes_on(&self, i: usize) -> bool {
        match self.tokens.get(i).map(|t| t.kind) {
            Some(Kind::Word) => ["else", "catch", "until", "in"].iter().any(|w| self.is(i, w)),
            Some(Kind::Symbol) => true,
            Some(Kind::Open) => !self.is(i, "{"),
            _ => false,
        }
    }

    /// Byte ranges between the words at the left margin that begin a statement: there something is meant to begin anew.
    fn items(&self) -> Vec<Range<usize>> {
        let begins = |i: &usize| {
            let margin = self.lines.binary_search(&self.tokens[*i].start).is_ok();
            margin && ["fn", "private", "let", "const", "import", "export"].iter().any(|w| self.is(*i, w))
        };
        let marks: Vec<usize> =
            (0..self.tokens.len()).filter(begins).map(|i| self.tokens[i].start).chain([self.text.len()]).collect();
        marks.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }
}

/// An open bracket, and where the statement at hand began in it if it is a block.
struct Open<'a> {
    bracket: &'a str,
    start: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects carets under names and parameters.
    #[test]
    fn headings_are_found() {
        let text = "// fn no\nprivate fn area(a,\n   b) {\n  a * b\n}";
        let (name, params) = Text::new(text).heading(Position::new(3, 7));
        assert_eq!(place(name), (2, 12));
        let params: Vec<_> = params.iter().map(|(n, p)| (n.as_str(), place(*p))).collect();
        assert_eq!(params, [("a", (2, 17)), ("b", (3, 4))]);
    }

    /// Protects recovery: the smallest statement comes first, then what holds it.
    #[test]
    fn pieces_grow() {
        let text = "let a = 1;\nfn f() {\n  let x = ;\n  `${ g(#{ k: 1 }) }` }\nlet b = 2;";
        let pieces = Text::new(text).pieces_around(Position::new(3, 11));
        let shown: Vec<&str> = pieces.iter().map(|r| text[r.clone()].trim()).collect();
        assert_eq!(shown[0], "let x = ;");
        assert!(shown[1].starts_with("fn f()") && shown[1].ends_with('}'), "{shown:?}");
    }
}
