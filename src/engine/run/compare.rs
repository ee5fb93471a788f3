//! Runs beside each other: lists, the settings that differ, final figures, curves over each other.

use super::atomic::write_atomic;
use super::chart::chart;
use super::curve::Curve;
use super::open::{Opened, Summary};
use super::plot::compare_figure;
use crate::engine::figure::Figure as Drawing;
use crate::engine::report::{Figure, Report, Table};
use crate::engine::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const NONE: &str = "\u{2013}";

fn loss(x: Option<f64>) -> String {
    x.map_or(NONE.into(), |x| format!("{x:.4}"))
}

fn whole(x: Option<f64>) -> String {
    x.map_or(NONE.into(), |x| format!("{x:.0}"))
}

fn best(s: &Summary) -> String {
    match (s.best_val_loss, s.best_step) {
        (Some(x), Some(step)) => format!("{x:.4} @ {step}"),
        _ => NONE.into(),
    }
}

/// `2026-01-31 12:00` of a record's time.
fn time(began: Option<&String>) -> String {
    began.map_or(NONE.into(), |t| t.get(..16).unwrap_or(t).replace('T', " "))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A cell in one line, without what could move a terminal's cursor: settings and names come from files.
fn cell(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(one).collect()
}

/// `rows` under `titles`, numbers to the right, in columns two blanks apart.
fn columns(titles: &[&str], rows: &[Vec<String>], right_from: usize) -> String {
    let titles: Vec<String> = titles.iter().map(|t| cell(t)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|r| r.iter().map(|c| cell(c)).collect()).collect();
    let widths: Vec<usize> = (0..titles.len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).chain([titles[i].chars().count()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().enumerate().map(|(i, c)| {
            let blanks = " ".repeat(widths[i] - c.chars().count());
            if i >= right_from { format!("{blanks}{c}") } else { format!("{c}{blanks}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    std::iter::once(&titles).chain(&rows).map(line).collect::<Vec<_>>().join("\n")
}

/// The runs below `root` as a table for a terminal of `width` columns; empty for none. What does not fit is left out, from
/// the right.
pub fn list_text(runs: &[(PathBuf, Result<Opened>)], root: &Path, width: usize) -> String {
    let titles = ["run", "state", "steps", "held out", "best", "tokens/s", "peak MiB", "began (UTC)", "model"];
    let mut rows = Vec::new();
    let mut damaged = Vec::new();
    for (dir, run) in runs {
        match run.as_ref().map(Opened::summary) {
            Ok(s) => rows.push(vec![
                dir.strip_prefix(root).unwrap_or(dir).display().to_string(),
                s.state.into(),
                s.steps.to_string(),
                loss(s.val_loss),
                best(&s),
                whole(s.tokens_per_s),
                whole(s.peak_mib),
                time(s.began.as_ref()),
                s.model.as_deref().map_or(NONE.into(), |m| file_name(m).into()),
            ]),
            Err(e) => damaged.push(cell(&format!("{}: {e}", dir.display()))),
        }
    }
    let mut text = String::new();
    if !rows.is_empty() {
        let shown = (4..=titles.len()).rev().find(|n| {
            let wide = |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([titles[i].len()]).max().unwrap_or(0);
            (0..*n).map(|i| wide(i) + 2).sum::<usize>() <= width + 2
        });
        let shown = shown.unwrap_or(4);
        rows.iter_mut().for_each(|r| r.truncate(shown));
        text = columns(&titles[..shown], &rows, 2);
    }
    for line in damaged {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &line;
    }
    text
}

/// The runs as a JSON array of their summaries.
pub fn list_json(runs: &[(PathBuf, Result<Opened>)]) -> String {
    let one = |(dir, run): &(PathBuf, Result<Opened>)| match run {
        Ok(opened) => with_dir(opened),
        Err(e) => json!({"dir": dir.display().to_string(), "error": e.to_string()}),
    };
    pretty(&Value::Array(runs.iter().map(one).collect()))
}

fn with_dir(opened: &Opened) -> Value {
    let mut all = Map::new();
    all.insert("dir".into(), opened.dir.display().to_string().into());
    if let Ok(Value::Object(summary)) = serde_json::to_value(opened.summary()) {
        all.extend(summary);
    }
    Value::Object(all)
}

fn pretty(value: &Value) -> String {
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Everything about one run, as JSON.
pub fn show_json(opened: &Opened) -> String {
    let mut all = with_dir(opened);
    all["settings"] = opened.settings.clone();
    all["notes"] = Value::Object(opened.notes.clone());
    pretty(&all)
}

/// One run for a terminal of `width` columns: figures, curve, settings.
pub fn show_text(opened: &Opened, width: usize) -> String {
    let s = opened.summary();
    let rows: Vec<Vec<String>> = figures(&s).into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    let mut text = format!("{}\n{}", opened.dir.display(), indented(&columns(&["", ""], &rows, 2)));
    let curve = Curve::from_log(&opened.log);
    let lines = chart(&curve.loss, &curve.val_loss, width.min(100), 14);
    if !lines.is_empty() {
        text += &format!("\n\nloss by optimizer step, \u{25c6} held out\n{}", lines.join("\n"));
    }
    let mut settings = Vec::new();
    flat("", &opened.settings, &mut settings);
    if !settings.is_empty() {
        let rows: Vec<Vec<String>> = settings.into_iter().map(|(k, v)| vec![k, shown(&v)]).collect();
        text += &format!("\n\nsettings{}", indented(&columns(&["", ""], &rows, 2)));
    }
    text
}

/// Two blanks before each line, and no first line where that is empty.
fn indented(text: &str) -> String {
    text.lines().skip(1).map(|l| format!("\n  {l}")).collect()
}

fn figures(s: &Summary) -> Vec<(&'static str, String)> {
    vec![
        ("state", s.state.into()),
        ("began (UTC)", time(s.began.as_ref())),
        ("model", s.model.clone().unwrap_or(NONE.into())),
        ("steps", s.steps.to_string()),
        ("epochs", s.epochs.to_string()),
        ("training loss", loss(s.train_loss)),
        ("held-out loss", loss(s.val_loss)),
        ("best held-out loss", best(s)),
        ("tokens/s", whole(s.tokens_per_s)),
        ("seconds in steps", format!("{:.1}", s.seconds)),
        ("peak MiB", whole(s.peak_mib)),
    ]
}

/// `value` taken apart: `lora.rank` and its value.
fn flat(at: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                flat(&name, value, out);
            }
        }
        other => out.push((at.to_string(), other.clone())),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "()".into(),
        other => other.to_string(),
    }
}

/// Several runs side by side.
#[derive(Debug)]
pub struct Comparison {
    names: Vec<String>,
    summaries: Vec<Summary>,
    dirs: Vec<String>,
    /// Settings that are not the same in all runs: name, and the value in each run.
    differing: Vec<(String, Vec<Option<Value>>)>,
    curves: Vec<(String, Curve)>,
}

impl Comparison {
    /// Compares `runs`, in their order.
    pub fn new(runs: &[Opened]) -> Comparison {
        let settings: Vec<Vec<(String, Value)>> = runs
            .iter()
            .map(|run| {
                let mut all = Vec::new();
                flat("", &run.settings, &mut all);
                all
            })
            .collect();
        let mut keys: Vec<&String> = Vec::new();
        for (key, _) in settings.iter().flatten() {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let value = |of: &[(String, Value)], key: &String| of.iter().find(|s| s.0 == *key).map(|s| s.1.clone());
        let mut differing = Vec::new();
        for key in keys {
            let values: Vec<Option<Value>> = settings.iter().map(|s| value(s, key)).collect();
            if values.windows(2).any(|w| !same(w[0].as_ref(), w[1].as_ref())) {
                differing.push((key.clone(), values));
            }
        }
        let summaries: Vec<Summary> = runs.iter().map(Opened::summary).collect();
        // Two runs of one name in different places are told apart by them.
        let dirs: Vec<String> = runs.iter().map(|r| r.dir.display().to_string()).collect();
        let alone = |name: &String| summaries.iter().filter(|s| s.name == *name).count() == 1;
        let names: Vec<String> = summaries
            .iter()
            .zip(&dirs)
            .map(|(s, dir)| if alone(&s.name) { s.name.clone() } else { dir.clone() })
            .collect();
        let curves = names.iter().cloned().zip(runs.iter().map(|r| Curve::from_log(&r.log))).collect();
        Comparison { names, summaries, dirs, differing, curves }
    }

    fn setting_rows(&self) -> Vec<Vec<String>> {
        let cell = |v: &Option<Value>| v.as_ref().map_or(NONE.into(), shown);
        self.differing
            .iter()
            .map(|(key, values)| [vec![key.clone()], values.iter().map(cell).collect()].concat())
            .collect()
    }

    fn figure_rows(&self) -> Vec<Vec<String>> {
        let all: Vec<_> = self.summaries.iter().map(figures).collect();
        let count = all.first().map_or(0, Vec::len);
        let row = |i: usize| [vec![all[0][i].0.to_string()], all.iter().map(|f| f[i].1.clone()).collect()].concat();
        (0..count).map(row).collect()
    }

    fn titles<'a>(&'a self, first: &'a str) -> Vec<&'a str> {
        [vec![first], self.names.iter().map(String::as_str).collect()].concat()
    }

    /// For a terminal: the settings that differ, then the figures.
    pub fn text(&self) -> String {
        let settings = match self.differing.is_empty() {
            true => "the settings are the same".to_string(),
            false => columns(&self.titles("setting"), &self.setting_rows(), 1),
        };
        format!("{settings}\n\n{}", columns(&self.titles("result"), &self.figure_rows(), 1))
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let runs: Vec<Value> = self
            .summaries
            .iter()
            .zip(&self.dirs)
            .map(|(s, dir)| {
                let mut run = serde_json::to_value(s).unwrap_or_default();
                run["dir"] = dir.clone().into();
                run
            })
            .collect();
        let differing: Map<String, Value> =
            self.differing.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
        pretty(&json!({"runs": runs, "settings": differing}))
    }

    /// The curves over each other.
    pub fn figure(&self) -> Drawing {
        compare_figure(&self.curves)
    }

    /// Writes one page with everything, which opens offline, as `path`.
    ///
    /// # Errors
    /// The file system.
    pub fn write_html(&self, path: &Path) -> Result<()> {
        let mut report = Report::new("Runs compared", self.names.join(", "));
        let cells =
            |rows: Vec<Vec<String>>| rows.into_iter().map(|r| r.into_iter().map(Value::String).collect()).collect();
        let columns = |first: &str| self.titles(first).into_iter().map(String::from).collect();
        report.section("Loss");
        let drawing = self.figure();
        report.figure(Figure {
            svg: drawing.svg(),
            html: drawing.html(),
            caption: "Losses by optimizer step: moving averages over faint values.".into(),
            source: "`log.jsonl` of each run".into(),
            ..Figure::default()
        });
        report.section("Results");
        report.table(Table { columns: columns("result"), rows: cells(self.figure_rows()), ..Table::default() })?;
        report.section("Settings that differ");
        if self.differing.is_empty() {
            report.text("None: the settings are the same.", false);
        } else {
            report.table(Table {
                columns: columns("setting"),
                rows: cells(self.setting_rows()),
                ..Table::default()
            })?;
        }
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        }
        write_atomic(path, report.html().as_bytes())
    }
}

/// Equal as settings are: 1 is 1.0.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => super::settings::differences(a, b, &[]).is_empty(),
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fields, Policy, Run};
    use super::*;

    fn run(root: &Path, name: &str, settings: Value, losses: &[f64]) -> Opened {
        let mut run = Run::create(root.join(name), settings, Policy::Number).unwrap();
        for loss in losses {
            run.log_micro(*loss, 10, 20);
            run.log_step(Fields::new()).unwrap();
        }
        run.log_eval(json!({"val_loss": losses[0]}).as_object().unwrap().clone()).unwrap();
        run.finish().unwrap();
        Opened::read(&root.join(name)).unwrap()
    }

    /// Protects the comparison: what differs and nothing else, the runs in the order asked for, a page with their curves.
    #[test]
    fn differences_and_figures_side_by_side() {
        let root = tempfile::tempdir().unwrap();
        let a =
            run(root.path(), "a", json!({"lr": 1e-3, "lora": {"rank": 8}, "epochs": 1, "seed": 3}), &[3.0, 2.5, 2.0]);
        let b = run(root.path(), "b", json!({"lr": 3e-4, "lora": {"rank": 8}, "epochs": 1.0}), &[3.5, 3.0, 2.75]);
        let both = Comparison::new(&[b, a]);
        let text = both.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["setting", "b", "a"]);
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["lr", "0.0003", "0.001"]);
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["seed", NONE, "3"]);
        assert!(!text.contains("rank") && !text.contains("epochs  1.0"));
        assert!(text.contains("2.7500") && text.contains("3.5000 @ 3"), "{text}");
        let json: Value = serde_json::from_str(&both.json()).unwrap();
        assert_eq!(json["runs"][0]["steps"], 3);
        let page = root.path().join("new/out.html");
        both.write_html(&page).unwrap();
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("<svg") && page.contains("3.5000 @ 3") && !page.contains("src=\"http"));
    }

    /// Protects the list: it fits the terminal, and a damaged run is named, not hidden.
    #[test]
    fn list_fits_the_terminal() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "long-name-of-a-run", json!({"model": "/models/some.gguf"}), &[3.0]);
        std::fs::create_dir(root.path().join("x")).unwrap();
        std::fs::write(root.path().join("x/run.json"), "{}").unwrap();
        let runs = super::super::open::list(root.path());
        for width in [40, 80, 120] {
            let text = list_text(&runs, root.path(), width);
            let first = text.lines().next().unwrap();
            assert!(first.chars().count() <= width.max(46) && first.starts_with("run"), "{width}: {text}");
            assert!(text.contains("run.json"), "{text}");
        }
        let wide = list_text(&runs, root.path(), 120);
        assert!(wide.contains("some.gguf") && wide.contains("\nlong-name-of-a-run "), "{wide}");
        assert!(
            show_text(&Opened::read(&runs[1].0).or_else(|_| Opened::read(&runs[0].0)).unwrap(), 80).contains("steps")
        );
    }

    /// Protects the terminal: what a setting holds is shown in its row, and nothing of it is obeyed.
    #[test]
    fn settings_are_shown_not_obeyed() {
        let root = tempfile::tempdir().unwrap();
        let opened = run(root.path(), "a", json!({"template": "x\ny\u{1b}[2J", "z": 1}), &[3.0]);
        let text = show_text(&opened, 80);
        assert!(!text.contains('\u{1b}') && text.contains("template  x\\ny\\u{1b}[2J"), "{text}");
    }
}
