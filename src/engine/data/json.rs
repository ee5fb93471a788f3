//! JSON and JSONL text to objects, with the line of every mistake.
//!
//! The form is found by looking: `[` begins one array of objects, `{` begins one object per line (JSONL). CRLF line ends
//! and blank lines are accepted. A JSONL file whose objects run over several lines is read too.
//!
//! JSONL is read line by line, so that a file may be larger than memory; an array is read whole.

use super::rows::{Input, Place, Row, Rows, failed, newlines, read_line, read_rest, utf8};
use crate::engine::{Error, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};

/// The objects of `input`, a JSON array or JSONL as its first character says. `name` is for messages.
///
/// # Errors
/// [`Error::Format`] naming file, line and column for text that is not JSON, here and from the rows.
pub fn rows(name: &str, input: Input) -> Result<Rows> {
    let input = BufReader::with_capacity(1 << 16, input);
    let mut lines = Lines { name: name.into(), input, line: 1, indent: 0, count: 0 };
    match lines.skip_space()? {
        None => Err(lines.error("the file is empty: no records")),
        Some(b'{') => Ok(Box::new(Objects::Lines(lines))),
        Some(b'[') => Ok(Box::new(Objects::Whole(lines.whole(Vec::new(), true)?))),
        Some(_) => {
            let mut start = Vec::new();
            // What is no JSON may be anything, and of any length.
            lines.input.by_ref().take(48).read_to_end(&mut start).map_err(|e| failed(name, e))?;
            let start: String = String::from_utf8_lossy(&start).chars().take(12).collect();
            Err(lines.error(format!(
                "begins with {start:?}: neither a JSON array `[..]` nor one JSON object `{{..}}` per line"
            )))
        }
    }
}

/// One object per line until it turns out that they run over several.
enum Objects {
    Lines(Lines),
    Whole(Whole),
}

impl Iterator for Objects {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        match self {
            Objects::Whole(whole) => whole.next(),
            Objects::Lines(lines) => match lines.next()? {
                Ok(Line::Row(row)) => Some(Ok(row)),
                Ok(Line::Open(whole)) => {
                    *self = Objects::Whole(*whole);
                    self.next()
                }
                Err(e) => Some(Err(e)),
            },
        }
    }
}

/// A parser's error, which counts lines and columns from a place `indent` bytes into line `line`.
fn syntax_error(name: &str, e: &serde_json::Error, line: usize, indent: usize, record: usize) -> Error {
    let text = e.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let column = if e.line() <= 1 { indent + e.column() } else { e.column() };
    let line = line + e.line().saturating_sub(1);
    Error::format(name, format!("line {line}, column {column}: {what} (in record {record})"))
}

/// The error for what follows a whole object on its line.
fn rest_of_line(name: &str, line: usize, rest: &str, record: usize) -> Error {
    let rest: String = rest.chars().take(12).collect();
    Error::format(
        name,
        format!("line {line}: {rest:?} after record {record}: JSONL is one object per line, without commas"),
    )
}

/// The first value of `text`, and how many bytes it takes.
fn first_value(text: &str) -> std::result::Result<(Value, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    // `None` means only white space was left; the callers have skipped it and seen a further character.
    let value = values.next().unwrap_or(Ok(Value::Null))?;
    Ok((value, values.byte_offset()))
}

/// JSONL, a line at a time.
struct Lines {
    name: String,
    input: BufReader<Input>,
    /// The line that comes next, from 1.
    line: usize,
    /// Bytes of that line that are behind already.
    indent: usize,
    count: usize,
}

enum Line {
    Row(Row),
    /// The first object goes on behind its line: the whole text.
    Open(Box<Whole>),
}

impl Lines {
    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::format(&self.name, format!("line {}: {message}", self.line))
    }

    /// Passes white space; the byte behind it stays.
    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.input.fill_buf().map_err(|e| failed(&self.name, e))?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let space = buffer.iter().take_while(|b| b" \t\r\n".contains(b)).count();
            let passed = &buffer[..space];
            self.line += newlines(passed);
            self.indent = match passed.iter().rposition(|&b| b == b'\n') {
                Some(last) => space - last - 1,
                None => self.indent + space,
            };
            let next = buffer.get(space).copied();
            self.input.consume(space);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Everything that is left, behind `begun`.
    fn whole(&mut self, mut begun: Vec<u8>, array: bool) -> Result<Whole> {
        read_rest(&self.name, &mut self.input, &mut begun)?;
        let text = utf8(&self.name, begun, self.line)?;
        let mode = if array { Mode::Begin } else { Mode::Spread };
        Ok(Whole { name: self.name.clone(), text, pos: 0, line: self.line, indent: self.indent, mode, count: 0 })
    }

    fn next(&mut self) -> Option<Result<Line>> {
        match self.skip_space() {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(e) => return Some(Err(e)),
        }
        Some(self.object())
    }

    fn object(&mut self) -> Result<Line> {
        let (line, indent) = (self.line, self.indent);
        let bytes = read_line(&self.name, &mut self.input)?;
        let text = utf8(&self.name, bytes, line)?;
        match first_value(text.trim_end()) {
            Ok((value, length)) => {
                let rest = text[length..].trim();
                if !rest.is_empty() {
                    return Err(rest_of_line(&self.name, line, rest, self.count));
                }
                (self.line, self.indent) = (line + 1, 0);
                self.count += 1;
                Ok(Line::Row(Row { value, place: Place::Line(line) }))
            }
            Err(e) if e.is_eof() && self.count == 0 => {
                let whole = self.whole(text.into_bytes(), false)?;
                match first_value(&whole.text) {
                    Ok(_) => Ok(Line::Open(Box::new(whole))),
                    // Which of the two is to blame cannot be known; the line that ends too early is the likelier.
                    Err(_) => Err(syntax_error(&self.name, &e, line, indent, 0)),
                }
            }
            Err(e) => Err(syntax_error(&self.name, &e, line, indent, self.count)),
        }
    }
}

/// A text in memory: an array, or objects that run over several lines.
struct Whole {
    name: String,
    text: String,
    pos: usize,
    /// Of `pos`, from 1.
    line: usize,
    /// Bytes of the line before `pos`.
    indent: usize,
    mode: Mode,
    count: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Before `[`.
    Begin,
    /// Inside an array.
    Array,
    /// Objects behind each other.
    Spread,
    End,
}

impl Whole {
    fn rest(&self) -> &str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.text.as_bytes()[self.pos..self.pos + bytes];
        self.line += newlines(passed);
        self.indent = match passed.iter().rposition(|&b| b == b'\n') {
            Some(last) => bytes - last - 1,
            None => self.indent + bytes,
        };
        self.pos += bytes;
    }

    fn skip_space(&mut self) {
        let space = self.rest().bytes().take_while(|b| b" \t\r\n".contains(b)).count();
        self.advance(space);
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::format(&self.name, format!("line {}: {message}", self.line))
    }

    fn value(&mut self) -> Result<Row> {
        let place = Place::Line(self.line);
        let (value, length) =
            first_value(self.rest()).map_err(|e| syntax_error(&self.name, &e, self.line, self.indent, self.count))?;
        self.advance(length);
        self.count += 1;
        Ok(Row { value, place })
    }

    /// The next element of the array, or `None` behind its end.
    fn element(&mut self) -> Result<Option<Row>> {
        if self.mode == Mode::Begin {
            self.advance(1); // [
            self.mode = Mode::Array;
            self.skip_space();
            if self.peek() == Some(b']') {
                return self.end();
            }
        } else {
            self.skip_space();
            match self.peek() {
                Some(b',') => self.advance(1),
                Some(b']') => return self.end(),
                None => return Err(self.truncated()),
                Some(_) => return Err(self.error(format!("expected `,` or `]` after record {}", self.count - 1))),
            }
            self.skip_space();
        }
        match self.peek() {
            None => Err(self.truncated()),
            Some(b']') => Err(self.error("a comma before the closing `]`")),
            Some(_) => self.value().map(Some),
        }
    }

    fn end(&mut self) -> Result<Option<Row>> {
        self.advance(1); // ]
        self.skip_space();
        match self.peek() {
            Some(_) => Err(self.error("text after the closing `]`")),
            None => Ok(None),
        }
    }

    fn truncated(&self) -> Error {
        self.error(format!("the file ends inside the array, after {} records: is it cut off?", self.count))
    }
}

impl Iterator for Whole {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let row = match self.mode {
            Mode::End => return None,
            Mode::Begin | Mode::Array => self.element(),
            Mode::Spread => {
                self.skip_space();
                if self.peek().is_none() { Ok(None) } else { self.value().map(Some) }
            }
        };
        if !matches!(row, Ok(Some(_))) {
            self.mode = Mode::End;
        }
        row.transpose()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::Result;
    use crate::engine::data::forms::Fields;
    use crate::engine::data::record::Dataset;
    use crate::engine::data::source::{ReadOptions, from_bytes};
    use crate::engine::data::split::Subset;

    fn read(text: &str) -> Result<Dataset> {
        from_bytes("d.json", text.as_bytes(), &ReadOptions::default())
    }

    fn message(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn instructions(set: &Dataset) -> Vec<&str> {
        set.records().iter().map(|r| r.instruction.as_str()).collect()
    }

    /// Protects every form that files come in: array, JSONL, BOM, CRLF, blank lines, no final newline, spread objects.
    #[test]
    fn all_forms_read_alike() {
        let a = r#"{"instruction": "one", "output": "1"}"#;
        let b = r#"{"instruction": "two\nlines", "input": "é", "output": "2"}"#;
        for text in [
            format!("[{a},{b}]"),
            format!("\u{feff}[\r\n  {a},\r\n  {b}\r\n]\r\n"),
            format!("{a}\n{b}"),
            format!("\u{feff}\n\n{a}\r\n\r\n   \r\n{b}\r\n\n"),
            format!("{}\n{b}", a.replace(", ", ",\n")),
        ] {
            let set = read(&text).unwrap();
            assert_eq!(instructions(&set), ["one", "two\nlines"], "{text:?}");
            assert_eq!(set.get(1).unwrap().input, "é");
        }
    }

    /// Protects the promise of a line number, in arrays and in JSONL, counted through BOM, CRLF and blank lines.
    #[test]
    fn syntax_errors_name_the_line() {
        let array =
            "[\n  {\"instruction\": \"a\", \"output\": \"b\"},\n  {\"instruction\": \"a\" \"output\": \"b\"}\n]";
        assert_eq!(message(array), "d.json: line 3, column 23: expected `,` or `}` (in record 1)");
        let lines =
            "\u{feff}{\"instruction\": \"a\", \"output\": \"b\"}\r\n\r\n  {\"instruction\": \"a\", \"outp\r\n{}\n";
        let text = message(lines);
        assert!(text.starts_with("d.json: line 3, column 28: EOF while parsing a string"), "{text}");
        let text = message("{\"instruction\": \"a\"\n{\"instruction\": \"b\", \"output\": \"c\"}");
        assert!(text.starts_with("d.json: line 1, column "), "{text}");
    }

    /// Protects against a half-downloaded file or a half-converted one being taken for a whole one.
    #[test]
    fn structural_errors_name_the_line() {
        let a = r#"{"instruction": "one", "output": "1"}"#;
        assert!(message(&format!("[\n{a},\n{a}")).contains("line 3: the file ends inside the array, after 2 records"));
        assert!(message(&format!("[{a},\n]")).contains("line 2: a comma before the closing `]`"));
        assert!(message(&format!("[{a}\n{a}]")).contains("line 2: expected `,` or `]` after record 0"));
        assert!(message(&format!("[{a}]\n{a}")).contains("line 2: text after the closing `]`"));
        assert!(message(&format!("{a},\n{a}")).contains("line 1: \",\" after record 0: JSONL is one object per line"));
        assert!(message("name,words").contains("begins with \"name,words\""));
    }

    /// Protects the rule that a set without records is an error, however it comes about.
    #[test]
    fn empty_sets_are_errors() {
        assert!(message("").contains("no records"));
        assert!(message(" \r\n\n").contains("no records"));
        assert!(message("[ ]").contains("no records"));
    }

    /// Protects bad records in good JSON: the line where the record begins, and its number.
    #[test]
    fn bad_records_name_line_and_number() {
        let a = r#"{"instruction": "one", "output": "1"}"#;
        assert!(message(&format!("{a}\n\n{{\"instruction\": \"x\"}}")).contains("line 3: record 1 has no `output`"));
        assert!(
            message(&format!("[\n{a},\n{{\n\"instruction\": 3}}]"))
                .contains("line 3: record 1: `instruction` is a number")
        );
        assert!(message("[1]").contains("line 1: record 0 is a number, not an object"));
    }

    /// Protects data in other encodings from turning into garbage or a panic.
    #[test]
    fn non_utf8_is_reported() {
        let bytes = b"{\"instruction\": \"a\", \"output\": \"b\"}\n\xE9";
        let text = from_bytes("d", bytes, &ReadOptions::default()).unwrap_err().to_string();
        assert!(text.contains("line 2: byte 1 of it is not UTF-8"), "{text}");
        assert!(
            from_bytes("d", &[0xFF, 0xFE, b'['], &ReadOptions::default()).unwrap_err().to_string().contains("UTF-16")
        );
    }

    /// Protects field mapping, and a mapping misspelled: an input that no record has must not pass as "all empty".
    #[test]
    fn fields_are_mapped() {
        let text = "{\"question\": \"2+2?\", \"answer\": \"4\", \"ctx\": \"\"}";
        let read = |input: Option<&str>| {
            let fields = Fields::default().with("instruction", "question").unwrap().with("output", "answer").unwrap();
            let fields = input.map_or(Ok(fields.clone()), |name| fields.with("input", name)).unwrap();
            from_bytes("g", text.as_bytes(), &ReadOptions { fields, ..ReadOptions::default() })
        };
        let set = read(None).unwrap();
        assert_eq!((set.len(), set.get(0).unwrap().output.as_str()), (1, "4"));
        assert!(read(Some("ctx")).is_ok());
        let error = read(Some("context")).unwrap_err().to_string();
        assert!(error.contains("no record has `context`"), "{error}");
    }

    /// Protects against panics: a good text damaged at random places is read or refused, and a refusal names a line.
    #[test]
    fn damaged_text_never_panics() {
        use crate::engine::rng::Stream;
        let a = r#"{"instruction": "é one", "input": null, "output": "1\n", "n": [1, {"x": true}]}"#;
        let junk: Vec<&[u8]> =
            vec![b"", b"{", b"}", b"[", b"]", b",", b"\"", b"\n", b"\\", b"9", b"\xC3", "é".as_bytes(), b"\0"];
        let mut refused = 0;
        for seed in 0..3000 {
            let random = Stream::new(seed);
            let text = if seed % 2 == 0 { format!("[{a},\n{a}]") } else { format!("{a}\r\n\n{a}\n") };
            let mut bytes = text.into_bytes();
            for i in 0..=random.below(0, 2) as u64 {
                let from = random.below(10 + 3 * i, bytes.len());
                let to = (from + random.below(11 + 3 * i, 3)).min(bytes.len());
                bytes.splice(from..to, junk[random.below(12 + 3 * i, junk.len())].iter().copied());
            }
            if let Err(error) = from_bytes("d", &bytes, &ReadOptions::default()) {
                refused += 1;
                assert!(error.to_string().starts_with("d: line "), "seed {seed}: {error}");
            }
        }
        assert!((1000..3000).contains(&refused), "{refused}");
    }

    /// Protects the process from hostile nesting: an error, not a stack overflow.
    #[test]
    fn deep_nesting_is_an_error() {
        assert!(message(&"[".repeat(100_000)).contains("recursion limit"));
    }
}
