//! The reference as text for a terminal: one entry, several, a list of members, all topics.

use super::super::catalog::Signature;
use super::super::doc_comment;
use super::{Chapter, Entry, Found, chapters, lookup};

/// How text is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether to colour.
    pub color: bool,
    /// Columns to fill.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { color: false, width: 100 }
    }
}

impl Style {
    fn paint(&self, codes: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn code(&self, text: &str) -> String {
        self.paint("36", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// What `lookup` finds for `name`, as text without a final line break.
pub fn render_text(catalog: &[Signature], name: &str, style: Style) -> String {
    render(&lookup(catalog, name), name, style)
}

/// What was found for `name`, as text without a final line break.
pub fn render(found: &Found, name: &str, style: Style) -> String {
    match found {
        Found::Entries(entries) => several(entries, name, style),
        Found::List(chapter) => list(chapter, style),
        Found::Nothing(near) if near.is_empty() => format!("nothing is called `{name}`; `host doc` lists all there is"),
        Found::Nothing(near) => format!("nothing is called `{name}`; near: {}", near.join(", ")),
    }
}

/// All topics, each with the names of its entries.
pub fn render_list(catalog: &[Signature], style: Style) -> String {
    let mut text = String::new();
    for chapter in chapters(catalog) {
        let title = if chapter.title == chapter.name {
            chapter.title.clone()
        } else {
            format!("{} ({})", chapter.title, chapter.name)
        };
        text += &format!("{}\n", style.bold(&title));
        let mut names: Vec<&str> = chapter.entries.iter().map(|e| chapter.listed(e)).collect();
        names.dedup();
        text += &format!("{}\n", fill(&names.join("  "), "  ", style));
    }
    text +=
        &style.dim("host doc NAME shows one: host doc adamw, host doc Tensor.sum, host doc optim, host doc std/log");
    text
}

/// Several things of one name: those of the host in full if they are few, otherwise one line each.
fn several(entries: &[Entry], name: &str, style: Style) -> String {
    if let [one] = entries {
        return render_entry(one, style);
    }
    let shown: Vec<String> = entries.iter().map(|e| line(e, &e.key, 24, style)).collect();
    let say = style.dim(&format!("host doc \"{}\" shows one in full", entries[0].key));
    format!("{} things are called `{}`:\n{}\n{say}", entries.len(), name, shown.join("\n"))
}

/// A chapter: its introduction, one line for each entry.
fn list(chapter: &Chapter, style: Style) -> String {
    let mut parts = vec![style.bold(&chapter.title)];
    if !chapter.intro.is_empty() {
        parts.push(prose(&chapter.intro, "", style));
    }
    let width = chapter.entries.iter().map(|e| chapter.listed(e).chars().count()).max().unwrap_or(0).min(28);
    let lines: Vec<String> = chapter.entries.iter().map(|e| line(e, chapter.listed(e), width, style)).collect();
    parts.push(lines.join("\n"));
    parts.join("\n\n")
}

fn line(entry: &Entry, name: &str, width: usize, style: Style) -> String {
    let pad = " ".repeat(width.saturating_sub(name.chars().count()));
    let room = style.width.saturating_sub(width + 4).max(20);
    let summary = entry.doc().summary();
    let cut: String = match summary.chars().count() > room {
        true => summary.chars().take(room - 2).collect::<String>() + "..",
        false => summary.to_string(),
    };
    format!("  {}{pad}  {}", style.code(name), inline(&cut, style))
}

/// One entry in full.
pub fn render_entry(entry: &Entry, style: Style) -> String {
    let namespace = &entry.doc().namespace;
    let mut parts = vec![format!("{}  {}", style.bold(&entry.key), style.dim(entry.kind()))];
    if let Some(name) = namespace.strip_prefix("std/") {
        parts.push(style.code(&format!("  import \"{namespace}\" as {name};")));
    }
    for (usages, signature) in entry.parts() {
        let usages: Vec<String> = usages.iter().map(|u| format!("  {}", style.code(u))).collect();
        parts.push(usages.join("\n"));
        if signature.doc.is_empty() {
            parts.push("No documentation.".into());
        }
        for section in doc_comment::sections(&signature.doc).iter().filter(|s| !s.body.is_empty()) {
            let indent = if section.title.is_empty() { "" } else { "  " };
            let body = prose(section.body, indent, style);
            parts.push(if section.title.is_empty() { body } else { format!("{}\n{body}", style.bold(section.title)) });
        }
    }
    parts.join("\n\n")
}

/// Markdown as text: paragraphs and lists filled, code as it is, without its fences.
fn prose(text: &str, indent: &str, style: Style) -> String {
    let mut lines = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
            continue;
        }
        lines.push(match code {
            true => source(line, indent, style),
            false => fill(line, indent, style),
        });
    }
    lines.join("\n")
}

/// A line of an example: its comment is dimmed.
fn source(line: &str, indent: &str, style: Style) -> String {
    match super::super::parsing::line_comment(line) {
        Some(at) => format!("{indent}{}{}", style.code(&line[..at]), style.dim(&line[at..])),
        None => format!("{indent}{}", style.code(line)),
    }
}

/// A paragraph or list item, broken at words.
fn fill(text: &str, indent: &str, style: Style) -> String {
    let hang = if text.trim_start().starts_with("- ") { format!("{indent}  ") } else { indent.to_string() };
    let plain = links(text);
    let (mut out, mut line, mut length, mut fresh) = (String::new(), indent.to_string(), indent.len(), true);
    // Code is not broken: what is inside backticks travels as one word.
    for word in words(&plain) {
        if fresh && word.is_empty() {
            continue;
        }
        let wide = word.chars().filter(|c| !style.color || *c != '`').count();
        if !fresh && length + 1 + wide > style.width {
            out += &format!("{}\n", line.trim_end());
            (line, length, fresh) = (hang.clone(), hang.len(), true);
        }
        if !fresh {
            line.push(' ');
            length += 1;
        }
        line += &inline(&word, style);
        length += wide;
        fresh = false;
    }
    out + line.trim_end()
}

/// `text` at its spaces, those inside backticks excepted; runs of spaces stay.
fn words(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut code = false;
    for c in text.chars() {
        code ^= c == '`';
        if c == ' ' && !code {
            found.push(String::new());
        } else if let Some(last) = found.last_mut() {
            last.push(c);
        }
    }
    found
}

/// `[text](target)` as its text.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once("](").and_then(|(label, tail)| Some((label, tail.split_once(')')?.1))) {
            Some((label, tail)) if !label.contains('[') => {
                out += &format!("{before}{label}");
                rest = tail;
            }
            _ => {
                out += &format!("{before}[");
                rest = after;
            }
        }
    }
    out + rest
}

/// Backticks as colour where there is one, and as they are where there is none.
fn inline(text: &str, style: Style) -> String {
    if !style.color {
        return text.to_string();
    }
    let parts: Vec<&str> = text.split('`').collect();
    // An odd backtick out opens nothing.
    if parts.len().is_multiple_of(2) {
        return text.to_string();
    }
    parts.iter().enumerate().map(|(i, p)| if i % 2 == 1 { style.code(p) } else { p.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::entries;
    use super::*;

    fn entry() -> Entry {
        use super::super::super::catalog::Kind;
        let doc = "Sums `t` over its dimensions. As `torch.sum`.\n\n# Options\n- `keepdim` (false): keep the dimension with size 1, so that the result broadcasts against the tensor.\n\n# Example\n```rhai\nones([2]).sum() // => 2\n```";
        let sum = Signature {
            kind: Kind::Method,
            params: vec![("t".into(), "Tensor".into()), ("dim".into(), "int".into())],
            returns: "Tensor".into(),
            doc: doc.into(),
            origin: super::super::Origin::Host,
            ..Signature::of_script("sum", [])
        };
        entries(&[sum]).into_values().next().unwrap()
    }

    /// Protects help as people read it: parts in order, filled to the width, code as it is.
    #[test]
    fn an_entry_is_laid_out() {
        let shown = render_entry(&entry(), Style { color: false, width: 50 });
        let expected = "\
Tensor.sum  method

  Tensor.sum(dim: int) -> Tensor

Sums `t` over its dimensions. As `torch.sum`.

Options
  - `keepdim` (false): keep the dimension with
    size 1, so that the result broadcasts against
    the tensor.

Example
  ones([2]).sum() // => 2";
        assert_eq!(shown, expected);
    }

    /// Protects terminals: colour codes come in pairs and only where asked for.
    #[test]
    fn colours_are_closed() {
        let shown = render_entry(&entry(), Style { color: true, width: 50 });
        assert!(shown.contains("\x1b[1mOptions\x1b[0m") && shown.contains("\x1b[36mkeepdim\x1b[0m"), "{shown:?}");
        assert_eq!(shown.matches("\x1b[0m").count() * 2, shown.matches("\x1b[").count());
    }

    /// Protects links in running text.
    #[test]
    fn links_are_their_text() {
        assert_eq!(links("see [the guide](a.md) and [1, 2], [x]"), "see the guide and [1, 2], [x]");
    }
}
