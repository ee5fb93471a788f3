//! Parquet files to objects, by the parquet crate's record interface: text columns, and lists of structs for
//! conversations.
//!
//! The crate checks less than a stranger's file asks for: it panics on some damaged ones. That is caught here and
//! becomes an error like any other.

use super::rows::{Place, Row, Rows};
use crate::engine::{Error, Result};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, reader::RowIter};
use serde_json::{Map, Value};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a Parquet file begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Most columns of a set; a table of numbers for something else has thousands.
const MAX_COLUMNS: usize = 4096;

/// The rows of a file as objects, one row group in memory at a time. Their texts may add up to `limit` bytes: a text that
/// is stored once may be repeated by millions of rows.
///
/// # Errors
/// [`Error::Format`] for a file that is damaged, encrypted, or compressed in a way that this program does not read, here
/// and from the rows.
pub(super) fn rows(name: &str, file: File, limit: u64) -> Result<Rows> {
    let reader = guarded(name, || SerializedFileReader::new(file).map_err(|e| said(&e)))?;
    let columns = reader.metadata().file_metadata().schema_descr().num_columns();
    if columns > MAX_COLUMNS {
        return Err(Error::format(
            name,
            format!("Parquet: {columns} columns; a set of records has fewer than {MAX_COLUMNS}"),
        ));
    }
    let mut rows = guarded(name, || Ok(RowIter::from_file_into(Box::new(reader))))?;
    let name = name.to_string();
    let (mut count, mut bytes, mut broken) = (0, 0u64, false);
    Ok(Box::new(std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let row = guarded(&name, || match rows.next() {
            Some(Ok(row)) => Ok(Some(Value::Object(object(row.into_columns())))),
            Some(Err(e)) => Err(format!("row {count}: {}", said(&e))),
            None => Ok(None),
        });
        let place = Place::Row(count);
        count += 1;
        bytes += row.as_ref().ok().and_then(|row| row.as_ref()).map_or(0, size);
        let row = if bytes > limit {
            let message = format!("Parquet: row {}: unpacks to more than {limit} bytes; split it first", count - 1);
            Err(Error::format(&name, message))
        } else {
            row
        };
        broken = row.is_err();
        row.map(|found| found.map(|value| Row { value, place })).transpose()
    })))
}

/// Runs `work` in the parquet crate.
fn guarded<T>(name: &str, work: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    let said = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(said)) => said,
        Err(_) => "its parts contradict each other: the file is damaged".into(),
    };
    Err(Error::format(name, format!("Parquet: {said}")))
}

/// What the crate says, for someone who did not write a program with it.
fn said(e: &ParquetError) -> String {
    let text = e.to_string();
    let text = text.strip_prefix("Parquet error: ").unwrap_or(&text);
    match text.split_once("Disabled feature at compile time: ") {
        Some((_, codec)) => format!("compressed with {codec}, which is not read; write it with zstd, snappy or gzip"),
        None => format!("{}: the file is damaged or cut off", text.trim_end_matches('.')),
    }
}

/// Bytes of the texts in a row, and a little for every value.
fn size(value: &Value) -> u64 {
    8 + match value {
        Value::String(text) => text.len() as u64,
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(object) => object.values().map(size).sum(),
        _ => 0,
    }
}

fn object(fields: Vec<(String, Field)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(b) => Value::Bool(b),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(n) => f32::from(n).into(),
        Field::Float(n) => n.into(),
        Field::Double(n) => n.into(),
        Field::Str(text) => Value::String(text),
        // Some writers leave out that a column of bytes is text.
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, |text| Value::String(text.to_string())),
        Field::Group(row) => Value::Object(object(row.into_columns())),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        other => Value::String(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::data::record::{Dataset, Form};
    use crate::engine::data::rows::Rows;
    use crate::engine::data::source::{ReadOptions, from_bytes};
    use crate::engine::rng::Stream;
    use crate::engine::{Result, memory};
    use std::io::{Seek, Write};

    fn bytes(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/golden/data/{name}.parquet", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Dataset> {
        from_bytes(name, bytes, &ReadOptions::default())
    }

    /// Protects Parquet as pyarrow writes it: every form, nested lists, nulls, codecs, both versions of a page.
    #[test]
    fn files_of_pyarrow_are_read() {
        let chat = read("c", &bytes("chat")).unwrap();
        let turns: Vec<_> = chat.get(0).unwrap().turns.iter().map(|t| (t.role.as_str(), t.content.as_str())).collect();
        assert_eq!(turns, [("user", "Hi é"), ("assistant", "Yes?"), ("user", "Bye"), ("assistant", "Ciao")]);
        assert_eq!(chat.get(1).unwrap().extra["id"], "2");
        let alpaca = read("a", &bytes("alpaca")).unwrap();
        let inputs: Vec<_> = alpaca.records().iter().map(|r| (r.form, r.input.as_str())).collect();
        assert_eq!(inputs, [(Form::Instruction, ""), (Form::Instruction, "x")]);
        assert_eq!(read("s", &bytes("sharegpt")).unwrap().get(0).unwrap().output, "a");
        assert_eq!(read("l", &bytes("large")).unwrap().get(1).unwrap().turns.len(), 1);
        // Packed once more, as some archives are.
        assert_eq!(read("z", &zstd::encode_all(&bytes("chat")[..], 1).unwrap()).unwrap().records().len(), 2);
    }

    /// Protects the messages: a codec that is not built in, a file that is cut off, a row that lacks its field.
    #[test]
    fn what_cannot_be_read_is_said() {
        let said = |result: Result<Dataset>| result.unwrap_err().to_string();
        let lz4 = said(read("d.parquet", &bytes("lz4")));
        assert_eq!(
            lz4,
            "d.parquet: Parquet: row 0: compressed with lz4, which is not read; write it with zstd, snappy or gzip"
        );
        let whole = bytes("chat");
        assert!(said(read("d", &whole[..whole.len() - 9])).contains("damaged or cut off"));
        let options = ReadOptions { format: Some(crate::engine::data::forms::Format::Text), ..ReadOptions::default() };
        assert!(
            said(from_bytes("d", &bytes("alpaca"), &options)).contains("row 0: record 0 has no `text` (it has `instr")
        );
    }

    /// Protects memory from a text that is stored once and repeated by every row.
    #[test]
    fn repetition_stops_at_the_limit() {
        let rows = |limit| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes("chat")).and_then(|()| file.rewind()).unwrap();
            super::rows("d", file, limit).and_then(|rows: Rows| rows.collect::<Result<Vec<_>>>())
        };
        assert_eq!(rows(1000).unwrap().len(), 2);
        assert!(rows(200).unwrap_err().to_string().contains("row 1: unpacks to more than 200 bytes"));
    }

    /// Protects the process: a file that is damaged anywhere is read or refused, without a panic that gets out, and without
    /// asking for memory that its size does not justify.
    #[test]
    fn damaged_files_are_refused() {
        let mut refused = 0;
        for name in ["chat", "alpaca", "sharegpt", "large"] {
            let whole = bytes(name);
            for seed in 0..400 {
                let (random, mut bytes) = (Stream::new(seed), whole.clone());
                for i in 0..=random.below(0, 3) as u64 {
                    let at = random.below(10 + 2 * i, bytes.len());
                    bytes[at] = random.below(11 + 2 * i, 256) as u8;
                }
                let held = || {
                    let before = memory::current();
                    let read = read("d", &bytes);
                    (read.is_err(), memory::current().saturating_sub(before))
                };
                let (failed, bytes) = held();
                refused += usize::from(failed);
                // Tests beside this one use memory too: what this file is to blame for it takes every time.
                assert!(bytes < 64 << 20 || (0..20).any(|_| held().1 < 64 << 20), "{name}, seed {seed}");
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
