//! `report.html`: one page without scripts that loads nothing, with a table of contents.

use super::escape::{self, Block, Piece, blocks, pieces};
use super::{Answers, Figure, LONG, Part, Report, Section, Table, shown};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// What marks a column that another run would not repeat exactly.
pub(super) const MARK: &str = "\u{202f}\u{2020}";
/// What the mark says.
pub(super) const MEASURED: &str = "measured: another run gives slightly other values.";

/// Even if something slipped through the escaping, the browser would neither run nor fetch it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

pub(super) fn write(report: &Report) -> String {
    let title = escape::html(&report.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n"
    );
    let titled: Vec<(usize, &Section)> =
        report.sections.iter().enumerate().filter(|(_, s)| !s.title.is_empty()).collect();
    // Writing to a string cannot fail.
    if titled.len() > 2 {
        let entry = |(i, s): &(usize, &Section)| format!("<li><a href=\"#s{i}\">{}</a></li>\n", escape::html(&s.title));
        let list: String = titled.iter().map(entry).collect();
        let _ = write!(out, "<nav aria-label=\"Contents\"><p>Contents</p>\n<ol>\n{list}</ol></nav>\n");
    }
    let _ = write!(out, "<main>\n<header><h1>{title}</h1>\n");
    if !report.subtitle.is_empty() {
        let _ = writeln!(out, "<p class=\"subtitle\">{}</p>", inline(&report.subtitle));
    }
    out.push_str("</header>\n");
    for (i, section) in report.sections.iter().enumerate() {
        let _ = writeln!(out, "<section id=\"s{i}\">");
        if !section.title.is_empty() {
            let _ = writeln!(out, "<h2>{}</h2>", escape::html(&section.title));
        }
        for part in &section.parts {
            match part {
                Part::Text { text, .. } => running(&mut out, text),
                Part::Table(t) => table(&mut out, t),
                Part::Figure(f) => figure(&mut out, f),
                Part::Answers(a) => answers(&mut out, a),
            }
        }
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn inline(text: &str) -> String {
    let piece = |p: Piece<'_>| match p {
        Piece::Plain(text) => escape::html(text),
        Piece::Code(text) => format!("<code>{}</code>", escape::html(text)),
    };
    pieces(text).into_iter().map(piece).collect()
}

fn running(out: &mut String, text: &str) {
    for block in blocks(text) {
        match block {
            Block::Paragraph(text) => {
                let _ = writeln!(out, "<p>{}</p>", inline(&text));
            }
            Block::List(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
                let _ = writeln!(out, "<ul>\n{items}</ul>");
            }
        }
    }
}

/// What stands under a table or figure.
fn below(caption: &str, source: &str, measured: bool) -> String {
    let mut text = String::new();
    if !caption.is_empty() {
        let _ = write!(text, "<span class=\"caption\">{}</span> ", inline(caption));
    }
    let mut small = String::new();
    if !source.is_empty() {
        let _ = write!(small, "Source: {}. ", inline(source.trim_end_matches('.')));
    }
    if measured {
        let _ = write!(small, "{MARK} {MEASURED}");
    }
    if !small.is_empty() {
        let _ = write!(text, "<span class=\"source\">{}</span>", small.trim());
    }
    if text.is_empty() { text } else { format!("<figcaption>{}</figcaption>", text.trim_end()) }
}

fn figure(out: &mut String, f: &Figure) {
    // Our own drawing, in which every text is escaped.
    let svg = if f.html.is_empty() { &f.svg } else { &f.html };
    let label = escape::html(&f.caption);
    let _ = writeln!(
        out,
        "<figure aria-label=\"{label}\"><div class=\"drawing\">{svg}</div>{}</figure>",
        below(&f.caption, &f.source, false)
    );
}

fn table(out: &mut String, t: &Table) {
    let class = |i: usize| if t.numeric(i) { " class=\"number\"" } else { "" };
    let classes: Vec<&str> = (0..t.columns.len()).map(class).collect();
    let mut text = String::from("<div class=\"wide\"><table>\n<thead><tr>");
    for (i, title) in t.columns.iter().enumerate() {
        let mark = if t.is_measured(i) { MARK } else { "" };
        let _ = write!(text, "<th scope=\"col\"{}>{}{mark}</th>", classes[i], escape::html(title));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in &t.rows {
        text.push_str("<tr>");
        for (cell, class) in row.iter().zip(&classes) {
            let _ = write!(text, "<td{class}>{}</td>", escape::html(&shown(cell)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>");
    if t.rows.len() > LONG {
        text = format!("<details><summary>{}</summary>{text}</details>", escape::html(&t.summary()));
    }
    let _ = writeln!(out, "<figure>{text}{}</figure>", below(&t.caption, &t.source, !t.measured.is_empty()));
}

fn answers(out: &mut String, a: &Answers) {
    out.push_str("<figure>");
    for item in &a.items {
        let _ = write!(
            out,
            "<article class=\"answer\"><header><span class=\"label\">{}</span><div class=\"said\">{}</div></header>",
            escape::html(&item.label),
            escape::html(item.prompt.trim_end())
        );
        out.push_str("<div class=\"sides\">");
        for (what, text, facts) in [
            ("reference", &item.reference, ""),
            ("before", &item.before.0, item.before.1.as_str()),
            ("after", &item.after.0, item.after.1.as_str()),
        ] {
            let said = if text.trim().is_empty() {
                "<div class=\"said nothing\">(empty)</div>".to_string()
            } else {
                format!("<div class=\"said\">{}</div>", escape::html(text.trim_end()))
            };
            let facts = if facts.is_empty() {
                String::new()
            } else {
                format!("<p class=\"facts\">{}</p>", escape::html(facts))
            };
            let _ = write!(out, "<div class=\"{what}\"><h3>{what}</h3>{said}{facts}</div>");
        }
        out.push_str("</div></article>\n");
    }
    let _ = writeln!(out, "{}</figure>", below(&a.caption, &a.source, false));
}
