//! What is expected at the cursor, from the pieces of text before it.

use crate::script::pieces::{Kind, Piece, pieces};

/// What is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing that can be known: a comment, a new variable's name.
    Nothing,
    /// The beginning of an expression.
    Name,
    /// A function of this module.
    InModule(String),
    /// A member of the value of this expression.
    Member(String),
    /// A key of the trailing map of a call of `callee`, which has `written` ones already.
    Key { callee: String, written: Vec<String> },
    /// The inside of a string, which `callee` takes if it is an argument, or the word before it.
    Text { callee: Option<String> },
}

/// What is expected at the end of `before`, and where the word begins that it replaces.
pub(super) fn find(before: &str) -> (usize, Place) {
    let all = pieces(before);
    let end = before.len();
    let Some(last) = all.last().filter(|p| p.end == end) else {
        return (end, at(before, &all));
    };
    match last.kind {
        Kind::Comment | Kind::Literal | Kind::Unknown => (end, Place::Nothing),
        Kind::OpenText => {
            let before_text = &all[..all.len() - 1];
            let callee = callee(before, before_text)
                .or_else(|| before_text.last().filter(|p| p.kind == Kind::Keyword).map(|p| p.of(before).to_string()));
            (last.start + 1, Place::Text { callee })
        }
        Kind::Name | Kind::Keyword => (last.start, at(before, &all[..all.len() - 1])),
        _ => (end, at(before, &all)),
    }
}

/// What is expected behind `all`.
fn at(text: &str, all: &[Piece]) -> Place {
    let word = |p: &Piece| p.of(text);
    let Some(last) = all.last() else { return Place::Name };
    match word(last) {
        "." | "?." => Place::Member(chain(text, &all[..all.len() - 1]).to_string()),
        "::" => Place::InModule(path(text, &all[..all.len() - 1])),
        "let" | "const" | "fn" | "as" => Place::Nothing,
        "#{" | "," => key(text, all).unwrap_or(Place::Name),
        _ => Place::Name,
    }
}

/// The key that is expected behind `all`, if the innermost open bracket is a map that a call takes.
fn key(text: &str, all: &[Piece]) -> Option<Place> {
    let open = enclosing(all, all.len())?;
    if all[open].of(text) != "#{" {
        return None;
    }
    let callee = callee(text, &all[..open])?;
    let inside = &all[open + 1..];
    let named = |w: &[Piece]| w[0].kind == Kind::Name && w[1].of(text) == ":";
    let written = inside.windows(2).filter(|w| named(w)).map(|w| w[0].of(text).to_string());
    Some(Place::Key { callee, written: written.collect() })
}

/// The call whose arguments `before` ends in: `optim::adamw`, or `model.tokenizer.encode`.
fn callee(text: &str, before: &[Piece]) -> Option<String> {
    let open = enclosing(before, before.len())?;
    let named = open.checked_sub(1).map(|i| before[i])?;
    (before[open].of(text) == "(" && named.kind == Kind::Name).then(|| chain(text, &before[..open]).to_string())
}

/// The innermost bracket that is open before piece `end`.
fn enclosing(all: &[Piece], end: usize) -> Option<usize> {
    let mut depth = 0usize;
    for i in (0..end).rev() {
        match all[i].kind {
            Kind::Close => depth += 1,
            Kind::Open if depth == 0 => return Some(i),
            Kind::Open => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `optim` of `let o = optim`.
fn path(text: &str, all: &[Piece]) -> String {
    let mut start = all.len();
    while start > 0 && (all[start - 1].kind == Kind::Name || all[start - 1].of(text) == "::") {
        start -= 1;
    }
    all.get(start).map_or(String::new(), |p| text[p.start..all[all.len() - 1].end].to_string())
}

/// The expression that `all` ends in, as far as names, calls, indices and literals go: `m.f(x)[0]` of `1 + m.f(x)[0]`.
fn chain<'a>(text: &'a str, all: &[Piece]) -> &'a str {
    let Some(last) = all.last() else { return "" };
    let start = super::types::chain_start(text, all, all.len());
    all.get(start).map_or("", |first| &text[first.start..last.end])
}
