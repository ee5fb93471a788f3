//! Text as text: whatever a model, a data set or a script wrote, it is neither markup nor control.

use std::fmt::Write;

/// `text` for HTML, in elements and in quoted attributes. Control characters and those that turn the direction of
/// writing become U+FFFD.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if disguises(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text` for a line of Markdown or a cell of its tables: no markup, no links, no images; a line break is `<br>`.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' => out.push_str("<br>"),
            '\r' => {}
            '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '|' | '~' | '$' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\{c}");
            }
            c if disguises(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    // What would begin a list or a heading at the start of a line.
    match out.as_bytes().first() {
        Some(b'-' | b'+' | b'=') => out.insert(0, '\\'),
        Some(b'0'..=b'9') => {
            let digits = out.bytes().take_while(u8::is_ascii_digit).count();
            if matches!(out.as_bytes().get(digits), Some(b'.' | b')')) {
                out.insert(digits, '\\');
            }
        }
        _ => {}
    }
    out
}

/// Controls (but for line break and tab), and the marks that reorder what is read.
fn disguises(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
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
                text.push('\n');
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
