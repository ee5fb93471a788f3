//! Where records come from: a file, or a set inside the binary (`builtin:seed-tasks`).
//!
//! What a file is shows in its contents: gzip or zstd around it, Parquet, a JSON array, JSONL, a table with a header. Only
//! plain text is told by its name, or by asking for it.

use super::documents::Split;
use super::forms::{Fields, Format, RecordReader, is_known};
use super::record::{Dataset, Record};
use super::rows::{Input, Rows, failed};
use super::unpack::{Unpacked, peek};
use super::{csv, documents, json, parquet};
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::interrupt;
use std::fs::File;
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

/// Sets inside the binary: name after `builtin:`, JSON or JSONL bytes.
const BUILTIN: &[(&str, &[u8])] = &[("seed-tasks", crate::builtin::SEED_TASKS.as_bytes())];

/// Most bytes that a compressed file may unpack to where all of it is kept: instruction sets are megabytes, and a file
/// of a few megabytes can hold terabytes of zeros.
const MAX_UNPACKED: u64 = 4 << 30;

/// Bytes that are looked at to find out what a file is.
const HEAD: usize = 1 << 16;

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// What its records are; found by looking unless given.
    pub format: Option<Format>,
    /// The file's own names.
    pub fields: Fields,
    /// What divides the columns of a table; found by looking unless given.
    pub delimiter: Option<u8>,
    /// How plain text is divided into documents; [`Split::File`] unless given.
    pub split: Option<Split>,
}

/// Reads the records of `source`: `builtin:NAME`, or a path.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, [`Error::Config`] for an unknown builtin or options that contradict each
/// other, [`Error::Format`] with line and record for contents that do not fit.
pub fn load(source: &str, options: &ReadOptions) -> Result<Dataset> {
    open(source, options, MAX_UNPACKED)?.into_set()
}

/// The records of `source` one after another, for sets that do not fit into memory: JSONL, tables, Parquet and text by
/// line or block are read as they are asked for. A compressed file may unpack to `limit` bytes.
///
/// # Errors
/// As [`load`], here and from the records.
pub fn open(source: &str, options: &ReadOptions, limit: u64) -> Result<Records> {
    if let Some(name) = source.strip_prefix("builtin:") {
        return match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) => Records::new(source, Box::new(Cursor::new(*bytes)), None, options, limit),
            None => Err(unknown_name("builtin data set", name, BUILTIN.iter().map(|(known, _)| *known))),
        };
    }
    let path = Path::new(source);
    let file = File::open(path).map_err(Error::io(path))?;
    let again = file.try_clone().map_err(Error::io(path))?;
    Records::new(source, Box::new(file), Some(again), options, limit)
}

/// Reads the records of a file's `bytes`; `name` is for messages.
pub fn from_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Dataset> {
    Records::new(name, Box::new(Cursor::new(bytes.to_vec())), None, options, MAX_UNPACKED)?.into_set()
}

/// The records of one file, as [`open`] gives them. After an error there are no more.
pub struct Records {
    name: String,
    rows: Rows,
    reader: RecordReader,
    ended: bool,
}

impl Records {
    fn new(name: &str, raw: Input, file: Option<File>, options: &ReadOptions, limit: u64) -> Result<Self> {
        let (kind, input) = look(name, raw, options, limit)?;
        let plain = matches!(kind, Kind::Text);
        if options.split.is_some() && !plain {
            return Err(Error::config_help(
                format!("{name}: split divides plain text, and this is {}", kind.name()),
                "leave split out, or say format: \"text\"",
            ));
        }
        let format = if plain { Some(Format::Text) } else { options.format };
        let reader = RecordReader::new(format, options.fields.clone())?;
        let rows = match kind {
            Kind::Json => json::rows(name, input)?,
            Kind::Table(delimiter) => csv::rows(name, input, delimiter)?,
            Kind::Text => documents::rows(name, input, options.split.unwrap_or_default())?,
            Kind::Parquet { packed } => match file {
                Some(file) if !packed => parquet::rows(name, file, limit)?,
                _ => parquet::rows(name, spooled(name, input)?, limit)?,
            },
        };
        Ok(Records { name: name.to_string(), rows, reader, ended: false })
    }

    fn read(&mut self) -> Result<Option<Record>> {
        if self.reader.count().is_multiple_of(1024) {
            interrupt::poll()?;
        }
        let Some(row) = self.rows.next().transpose()? else {
            if self.reader.count() == 0 {
                return Err(Error::format(&self.name, "it holds no records"));
            }
            self.reader.finish().map_err(|what| Error::format(&self.name, what))?;
            return Ok(None);
        };
        let record = self.reader.read(row.value);
        record.map(Some).map_err(|what| Error::format(&self.name, format!("{}: {what}", row.place)))
    }

    /// All that are left, as a set.
    fn into_set(self) -> Result<Dataset> {
        let name = self.name.clone();
        Ok(Dataset::new(name, self.collect::<Result<Vec<_>>>()?))
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.ended {
            return None;
        }
        let next = self.read();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// What a file is, under its compression.
enum Kind {
    Json,
    Table(u8),
    Text,
    Parquet { packed: bool },
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Json => "JSON",
            Kind::Table(_) => "a table",
            Kind::Text => "text",
            Kind::Parquet { .. } => "a Parquet file",
        }
    }
}

/// Finds out what a file is: its kind, and its bytes from the start, unpacked and without a byte order mark.
fn look(name: &str, raw: Input, options: &ReadOptions, limit: u64) -> Result<(Kind, Input)> {
    let unpacked = Unpacked::open(name, raw, limit)?;
    let packed = unpacked.packed;
    let (mut head, mut input) = peek(unpacked.input, HEAD).map_err(|e| failed(name, e))?;
    refuse_foreign(name, &head)?;
    if head.starts_with(parquet::MAGIC) {
        return Ok((Kind::Parquet { packed }, input));
    }
    if head.starts_with(&[0xEF, 0xBB, 0xBF]) {
        let mut mark = [0; 3];
        input.read_exact(&mut mark).map_err(|e| failed(name, e))?;
        head.drain(..3);
    }
    let extension = extension(name);
    let structured = ["json", "jsonl", "ndjson", "csv", "tsv"].contains(&extension.as_str());
    let plain = ["txt", "text", "md"].contains(&extension.as_str());
    // A text to learn may begin with any character, so it is not looked into.
    if options.fields.is_empty()
        && match options.format {
            Some(Format::Text) => !structured,
            Some(_) => false,
            None => options.split.is_some() && !structured,
        }
    {
        return Ok((Kind::Text, input));
    }
    let first = head.iter().find(|b| !b" \t\r\n".contains(b));
    if options.delimiter.is_none() && matches!(first, Some(b'[' | b'{')) {
        return Ok((Kind::Json, input));
    }
    if let Some((delimiter, columns)) = csv::sniff(&head, options.delimiter) {
        let asked: Vec<&str> = options.fields.names().collect();
        let has = |name: &&str| columns.iter().any(|column| column == name);
        let table = options.delimiter.is_some() || extension == "csv" || extension == "tsv";
        if let Some(missing) = asked.iter().find(|name| !has(name))
            && (table || (columns.len() > 1 && asked.iter().any(has)))
        {
            let columns: Vec<String> = columns.iter().map(|column| format!("`{column}`")).collect();
            let message = format!("no column `{missing}`; the columns are {}", columns.join(", "));
            return Err(Error::format(name, message));
        }
        let known = columns.len() > 1 && (is_known(&columns) || (!asked.is_empty() && asked.iter().all(has)));
        if table || (known && !plain) {
            return Ok((Kind::Table(delimiter), input));
        }
    }
    if plain && options.format.is_none() && options.fields.is_empty() {
        return Ok((Kind::Text, input));
    }
    match first {
        // The reader of JSON words the errors of what is none, and of what is empty.
        None => Ok((Kind::Json, input)),
        Some(_) => {
            let start: String = String::from_utf8_lossy(&head).trim_start().chars().take(12).collect();
            let line = 1 + head.iter().take_while(|b| b" \t\r\n".contains(b)).filter(|b| **b == b'\n').count();
            Err(Error::format(
                name,
                format!(
                    "line {line}: begins with {start:?}: neither a JSON array `[..]`, nor one JSON object `{{..}}` per line, \
                     nor a table whose header names known fields; format: \"text\" reads plain text"
                ),
            ))
        }
    }
}

/// The name's last extension, without those of compression, in lower case.
fn extension(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
    Path::new(name).extension().map_or(String::new(), |e| e.to_string_lossy().into_owned())
}

/// Names the formats that people bring by mistake, which says more than "not JSON".
fn refuse_foreign(name: &str, bytes: &[u8]) -> Result<()> {
    let what = match bytes {
        [b'P', b'K', 3, 4, ..] => "a ZIP archive (or a spreadsheet)",
        [b'B', b'Z', b'h', ..] => "bzip2-compressed",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "xz-compressed",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "an Arrow file",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return Err(Error::format(name, "line 1: the text is UTF-16; save it as UTF-8"));
        }
        _ => return Ok(()),
    };
    let message = format!("this is {what}; convert it to JSON, JSONL, CSV or Parquet (each may be .gz or .zst) first");
    Err(Error::format(name, message))
}

/// A file of the system's own with the bytes of `input`: Parquet is read from its end.
fn spooled(name: &str, mut input: Input) -> Result<File> {
    let mut file = tempfile::tempfile().map_err(Error::io(Path::new(name)))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        interrupt::poll()?;
        match input.read(&mut buffer).map_err(|e| failed(name, e))? {
            0 => break,
            n => file.write_all(&buffer[..n]).map_err(Error::io(Path::new(name)))?,
        }
    }
    file.rewind().map_err(Error::io(Path::new(name)))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::record::Form;
    use crate::engine::data::split::Subset;

    fn read(name: &str, text: &str, options: &ReadOptions) -> Result<Dataset> {
        from_bytes(name, text.as_bytes(), options)
    }

    /// Protects the messages for what people try first: a missing file, an unknown builtin, a file of another kind.
    #[test]
    fn wrong_sources_are_explained() {
        let kind = |source: &str| load(source, &ReadOptions::default()).unwrap_err();
        assert_eq!(kind("no/such/file.json").kind(), "io");
        assert!(kind("builtin:nope").to_string().contains("unknown builtin data set: `nope`"));
        for (bytes, what) in [(&b"PK\x03\x04.."[..], "ZIP"), (b"BZh9..", "bzip2"), (b"ARROW1..", "Arrow")] {
            let said = from_bytes("a.bin", bytes, &ReadOptions::default()).unwrap_err().to_string();
            assert!(said.contains(what) && said.contains("CSV or Parquet"), "{said}");
        }
    }

    /// Protects the recognition of a file's kind by its contents, whatever it is called.
    #[test]
    fn kinds_are_told_by_content() {
        let default = ReadOptions::default();
        let form = |name: &str, text: &str| read(name, text, &default).unwrap().get(0).unwrap().form;
        assert_eq!(form("x.txt", "instruction;output\na;b\n"), Form::Document);
        assert_eq!(form("x", "instruction;output\na;b\n"), Form::Instruction);
        assert_eq!(form("x.dat", "prompt\tcompletion\na\tb\n"), Form::Completion);
        assert_eq!(form("x.txt", "{\"instruction\": \"a\", \"output\": \"b\"}"), Form::Instruction);
        assert_eq!(form("x.csv.gz", "text\nOne sentence\n"), Form::Document);
        let said = read("x", "Once upon a time, there was", &default).unwrap_err().to_string();
        assert!(said.contains("begins with \"Once upon a \"") && said.contains("format: \"text\""), "{said}");
    }

    /// Protects text for pre-training in a structured file, and the message where `split` has nothing to divide.
    #[test]
    fn text_is_plain_or_a_field() {
        let text = ReadOptions { format: Some(Format::Text), ..ReadOptions::default() };
        let lines = "{\"text\": \"one\", \"id\": 1}\n{\"text\": \"two\"}\n";
        assert_eq!(read("x.jsonl", lines, &text).unwrap().len(), 2);
        assert_eq!(read("x.txt", lines, &text).unwrap().len(), 1);
        let split = ReadOptions { split: Some(Split::Line), ..text };
        assert!(read("x.jsonl", lines, &split).unwrap_err().to_string().contains("split divides plain text"));
        assert_eq!(read("x", lines, &split).unwrap().len(), 2);
    }

    /// Protects sets larger than memory: records come one by one, and a mistake stops them where it stands.
    #[test]
    fn records_come_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.jsonl");
        std::fs::write(
            &path,
            "{\"text\": \"one\"}\n\n{\"text\": \"two\"}\n{\"txt\": \"three\"}\n{\"text\": \"four\"}\n",
        )
        .unwrap();
        let mut records = open(path.to_str().unwrap(), &ReadOptions::default(), u64::MAX).unwrap();
        let texts: Vec<_> = records.by_ref().take(2).map(|r| r.unwrap()).map(|r| (r.output, r.index)).collect();
        assert_eq!(texts, [("one".to_string(), 0), ("two".to_string(), 1)]);
        let error = records.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("line 4: record 2 has no `text` (it has `txt`)"), "{error}");
        assert!(records.next().is_none());
    }
}
