//! Tables of text to objects: CSV as RFC 4180 has it, a header row first, fields in quotes where they need it.
//!
//! The delimiter is the one of `,` `;` tab `|` that divides the header into most columns, unless it is given.

use super::rows::{Input, Place, Row, Rows, failed, newlines};
use crate::engine::{Error, Result, memory};
use csv::{ByteRecord, ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};

/// Delimiters that are tried.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The delimiter that the first line of `head` seems to have, and the columns it gives.
pub(super) fn sniff(head: &[u8], given: Option<u8>) -> Option<(u8, Vec<String>)> {
    let columns = |delimiter: u8| {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(head);
        let mut header = StringRecord::new();
        reader.read_record(&mut header).ok()?.then(|| (delimiter, names(&header)))
    };
    let candidates = given.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
    // The first of several that divide alike: a header of one column has no delimiter at all.
    candidates.into_iter().rev().filter_map(columns).max_by_key(|(_, names)| names.len())
}

fn names(header: &StringRecord) -> Vec<String> {
    header.iter().map(|name| name.trim().to_string()).collect()
}

/// The rows of a table as objects of strings.
///
/// # Errors
/// [`Error::Format`] for a header with an empty or repeated name, and, from the rows, naming line and record, for a row
/// that has more or fewer fields than the header.
pub(super) fn rows(name: &str, input: Input, delimiter: u8) -> Result<Rows> {
    let input = LineEnds { inner: BufReader::with_capacity(1 << 16, input), held: false, since: 0 };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(input);
    let header = reader.headers().map(names).map_err(|e| explain(name, e))?;
    if header.is_empty() {
        return Err(Error::format(name, "line 1: the file is empty: no records"));
    }
    let mut seen = HashSet::new();
    for (i, column) in header.iter().enumerate() {
        if column.is_empty() && header.len() > 1 {
            return Err(Error::format(name, format!("line 1: column {} has no name in the header", i + 1)));
        }
        if !seen.insert(column) {
            return Err(Error::format(name, format!("line 1: the header names `{column}` twice")));
        }
    }
    let name = name.to_string();
    let mut count = 0;
    let mut fields = ByteRecord::new();
    Ok(Box::new(std::iter::from_fn(move || match reader.read_byte_record(&mut fields) {
        Ok(false) => None,
        Ok(true) => {
            reader.get_mut().since = 0;
            // A record's own position is that of the blank lines before it.
            let within: usize = fields.iter().map(newlines).sum();
            let end = reader.position().line() as usize;
            let begun = fields.position().map_or(0, |at| at.line() as usize);
            let line = begun.max(end.saturating_sub(1 + within));
            let row = object(&header, &fields)
                .map_err(|what| Error::format(&name, format!("line {line}: record {count}{what}")));
            count += 1;
            Some(row.map(|object| Row { value: Value::Object(object), place: Place::Line(line) }))
        }
        Err(e) => Some(Err(explain(&name, e))),
    })))
}

/// The error continues a sentence that begins with the record's number.
fn object(header: &[String], fields: &ByteRecord) -> std::result::Result<Map<String, Value>, String> {
    let (len, expected) = (fields.len(), header.len());
    if len != expected {
        return Err(format!(
            " has {len} field{} and the header {expected}: a text with the delimiter, a quote or a line break in it must \
             stand in quotes, and a quote in it be written twice",
            if len == 1 { "" } else { "s" }
        ));
    }
    let text = |(name, bytes): (&String, &[u8])| match std::str::from_utf8(bytes) {
        Ok(text) => Ok((name.clone(), Value::String(text.to_string()))),
        Err(_) => Err(format!(": `{name}` is not UTF-8 text; save the file as UTF-8")),
    };
    header.iter().zip(fields).map(text).collect()
}

/// What a table's reader says, in the words of the other readers.
fn explain(name: &str, e: csv::Error) -> Error {
    let line = e.position().map_or(1, csv::Position::line);
    match e.into_kind() {
        ErrorKind::Io(e) => failed(name, e),
        ErrorKind::Utf8 { .. } => Error::format(name, format!("line {line}: not UTF-8 text; save the file as UTF-8")),
        other => Error::format(name, format!("line {line}: {other:?}")),
    }
}

/// Windows' line ends as `\n`, in fields too: a model is not to learn which program wrote a table.
struct LineEnds<R> {
    inner: R,
    /// Whether a `\r` has been read whose next byte is not known yet.
    held: bool,
    /// Bytes read since a row ended. A quote that nothing closes makes a row of the whole file.
    since: usize,
}

impl<R: BufRead> Read for LineEnds<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let what = || format!("a row of more than {} MiB", self.since >> 20);
        memory::check(what, self.since.checked_mul(2))
            .map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, what()))?;
        loop {
            let bytes = self.inner.fill_buf()?;
            let (mut used, mut made) = (0, 0);
            if bytes.is_empty() {
                if self.held && !out.is_empty() {
                    (self.held, out[0], made) = (false, b'\r', 1);
                }
                return Ok(made);
            }
            while used < bytes.len() && made < out.len() {
                let byte = bytes[used];
                if self.held {
                    self.held = false;
                    if byte != b'\n' {
                        (out[made], made) = (b'\r', made + 1);
                        continue;
                    }
                } else if byte == b'\r' {
                    (self.held, used) = (true, used + 1);
                    continue;
                }
                (out[made], made, used) = (byte, made + 1, used + 1);
            }
            self.inner.consume(used);
            self.since = self.since.saturating_add(made);
            if made > 0 || out.is_empty() {
                return Ok(made);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::forms::Fields;
    use crate::engine::data::record::Dataset;
    use crate::engine::data::source::{ReadOptions, from_bytes};
    use crate::engine::data::split::Subset;

    fn read(text: &str) -> Result<Dataset> {
        from_bytes("t.csv", text.as_bytes(), &ReadOptions::default())
    }

    /// Protects tables as spreadsheets write them: quotes, line breaks in fields, CRLF, a byte order mark, any delimiter.
    #[test]
    fn tables_are_read_as_written() {
        for (delimiter, name) in [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")] {
            let text =
                "\u{feff}instruction,input,output\r\n\"Say \"\"hi\"\", twice\",,\"hi\nhi\"\r\n\r\nAdd,1 + 1,é\r\n";
            // Commas inside the quotes stay, so every candidate is in the text.
            let text = text.replace("instruction,input,output", &["instruction", "input", "output"].join(delimiter));
            let text =
                text.replace(",,", &delimiter.repeat(2)).replace("Add,1 + 1,é", &["Add", "1 + 1", "é"].join(delimiter));
            let set = read(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(set.len(), 2, "{name}");
            let first = set.get(0).unwrap();
            assert_eq!((first.instruction.as_str(), first.output.as_str()), ("Say \"hi\", twice", "hi\nhi"));
            assert_eq!((set.get(1).unwrap().input.as_str(), set.get(1).unwrap().output.as_str()), ("1 + 1", "é"));
        }
    }

    /// Protects texts from the line ends of the program that wrote the table, wherever a buffer ends.
    #[test]
    fn line_ends_are_alike() {
        for capacity in 1..6 {
            let inner = BufReader::with_capacity(capacity, &b"a\r\nb\r\r\nc\rd\r"[..]);
            let mut text = Vec::new();
            LineEnds { inner, held: false, since: 0 }.read_to_end(&mut text).unwrap();
            assert_eq!(text, b"a\nb\r\nc\rd\r");
        }
    }

    /// Protects conversations in a table: the list of messages stands in the column as JSON.
    #[test]
    fn conversations_stand_in_a_column() {
        let text = "id,messages\n7,\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"a\"\"}]\"\n";
        assert_eq!(read(text).unwrap().get(0).unwrap().turns[0].content, "a");
        let bad = read("id,messages\n7,\"[{\"\"role\"\"\"\n").unwrap_err().to_string();
        assert!(bad.starts_with("t.csv: line 2: record 0: `messages` is a text"), "{bad}");
    }

    /// Protects against a table whose rows have shifted: the line, and what is usually the reason.
    #[test]
    fn ragged_rows_are_errors() {
        let error = read("instruction,output\na,b\n\na,b,c\n").unwrap_err().to_string();
        assert!(error.starts_with("t.csv: line 4: record 1 has 3 fields and the header 2"), "{error}");
        let error = read("instruction,output\r\na,\"b\r\nb\"\r\n\r\n\r\na,b,c\r\n").unwrap_err().to_string();
        assert!(error.starts_with("t.csv: line 6: record 1 has 3 fields and the header 2"), "{error}");
        let error = read("instruction,output\na,b\n\"never closed,b\nc,d\n").unwrap_err().to_string();
        assert!(error.starts_with("t.csv: line 3: record 1 has 1 field and"), "{error}");
        assert!(read("instruction,output,output\na,b,c\n").unwrap_err().to_string().contains("names `output` twice"));
        assert!(read("instruction,output\n").unwrap_err().to_string().contains("no records"));
        assert!(read("").unwrap_err().to_string().contains("no records"));
        let latin = from_bytes("t.csv", b"instruction,output\na,\xE9\n", &ReadOptions::default()).unwrap_err();
        assert!(latin.to_string().contains("line 2: record 0: `output` is not UTF-8"), "{latin}");
    }

    /// Protects the choice of columns: a name that is not there is answered by those that are.
    #[test]
    fn missing_columns_are_named() {
        let fields = Fields::default().with("instruction", "Question").unwrap().with("output", "answer").unwrap();
        let options = ReadOptions { fields, ..ReadOptions::default() };
        let error = from_bytes("t.csv", b"question,answer\na,b\n", &options).unwrap_err().to_string();
        assert!(error.contains("no column `Question`; the columns are `question`, `answer`"), "{error}");
    }
}
