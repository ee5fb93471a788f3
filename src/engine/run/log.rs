//! The log of a run: `log.jsonl`, one JSON object per line, readable with `pandas.read_json(path, lines=True)`.
//!
//! | kind | written by | fields |
//! | --- | --- | --- |
//! | `step` | [`Log::close_step`] | `step` `epoch` `loss`, what the script logged (`lr` `grad_norm` ..), `label_tokens` `tokens`, timing |
//! | `eval` | [`Log::eval`] | `step` `epoch`, what the script logged (`val_loss` ..), timing |
//! | `epoch` | [`Log::close_epoch`] | `epoch` `step` `train_loss`, what the script logged (`val_loss` ..), `label_tokens`, timing |
//!
//! `step` counts optimizer steps and `epoch` passes over the data, both from 1. A loss over several micro-batches is
//! weighted by label tokens, sum(loss_i n_i) / sum(n_i): the loss of one batch of all their records. Numbers that JSON
//! does not have are strings (see [`super::number`]); an epoch's mean leaves such losses out and counts them in
//! `nonfinite_losses`. The fields of [`TIMING_FIELDS`] depend on the machine; a resumed run repeats all others.

use super::number::{from_json, to_json};
use crate::engine::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// One line: names and values, in the order they were logged.
pub type Fields = Map<String, Value>;

/// Fields that differ between two equal runs.
pub const TIMING_FIELDS: &[&str] = &["seconds", "tokens_per_s", "peak_mib"];

/// Fields that the log counts by itself; a script cannot set them.
const COUNTED: &[&str] = &["kind", "step", "epoch", "train_loss", "nonfinite_losses"];

/// A mean over label tokens, exact enough to be saved and continued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    sum: f64, // of loss * label_tokens, finite losses only
    label_tokens: u64,
    nonfinite: u64,
}

impl Mean {
    fn add(&mut self, loss: f64, label_tokens: u64) {
        if loss.is_finite() {
            self.sum += loss * label_tokens as f64;
            self.label_tokens = self.label_tokens.saturating_add(label_tokens);
        } else {
            self.nonfinite = self.nonfinite.saturating_add(1);
        }
    }

    fn value(&self) -> Option<f64> {
        (self.label_tokens > 0).then(|| self.sum / self.label_tokens as f64)
    }
}

/// Where a log stands: all that a saved state needs to continue it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Length of the file, always at the end of a line.
    pub bytes: u64,
    /// Optimizer steps closed so far.
    pub step: u64,
    /// Epochs closed so far.
    pub epochs: u64,
    /// Input tokens seen so far.
    pub tokens: u64,
    running: Mean,
}

/// What was logged since the last step was closed.
#[derive(Debug, Default)]
struct Pending {
    micro_batches: u64,
    loss: f64, // sum of loss * label_tokens; NaN and infinities stay
    label_tokens: u64,
    tokens: u64,
    fields: Fields,
}

/// An open log. Each line is one write; nothing is kept back.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    at: LogPosition,
    pending: Pending,
    /// Whether the file has lines behind `at`.
    longer: bool,
}

impl Log {
    /// Opens the log at `path` and cuts it to `at`: lines that the saved state does not cover are dropped, so that the steps
    /// done again are not logged twice. From the default position, that of a run without a saved state, they are dropped
    /// with the first line that is written: a run that was complete keeps them.
    ///
    /// Errors: the file is shorter than `at`, or `at` is not the end of a line: it is not the log of that state.
    pub fn open(path: impl AsRef<Path>, at: LogPosition) -> Result<Log> {
        let path = path.as_ref().to_path_buf();
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        let length = file.metadata().map_err(Error::io(&path))?.len();
        if length < at.bytes {
            return Err(Error::format(
                &path,
                format!("{length} bytes, but the saved state covers {}: it was cut or replaced since", at.bytes),
            ));
        }
        if at.bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(at.bytes - 1)).map_err(Error::io(&path))?;
            file.read_exact(&mut last).map_err(Error::io(&path))?;
            if last != *b"\n" {
                let message =
                    format!("no line ends at byte {}, where the saved state says: it was edited since", at.bytes);
                return Err(Error::format(&path, message));
            }
        }
        let mut log = Log { path, file, at, pending: Pending::default(), longer: length > at.bytes };
        if at.bytes > 0 {
            log.cut()?;
        }
        log.file.seek(SeekFrom::Start(at.bytes)).map_err(Error::io(&log.path))?;
        Ok(log)
    }

    /// Adds one micro-batch to the current step: its mean loss, the labels that the mean is over, its input tokens
    /// (padding not counted).
    pub fn micro(&mut self, loss: f64, label_tokens: u64, tokens: u64) {
        let p = &mut self.pending;
        p.micro_batches += 1;
        if label_tokens > 0 {
            p.loss += loss * label_tokens as f64;
            p.label_tokens = p.label_tokens.saturating_add(label_tokens);
        }
        p.tokens = p.tokens.saturating_add(tokens);
        self.at.running.add(loss, label_tokens);
    }

    /// Adds fields to the current step; a name given twice keeps the later value.
    pub fn fields(&mut self, fields: Fields) -> Result<()> {
        self.check_names("step", &fields)?;
        self.pending.fields.extend(fields);
        Ok(())
    }

    /// Mean loss of the current step so far, over its label tokens.
    pub fn pending_loss(&self) -> Option<f64> {
        let p = &self.pending;
        (p.label_tokens > 0).then(|| p.loss / p.label_tokens as f64)
    }

    /// Input tokens of the current step so far.
    pub fn pending_tokens(&self) -> u64 {
        self.pending.tokens
    }

    /// Closes the current step with these last `fields` and writes its line, which is returned.
    ///
    /// `timing` goes to the end of the line. Without micro-batches, a script that made its own mean gives `loss`, and
    /// `label_tokens` and `tokens` with it.
    pub fn close_step(&mut self, fields: Fields, timing: Fields) -> Result<Fields> {
        self.fields(fields)?;
        if self.pending.micro_batches == 0 {
            self.take_loss_of_fields()?;
        } else {
            self.check_names("step", &self.pending.fields)?; // a loss logged before the first micro-batch
        }
        let loss = self.pending_loss();
        let p = std::mem::take(&mut self.pending);
        self.at.step = self.at.step.saturating_add(1);
        self.at.tokens = self.at.tokens.saturating_add(p.tokens);
        let mut line = self.begin("step", &["step", "epoch"]);
        line.insert("loss".into(), loss.map_or(Value::Null, to_json));
        line.extend(p.fields);
        line.insert("label_tokens".into(), p.label_tokens.into());
        line.insert("tokens".into(), p.tokens.into());
        self.write(line, timing)
    }

    /// Writes a line with `fields`, e.g. `val_loss`, between two steps.
    pub fn eval(&mut self, fields: Fields, timing: Fields) -> Result<Fields> {
        self.check_names("eval", &fields)?;
        self.check_between_steps("an eval line")?;
        let mut line = self.begin("eval", &["step", "epoch"]);
        line.extend(fields);
        self.write(line, timing)
    }

    /// Closes the current epoch with these `fields`, e.g. `val_loss`, and writes its line, which is returned.
    pub fn close_epoch(&mut self, fields: Fields, timing: Fields) -> Result<Fields> {
        self.check_names("epoch", &fields)?;
        self.check_between_steps("an epoch's end")?;
        let mean = std::mem::take(&mut self.at.running);
        let mut line = self.begin("epoch", &["epoch", "step"]);
        line.insert("train_loss".into(), mean.value().map_or(Value::Null, to_json));
        if mean.nonfinite > 0 {
            line.insert("nonfinite_losses".into(), mean.nonfinite.into());
        }
        line.extend(fields);
        line.insert("label_tokens".into(), mean.label_tokens.into());
        self.at.epochs = self.at.epochs.saturating_add(1);
        self.write(line, timing)
    }

    /// Where the log stands. An error in the middle of a step: its micro-batches would be lost.
    pub fn position(&self) -> Result<LogPosition> {
        self.check_between_steps("saving")?;
        Ok(self.at)
    }

    /// Optimizer steps closed so far.
    pub fn step(&self) -> u64 {
        self.at.step
    }

    /// Epochs closed so far.
    pub fn epochs(&self) -> u64 {
        self.at.epochs
    }

    /// Input tokens of all closed steps.
    pub fn tokens(&self) -> u64 {
        self.at.tokens
    }

    /// Makes every line so far survive a power cut.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }

    fn begin(&self, kind: &str, counts: &[&str]) -> Fields {
        let mut line = Fields::new();
        line.insert("kind".into(), kind.into());
        for &name in counts {
            let count = if name == "step" { self.at.step } else { self.at.epochs.saturating_add(1) };
            line.insert(name.into(), count.into());
        }
        line
    }

    fn write(&mut self, mut line: Fields, timing: Fields) -> Result<Fields> {
        line.extend(timing);
        let mut text = serde_json::to_string(&line).map_err(|e| Error::config(format!("log line: {e}")))?;
        text.push('\n');
        self.cut()?;
        self.file.write_all(text.as_bytes()).map_err(Error::io(&self.path))?;
        self.at.bytes += text.len() as u64;
        Ok(line)
    }

    fn cut(&mut self) -> Result<()> {
        if std::mem::take(&mut self.longer) {
            // One change of the length: a kill leaves the old length or the new one.
            self.file.set_len(self.at.bytes).map_err(Error::io(&self.path))?;
        }
        Ok(())
    }

    /// `loss`, `label_tokens` and `tokens` given as fields stand for one micro-batch.
    fn take_loss_of_fields(&mut self) -> Result<()> {
        let fields = &mut self.pending.fields;
        let (loss, labels, tokens) = (fields.remove("loss"), fields.remove("label_tokens"), fields.remove("tokens"));
        let count = |name: &str, value: Option<Value>, default: u64| match value {
            None => Ok(default),
            Some(v) => v.as_u64().ok_or_else(|| Error::config(format!("log: `{name}` is {v}, not a count"))),
        };
        let labels = count("label_tokens", labels, 1)?;
        let tokens = count("tokens", tokens, 0)?;
        match loss {
            Some(loss) => {
                let loss =
                    from_json(&loss).ok_or_else(|| Error::config(format!("log: `loss` is {loss}, not a number")))?;
                self.micro(loss, labels, tokens);
            }
            None => self.pending.tokens = tokens,
        }
        Ok(())
    }

    fn check_names(&self, kind: &str, fields: &Fields) -> Result<()> {
        let micro_batches = self.pending.micro_batches;
        for name in fields.keys().map(String::as_str) {
            if COUNTED.contains(&name) || TIMING_FIELDS.contains(&name) {
                return Err(Error::config_help(
                    format!("log: `{name}` is counted by the log and cannot be set"),
                    "leave it out, or choose another name",
                ));
            }
            if kind == "step" && micro_batches > 0 && ["loss", "label_tokens", "tokens"].contains(&name) {
                return Err(Error::config_help(
                    format!("log: `{name}` of this step is already the sum over its {micro_batches} micro-batches"),
                    "log each micro-batch or the whole step, not both",
                ));
            }
        }
        Ok(())
    }

    fn check_between_steps(&self, what: &str) -> Result<()> {
        let p = &self.pending;
        if p.micro_batches == 0 && p.fields.is_empty() {
            return Ok(());
        }
        let logged = match p.fields.keys().next() {
            None => format!("{} micro-batches", p.micro_batches),
            Some(name) => format!("{} micro-batches and `{name}`", p.micro_batches),
        };
        Err(Error::config_help(
            format!("log: {what} after {logged} that belong to no step"),
            "close the step first: every optimizer step ends with its own log call",
        ))
    }
}

/// The lines of the log at `path`. A last line without its line break, which a killed process leaves, is ignored.
///
/// Errors: any other line that is not a JSON object, by its number.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Fields>> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    for (i, line) in bytes[..whole].split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let fields = serde_json::from_slice(line)
            .map_err(|e| Error::format(path, format!("line {}: not a log line: {e}", i + 1)))?;
        lines.push(fields);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    fn log(dir: &tempfile::TempDir) -> Log {
        Log::open(dir.path().join("log.jsonl"), LogPosition::default()).unwrap()
    }

    /// Protects the reported loss: over micro-batches and over the epoch it is weighted by label tokens, not a mean of means.
    #[test]
    fn means_are_weighted_by_label_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir);
        log.micro(2.0, 30, 40);
        log.micro(4.0, 10, 15);
        log.fields(map(json!({"grad_norm": 0.5}))).unwrap();
        let step = log.close_step(map(json!({"lr": 1e-3})), map(json!({"seconds": 1.0}))).unwrap();
        let expected = json!({"kind": "step", "step": 1, "epoch": 1, "loss": 2.5, "grad_norm": 0.5, "lr": 1e-3,
            "label_tokens": 40, "tokens": 55, "seconds": 1.0});
        assert_eq!(Value::Object(step), expected);
        log.micro(1.0, 60, 60);
        log.close_step(Fields::new(), Fields::new()).unwrap();
        let epoch = log.close_epoch(map(json!({"val_loss": 3.0})), Fields::new()).unwrap();
        let expected =
            json!({"kind": "epoch", "epoch": 1, "step": 2, "train_loss": 1.6, "val_loss": 3.0, "label_tokens": 100});
        assert_eq!(Value::Object(epoch), expected);
        assert_eq!(log.eval(map(json!({"val_loss": 2.0})), Fields::new()).unwrap()["epoch"], 2);
        assert_eq!(read(dir.path().join("log.jsonl")).unwrap().len(), 4);
    }

    /// Protects diagnosis: NaN and infinity reach the file, the epoch's mean survives them and says that they were there.
    #[test]
    fn nan_is_kept_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir);
        log.micro(f64::NAN, 10, 10);
        log.micro(1.0, 10, 10);
        assert_eq!(log.close_step(Fields::new(), Fields::new()).unwrap()["loss"], "NaN");
        log.micro(f64::INFINITY, 1, 1);
        assert_eq!(log.close_step(Fields::new(), Fields::new()).unwrap()["loss"], "Infinity");
        log.micro(f64::NAN, 0, 5); // nothing to learn from: no labels, no loss
        assert_eq!(log.close_step(Fields::new(), Fields::new()).unwrap()["loss"], Value::Null);
        let epoch = log.close_epoch(Fields::new(), Fields::new()).unwrap();
        assert_eq!((&epoch["train_loss"], &epoch["nonfinite_losses"]), (&json!(1.0), &json!(3)));
    }

    /// Protects resuming: what was logged after the save is dropped, what follows equals the uninterrupted log byte for byte.
    #[test]
    fn cut_back_log_continues_identically() {
        let dir = tempfile::tempdir().unwrap();
        let run = |log: &mut Log, steps: std::ops::Range<u64>| {
            for s in steps {
                log.micro(1.0 / (s as f64 + 3.0), 7 + s, 9);
                log.micro(0.1 * s as f64, 3, 4);
                log.close_step(map(json!({"lr": 0.1 / (s + 1) as f64})), Fields::new()).unwrap();
            }
        };
        let mut log = log(&dir);
        run(&mut log, 0..3);
        let saved = serde_json::to_string(&log.position().unwrap()).unwrap();
        run(&mut log, 3..6);
        log.close_epoch(Fields::new(), Fields::new()).unwrap();
        let uninterrupted = std::fs::read(&log.path).unwrap();
        log.file.write_all(b"{\"kind\":\"step\",\"st").unwrap(); // killed while writing
        assert_eq!(read(&log.path).unwrap().len(), 7);

        // Who looks and logs nothing takes nothing away.
        drop(Log::open(&log.path, LogPosition::default()).unwrap());
        assert_eq!(read(&log.path).unwrap().len(), 7);

        let mut resumed = Log::open(&log.path, serde_json::from_str(&saved).unwrap()).unwrap();
        run(&mut resumed, 3..6);
        resumed.close_epoch(Fields::new(), Fields::new()).unwrap();
        assert_eq!(std::fs::read(&log.path).unwrap(), uninterrupted);
    }

    /// Protects against resuming with a foreign log: one too short and one whose lines lie elsewhere are refused untouched.
    #[test]
    fn foreign_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "{\"a\":1}\n").unwrap();
        for (bytes, word) in [(9, "cut or replaced"), (4, "edited")] {
            let e = Log::open(&path, LogPosition { bytes, ..Default::default() }).unwrap_err();
            assert!(e.to_string().contains(word), "{e}");
        }
        assert_eq!(std::fs::read(&path).unwrap().len(), 8);
    }

    /// Protects the aggregates from scripts that log in the wrong place: each misuse is an error that says so.
    #[test]
    fn misuse_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir);
        assert!(log.fields(map(json!({"step": 3}))).unwrap_err().to_string().contains("`step` is counted"));
        log.micro(1.0, 1, 1);
        for e in [log.position().unwrap_err(), log.close_epoch(Fields::new(), Fields::new()).unwrap_err()] {
            assert!(e.to_string().contains("1 micro-batches that belong to no step"), "{e}");
        }
        let both = log.close_step(map(json!({"loss": 2.0})), Fields::new()).unwrap_err();
        assert!(both.to_string().contains("already the sum"), "{both}");
        log.close_step(Fields::new(), Fields::new()).unwrap();
        let step = log.close_step(map(json!({"loss": 2.0, "tokens": 12})), Fields::new()).unwrap();
        assert_eq!((&step["loss"], &step["tokens"], &step["label_tokens"]), (&json!(2.0), &json!(12), &json!(1)));
        let e = log.close_step(map(json!({"loss": "high"})), Fields::new()).unwrap_err();
        assert!(e.to_string().contains("not a number"), "{e}");
    }

    /// Protects readers: a broken line in the middle is an error with its number, a torn last one is not.
    #[test]
    fn broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "{\"a\":1}\n{\"a\":\n{\"a\":3}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2"));
        std::fs::write(&path, "{\"a\":1}\n{\"a\":").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
    }
}
