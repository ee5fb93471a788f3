//! Plain text to documents: the whole file, its lines, or its blocks between blank lines.

use super::rows::{Input, Place, Row, Rows, read_line, read_rest, utf8};
use crate::engine::error::{Error, Result, unknown_name};
use serde_json::json;
use std::io::BufReader;

/// Where one document ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Split {
    /// The file is one document.
    #[default]
    File,
    /// Each line that is not blank.
    Line,
    /// Each run of lines between blank ones.
    Block,
}

impl Split {
    /// `"file"`, `"line"` or `"block"`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "file" => Ok(Split::File),
            "line" => Ok(Split::Line),
            "block" => Ok(Split::Block),
            _ => Err(unknown_name("split", name, ["file", "line", "block"])),
        }
    }
}

/// The documents of a text, each as an object with `text`. Line ends are made `\n`; none stands at a document's end,
/// unless the document is the file.
pub(super) fn rows(name: &str, input: Input, split: Split) -> Result<Rows> {
    if split == Split::File {
        let mut bytes = Vec::new();
        read_rest(name, input, &mut bytes)?;
        let text = utf8(name, bytes, 1)?.replace("\r\n", "\n");
        if text.trim().is_empty() {
            return Err(Error::format(name, "the file is empty: no records"));
        }
        return Ok(Box::new(std::iter::once(Ok(document(&text, 1)))));
    }
    let mut lines = Lines { name: name.into(), input: BufReader::with_capacity(1 << 16, input), line: 0 };
    Ok(Box::new(std::iter::from_fn(move || lines.document(split).transpose())))
}

fn document(text: &str, line: usize) -> Row {
    Row { value: json!({ "text": text }), place: Place::Line(line) }
}

struct Lines {
    name: String,
    input: BufReader<Input>,
    /// The line read last, from 1.
    line: usize,
}

impl Lines {
    /// The next line without its end.
    fn next(&mut self) -> Result<Option<String>> {
        let bytes = read_line(&self.name, &mut self.input)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        let mut text = utf8(&self.name, bytes, self.line)?;
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Ok(Some(text))
    }

    fn document(&mut self, split: Split) -> Result<Option<Row>> {
        let mut found: Option<(usize, String)> = None;
        while let Some(line) = self.next()? {
            match (&mut found, line.trim().is_empty()) {
                (None, true) => {}
                (None, false) => found = Some((self.line, line)),
                (Some(_), true) => break,
                (Some((_, text)), false) => {
                    text.push('\n');
                    text.push_str(&line);
                }
            }
            if split == Split::Line && found.is_some() {
                break;
            }
        }
        Ok(found.map(|(line, text)| document(&text, line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::forms::Format;
    use crate::engine::data::record::Form;
    use crate::engine::data::source::{ReadOptions, from_bytes};

    fn texts(text: &str, split: Split) -> Vec<String> {
        let options = ReadOptions { format: Some(Format::Text), split: Some(split), ..ReadOptions::default() };
        let set = from_bytes("t", text.as_bytes(), &options).unwrap();
        assert!(set.records().iter().all(|r| r.form == Form::Document));
        set.records().iter().map(|r| r.output.clone()).collect()
    }

    /// Protects what a model reads in pre-training: whole documents, and nothing of the blank lines between.
    #[test]
    fn text_is_divided_as_asked() {
        let text = "\u{feff}One.\r\n  Two.\r\n\r\n \r\n\r\nThree.\n";
        assert_eq!(texts(text, Split::File), ["One.\n  Two.\n\n \n\nThree.\n"]);
        assert_eq!(texts(text, Split::Line), ["One.", "  Two.", "Three."]);
        assert_eq!(texts(text, Split::Block), ["One.\n  Two.", "Three."]);
        // A line of any length, and one that ends where a piece of it does.
        for length in [(1 << 20) - 1, 1 << 20, (3 << 20) - 1, 5 << 20] {
            let long = "x".repeat(length);
            assert!(texts(&format!("{long}\ny"), Split::Line) == [long.as_str(), "y"], "{length}");
        }
        // A text may begin like JSON.
        assert_eq!(texts("[a]\n{b}", Split::Line), ["[a]", "{b}"]);
    }

    /// Protects against training on nothing, and on what is no text.
    #[test]
    fn what_is_no_text_is_refused() {
        let read = |bytes: &[u8], split| {
            let options = ReadOptions { format: Some(Format::Text), split: Some(split), ..ReadOptions::default() };
            from_bytes("t", bytes, &options).unwrap_err().to_string()
        };
        for split in [Split::File, Split::Line, Split::Block] {
            assert!(read(b" \n\n", split).contains("no records"));
            assert!(read(b"a\nb\xFF\n", split).contains("line 2: byte 2 of it is not UTF-8"), "{split:?}");
        }
    }
}
