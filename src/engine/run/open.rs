//! A run that is looked at, not written: its settings, log and notes, and a summary of how it went. Looking takes no lock:
//! a run under way can be read too.

use super::curve::Curve;
use super::lock::{LOCK_FILE, Lock};
use super::log::{self, Fields};
use super::number::from_json;
use super::record::{RECORD_FILE, Record, Status, read_json};
use super::{LOG_FILE, NOTES_FILE, SETTINGS_FILE};
use crate::engine::{Error, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A run directory as it was when it was read.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The directory.
    pub dir: PathBuf,
    /// Who began it and when, and whether it is finished.
    pub record: Record,
    /// What the script gave as its settings.
    pub settings: Value,
    /// The lines of its log.
    pub log: Vec<Fields>,
    /// What was noted.
    pub notes: Map<String, Value>,
    /// Whether a process holds it now.
    pub held: bool,
}

/// A run in a few numbers. Losses in nats per label token, memory in MiB.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The directory's name.
    pub name: String,
    /// `finished`, `running`, or `unfinished` where no process works on it.
    pub state: &'static str,
    /// When it began, UTC.
    pub began: Option<String>,
    /// What was trained, as noted or set.
    pub model: Option<String>,
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs that were closed.
    pub epochs: usize,
    /// Loss of the last epoch, or else of the last step.
    pub train_loss: Option<f64>,
    /// The last held-out loss.
    pub val_loss: Option<f64>,
    /// The lowest held-out loss.
    pub best_val_loss: Option<f64>,
    /// The first step that had it.
    pub best_step: Option<u64>,
    /// Input tokens of all steps.
    pub tokens: f64,
    /// Seconds in steps.
    pub seconds: f64,
    /// Input tokens over the seconds in steps.
    pub tokens_per_s: Option<f64>,
    /// Highest peak of heap memory.
    pub peak_mib: Option<f64>,
}

impl Opened {
    /// Reads the run in `dir`.
    ///
    /// # Errors
    /// No run there, or files of it that cannot be read.
    pub fn read(dir: &Path) -> Result<Opened> {
        let record = Record::read(dir)?.ok_or_else(|| {
            Error::config_help(
                format!("{} holds no run", dir.display()),
                format!("a run's directory has a {RECORD_FILE}; `host runs` lists those below `runs`"),
            )
        })?;
        let lines = match dir.join(LOG_FILE) {
            path if path.exists() => log::read(path)?,
            _ => Vec::new(),
        };
        Ok(Opened {
            dir: dir.to_path_buf(),
            record,
            settings: read_json(&dir.join(SETTINGS_FILE))?.unwrap_or_else(|| Value::Object(Map::new())),
            log: lines,
            notes: read_json(&dir.join(NOTES_FILE))?.unwrap_or_default(),
            held: held(dir),
        })
    }

    /// The directory's name.
    pub fn name(&self) -> String {
        let whole = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The lines of `kind`.
    pub fn lines(&self, kind: &'static str) -> impl Iterator<Item = &Fields> {
        self.log.iter().filter(move |l| l.get("kind").and_then(Value::as_str) == Some(kind))
    }

    /// The sum of the numbers that steps have under `key`.
    pub fn total(&self, key: &str) -> f64 {
        self.lines("step").filter_map(|l| number(l, key)).filter(|x| x.is_finite()).sum()
    }

    /// How it went, in a few numbers.
    pub fn summary(&self) -> Summary {
        let (tokens, seconds) = (self.total("tokens"), self.total("seconds"));
        let curve = Curve::from_log(&self.log);
        let best = curve.best();
        let word = |v: Option<&Value>| v.and_then(Value::as_str).map(String::from);
        Summary {
            name: self.name(),
            state: match (self.record.status, self.held) {
                (Status::Finished, _) => "finished",
                (_, true) => "running",
                (_, false) => "unfinished",
            },
            began: self.record.sessions.first().map(|s| s.began.clone()),
            model: word(self.notes.get("model").and_then(|m| m.get("name")))
                .or_else(|| word(self.settings.get("model"))),
            steps: self.lines("step").count(),
            epochs: curve.epochs.len(),
            train_loss: curve.epochs.iter().rev().find_map(|e| e.train_loss).or_else(|| curve.loss.last().map(|p| p.1)),
            val_loss: curve.val_loss.last().map(|p| p.1),
            best_val_loss: best.map(|p| p.1),
            best_step: best.map(|p| p.0 as u64),
            tokens,
            seconds,
            tokens_per_s: (seconds > 0.0).then(|| tokens / seconds),
            peak_mib: self.log.iter().filter_map(|l| number(l, "peak_mib")).reduce(f64::max),
        }
    }
}

fn number(line: &Fields, key: &str) -> Option<f64> {
    line.get(key).and_then(from_json)
}

/// The runs in `root`, oldest first: its folders that have a record, and those of one level below. A run that cannot be
/// read is its error.
pub fn list(root: &Path) -> Vec<(PathBuf, Result<Opened>)> {
    let mut runs: Vec<_> = dirs(root).into_iter().map(|dir| (dir.clone(), Opened::read(&dir))).collect();
    let began = |r: &(PathBuf, Result<Opened>)| {
        let began = r.1.as_ref().ok().and_then(|o| o.record.sessions.first().map(|s| s.began.clone()));
        (began.unwrap_or_default(), r.0.clone())
    };
    runs.sort_by_key(began);
    runs
}

/// Where the runs in `root` lie, read or not.
pub fn dirs(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    find(root, 2, &mut found);
    found
}

fn find(root: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for dir in entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        if dir.join(RECORD_FILE).is_file() {
            found.push(dir);
        } else if depth > 1 {
            find(&dir, depth - 1, found);
        }
    }
}

/// Whether a process holds the run. Nothing is written to find out: a run may lie where nobody may write.
fn held(dir: &Path) -> bool {
    dir.join(LOCK_FILE).is_file() && Lock::is_taken(dir)
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Run};
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    /// Protects the list of runs: state, losses and their best, whatever lies between the runs.
    #[test]
    fn runs_are_summed_up() {
        let root = tempfile::tempdir().unwrap();
        let mut run = Run::create(root.path().join("a"), json!({"model": "m", "lr": 1e-3}), Policy::Number).unwrap();
        for (loss, val) in [(3.0, 2.0), (2.0, 1.5), (1.0, 1.75)] {
            run.log_micro(loss, 10, 20);
            run.log_step(Fields::new()).unwrap();
            run.log_eval(fields(json!({"val_loss": val}))).unwrap();
        }
        run.log_epoch(Fields::new()).unwrap();
        let of = |name: &str| Opened::read(&root.path().join(name)).unwrap().summary();
        assert_eq!(of("a").state, "running");
        run.finish().unwrap();
        drop(run);
        let s = of("a");
        assert_eq!((s.state, s.steps, s.epochs, s.model.as_deref()), ("finished", 3, 1, Some("m")));
        assert_eq!(
            (s.train_loss, s.val_loss, s.best_val_loss, s.best_step),
            (Some(2.0), Some(1.75), Some(1.5), Some(2))
        );
        assert_eq!(s.tokens, 60.0);
        drop(Run::create(root.path().join("sweep/b"), json!({}), Policy::Number).unwrap());
        assert_eq!(of("sweep/b").state, "unfinished");
        std::fs::create_dir_all(root.path().join("broken")).unwrap();
        std::fs::write(root.path().join("broken/run.json"), "{").unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        let all = list(root.path());
        assert_eq!(all.iter().filter(|r| r.1.is_ok()).count(), 2);
        assert_eq!(all.len(), 3);
        assert!(Opened::read(root.path()).unwrap_err().to_string().contains("holds no run"));
    }
}
