//! Reports: sections of text, tables, figures and answers, written as one HTML page, as Markdown with its figures beside
//! it, and as JSON.
//!
//! | file | what |
//! | --- | --- |
//! | `report.html` | one page that opens offline: figures inside, light and dark, on a phone and on paper |
//! | `report.md`, `figures/*.svg` | the same for a text editor or a repository |
//! | `report.json` | the same for a program: the data given by name, then every section |
//!
//! What a report says may come from a model or a data set: everything is escaped, and the page's own policy forbids
//! scripts and loading. Numbers that another run would not repeat, such as seconds, are marked as measured in all three.

mod escape;
mod html;
mod json;
mod markdown;
#[cfg(test)]
mod tests;

use super::atomic::write_atomic;
use super::number::{from_json, grouped};
use super::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The report for a browser.
pub const HTML_FILE: &str = "report.html";
/// The report for a text editor.
pub const MARKDOWN_FILE: &str = "report.md";
/// The report for a program.
pub const JSON_FILE: &str = "report.json";
/// The folder of the Markdown report's figures.
pub const FIGURES: &str = "figures";

/// A report under construction: parts are added at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    title: String,
    subtitle: String,
    sections: Vec<Section>,
    data: Map<String, Value>,
}

/// A heading and what stands under it. The first section of a report may have no heading.
#[derive(Debug, Clone, PartialEq)]
struct Section {
    title: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text { text: String, measured: bool },
    Table(Table),
    Figure(Figure),
    Answers(Answers),
}

/// A table; numbers stand to the right.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Column titles.
    pub columns: Vec<String>,
    /// Cells as JSON values, as many in each row as there are columns; `null` is an empty cell.
    pub rows: Vec<Vec<Value>>,
    /// What it shows, in a sentence.
    pub caption: String,
    /// Where the numbers come from.
    pub source: String,
    /// Titles of the columns that another run would not repeat exactly.
    pub measured: Vec<String>,
}

/// A drawing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figure {
    /// A complete SVG document, from this program: it is not escaped.
    pub svg: String,
    /// What stands on the page, if that is not `svg`: such as layouts for wide and narrow pages. Not escaped either.
    pub html: String,
    /// What it shows, in a sentence; also what a screen reader says.
    pub caption: String,
    /// Where the numbers come from.
    pub source: String,
    /// The file beside the report that holds it already; else the report writes one into [`FIGURES`].
    pub file: Option<String>,
}

/// Answers of a model before and after training, side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// In the order in which they are shown.
    pub items: Vec<Answer>,
    /// What they show, in a sentence.
    pub caption: String,
    /// Where they come from.
    pub source: String,
}

/// One prompt, its reference and two answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What kind of prompt it is, e.g. "training set".
    pub label: String,
    /// What was asked.
    pub prompt: String,
    /// The answer that the data set has.
    pub reference: String,
    /// The answer before training, and facts about it.
    pub before: (String, String),
    /// The answer after training, and facts about it.
    pub after: (String, String),
}

/// Rows from which on a table is folded away behind its caption.
const LONG: usize = 16;

impl Report {
    /// An empty report; `subtitle` may be empty.
    pub fn new(title: impl Into<String>, subtitle: impl Into<String>) -> Report {
        Report { title: title.into(), subtitle: subtitle.into(), sections: Vec::new(), data: Map::new() }
    }

    /// Begins a section.
    pub fn section(&mut self, title: impl Into<String>) {
        self.sections.push(Section { title: title.into(), parts: Vec::new() });
    }

    fn push(&mut self, part: Part) {
        if self.sections.is_empty() {
            self.section("");
        }
        if let Some(section) = self.sections.last_mut() {
            section.parts.push(part);
        }
    }

    /// Adds text: paragraphs with an empty line between, lines that begin with `- ` as a list, and code between
    /// backticks. `measured` says that its numbers are of this run alone.
    pub fn text(&mut self, text: impl Into<String>, measured: bool) {
        self.push(Part::Text { text: text.into(), measured });
    }

    /// Adds a table. Tables of more than a few rows are folded behind their caption.
    ///
    /// # Errors
    /// If a row has another number of cells than there are columns, or a measured column is none of them.
    pub fn table(&mut self, table: Table) -> Result<()> {
        let width = table.columns.len();
        if let Some((i, row)) = table.rows.iter().enumerate().find(|(_, r)| r.len() != width) {
            let cells = row.len();
            return Err(Error::config(format!("table: row {} has {cells} cells; there are {width} columns", i + 1)));
        }
        if let Some(name) = table.measured.iter().find(|m| !table.columns.contains(m)) {
            return Err(super::error::unknown_name(
                "column of the table",
                name,
                table.columns.iter().map(String::as_str),
            ));
        }
        self.push(Part::Table(table));
        Ok(())
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: Figure) {
        self.push(Part::Figure(figure));
    }

    /// Adds answers side by side.
    pub fn answers(&mut self, answers: Answers) {
        self.push(Part::Answers(answers));
    }

    /// Keeps `value` under `name` in the JSON report alone; a name given twice keeps the later value.
    pub fn data(&mut self, name: impl Into<String>, value: Value) {
        self.data.insert(name.into(), value);
    }

    /// The page alone.
    pub fn html(&self) -> String {
        html::write(self)
    }

    /// Writes the report's files into `dir`, which is made if it is not there; returns the path of the HTML one.
    ///
    /// # Errors
    /// The file system.
    pub fn save(&self, dir: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        for (file, figure) in self.figures().filter(|(_, figure)| figure.file.is_none()) {
            let path = dir.join(&file);
            std::fs::create_dir_all(dir.join(FIGURES)).map_err(Error::io(dir))?;
            write_atomic(path, figure.svg.as_bytes())?;
        }
        let mut json = serde_json::to_vec_pretty(&json::write(self))
            .map_err(|e| Error::format(dir.join(JSON_FILE), format!("cannot be written as JSON: {e}")))?;
        json.push(b'\n');
        write_atomic(dir.join(JSON_FILE), &json)?;
        write_atomic(dir.join(MARKDOWN_FILE), markdown::write(self).as_bytes())?;
        let path = dir.join(HTML_FILE);
        write_atomic(&path, html::write(self).as_bytes())?;
        Ok(path)
    }

    /// Every figure with its file, relative to the report.
    fn figures(&self) -> impl Iterator<Item = (String, &Figure)> {
        let parts = self.sections.iter().flat_map(|s| &s.parts);
        let figures = parts.filter_map(|p| if let Part::Figure(figure) = p { Some(figure) } else { None });
        figures.enumerate().map(|(i, figure)| {
            let own = || format!("{FIGURES}/{}-{}.svg", i + 1, slug(&figure.caption));
            (figure.file.clone().unwrap_or_else(own), figure)
        })
    }
}

impl Table {
    /// Whether column `i` holds numbers alone, empty cells aside.
    fn numeric(&self, i: usize) -> bool {
        let mut cells = self.rows.iter().map(|r| &r[i]).filter(|c| !empty(c)).peekable();
        cells.peek().is_some() && cells.all(looks_numeric)
    }

    fn is_measured(&self, i: usize) -> bool {
        self.measured.contains(&self.columns[i])
    }

    /// What stands in front of a folded table.
    fn summary(&self) -> String {
        let what = if self.caption.is_empty() { "Table" } else { self.caption.trim_end_matches('.') };
        format!("{what} ({} rows)", self.rows.len())
    }
}

fn empty(cell: &Value) -> bool {
    cell.is_null() || cell.as_str().is_some_and(|s| s.is_empty() || s == "\u{2013}")
}

/// A number, or a text that reads as one: `1,234`, `12.5 %`, `-3e-4`, `1.2x`.
fn looks_numeric(cell: &Value) -> bool {
    match cell {
        Value::Number(_) => true,
        Value::String(s) => {
            let digits = s.trim_start_matches(['-', '+', '\u{2212}', '\u{d7}', '<', '~', ' ']);
            digits.starts_with(|c: char| c.is_ascii_digit()) && s.chars().count() <= 16 || from_json(cell).is_some()
        }
        _ => false,
    }
}

/// A value as people read it: integers with commas, floats with four places or in powers of ten.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "\u{2013}".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(s) => s.clone(),
        Value::Number(n) if n.is_f64() => {
            let x = n.as_f64().unwrap_or(f64::NAN);
            let plain = x == 0.0 || (1e-3..1e7).contains(&x.abs());
            if !plain {
                let text = format!("{x:.3e}");
                let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
                return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
            }
            let text = format!("{x:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
        Value::Number(n) => grouped(&n.to_string()),
        other => other.to_string(),
    }
}

/// The first words of `text` as a part of a file name.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
        if slug.len() + word.len() > 40 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
    if slug.is_empty() { "figure".into() } else { slug }
}
