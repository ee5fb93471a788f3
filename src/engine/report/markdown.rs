//! `report.md`: the report for a text editor or a repository.

use super::escape::{self, Block, Piece, blocks, pieces};
use super::{Answers, LONG, Part, Report, Table, shown};
use std::fmt::Write;

pub(super) fn write(report: &Report) -> String {
    let mut out = format!("# {}\n", escape::markdown(&report.title));
    if !report.subtitle.is_empty() {
        out += &format!("\n{}\n", inline(&report.subtitle));
    }
    let mut files = report.figures().map(|(file, _)| file);
    for section in &report.sections {
        if !section.title.is_empty() {
            out += &format!("\n## {}\n", escape::markdown(&section.title));
        }
        for part in &section.parts {
            out.push('\n');
            match part {
                Part::Text { text, .. } => running(&mut out, text),
                Part::Table(t) => table(&mut out, t),
                Part::Figure(f) => {
                    let file = files.next().unwrap_or_default();
                    out += &format!("![{}]({})\n", escape::markdown(&f.caption), link(&file));
                    below(&mut out, &f.caption, &f.source, false);
                }
                Part::Answers(a) => answers(&mut out, a),
            }
        }
    }
    out
}

/// A file name as a link's target.
fn link(file: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if file.chars().all(plain) { file.to_string() } else { format!("<{}>", file.replace(['<', '>', '\n'], "_")) }
}

fn inline(text: &str) -> String {
    let piece = |p: Piece<'_>| match p {
        Piece::Plain(text) => escape::markdown(text),
        // Nothing is escaped inside code, where a backtick cannot stand: `pieces` cut at them.
        Piece::Code(text) => format!("`{}`", escape::code(text)),
    };
    pieces(text).into_iter().map(piece).collect()
}

fn running(out: &mut String, text: &str) {
    for (i, block) in blocks(text).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        match block {
            Block::Paragraph(text) => *out += &format!("{}\n", inline(&text)),
            Block::List(items) => items.iter().for_each(|item| *out += &format!("- {}\n", inline(item))),
        }
    }
}

fn below(out: &mut String, caption: &str, source: &str, measured: bool) {
    let mut line = String::new();
    // Writing to a string cannot fail.
    if !caption.is_empty() {
        let _ = write!(line, "{} ", inline(caption));
    }
    if !source.is_empty() {
        let _ = write!(line, "Source: {}. ", inline(source.trim_end_matches('.')));
    }
    if measured {
        let _ = write!(line, "{} {}", super::html::MARK, super::html::MEASURED);
    }
    let line = line.trim_end();
    if !line.is_empty() {
        *out += &format!("\n{line}\n");
    }
}

fn table(out: &mut String, t: &Table) {
    let long = t.rows.len() > LONG;
    if long {
        *out += &format!("<details><summary>{}</summary>\n\n", escape::html(&t.summary()));
    }
    let title = |i: usize| {
        let mark = if t.is_measured(i) { super::html::MARK } else { "" };
        format!("{}{mark}", escape::markdown(&t.columns[i]))
    };
    let titles: Vec<String> = (0..t.columns.len()).map(title).collect();
    let rule: Vec<&str> = (0..t.columns.len()).map(|i| if t.numeric(i) { "---:" } else { "---" }).collect();
    *out += &format!("| {} |\n| {} |\n", titles.join(" | "), rule.join(" | "));
    for row in &t.rows {
        let cells: Vec<String> = row.iter().map(|c| escape::markdown(&shown(c))).collect();
        *out += &format!("| {} |\n", cells.join(" | "));
    }
    if long {
        *out += "\n</details>\n";
    }
    below(out, &t.caption, &t.source, !t.measured.is_empty());
}

fn answers(out: &mut String, a: &Answers) {
    for item in &a.items {
        *out += &format!("\n**{}**\n\n| | |\n| --- | --- |\n", escape::markdown(&item.label));
        let facts = |what: &str, facts: &str| if facts.is_empty() { what.into() } else { format!("{what} ({facts})") };
        for (what, text) in [
            ("prompt".to_string(), &item.prompt),
            ("reference".to_string(), &item.reference),
            (facts("before", &item.before.1), &item.before.0),
            (facts("after", &item.after.1), &item.after.0),
        ] {
            *out += &format!("| {} | {} |\n", escape::markdown(&what), escape::markdown(text.trim_end()));
        }
    }
    below(out, &a.caption, &a.source, false);
}
