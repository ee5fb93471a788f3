//! The run's own report: what it did, on one page that opens offline, on the builder of [`crate::engine::report`].

use super::curve::Curve;
use super::number::from_json;
use super::plot;
use super::reading::Reading;
use super::record::{Record, Status};
use super::{LOG_FILE, NOTES_FILE, SETTINGS_FILE, log};
use crate::engine::report::{Answer, Answers, Figure, Report, Table, shown};
use crate::engine::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Writes the report into the run directory `dir`; returns the path of its HTML file.
///
/// # Errors
/// If the run's own files cannot be read, or the report not written.
pub fn write(dir: &Path) -> Result<PathBuf> {
    let name = dir.file_name().map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned());
    let lines = log::read(dir.join(LOG_FILE))?;
    let notes = object(&dir.join(NOTES_FILE))?;
    let settings = object(&dir.join(SETTINGS_FILE))?;
    let mut report = Report::new(format!("Run {name}"), "");
    report.section("Summary");
    report.table(summary(dir, &lines, &notes)?)?;

    let curve = Curve::from_log(&lines);
    report.section("Loss");
    let figure = |drawn: crate::engine::figure::Figure, caption: &str, file: &str| Figure {
        svg: drawn.svg(),
        html: drawn.html(),
        caption: caption.into(),
        source: format!("`{LOG_FILE}`"),
        file: Some(file.into()),
    };
    report.figure(figure(plot::loss_figure(&curve, &name), "Training and validation loss.", "loss.svg"));
    if !curve.loss.is_empty() {
        report.text(Reading::of(&lines).sentences().join(" "), false);
    }
    let epochs: Vec<_> = lines.iter().filter(|l| is(l, "epoch")).collect();
    if !epochs.is_empty() {
        let titles = ["epoch", "training loss", "validation loss", "label tokens", "seconds", "peak MiB"];
        let keys = ["epoch", "train_loss", "val_loss", "label_tokens", "seconds", "peak_mib"];
        let row = |l: &&log::Fields| keys.iter().map(|k| l.get(*k).cloned().unwrap_or_default()).collect();
        report.table(Table {
            columns: titles.map(String::from).to_vec(),
            rows: epochs.iter().map(row).collect(),
            measured: vec!["seconds".into(), "peak MiB".into()],
            ..Table::default()
        })?;
    }
    if curve.has_optimizer() {
        report.section("Learning rate and gradient norm");
        let drawn = plot::optim_figure(&curve, &name);
        report.figure(figure(drawn, "Learning rate, and the gradient's norm before clipping.", "optim.svg"));
    }
    if let Some(samples) = samples(&notes) {
        report.section("Answers before and after");
        report.answers(samples);
    }
    for (key, value) in notes.iter().filter(|(k, _)| !["before", "after"].contains(&k.as_str())) {
        report.section(format!("Note: {key}"));
        match value {
            Value::Object(map) => report.table(pairs(map))?,
            other => report.text(shown(other), false),
        }
    }
    report.section("Settings");
    report.table(pairs(&settings))?;
    report.save(dir)
}

fn summary(dir: &Path, lines: &[log::Fields], notes: &Map<String, Value>) -> Result<Table> {
    let record = Record::read(dir)?;
    let steps: Vec<_> = lines.iter().filter(|l| is(l, "step")).collect();
    let number = |l: &log::Fields, key: &str| l.get(key).and_then(from_json);
    let total = |key: &str| steps.iter().filter_map(|l| number(l, key)).sum::<f64>();
    let peak = lines.iter().filter_map(|l| number(l, "peak_mib")).fold(0.0, f64::max);
    let val: Vec<f64> = lines.iter().filter_map(|l| number(l, "val_loss")).collect();
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |what: &str, value: String| rows.push([what.to_string(), value]);
    if let Some(record) = record {
        let state = if record.status == Status::Finished { "finished" } else { "not finished" };
        row("state", format!("{state}, {} session(s), host {}", record.sessions.len(), record.host));
        if let Some(session) = record.sessions.first() {
            row("began", session.began.clone());
        }
    }
    if let Some(Value::Object(model)) = notes.get("model") {
        for (key, value) in model {
            row(&format!("model {key}"), shown(value));
        }
    }
    row("optimizer steps", steps.len().to_string());
    let skipped = steps.iter().filter(|l| l.get("skipped") == Some(&Value::Bool(true))).count();
    if skipped > 0 {
        row("steps skipped (inf or NaN)", skipped.to_string());
    }
    row("input tokens", format!("{}", total("tokens")));
    row("label tokens", format!("{}", total("label_tokens")));
    if total("seconds") > 0.0 {
        row("input tokens per second, in steps", format!("{:.1}", total("tokens") / total("seconds")));
    }
    row("peak heap memory", format!("{peak:.1} MiB"));
    if let (Some(first), Some(last)) = (val.first(), val.last()) {
        row("validation loss", format!("{first:.4} -> {last:.4}"));
        row("validation perplexity", format!("{:.2} -> {:.2}", first.exp(), last.exp()));
    }
    let rows = rows.into_iter().map(|row| row.map(Value::String).to_vec()).collect();
    Ok(Table { columns: vec!["what".into(), "value".into()], rows, ..Table::default() })
}

/// `notes.before` and `notes.after` side by side: arrays of maps with `set`, `prompt`, `reference`, `answer`.
fn samples(notes: &Map<String, Value>) -> Option<Answers> {
    let (before, after) = (notes.get("before")?.as_array()?, notes.get("after")?.as_array()?);
    let text = |v: Option<&Value>, key: &str| v.and_then(|v| v.get(key)).map_or_else(String::new, shown);
    let facts = |v: Option<&Value>| {
        let reason = v.and_then(|v| v.get("reason")).map(|r| format!("ended by {}", shown(r)));
        let likeness = v.and_then(|v| v.get("rouge_l")).and_then(from_json).map(|x| format!("ROUGE-L {x:.3}"));
        reason.into_iter().chain(likeness).collect::<Vec<_>>().join(", ")
    };
    let items = after.iter().enumerate().map(|(i, a)| Answer {
        label: if text(Some(a), "set") == "train" { "training set" } else { "held out" }.into(),
        prompt: text(Some(a), "prompt"),
        reference: text(Some(a), "reference"),
        before: (text(before.get(i), "answer"), facts(before.get(i))),
        after: (text(Some(a), "answer"), facts(Some(a))),
    });
    let items: Vec<Answer> = items.collect();
    (!items.is_empty()).then(|| Answers { items, ..Answers::default() })
}

fn pairs(map: &Map<String, Value>) -> Table {
    let rows = map.iter().map(|(k, v)| vec![Value::String(k.clone()), Value::String(shown(v))]).collect();
    Table { columns: vec!["name".into(), "value".into()], rows, ..Table::default() }
}

fn is(line: &log::Fields, kind: &str) -> bool {
    line.get("kind").and_then(Value::as_str) == Some(kind)
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("not a JSON object: {e}")))
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, Run};
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> log::Fields {
        value.as_object().unwrap().clone()
    }

    /// Protects the person who opens a report: what a model or a data set says is text, never markup; and every section
    /// is there.
    #[test]
    fn everything_is_escaped_and_present() {
        let dir = tempfile::tempdir().unwrap();
        let hostile = "<script>alert(1)</script> | `x` \u{1b}[31m";
        let mut run = Run::create(dir.path().join("r"), json!({"lr": 1e-3, "model": hostile}), Policy::Number).unwrap();
        run.note("before", json!([{"set": "train", "prompt": hostile, "reference": "r", "answer": "b"}])).unwrap();
        run.note("after", json!([{"set": "train", "prompt": hostile, "reference": "r", "answer": hostile}])).unwrap();
        for i in 0..4 {
            run.log_micro(3.0 - f64::from(i) * 0.5, 10, 20);
            run.log_step(fields(json!({"lr": 1e-3, "grad_norm": 0.5}))).unwrap();
        }
        run.log_epoch(fields(json!({"val_loss": 2.0}))).unwrap();
        run.finish().unwrap();
        let html = std::fs::read_to_string(run.report().unwrap()).unwrap();
        let markdown = std::fs::read_to_string(dir.path().join("r/report.md")).unwrap();
        for text in [&html, &markdown] {
            assert!(!text.contains("<script>") && text.contains("&lt;script&gt;") && !text.contains('\u{1b}'));
            for word in ["Summary", "Loss", "Answers before and after", "Settings", "optimizer steps", "epoch"] {
                assert!(text.contains(word), "{word}");
            }
        }
        assert_eq!(html.matches("<svg").count(), 4);
        assert!(!html.contains("http://") || html.contains("www.w3.org"), "a report loads nothing");
    }

    /// Protects a run that was stopped before its first step: a report all the same.
    #[test]
    fn empty_runs_have_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::create(dir.path().join("r"), json!({}), Policy::Number).unwrap();
        assert!(run.report().unwrap().exists());
    }
}
