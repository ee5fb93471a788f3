//! Parquet files to objects, by the parquet crate's record interface: text columns, and lists of structs for
//! conversations.
//!
//! The crate checks less than a stranger's file asks for: it panics on some damaged ones. That is caught here and
//! becomes an error like any other.

use super::rows::{Place, Row, Rows};
use crate::engine::{Error, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, reader::RowIter};
use serde_json::{Map, Value};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a Parquet file begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Most columns of a set; a table of numbers for something else has thousands.
const MAX_COLUMNS: usize = 4096;

/// The rows of a file as objects, one row group in memory at a time.
///
/// # Errors
/// [`Error::Format`] for a file that is damaged, encrypted, or compressed in a way that this program does not read, here
/// and from the rows.
pub(super) fn rows(name: &str, file: File) -> Result<Rows> {
    let reader = guarded(name, || SerializedFileReader::new(file).map_err(|e| e.to_string()))?;
    let columns = reader.metadata().file_metadata().schema_descr().num_columns();
    if columns > MAX_COLUMNS {
        return Err(Error::format(
            name,
            format!("Parquet: {columns} columns; a set of records has fewer than {MAX_COLUMNS}"),
        ));
    }
    let mut rows = guarded(name, || Ok(RowIter::from_file_into(Box::new(reader))))?;
    let name = name.to_string();
    let (mut count, mut broken) = (0, false);
    Ok(Box::new(std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let row = guarded(&name, || match rows.next() {
            Some(Ok(row)) => Ok(Some(object(row.into_columns())?)),
            Some(Err(e)) => Err(format!("row {count}: {e}")),
            None => Ok(None),
        });
        let place = Place::Row(count);
        count += 1;
        broken = row.is_err();
        row.map(|found| found.map(|object| Row { value: Value::Object(object), place })).transpose()
    })))
}

/// Runs `work` in the parquet crate.
fn guarded<T>(name: &str, work: impl FnOnce() -> std::result::Result<T, String>) -> Result<T> {
    let said = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(said)) => said,
        Err(_) => "its parts contradict each other".into(),
    };
    Err(Error::format(name, format!("Parquet: {said}: the file is damaged, cut off, or of a kind that is not read")))
}

fn object(fields: Vec<(String, Field)>) -> std::result::Result<Map<String, Value>, String> {
    fields.into_iter().map(|(name, field)| Ok((name, value(field)?))).collect()
}

fn value(field: Field) -> std::result::Result<Value, String> {
    Ok(match field {
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
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Value::String(text.to_string()),
            Err(_) => Value::Null,
        },
        Field::Group(row) => Value::Object(object(row.into_columns())?),
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().cloned().map(value).collect::<std::result::Result<_, _>>()?)
        }
        other => Value::String(other.to_string()),
    })
}
