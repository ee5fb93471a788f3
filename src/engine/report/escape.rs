//! Text as text: whatever a model, a data set or a script wrote, it is neither markup nor control.

use crate::engine::figure::escape::{plain, push};
use std::fmt::Write;

/// `text` for HTML, in elements and in quoted attributes.
pub(super) use crate::engine::figure::escape::escape as html;

/// `text` for a line of Markdown or a cell of its tables: no markup, no links, no images; a line break is `<br>`.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("<br>"),
            '\r' => {}
            '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '|' | '~' | '$' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\{c}");
            }
            '"' | '\'' => out.push(c), // there are no attributes to end
            c => push(&mut out, c),
        }
    }
    // What would begin a list or a heading at the start of a line.
    match out.as_bytes().first() {
        Some(b'-' | b'+' | b'=') => out.insert(0, '\\'),
        Some(b'0'..=b'9') => {
            let digits = out.bytes().take_while(u8::is_ascii_digit).count();
            let mut behind = out.bytes().skip(digits);
            // 1.5 begins no list.
            if matches!(behind.next(), Some(b'.' | b')')) && behind.next().is_none_or(|b| b.is_ascii_whitespace()) {
                out.insert(digits, '\\');
            }
        }
        _ => {}
    }
    out
}

/// `text` for a piece of Markdown code, where nothing is markup, in one line.
pub(super) fn code(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { ' ' } else { plain(c) }).collect()
}

/// A piece of running text.
pub(super) enum Piece<'a> {
    Plain(&'a str),
    Code(&'a str),
}

/// `text` cut at its backticks; one without a partner is plain.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, behind)) = after.split_once('`') else { break };
        found.push(Piece::Plain(before));
        found.push(Piece::Code(code));
        rest = behind;
    }
    found.push(Piece::Plain(rest));
    found
}

/// A paragraph, or the items of a list.
pub(super) enum Block<'a> {
    Paragraph(String),
    List(Vec<&'a str>),
}

/// Running text as paragraphs and lists.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_end();
        match (line.strip_prefix("- "), blocks.last_mut()) {
            _ if line.trim().is_empty() => open = false,
            (Some(item), Some(Block::List(items))) if open => items.push(item),
            (Some(item), _) => {
                blocks.push(Block::List(vec![item]));
                open = true;
            }
            (None, Some(Block::Paragraph(text))) if open => {
                text.push(' ');
                text.push_str(line);
            }
            (None, _) => {
                blocks.push(Block::Paragraph(line.to_string()));
                open = true;
            }
        }
    }
    blocks
}
