//! The run's own report: what it did, on one page that opens offline, on the builder of [`crate::engine::report`].

use super::curve::Curve;
use super::number::from_json;
use super::open::Opened;
use super::reading::Reading;
use super::record::Status;
use super::{LOG_FILE, log, plot};
use crate::engine::Result;
use crate::engine::figure::Figure as Drawing;
use crate::engine::report::{Answer, Answers, Figure, Report, Table, shown};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Writes the report of `run`, whose curve is `curve`, into its directory; returns the path of its HTML file.
///
/// # Errors
/// The file system.
pub fn write(run: &Opened, curve: &Curve) -> Result<PathBuf> {
    let name = run.name();
    let mut report = Report::new(format!("Run {name}"), "");
    report.section("Summary");
    report.table(summary(run, curve))?;

    report.section("Loss");
    // The SVG itself is in the file.
    let figure = |drawn: Drawing, caption: &str, file: &str| Figure {
        html: drawn.html(),
        caption: caption.into(),
        source: format!("`{LOG_FILE}`"),
        file: Some(file.into()),
        ..Figure::default()
    };
    report.figure(figure(plot::loss_figure(curve, &name), "Training and validation loss.", "loss.svg"));
    if !curve.loss.is_empty() {
        report.text(Reading::of(&run.log).sentences().join(" "), false);
    }
    let epochs: Vec<_> = run.lines("epoch").collect();
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
        let drawn = plot::optim_figure(curve, &name);
        report.figure(figure(drawn, "Learning rate, and the gradient's norm before clipping.", "optim.svg"));
    }
    if let Some(samples) = samples(&run.notes) {
        report.section("Answers before and after");
        report.answers(samples);
    }
    for (key, value) in run.notes.iter().filter(|(k, _)| !["before", "after"].contains(&k.as_str())) {
        report.section(format!("Note: {key}"));
        match value {
            Value::Object(map) => report.table(pairs(map))?,
            other => report.text(shown(other), false),
        }
    }
    report.section("Settings");
    match &run.settings {
        Value::Object(map) => report.table(pairs(map))?,
        other => report.text(shown(other), false),
    }
    report.save(&run.dir)
}

fn summary(run: &Opened, curve: &Curve) -> Table {
    let s = run.summary();
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |what: &str, value: String| rows.push([what.to_string(), value]);
    let state = if run.record.status == Status::Finished { "finished" } else { "not finished" };
    row("state", format!("{state}, {} session(s), host {}", run.record.sessions.len(), run.record.host));
    if let Some(began) = s.began {
        row("began", began);
    }
    if let Some(Value::Object(model)) = run.notes.get("model") {
        for (key, value) in model {
            row(&format!("model {key}"), shown(value));
        }
    }
    row("optimizer steps", s.steps.to_string());
    let skipped = run.lines("step").filter(|l| l.get("skipped") == Some(&Value::Bool(true))).count();
    if skipped > 0 {
        row("steps skipped (inf or NaN)", skipped.to_string());
    }
    row("input tokens", s.tokens.to_string());
    row("label tokens", run.total("label_tokens").to_string());
    if let Some(speed) = s.tokens_per_s {
        row("input tokens per second, in steps", format!("{speed:.1}"));
    }
    row("peak heap memory", format!("{:.1} MiB", s.peak_mib.unwrap_or(0.0)));
    if let (Some(first), Some(last)) = (curve.val_loss.first(), curve.val_loss.last()) {
        row("validation loss", format!("{:.4} -> {:.4}", first.1, last.1));
        row("validation perplexity", format!("{:.2} -> {:.2}", first.1.exp(), last.1.exp()));
    }
    let rows = rows.into_iter().map(|row| row.map(Value::String).to_vec()).collect();
    Table { columns: vec!["what".into(), "value".into()], rows, ..Table::default() }
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
