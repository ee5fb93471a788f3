//! What every kind of file is read into: its objects one after another, each with its place.

use crate::engine::{Error, Result, memory};
use serde_json::Value;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// One object of a file.
#[derive(Debug)]
pub struct Row {
    /// The object, unless the file holds something else there.
    pub value: Value,
    /// Where it begins.
    pub place: Place,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line, from 1.
    Line(usize),
    /// A row of a file that has no lines, from 0.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(n) => write!(f, "line {n}"),
            Place::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// The objects of a file, read as they are asked for. After an error there is nothing more to expect.
pub type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

/// Bytes of a file, unpacked.
pub type Input = Box<dyn io::Read + Send>;

/// The error for a read that failed: what is wrong with the file's contents has been put into words by the reader.
pub fn failed(name: &str, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::InvalidData => Error::format(name, e.to_string()),
        io::ErrorKind::OutOfMemory => Error::OutOfMemory(format!("{name}: {e}")),
        _ => Error::Io { path: PathBuf::from(name), source: e },
    }
}

/// Adds all that is left of `input` to `bytes`, as long as memory allows: a small file may unpack to any size.
pub fn read_rest(name: &str, mut input: impl Read, bytes: &mut Vec<u8>) -> Result<()> {
    let mut chunk = 1 << 20;
    loop {
        memory::check(|| format!("reading {name}"), bytes.len().checked_mul(2))?;
        if input.by_ref().take(chunk).read_to_end(bytes).map_err(|e| failed(name, e))? == 0 {
            return Ok(());
        }
        chunk = chunk.saturating_mul(2);
    }
}

/// The next line of `input` with its end, as long as memory allows; empty at the end of the file.
pub fn read_line(name: &str, input: &mut impl BufRead) -> Result<Vec<u8>> {
    let (mut line, mut chunk) = (Vec::new(), 1 << 20);
    loop {
        let read = input.by_ref().take(chunk).read_until(b'\n', &mut line).map_err(|e| failed(name, e))?;
        if (read as u64) < chunk || line.ends_with(b"\n") {
            return Ok(line);
        }
        memory::check(|| format!("reading a line of {name}"), line.len().checked_mul(2))?;
        chunk = chunk.saturating_mul(2);
    }
}

/// The text of `bytes`, whose first is on line `line`.
pub fn utf8(name: &str, bytes: Vec<u8>, line: usize) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = line + newlines(&e.as_bytes()[..at]);
        let begin = e.as_bytes()[..at].iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        Error::format(name, format!("line {line}: byte {} of it is not UTF-8 text", at - begin + 1))
    })
}

/// How many lines end in `bytes`.
pub fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count()
}
