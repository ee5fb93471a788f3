//! Markdown as HTML, as far as doc comments use it: paragraphs, lists, tables, code, links, bold.

use crate::script::pieces::{Kind, pieces};
use std::collections::HashMap;

/// Where the entries are: code that names one becomes a link to it.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<String, String>);

impl Links {
    /// From keys and their places.
    pub(super) fn new(entries: impl Iterator<Item = (String, String)>) -> Self {
        Links(entries.collect())
    }

    fn of(&self, code: &str) -> Option<&String> {
        self.0.get(code.trim_end_matches("()"))
    }
}

pub(super) use crate::engine::figure::escape::escape;

/// Paragraphs, lists, tables, headings and code.
pub(super) fn blocks(text: &str, links: &Links) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|l| !l.trim_start().starts_with("```")).collect();
            let code = code.join("\n");
            let shown = if trimmed.contains("rhai") { highlight(&code) } else { escape(&code) };
            out += &format!("<pre><code>{shown}</code></pre>\n");
        } else if let Some(item) = list_item(line) {
            out += &format!("<ul>\n<li>{}</li>\n", inline(item, links));
            while let Some(item) = lines.peek().and_then(|l| list_item(l)) {
                out += &format!("<li>{}</li>\n", inline(item, links));
                lines.next();
            }
            out += "</ul>\n";
        } else if trimmed.starts_with('|') {
            out += "<table>\n";
            out += &row(trimmed, links);
            while let Some(line) = lines.next_if(|l| l.trim_start().starts_with('|')) {
                // The line under a table's head only draws it.
                if line.contains(|c: char| !"|-: ".contains(c)) {
                    out += &row(line.trim(), links);
                }
            }
            out += "</table>\n";
        } else if trimmed.starts_with('#') {
            out += &format!("<h4>{}</h4>\n", inline(trimmed.trim_start_matches('#').trim(), links));
        } else if !trimmed.is_empty() {
            out += &format!("<p>{}</p>\n", inline(trimmed, links));
        }
    }
    out
}

fn list_item(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* "))
}

fn row(line: &str, links: &Links) -> String {
    let cells = line.trim_matches('|').split('|').map(|c| format!("<td>{}</td>", inline(c.trim(), links)));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

/// Code, links and bold within a line.
pub(super) fn inline(text: &str, links: &Links) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let odd_one_out = parts.len().is_multiple_of(2);
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        let code = i % 2 == 1 && !(odd_one_out && i + 1 == parts.len());
        out += &match (code, links.of(part)) {
            (true, Some(place)) => format!("<a href=\"{place}\"><code>{}</code></a>", escape(part)),
            (true, None) => format!("<code>{}</code>", escape(part)),
            _ => prose(part),
        };
    }
    out
}

/// Text without code: `[label](place)`, `**bold**`.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let parsed = after.split_once("](").and_then(|(label, tail)| Some((label, tail.split_once(')')?)));
        match parsed {
            Some((label, (place, tail))) if !label.contains('[') => {
                out += &format!("{}<a href=\"{}\">{}</a>", bold(before), escape(place), escape(label));
                rest = tail;
            }
            _ => {
                out += &format!("{}[", bold(before));
                rest = after;
            }
        }
    }
    out += &bold(rest);
    out
}

fn bold(text: &str) -> String {
    let parts: Vec<String> = text.split("**").map(escape).collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("**");
    }
    let part = |(i, p): (usize, &String)| if i % 2 == 1 { format!("<strong>{p}</strong>") } else { p.clone() };
    parts.iter().enumerate().map(part).collect()
}

/// A script with its comments, strings, numbers and words of the language marked.
pub(super) fn highlight(code: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for piece in pieces(code) {
        let class = match piece.kind {
            Kind::Keyword => "k",
            Kind::Text | Kind::OpenText => "s",
            Kind::Literal => "n",
            Kind::Comment => "c",
            _ => continue,
        };
        let (before, text) = (escape(&code[at..piece.start]), escape(piece.of(code)));
        out += &format!("{before}<span class=\"{class}\">{text}</span>");
        at = piece.end;
    }
    out += &escape(&code[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects pages from text that HTML would read as its own, and the marks that people write.
    #[test]
    fn text_becomes_markup() {
        let links = Links::new([("optim::sgd".to_string(), "optim.html#sgd".to_string())].into_iter());
        assert_eq!(
            inline("**a** < `b<c` and `optim::sgd`, [d](e) [1, 2]", &links),
            "<strong>a</strong> &lt; <code>b&lt;c</code> and <a href=\"optim.html#sgd\"><code>optim::sgd</code></a>, \
             <a href=\"e\">d</a> [1, 2]"
        );
        assert_eq!(
            blocks("One.\n\n- a\n- b\n\n```rhai\nlet x = 1e-4; // \"c\"\n```", &links),
            "<p>One.</p>\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n<pre><code><span class=\"k\">let</span> x = \
             <span class=\"n\">1e-4</span>; <span class=\"c\">// &quot;c&quot;</span></code></pre>\n"
        );
    }
}
