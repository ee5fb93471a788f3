//! A script's text in pieces, from Rhai's own lexer: what a session colours and completes by.
//!
//! Works on any text, however broken: what does not lex is [`Kind::Unknown`], what has no end is [`Kind::OpenText`].

use super::parsing::grammar;
use super::syntax::WORDS;
use rhai::{LexError, Position, Token};

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word of the language, our own `no_grad` and `autocast` included.
    Keyword,
    /// A name: variable, function, module, property, key.
    Name,
    /// A number, `true`, `false`.
    Literal,
    /// A string, or the part of one between two interpolations.
    Text,
    /// A string without its end.
    OpenText,
    /// A comment.
    Comment,
    /// `( [ { #{ ?[`
    Open,
    /// `) ] }`
    Close,
    /// An operator or another mark.
    Symbol,
    /// What no script can contain.
    Unknown,
}

/// One piece: bytes `start..end` of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Piece {
    /// Its characters in `text`, the text it was made from.
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.end]
    }
}

/// Names that Rhai reserves and yet lets scripts call.
const CALLABLE: [&str; 10] =
    ["print", "debug", "type_of", "eval", "Fn", "call", "curry", "is_shared", "is_def_var", "is_def_fn"];

/// The pieces of `text`, in order; white space is between them.
pub fn pieces(text: &str) -> Vec<Piece> {
    let starts = starts(text);
    let mut pieces = Vec::with_capacity(starts.len());
    for (i, &(kind, start)) in starts.iter().enumerate() {
        let next = starts.get(i + 1).map_or(text.len(), |s| s.1);
        // A string's last part is followed by what stands behind its quote, so white space is never its own.
        let end = if kind == Kind::OpenText { next } else { start + text[start..next].trim_end().len() };
        if end > start {
            pieces.push(Piece { kind, start, end });
        }
    }
    pieces
}

/// Where each piece starts.
fn starts(text: &str) -> Vec<(Kind, usize)> {
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let offset = |at: Position| -> Option<usize> {
        let line = &text[*lines.get(at.line()? - 1)?..];
        let column = at.position()?.checked_sub(1)?;
        let in_line = line.char_indices().nth(column).map_or(line.len(), |(i, _)| i);
        Some(text.len() - line.len() + in_line)
    };
    let inputs = [text];
    let (mut tokens, control) = grammar().lex(&inputs);
    tokens.state.include_comments = true;
    let mut found: Vec<(Kind, usize)> = Vec::new();
    // For each `${` that is open: the braces open inside it.
    let mut interpolations: Vec<usize> = Vec::new();
    let mut resumes = false;
    while let Some((token, at)) = tokens.next() {
        if token == Token::EOF {
            break;
        }
        let last = found.last().map_or(0, |f| f.1);
        // Positions drift by a character or so behind some escapes: they must at least not run backwards.
        let start = match std::mem::take(&mut resumes) {
            true => last + 1,
            false => offset(at).map_or(last, |start| start.max(last)),
        };
        let kind = kind(&token, &text[start..]);
        match token {
            Token::InterpolatedString(_) => interpolations.push(0),
            Token::LeftBrace | Token::MapStart => {
                if let Some(open) = interpolations.last_mut() {
                    *open += 1;
                }
            }
            Token::RightBrace => {
                if let Some(open) = interpolations.last_mut() {
                    *open = open.saturating_sub(1);
                    if *open == 0 {
                        interpolations.pop();
                        // What follows is the string again.
                        control.borrow_mut().is_within_text = true;
                        resumes = true;
                    }
                }
            }
            _ => {}
        }
        found.push((kind, start));
        // At its end, Rhai's lexer gives a comment without an end again and again.
        if tokens.state.comment_level > 0 {
            break;
        }
    }
    found
}

fn kind(token: &Token, text: &str) -> Kind {
    use Token as T;
    match token {
        T::IntegerConstant(_) | T::FloatConstant(_) | T::True | T::False => Kind::Literal,
        T::CharConstant(_) | T::StringConstant(_) | T::InterpolatedString(_) => Kind::Text,
        // To Rhai's lexer they are names.
        T::Identifier(word) if WORDS.contains(&word.as_str()) => Kind::Keyword,
        T::Identifier(_) | T::Underscore => Kind::Name,
        T::Comment(_) => Kind::Comment,
        T::LeftBrace | T::LeftParen | T::LeftBracket | T::MapStart | T::QuestionBracket => Kind::Open,
        T::RightBrace | T::RightParen | T::RightBracket => Kind::Close,
        T::Custom(_) => Kind::Symbol,
        T::Reserved(word) if word.as_str() == "this" => Kind::Keyword,
        T::Reserved(word) if CALLABLE.contains(&word.as_str()) => Kind::Name,
        T::LexError(e) if matches!(**e, LexError::UnterminatedString) => Kind::OpenText,
        T::Reserved(_) | T::LexError(_) => Kind::Unknown,
        _ if text.starts_with(|c: char| c.is_alphabetic()) => Kind::Keyword,
        _ => Kind::Symbol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(Kind, &str)> {
        pieces(text).iter().map(|p| (p.kind, p.of(text))).collect()
    }

    /// Protects colours and completion: every piece is what Rhai takes it for, our own words included.
    #[test]
    fn pieces_are_rhais() {
        use Kind::*;
        assert_eq!(
            shown("let x = a @ f(1.5); // é"),
            [
                (Keyword, "let"),
                (Name, "x"),
                (Symbol, "="),
                (Name, "a"),
                (Symbol, "@"),
                (Name, "f"),
                (Open, "("),
                (Literal, "1.5"),
                (Close, ")"),
                (Symbol, ";"),
                (Comment, "// é"),
            ]
        );
        assert_eq!(
            shown("no_grad {\n  print(#{ a: true })\n}"),
            [
                (Keyword, "no_grad"),
                (Open, "{"),
                (Name, "print"),
                (Open, "("),
                (Open, "#{"),
                (Name, "a"),
                (Symbol, ":"),
                (Literal, "true"),
                (Close, "}"),
                (Close, ")"),
                (Close, "}"),
            ]
        );
    }

    /// Protects strings with code inside: text, code and text again, nested braces included.
    #[test]
    fn interpolations_are_code() {
        use Kind::*;
        assert_eq!(
            shown("`a ${ #{ x: 1 }.x } b${y}` + 1"),
            [
                (Text, "`a $"),
                (Open, "{"),
                (Open, "#{"),
                (Name, "x"),
                (Symbol, ":"),
                (Literal, "1"),
                (Close, "}"),
                (Symbol, "."),
                (Name, "x"),
                (Close, "}"),
                (Text, " b$"),
                (Open, "{"),
                (Name, "y"),
                (Close, "}"),
                (Text, "`"),
                (Symbol, "+"),
                (Literal, "1"),
            ]
        );
    }

    /// Protects the line editor from broken text: nothing panics, nothing overlaps, what is open says so.
    #[test]
    fn unfinished_text_has_pieces() {
        assert_eq!(shown("f(\"ab c"), [(Kind::Name, "f"), (Kind::Open, "("), (Kind::OpenText, "\"ab c")]);
        assert_eq!(shown("/* a\n b"), [(Kind::Comment, "/* a\n b")]);
        let hard =
            "let s = `a\\${b} ${c + \"}\" } é ${`x${1}`}`; '\\u00e9' \"\\q\" # $ ~ 0x 1e 'ab' \"\u{301}é\n let match";
        for end in (0..=hard.len()).filter(|&i| hard.is_char_boundary(i)) {
            let text = &hard[..end];
            let pieces = pieces(text);
            assert!(pieces.windows(2).all(|w| w[0].end <= w[1].start), "{text:?}: {pieces:?}");
            assert!(pieces.iter().all(|p| text.get(p.start..p.end).is_some()), "{text:?}: {pieces:?}");
        }
    }
}
