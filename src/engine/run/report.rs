//! `report.md` and `report.html`: what a run did, on one page that opens offline.
//!
//! The page is first a list of `Part`s made from the run's files, then written in either language. Everything that
//! came from a script, a model or a data set is escaped: a report is safe to open whatever the model said.

use super::atomic::write_atomic;
use super::curve::Curve;
use super::number::from_json;
use super::plot;
use super::record::{Record, Status};
use super::{HTML_FILE, LOG_FILE, MARKDOWN_FILE, NOTES_FILE, SETTINGS_FILE, log};
use crate::engine::{Error, Result};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A piece of the page.
enum Part {
    Heading(String),
    Text(String),
    /// Column titles, then rows.
    Table(Vec<String>, Vec<Vec<String>>),
    /// A curve: title, SVG text, and the file beside the report.
    Figure(String, String, &'static str),
}

/// Writes both files into the run directory `dir`; returns the path of the HTML one.
///
/// # Errors
/// If the run's own files cannot be read, or the report not written.
pub fn write(dir: &Path) -> Result<PathBuf> {
    let name = dir.file_name().map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned());
    let parts = parts(dir, &name)?;
    write_atomic(dir.join(MARKDOWN_FILE), markdown(&name, &parts).as_bytes())?;
    let path = dir.join(HTML_FILE);
    write_atomic(&path, html(&name, &parts).as_bytes())?;
    Ok(path)
}

fn parts(dir: &Path, name: &str) -> Result<Vec<Part>> {
    let lines = log::read(dir.join(LOG_FILE))?;
    let notes = object(&dir.join(NOTES_FILE))?;
    let settings = object(&dir.join(SETTINGS_FILE))?;
    let mut parts = vec![Part::Heading("Summary".into()), summary(dir, &lines, &notes)?];

    let curve = Curve::from_log(&lines);
    parts.push(Part::Heading("Loss".into()));
    parts.push(Part::Figure("Training and validation loss".into(), plot::loss_figure(&curve, name)?.svg, "loss.svg"));
    let epochs: Vec<_> = lines.iter().filter(|l| is(l, "epoch")).collect();
    if !epochs.is_empty() {
        let titles = ["epoch", "training loss", "validation loss", "label tokens", "seconds", "peak MiB"];
        let keys = ["epoch", "train_loss", "val_loss", "label_tokens", "seconds", "peak_mib"];
        let row = |l: &&log::Fields| keys.iter().map(|k| l.get(*k).map_or_else(String::new, shown)).collect();
        parts.push(Part::Table(titles.map(String::from).to_vec(), epochs.iter().map(row).collect()));
    }
    if !curve.lr.is_empty() || !curve.grad_norm.is_empty() {
        parts.push(Part::Heading("Learning rate and gradient norm".into()));
        parts.push(Part::Figure("Optimizer".into(), plot::optim_figure(&curve, name)?.svg, "optim.svg"));
    }
    if let Some(samples) = samples(&notes) {
        parts.push(Part::Heading("Answers before and after".into()));
        parts.push(samples);
    }
    for (key, value) in notes.iter().filter(|(k, _)| !["before", "after"].contains(&k.as_str())) {
        parts.push(Part::Heading(format!("Note: {key}")));
        parts.push(match value {
            Value::Object(map) => pairs(map),
            other => Part::Text(shown(other)),
        });
    }
    parts.push(Part::Heading("Settings".into()));
    parts.push(pairs(&settings));
    Ok(parts)
}

fn summary(dir: &Path, lines: &[log::Fields], notes: &Map<String, Value>) -> Result<Part> {
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
    Ok(Part::Table(vec!["what".into(), "value".into()], rows.into_iter().map(Vec::from).collect()))
}

/// `notes.before` and `notes.after` side by side: arrays of maps with `set`, `prompt`, `reference`, `answer`.
fn samples(notes: &Map<String, Value>) -> Option<Part> {
    let (before, after) = (notes.get("before")?.as_array()?, notes.get("after")?.as_array()?);
    let text = |v: Option<&Value>, key: &str| v.and_then(|v| v.get(key)).map_or_else(String::new, shown);
    let rows: Vec<Vec<String>> = after
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let set = if text(Some(a), "set") == "train" { "training set" } else { "held out" };
            let (prompt, reference) = (text(Some(a), "prompt"), text(Some(a), "reference"));
            vec![set.into(), prompt, reference, text(before.get(i), "answer"), text(Some(a), "answer")]
        })
        .collect();
    let titles = ["set", "prompt", "reference", "before", "after"].map(String::from).to_vec();
    (!rows.is_empty()).then_some(Part::Table(titles, rows))
}

fn pairs(map: &Map<String, Value>) -> Part {
    let rows = map.iter().map(|(k, v)| vec![k.clone(), shown(v)]).collect();
    Part::Table(vec!["name".into(), "value".into()], rows)
}

fn is(line: &log::Fields, kind: &str) -> bool {
    line.get("kind").and_then(Value::as_str) == Some(kind)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Number(n) if n.is_f64() => {
            let x = n.as_f64().unwrap_or(f64::NAN);
            let plain = x == 0.0 || (1e-3..1e7).contains(&x.abs());
            if plain {
                format!("{x:.4}").trim_end_matches('0').trim_end_matches('.').to_string()
            } else {
                format!("{x:e}")
            }
        }
        other => other.to_string(),
    }
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("not a JSON object: {e}")))
}

fn markdown(name: &str, parts: &[Part]) -> String {
    // A cell is one line, and nothing in it may be taken for markup.
    let cell = |s: &String| escape(s).replace('|', "\\|").replace('`', "\\`").replace('\r', "").replace('\n', "<br>");
    let mut out = format!("# Run {}\n", escape(name));
    for part in parts {
        // Writing to a string cannot fail.
        let _ = match part {
            Part::Heading(text) => write!(out, "\n## {}\n\n", escape(text)),
            Part::Text(text) => writeln!(out, "{}", escape(text)),
            Part::Figure(title, _, file) => write!(out, "![{title}]({file})\n\n"),
            Part::Table(titles, rows) => {
                let line =
                    |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
                let rule = format!("|{}\n", " --- |".repeat(titles.len()));
                let body: String = rows.iter().map(|r| line(r)).collect();
                write!(out, "{}{rule}{body}", line(titles))
            }
        };
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;\
background:#fff}h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #ddd;padding-bottom:.3rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .7rem;\
border-bottom:1px solid #e5e5e5;overflow-wrap:anywhere;white-space:pre-wrap}th{white-space:nowrap;background:#f6f6f6}\
figure{margin:1rem 0}figure svg{max-width:100%;height:auto;background:#fff}";

fn html(name: &str, parts: &[Part]) -> String {
    let name = escape(name);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>Run {name}</title>\n<style>{STYLE}</style>\n\
         <h1>Run {name}</h1>\n"
    );
    for part in parts {
        // Writing to a string cannot fail.
        let _ = match part {
            Part::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
            Part::Text(text) => writeln!(out, "<p>{}</p>", escape(text)),
            // The SVG is our own drawing; the texts in it were escaped by the library that wrote it.
            Part::Figure(title, svg, _) => {
                let svg = svg.find("<svg").map_or(svg.as_str(), |at| &svg[at..]);
                writeln!(out, "<figure aria-label=\"{}\">{svg}</figure>", escape(title))
            }
            Part::Table(titles, rows) => {
                let line = |tag: &str, cells: &[String]| {
                    let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
                    format!("<tr>{cells}</tr>\n")
                };
                let body: String = rows.iter().map(|r| line("td", r)).collect();
                writeln!(out, "<div class=\"wide\"><table>\n{}{body}</table></div>", line("th", titles))
            }
        };
    }
    out.push_str("</html>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
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
        assert_eq!(html.matches("<svg").count(), 2);
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
