//! How far a problem reaches: the call, the operands or the word around a position of a script's text.
//!
//! Rhai's positions are points (the name of a function, an operator); what a person wants to see underlined is
//! `x.matmul(w)`. The expression is found by matching brackets and weighing operators of the text's
//! tokens. Nothing is assumed to parse: where the text is broken, the word at the position is the answer.

use super::tokens::{self, Kind, Token};
use std::ops::Range;

/// A script's text, cut into tokens.
pub(super) struct Spans<'a> {
    text: &'a str,
    tokens: Vec<Token>,
}

/// Words that no operand ends in and no call begins with.
const KEYWORDS: [&str; 16] = [
    "let", "const", "if", "else", "while", "loop", "for", "in", "do", "until", "return", "throw", "switch", "try",
    "catch", "fn",
];

impl<'a> Spans<'a> {
    /// Cuts `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Spans { text, tokens: tokens::cut(text) }
    }

    /// The token at `offset`; one character where there is none.
    pub(super) fn word(&self, offset: usize) -> Range<usize> {
        match self.at(offset) {
            Some(i) => self.tokens[i].start..self.tokens[i].end,
            None => offset..self.text[offset..].chars().next().map_or(offset, |c| offset + c.len_utf8()),
        }
    }

    /// The whole expression that Rhai names by the position of its operator, its function's name or its first token.
    pub(super) fn expression(&self, offset: usize) -> Range<usize> {
        let Some(i) = self.at(offset) else { return self.word(offset) };
        let (first, last) = match self.tokens[i].kind {
            Kind::Word if self.is(i, "throw") => (i, self.statement_end(i)),
            Kind::Symbol if self.binary(i) => (self.left_operand(i), self.right_operand(i)),
            Kind::Symbol => (i, self.primary_right(i)),
            Kind::Close => return self.word(offset),
            // An indexer: `t[9]`.
            Kind::Open if self.is_index(i) => (self.primary_left(i - 1), self.closing(i)),
            Kind::Open => (i, self.closing(i)),
            Kind::Word if self.called(i) => (self.primary_left(i), self.closing(i + 1)),
            _ => return self.word(offset),
        };
        self.on_one_line(i, self.tokens[first].start..self.tokens[last].end)
    }

    /// The indexing `x[..]` whose index is at `offset`.
    pub(super) fn indexed(&self, offset: usize) -> Range<usize> {
        let Some(mut i) = self.at(offset) else { return self.word(offset) };
        let at = i;
        while i > 0 {
            i -= 1;
            match self.tokens[i].kind {
                Kind::Close => i = self.opening(i),
                Kind::Open if self.is_index(i) => {
                    let (first, last) = (self.primary_left(i - 1), self.closing(i));
                    return self.on_one_line(at, self.tokens[first].start..self.tokens[last].end);
                }
                Kind::Open => break,
                _ => {}
            }
        }
        self.expression(offset)
    }

    /// The arguments of the call or operator at `offset`, the object of a method among them, in the order in which its
    /// function takes them.
    pub(super) fn arguments(&self, offset: usize) -> Vec<Range<usize>> {
        let Some(i) = self.at(offset) else { return Vec::new() };
        let range = |first: usize, last: usize| self.tokens[first].start..self.tokens[last].end;
        match self.tokens[i].kind {
            Kind::Symbol if self.binary(i) => {
                vec![range(self.left_operand(i), i - 1), range(i + 1, self.right_operand(i))]
            }
            Kind::Word if self.called(i) => {
                let mut found = Vec::new();
                if i >= 2 && (self.is(i - 1, ".") || self.is(i - 1, "?.")) {
                    found.push(range(self.primary_left(i - 2), i - 2));
                }
                let close = self.closing(i + 1);
                let mut start = i + 2;
                let mut j = start;
                while j < close {
                    if self.is(j, ",") {
                        if j > start {
                            found.push(range(start, j - 1));
                        }
                        start = j + 1;
                    } else if self.tokens[j].kind == Kind::Open {
                        j = self.closing(j);
                    }
                    j += 1;
                }
                if close > start {
                    found.push(range(start, close - 1));
                }
                found
            }
            _ => Vec::new(),
        }
    }

    /// `range`, cut to the line of token `i`: three lines of underlining hide what they underline.
    fn on_one_line(&self, i: usize, range: Range<usize>) -> Range<usize> {
        let here = self.tokens[i];
        let line_start = self.text[..here.start].rfind('\n').map_or(0, |n| n + 1);
        let line_end = self.text[here.end..].find('\n').map_or(self.text.len(), |n| here.end + n);
        let start = if range.start < line_start { here.start } else { range.start };
        let end = range.end.min(line_end);
        start..start + self.text[start..end].trim_end().len()
    }

    fn at(&self, offset: usize) -> Option<usize> {
        self.tokens.iter().position(|t| (t.start..t.end).contains(&offset))
    }

    fn str(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |t| &self.text[t.start..t.end])
    }

    fn is(&self, i: usize, what: &str) -> bool {
        self.str(i) == what
    }

    fn kind(&self, i: usize) -> Option<Kind> {
        self.tokens.get(i).map(|t| t.kind)
    }

    /// Whether token `i` is a function's name with its arguments behind it.
    fn called(&self, i: usize) -> bool {
        self.is(i + 1, "(") && !KEYWORDS.contains(&self.str(i))
    }

    /// Whether an operand may end with token `i`.
    fn ends_operand(&self, i: usize) -> bool {
        match self.kind(i) {
            Some(Kind::Word) => !KEYWORDS.contains(&self.str(i)),
            Some(Kind::Literal | Kind::Close) => true,
            _ => false,
        }
    }

    fn is_index(&self, i: usize) -> bool {
        i > 0 && (self.is(i, "[") || self.is(i, "?[")) && self.ends_operand(i - 1) && !self.is(i - 1, "}")
    }

    fn binary(&self, i: usize) -> bool {
        i > 0 && self.precedence(i).is_some() && self.ends_operand(i - 1) && i + 1 < self.tokens.len()
    }

    fn precedence(&self, i: usize) -> Option<u8> {
        (self.kind(i)? == Kind::Symbol).then_some(())?;
        Some(match self.str(i) {
            "||" | "|" | "^" => 30,
            "&&" | "&" => 60,
            "==" | "!=" => 90,
            "<" | "<=" | ">" | ">=" => 130,
            "??" => 135,
            ".." | "..=" => 140,
            "+" | "-" => 150,
            "*" | "/" | "%" | "@" => 180,
            "**" => 190,
            "<<" | ">>" => 210,
            "=" | "+=" | "-=" | "*=" | "/=" | "%=" | "**=" | "<<=" | ">>=" | "&=" | "|=" | "^=" => 1,
            _ => return None,
        })
    }

    fn closing(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for i in open..self.tokens.len() {
            match self.tokens[i].kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return i;
            }
        }
        self.tokens.len() - 1
    }

    fn opening(&self, close: usize) -> usize {
        let mut depth = 0usize;
        for i in (0..=close).rev() {
            match self.tokens[i].kind {
                Kind::Close => depth += 1,
                Kind::Open => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return i;
            }
        }
        0
    }

    /// First token of the operand without operators that ends with token `i`.
    fn primary_left(&self, mut i: usize) -> usize {
        loop {
            if self.tokens[i].kind == Kind::Close {
                let brackets = !self.is(i, "}");
                i = self.opening(i);
                if brackets && i > 0 && self.ends_operand(i - 1) && !self.is(i - 1, "}") {
                    i -= 1;
                    continue;
                }
            }
            if i > 1 && [".", "?.", "::"].contains(&self.str(i - 1)) {
                i -= 2;
                continue;
            }
            return i;
        }
    }

    /// Last token of the operand without operators that begins with token `i`, signs included.
    fn primary_right(&self, mut i: usize) -> usize {
        let last = self.tokens.len() - 1;
        while i < last && ["-", "+", "!"].contains(&self.str(i)) {
            i += 1;
        }
        if self.kind(i) == Some(Kind::Open) {
            i = self.closing(i);
        }
        loop {
            if [".", "?.", "::"].contains(&self.str(i + 1)) && i + 2 <= last {
                i += 2;
            } else if self.is(i + 1, "(") || self.is_index(i + 1) {
                i = self.closing(i + 1);
            } else {
                return i.min(last);
            }
        }
    }

    fn left_operand(&self, op: usize) -> usize {
        let own = self.precedence(op).unwrap_or(0);
        let mut i = self.primary_left(op - 1);
        while i > 0 {
            let before = i - 1;
            if self.binary(before) {
                if self.precedence(before).is_none_or(|p| p < own || p == 1) {
                    break;
                }
                i = self.primary_left(before - 1);
            } else if ["-", "+", "!"].contains(&self.str(before)) {
                i = before;
            } else {
                break;
            }
        }
        i
    }

    fn right_operand(&self, op: usize) -> usize {
        let own = self.precedence(op).unwrap_or(0);
        let mut i = self.primary_right(op + 1);
        while self.binary(i + 1) && self.precedence(i + 1).is_some_and(|p| p > own) {
            i = self.primary_right(i + 2);
        }
        i
    }

    fn statement_end(&self, start: usize) -> usize {
        let mut i = start;
        while i + 1 < self.tokens.len() {
            let next = i + 1;
            match self.tokens[next].kind {
                Kind::Close => break,
                Kind::Symbol if self.is(next, ";") => break,
                Kind::Open => i = self.closing(next),
                _ => i = next,
            }
        }
        i
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expression at the mark `^`, which is taken out of the text.
    fn expression(marked: &str) -> String {
        let at = marked.find('~').unwrap();
        let text = marked.replacen('~', "", 1);
        text[Spans::new(&text).expression(at)].to_string()
    }

    /// Protects underlining: a call with its object, an operator with its sides, and nothing beyond.
    #[test]
    fn expressions() {
        for (marked, whole) in [
            ("let y = x.~matmul(3) + 1;", "x.matmul(3)"),
            ("f(a, nn::~linear(x, [1, 2]), b)", "nn::linear(x, [1, 2])"),
            ("let z = a.b(c)[0].~d(\")\", e);", "a.b(c)[0].d(\")\", e)"),
            ("let z = -a ~@ b.t();", "-a @ b.t()"),
            ("a + b ~* c + d", "b * c"),
            ("a * b ~+ c ** d == e", "a * b + c ** d"),
            ("x = (a ~- b);", "a - b"),
            ("x = y ~- (b + c) * d;", "y - (b + c) * d"),
            ("return 1 ~/ 0", "1 / 0"),
            ("if c { } b ~/ 0", "b / 0"),
            ("total ~+= loss.item();", "total += loss.item()"),
            ("~throw #{ message: \"a;b\" };", "throw #{ message: \"a;b\" }"),
            ("print(`a ${x.~f(1)} b`)", "x.f(1)"),
            ("print(`${ #{a: 1} } ${y ~+ 1}`)", "y + 1"),
            ("t~[9] + 1", "t[9]"),
            ("let v = ~value;", "value"),
            ("/* ( */ ~f(1) // )", "f(1)"),
            ("x.~f(|a| {\n  a\n});", "x.f(|a| {"),
            ("let y = m\n  .a(1)\n  .~b(2);", "b(2)"),
            ("~f(1", "f(1"),
            ("a ~@", "@"),
            ("0..n ~- 1.5e-3 {", "n - 1.5e-3"),
        ] {
            assert_eq!(expression(marked), whole, "{marked}");
        }
    }

    /// Protects index errors: what was indexed is shown, too.
    #[test]
    fn indexing() {
        let of = |marked: &str| {
            let at = marked.find('~').unwrap();
            let text = marked.replacen('~', "", 1);
            text[Spans::new(&text).indexed(at)].to_string()
        };
        assert_eq!(of("print(a.b[~7] + 1)"), "a.b[7]");
        assert_eq!(of("let v = x[f(2) + ~i];"), "x[f(2) + i]");
        assert_eq!(of("let v = [~i];"), "i");
    }

    /// Protects labels on arguments: the object of a method counts as the first.
    #[test]
    fn arguments() {
        let of = |marked: &str| {
            let at = marked.find('~').unwrap();
            let text = marked.replacen('~', "", 1);
            let found = Spans::new(&text).arguments(at);
            found.into_iter().map(|r| text[r].to_string()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(of("x.y.~pad(3, [1, 2], #{a: 1, b: 2})"), "x.y|3|[1, 2]|#{a: 1, b: 2}");
        assert_eq!(of("nn::~linear(x, w)"), "x|w");
        assert_eq!(of("~f()"), "");
        assert_eq!(of("a ~- b * c"), "a|b * c");
    }

    /// Protects every diagnostic from a panic: any text, any position.
    #[test]
    fn broken_text_is_harmless() {
        let text = "f(]) } ` ${ \" 'x /* é @ @ } ?[ #{ throw";
        let spans = Spans::new(text);
        for (at, _) in text.char_indices() {
            for text in [&text[at..], &text[..at]] {
                let spans = Spans::new(text);
                for (at, _) in text.char_indices() {
                    spans.arguments(at);
                    assert!(spans.expression(at).end <= text.len());
                }
            }
            spans.word(at);
        }
    }
}
