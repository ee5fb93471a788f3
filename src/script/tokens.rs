//! The tokens of a script's text, comments left out: enough to match brackets and to see where a word ends.
//!
//! Rhai's own tokenizer stops at the first fault and does not say where a token ends.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A number, a string, or a part of one between `${..}`.
    Literal,
    Open,
    Close,
    Symbol,
}

/// One token, by its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Operators, longest first.
const SYMBOLS: [&str; 47] = [
    "<<=", ">>=", "**=", "..=", "===", "!==", ":=", "<>", "<<", ">>", "**", "..", "+=", "-=", "*=", "/=", "%=", "&=",
    "|=", "^=", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "?[", "::", "=>", "->", "++", "--", "+", "-", "*", "/",
    "%", "<", ">", "=", "!", "&", "|", "^", "@",
];

/// Cuts `text` into tokens, whatever it is.
pub(super) fn cut(text: &str) -> Vec<Token> {
    Lexer { text, at: 0, tokens: Vec::new(), inside: Vec::new() }.run()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    /// Of each `${` that is open: how many braces are open inside.
    inside: Vec<usize>,
}

impl Lexer<'_> {
    fn run(mut self) -> Vec<Token> {
        while let Some(c) = self.text[self.at..].chars().next() {
            self.step(c);
        }
        self.tokens
    }

    fn step(&mut self, c: char) {
        let rest = &self.text[self.at..];
        match c {
            c if c.is_whitespace() => self.at += c.len_utf8(),
            '/' if rest.starts_with("//") => self.at += rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => self.at += comment(rest),
            '"' => self.push(Kind::Literal, quoted(rest, '"')),
            '\'' => self.push(Kind::Literal, quoted(rest, '\'')),
            '`' => self.interpolated(1),
            c if c.is_ascii_digit() => self.push(Kind::Literal, number(rest)),
            c if c.is_alphabetic() || c == '_' => {
                self.push(Kind::Word, rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len()));
            }
            '#' if rest.starts_with("#{") => self.open(2),
            '(' | '[' | '{' => self.open(1),
            '}' if self.inside.last() == Some(&0) => {
                // The end of a `${..}`: the text goes on.
                self.push(Kind::Close, 1);
                self.inside.pop();
                self.interpolated(0);
            }
            ')' | ']' | '}' => {
                if let (Some(open), '}') = (self.inside.last_mut(), c) {
                    *open -= 1;
                }
                self.push(Kind::Close, 1);
            }
            _ => match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                Some(&"?[") => self.open(2),
                Some(symbol) => self.push(Kind::Symbol, symbol.len()),
                None => self.push(Kind::Symbol, c.len_utf8()),
            },
        }
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length });
        self.at += length;
    }

    fn open(&mut self, length: usize) {
        if let (Some(open), true) = (self.inside.last_mut(), self.text[self.at..self.at + length].ends_with('{')) {
            *open += 1;
        }
        self.push(Kind::Open, length);
    }

    /// Text in backticks, of which `skip` bytes are the quote, to its end or to the next `${`.
    fn interpolated(&mut self, skip: usize) {
        let rest = &self.text[self.at..];
        let end = rest[skip..].find('`').map(|n| skip + n);
        let code = rest[skip..].find("${").map(|n| skip + n);
        match (end, code) {
            (end, Some(code)) if end.is_none_or(|end| code < end) => {
                self.push(Kind::Literal, code);
                self.push(Kind::Open, 2);
                self.inside.push(0);
            }
            (Some(end), _) => self.push(Kind::Literal, end + 1),
            (None, _) => self.push(Kind::Literal, rest.len()),
        }
    }
}

fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '\n' if quote == '\'' => return i,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    // Without an end it reaches to the end of its line: what follows is more likely code.
    text.find('\n').unwrap_or(text.len())
}

/// `1_000`, `0xff`, `1.5`, `2e-3`; in `0..3` and `1.max(2)` the dot is not the number's.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        from + text[from..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len() - from)
    };
    let mut end = digits(0);
    if text[end..].starts_with('.') && text[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        end = digits(end + 1);
    }
    if text[..end].ends_with(['e', 'E'])
        && !text.starts_with("0x")
        && text[end..].starts_with(['+', '-'])
        && text[end + 1..].starts_with(|c: char| c.is_ascii_digit())
    {
        end = digits(end + 1);
    }
    end
}
