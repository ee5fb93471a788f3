//! JSON and JSONL text to records, with the line of every mistake.
//!
//! The form is found by looking: `[` begins one array of objects, `{` begins one object per line (JSONL). A byte order
//! mark, CRLF line ends and blank lines are accepted. A JSONL file whose objects run over several lines is read too.

use super::record::{Dataset, Fields, Record};
use crate::engine::{Error, Result, interrupt};
use serde_json::Value;

/// Reads every record of `bytes`. `name` (a path or `builtin:..`) is for messages.
///
/// # Errors
/// [`Error::Format`] naming file, line and column for text that is not JSON, file, line and record for a record that
/// does not fit `fields`, and for a set without records.
pub fn parse(name: &str, bytes: &[u8], fields: &Fields) -> Result<Dataset> {
    fields.validate()?;
    let text = utf8(name, bytes)?;
    let mut reader = Reader { name, text, pos: 0, line: 1, line_start: 0, fields, records: Vec::new() };
    reader.skip_space();
    match reader.peek() {
        None => return Err(reader.error("the file is empty: no records")),
        Some(b'[') => reader.array()?,
        Some(b'{') => reader.lines()?,
        Some(_) => {
            let start: String = reader.rest().chars().take(12).collect();
            return Err(reader.error(format!(
                "begins with {start:?}: neither a JSON array `[..]` nor one JSON object `{{..}}` per line"
            )));
        }
    }
    if reader.records.is_empty() {
        return Err(reader.error("the array is empty: no records"));
    }
    let defaults = Fields::default();
    if fields.input != defaults.input && !reader.saw_input(fields) {
        return Err(Error::format(
            name,
            format!("no record has `{}`, which fields: #{{ input: .. }} asks for", fields.input),
        ));
    }
    Ok(Dataset::new(name, reader.records))
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::format(name, "the text is UTF-16; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + newlines(&bytes[..e.valid_up_to()]);
        Error::format(name, format!("line {line}: byte {} is not UTF-8 text", e.valid_up_to()))
    })
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}

/// A position in the text and the records read so far.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    pos: usize,
    line: usize,
    line_start: usize,
    fields: &'a Fields,
    records: Vec<Record>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.pos..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.text.as_bytes()[self.pos..self.pos + bytes];
        self.line += newlines(passed);
        if let Some(last) = passed.iter().rposition(|&b| b == b'\n') {
            self.line_start = self.pos + last + 1;
        }
        self.pos += bytes;
    }

    fn skip_space(&mut self) {
        let space = self.rest().bytes().take_while(|b| b" \t\r\n".contains(b)).count();
        self.advance(space);
    }

    /// An error at the current position.
    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::format(self.name, format!("line {}: {message}", self.line))
    }

    /// A parser's error, which counts lines and columns from the current position.
    fn syntax_error(&self, e: &serde_json::Error) -> Error {
        let text = e.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let line = self.line + e.line().saturating_sub(1);
        let column = if e.line() <= 1 { self.pos - self.line_start + e.column() } else { e.column() };
        let record = self.records.len();
        Error::format(self.name, format!("line {line}, column {column}: {what} (in record {record})"))
    }

    /// Takes one JSON value from the front of `text`, which begins at the current position.
    fn value(&mut self, text: &str) -> std::result::Result<Value, serde_json::Error> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        // `None` means only white space was left; the callers have skipped it and seen a further character.
        let value = values.next().unwrap_or(Ok(Value::Null))?;
        let length = values.byte_offset();
        self.advance(length);
        Ok(value)
    }

    fn push(&mut self, value: Value, line: usize) -> Result<()> {
        let record = Record::from_json(value, self.fields, self.records.len())
            .map_err(|message| Error::format(self.name, format!("line {line}: {message}")))?;
        self.records.push(record);
        if self.records.len().is_multiple_of(1024) {
            interrupt::poll()?;
        }
        Ok(())
    }

    fn array(&mut self) -> Result<()> {
        self.advance(1); // [
        loop {
            self.skip_space();
            if self.peek() == Some(b']') && self.records.is_empty() {
                break;
            }
            let line = self.line;
            let value = match self.peek() {
                None => return Err(self.truncated()),
                Some(b']') => return Err(self.error("a comma before the closing `]`")),
                Some(_) => self.value(self.rest()).map_err(|e| self.syntax_error(&e))?,
            };
            self.push(value, line)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.advance(1),
                Some(b']') => break,
                None => return Err(self.truncated()),
                Some(_) => {
                    return Err(self.error(format!("expected `,` or `]` after record {}", self.records.len() - 1)));
                }
            }
        }
        self.advance(1); // ]
        self.skip_space();
        if self.peek().is_some() {
            return Err(self.error("text after the closing `]`"));
        }
        Ok(())
    }

    fn truncated(&self) -> Error {
        self.error(format!("the file ends inside the array, after {} records: is it cut off?", self.records.len()))
    }

    fn lines(&mut self) -> Result<()> {
        let mut spread = false; // whether an object may run over several lines
        loop {
            self.skip_space();
            if self.peek().is_none() {
                return Ok(());
            }
            let line = self.line;
            let rest = self.rest();
            let this_line = rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r');
            let value = match self.value(if spread { rest } else { this_line }) {
                Err(e) if e.is_eof() && self.records.is_empty() && !spread => match self.value(rest) {
                    Ok(value) => {
                        spread = true;
                        Ok(value)
                    }
                    // Which of the two is to blame cannot be known; the line that ends too early is the likelier.
                    Err(_) => Err(e),
                },
                other => other,
            };
            let value = value.map_err(|e| self.syntax_error(&e))?;
            self.push(value, line)?;
            let left = self.rest();
            let left = left.split('\n').next().unwrap_or(left).trim();
            if !left.is_empty() && !spread {
                let left: String = left.chars().take(12).collect();
                return Err(self.error(format!(
                    "{left:?} after record {}: JSONL is one object per line, without commas",
                    self.records.len() - 1
                )));
            }
        }
    }

    /// Whether any object of the text has the field that `fields.input` names.
    fn saw_input(&self, fields: &Fields) -> bool {
        // An input that is present but empty in every record leaves no other trace than its name in the text.
        self.records.iter().any(|r| !r.input.is_empty())
            || self.text.contains(&Value::String(fields.input.clone()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::split::Subset;

    fn read(text: &str) -> Result<Dataset> {
        parse("d.json", text.as_bytes(), &Fields::default())
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
        assert!(message("name,text").contains("begins with \"name,text\""));
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
        let text = parse("d", bytes, &Fields::default()).unwrap_err().to_string();
        assert!(text.contains("line 2: byte 36 is not UTF-8"), "{text}");
        assert!(parse("d", &[0xFF, 0xFE, b'['], &Fields::default()).unwrap_err().to_string().contains("UTF-16"));
    }

    /// Protects field mapping, and a mapping misspelled: an input that no record has must not pass as "all empty".
    #[test]
    fn fields_are_mapped() {
        let text = "{\"question\": \"2+2?\", \"answer\": \"4\", \"ctx\": \"\"}";
        let fields = Fields { instruction: "question".into(), output: "answer".into(), ..Fields::default() };
        let set = parse("g", text.as_bytes(), &fields).unwrap();
        assert_eq!((set.len(), set.get(0).unwrap().output.as_str()), (1, "4"));
        assert!(parse("g", text.as_bytes(), &Fields { input: "ctx".into(), ..fields.clone() }).is_ok());
        let error = parse("g", text.as_bytes(), &Fields { input: "context".into(), ..fields }).unwrap_err().to_string();
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
            if let Err(error) = parse("d", &bytes, &Fields::default()) {
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
