//! `run.json`: what makes a directory a run directory. Whether the run is finished, under which name it was asked for,
//! and each session that worked on it.

use super::atomic::write_atomic;
use crate::engine::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the file.
pub const RECORD_FILE: &str = "run.json";
const FORMAT: &str = "lora-host run 1";

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Begun and not finished: running, stopped or killed.
    Unfinished,
    /// Came to its end.
    Finished,
}

/// One process that worked on the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When it began, UTC, as 2026-01-31T12:00:00Z.
    pub began: String,
    /// Optimizer steps done before it.
    pub from_step: u64,
}

/// The contents of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    format: String,
    /// How far the run has come.
    pub status: Status,
    /// Last part of the directory name that was asked for; the directory itself may carry a number.
    pub asked: String,
    /// Version of the program that began it.
    pub host: String,
    /// Every process that worked on it, in order.
    pub sessions: Vec<Session>,
    /// When it came to its end, UTC.
    pub finished: Option<String>,
}

impl Record {
    /// The record of a run that begins now.
    pub fn new(asked: impl Into<String>) -> Record {
        Record {
            format: FORMAT.into(),
            status: Status::Unfinished,
            asked: asked.into(),
            host: env!("CARGO_PKG_VERSION").into(),
            sessions: vec![Session { began: utc_now(), from_step: 0 }],
            finished: None,
        }
    }

    /// Notes that this process goes on with the run from `from_step`.
    pub fn resume(&mut self, from_step: u64) {
        self.status = Status::Unfinished;
        self.finished = None;
        self.sessions.push(Session { began: utc_now(), from_step });
    }

    /// Notes that the run came to its end.
    pub fn finish(&mut self) {
        self.status = Status::Finished;
        self.finished = Some(utc_now());
    }

    /// The record in `dir`; `None` if `dir` holds no run.
    pub fn read(dir: &Path) -> Result<Option<Record>> {
        let path = dir.join(RECORD_FILE);
        let Some(record) = read_json::<Record>(&path)? else { return Ok(None) };
        if record.format != FORMAT {
            let message = format!("format `{}`; this program reads `{FORMAT}`", record.format);
            return Err(Error::format(&path, message));
        }
        Ok(Some(record))
    }

    /// Writes the record into `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_atomic(dir.join(RECORD_FILE), &pretty(self)?)
    }
}

/// `value` as indented JSON with a line break at the end, as every file of a run directory has it.
pub(super) fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Error::config(format!("cannot be written as JSON: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

/// The JSON file at `path`, as `T`; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::io(path)(e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::format(path, format!("not the JSON of a run: {e}")))
}

/// Now, UTC, as 2026-01-31T12:00:00Z.
fn utc_now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// `seconds` since 1970 as a date and time. Days to date: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100); // from 1 March
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects dates: values of `date -u -d @N`, over leap days and century ends.
    #[test]
    fn dates_are_right() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }

    /// Protects the directory from being mistaken: no record is `None`, a foreign one is an error with its path.
    #[test]
    fn foreign_record_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), None);
        for text in ["{}", "", "{\"format\":\"other\"}"] {
            std::fs::write(dir.path().join(RECORD_FILE), text).unwrap();
            assert!(Record::read(dir.path()).unwrap_err().to_string().contains("run.json"));
        }
        let mut record = Record::new("x");
        record.finish();
        record.resume(7);
        record.write(dir.path()).unwrap();
        assert_eq!(Record::read(dir.path()).unwrap(), Some(record));
    }
}
