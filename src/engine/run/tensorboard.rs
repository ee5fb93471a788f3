//! TensorBoard's event files, so that `tensorboard --logdir runs` shows every run, while it goes on too.
//!
//! A file is a row of records: the length as u64, its checksum, the data, their checksum (TFRecord; checksums are CRC-32C,
//! rotated and shifted). The data of each are an `Event` in protobuf: time, step, and numbers or text under a tag.
//! Sources: TensorFlow, `tensorflow/core/util/event.proto`, `framework/summary.proto`, `lib/io/record_writer.cc`;
//! TensorBoard, `plugins/text`.

use super::log::Fields;
use super::number::from_json;
use crate::engine::{Error, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How the name of every event file begins: TensorBoard finds them by it.
pub const PREFIX: &str = "events.out.tfevents.";

/// An event file under way. Each line of the log is one write, which is not waited for on the disk.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a file in `dir` for a session that goes on after `step`: TensorBoard forgets what earlier files of the
    /// directory say of later steps, as the log does.
    ///
    /// # Errors
    /// The file system.
    pub fn begin(dir: &Path, step: u64) -> Result<Events> {
        // A number behind the second keeps two sessions of one second apart; files are read in the order of their names.
        let second = now() as u64;
        let mut number = 0u64;
        let (path, file) = loop {
            let path = dir.join(format!("{PREFIX}{second:010}.{number:03}.host"));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io(&path)(e)),
            }
        };
        let mut events = Events { path, file };
        events.write(0, bytes(3, b"brain.Event:2"))?;
        let started = [varint(1, 1), Vec::new()].concat(); // SessionLog { status: START }
        // It forgets this step too, whose numbers the log keeps: so the next one is named.
        events.write(step.saturating_add(1), bytes(7, &started))?;
        Ok(events)
    }

    /// Writes the numbers of a log line under its kind: `step/loss`, `eval/val_loss`, `epoch/train_loss`.
    ///
    /// # Errors
    /// The file system.
    pub fn line(&mut self, line: &Fields) -> Result<()> {
        let kind = line.get("kind").and_then(Value::as_str).unwrap_or("other");
        let step = line.get("step").and_then(Value::as_u64).unwrap_or(0);
        let mut summary = Vec::new();
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            let number = from_json(value).or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
            if let Some(x) = number {
                let tag = format!("{kind}/{name}");
                let value = [bytes(1, tag.as_bytes()), float(2, x as f32)].concat();
                summary.extend(bytes(1, &value));
            }
        }
        if summary.is_empty() { Ok(()) } else { self.write(step, bytes(5, &summary)) }
    }

    /// Writes `text`, Markdown, under `tag`.
    ///
    /// # Errors
    /// The file system.
    pub fn text(&mut self, tag: &str, text: &str, step: u64) -> Result<()> {
        let plugin = bytes(1, b"text");
        let metadata = [bytes(1, &plugin), varint(4, 2)].concat(); // data_class: TENSOR
        let shape = bytes(2, &varint(1, 1)); // one dimension, of one
        let tensor = [varint(1, 7), bytes(2, &shape), bytes(8, text.as_bytes())].concat(); // dtype: STRING
        let value = [bytes(1, tag.as_bytes()), bytes(9, &metadata), bytes(8, &tensor)].concat();
        self.write(step, bytes(5, &bytes(1, &value)))
    }

    fn write(&mut self, step: u64, what: Vec<u8>) -> Result<()> {
        let event = [double(1, now()), varint(2, step), what].concat();
        self.file.write_all(&record(&event)).map_err(Error::io(&self.path))
    }
}

/// `value` of a note or of the settings as Markdown: rows of maps as a table, a map as one of names and values.
pub fn markdown(value: &Value) -> String {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), String::from);
    let cell = |v: &Value| text(v).replace('|', "\\|").replace('\n', "<br>");
    let table = |titles: &[&str], rows: Vec<Vec<String>>| {
        let rows: String = rows.iter().map(|r| format!("| {} |\n", r.join(" | "))).collect();
        format!("| {} |\n|{}\n{rows}", titles.join(" | "), " --- |".repeat(titles.len()))
    };
    match value {
        Value::Object(map) => {
            table(&["name", "value"], map.iter().map(|(k, v)| vec![cell(&Value::from(k.clone())), cell(v)]).collect())
        }
        Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => {
            let mut titles: Vec<&str> = Vec::new();
            for key in rows.iter().filter_map(Value::as_object).flat_map(|m| m.keys()) {
                if !titles.contains(&key.as_str()) {
                    titles.push(key);
                }
            }
            let row = |r: &Value| titles.iter().map(|t| r.get(*t).map_or_else(String::new, cell)).collect();
            table(&titles, rows.iter().map(row).collect())
        }
        other => text(other),
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `data` framed as TFRecord frames them.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sum = |bytes: &[u8]| masked(crc32c::crc32c(bytes)).to_le_bytes();
    [&length[..], &sum(&length), data, &sum(data)].concat()
}

/// A checksum of data that hold checksums would be weak, so it is turned: `crc32c::Mask` of LevelDB.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A number of protobuf's wire format: seven bits to a byte, the lowest first.
fn base128(mut n: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn varint(field: u64, n: u64) -> Vec<u8> {
    [base128(field << 3), base128(n)].concat()
}

fn double(field: u64, x: f64) -> Vec<u8> {
    [&base128(field << 3 | 1)[..], &x.to_le_bytes()].concat()
}

fn float(field: u64, x: f32) -> Vec<u8> {
    [&base128(field << 3 | 5)[..], &x.to_le_bytes()].concat()
}

fn bytes(field: u64, data: &[u8]) -> Vec<u8> {
    [&base128(field << 3 | 2)[..], &base128(data.len() as u64), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The data of each record of a file, every checksum verified.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let sum = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            // Unmasked as `crc32c::Unmask` does.
            let unmask = |m: u32| m.wrapping_sub(0xa282_ead8).rotate_left(15);
            assert_eq!(unmask(sum(8)), crc32c::crc32c(&file[..8]));
            assert_eq!(unmask(sum(12 + length)), crc32c::crc32c(&file[12..12 + length]));
            all.push(file[12..12 + length].to_vec());
            file = &file[16 + length..];
        }
        all
    }

    /// The fields of a message: number, and the bytes of its value.
    fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn number(data: &mut &[u8]) -> u64 {
            let mut n = 0;
            for shift in (0..).step_by(7) {
                let byte = data[0];
                *data = &data[1..];
                n |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return n;
                }
            }
            unreachable!()
        }
        let mut all = Vec::new();
        while !data.is_empty() {
            let key = number(&mut data);
            let length = match key & 7 {
                0 => {
                    all.push((key >> 3, number(&mut data).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                5 => 4,
                2 => number(&mut data) as usize,
                wire => panic!("wire type {wire}"),
            };
            all.push((key >> 3, data[..length].to_vec()));
            data = &data[length..];
        }
        all
    }

    fn field(data: &[u8], number: u64) -> Vec<u8> {
        fields(data).into_iter().find(|f| f.0 == number).unwrap_or_else(|| panic!("no field {number}")).1
    }

    /// Protects what TensorBoard reads: framing, checksums, and numbers, NaN and text under their tags.
    #[test]
    fn files_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::begin(dir.path(), 300).unwrap();
        let line =
            json!({"kind": "step", "step": 301, "epoch": 2, "loss": 2.5, "lr": "NaN", "skipped": true, "x": "y"});
        events.line(line.as_object().unwrap()).unwrap();
        events.text("notes/model", "| a |", 301).unwrap();
        let name = events.path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(PREFIX) && name.contains("tfevents"));
        let records = records(&std::fs::read(&events.path).unwrap());
        assert_eq!(records.len(), 4);
        assert_eq!(field(&records[0], 3), b"brain.Event:2");
        assert_eq!(field(&field(&records[1], 7), 1), 1u64.to_le_bytes());
        assert_eq!(field(&records[1], 2), 301u64.to_le_bytes());
        let values: Vec<(String, f32)> = fields(&field(&records[2], 5))
            .iter()
            .map(|(_, v)| {
                let tag = String::from_utf8(field(v, 1)).unwrap();
                (tag, f32::from_le_bytes(field(v, 2).try_into().unwrap()))
            })
            .collect();
        let tags: Vec<&str> = values.iter().map(|v| v.0.as_str()).collect();
        assert_eq!(tags, ["step/epoch", "step/loss", "step/lr", "step/skipped"]);
        assert!(values[1].1 == 2.5 && values[2].1.is_nan() && values[3].1 == 1.0);
        let value = field(&field(&records[3], 5), 1);
        assert_eq!(field(&field(&value, 8), 8), b"| a |");
        assert_eq!(field(&field(&field(&value, 9), 1), 1), b"text");
        let second = Events::begin(dir.path(), 0).unwrap();
        assert_ne!(second.path, events.path);
    }

    /// Protects the checksum: the value that TensorFlow's own writer puts behind the length of a first record of 24 bytes.
    #[test]
    fn checksum_is_that_of_tfrecord() {
        assert_eq!(masked(crc32c::crc32c(&24u64.to_le_bytes())), 0x224b_7fa3);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    /// Protects notes: tables of samples and settings, in which nothing breaks a row.
    #[test]
    fn notes_are_tables() {
        assert_eq!(
            markdown(&json!({"a": "x|y\nz", "b": 1})),
            "| name | value |\n| --- | --- |\n| a | x\\|y<br>z |\n| b | 1 |\n"
        );
        assert_eq!(markdown(&json!([{"q": 1}, {"q": 2, "r": "x"}])), "| q | r |\n| --- | --- |\n| 1 |  |\n| 2 | x |\n");
        assert_eq!(markdown(&json!("plain")), "plain");
    }
}
