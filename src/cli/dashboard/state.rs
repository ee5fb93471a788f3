//! What the dashboard knows of the run.

use crate::engine::number::from_json;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::time::Instant;

/// One printed line.
pub(super) struct Line {
    pub(super) text: String,
    /// For standard error.
    pub(super) note: bool,
}

/// Work under way.
pub(super) struct Work {
    id: u64,
    pub(super) label: String,
    pub(super) total: u64,
    pub(super) done: u64,
    pub(super) since: Instant,
}

impl Work {
    /// Seconds left at the pace so far.
    pub(super) fn left(&self) -> Option<f64> {
        let pace = self.since.elapsed().as_secs_f64() / self.done as f64;
        (self.done > 0 && self.total > 0).then(|| pace * self.total.saturating_sub(self.done) as f64)
    }
}

/// Lines kept for when the run is over.
const MOST_LINES: usize = 10_000;

/// See the module's description.
pub(super) struct State {
    pub(super) name: String,
    pub(super) since: Instant,
    pub(super) work: Vec<Work>,
    next: u64,
    pub(super) loss: Vec<(f64, f64)>,
    pub(super) held_out: Vec<(f64, f64)>,
    pub(super) step: u64,
    pub(super) epoch: u64,
    /// The last value of each number in a step's line, in the order in which they came.
    pub(super) values: Vec<(String, f64)>,
    pub(super) sample: Option<(String, String)>,
    pub(super) lines: VecDeque<Line>,
    /// Lines that were too many to keep.
    dropped: usize,
    partial: String,
}

impl State {
    pub(super) fn new(name: &str) -> State {
        State {
            name: name.to_string(),
            since: Instant::now(),
            work: Vec::new(),
            next: 0,
            loss: Vec::new(),
            held_out: Vec::new(),
            step: 0,
            epoch: 0,
            values: Vec::new(),
            sample: None,
            lines: VecDeque::new(),
            dropped: 0,
            partial: String::new(),
        }
    }

    pub(super) fn line(&mut self, text: &str, note: bool) {
        let text = if note { text.to_string() } else { std::mem::take(&mut self.partial) + text };
        self.lines.push_back(Line { text, note });
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        for (i, piece) in text.split('\n').enumerate() {
            if i > 0 {
                self.line("", false);
            }
            self.partial.push_str(piece);
        }
    }

    /// What was printed; where that was too much, a note of it first.
    pub(super) fn take_lines(&mut self) -> VecDeque<Line> {
        if !self.partial.is_empty() {
            self.line("", false);
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let text = format!("({dropped} earlier lines were not kept by --dashboard)");
            self.lines.push_front(Line { text, note: true });
        }
        std::mem::take(&mut self.lines)
    }

    pub(super) fn begin(&mut self, total: u64, label: &str) -> u64 {
        self.next += 1;
        let (id, label) = (self.next, label.to_string());
        self.work.push(Work { id, label, total, done: 0, since: Instant::now() });
        id
    }

    pub(super) fn update(&mut self, id: u64, done: u64) {
        if let Some(work) = self.work.iter_mut().find(|w| w.id == id) {
            work.done = done;
        }
    }

    pub(super) fn end(&mut self, id: u64) {
        self.work.retain(|w| w.id != id);
    }

    pub(super) fn logged(&mut self, line: &Map<String, Value>) {
        let number = |key: &str| line.get(key).and_then(from_json);
        let step = line.get("step").and_then(Value::as_u64).unwrap_or(self.step);
        if step < self.step {
            // Another run has begun: its curve is not the end of the last one's.
            (self.loss, self.held_out, self.values) = Default::default();
        }
        self.step = step;
        self.epoch = line.get("epoch").and_then(Value::as_u64).unwrap_or(self.epoch);
        if let Some(loss) = number("val_loss") {
            self.held_out.push((step as f64, loss));
        }
        if line.get("kind").and_then(Value::as_str) != Some("step") {
            return;
        }
        if let Some(loss) = number("loss") {
            self.loss.push((step as f64, loss));
        }
        for (name, value) in line {
            let Some(x) = from_json(value) else { continue };
            match self.values.iter_mut().find(|v| v.0 == *name) {
                Some(known) => known.1 = x,
                None => self.values.push((name.clone(), x)),
            }
        }
    }

    pub(super) fn noted(&mut self, _: &str, value: &Value) {
        let Some(last) = value.as_array().and_then(|a| a.last()) else { return };
        let text = |key: &str| last.get(key).and_then(Value::as_str).map(String::from);
        if let Some(answer) = text("answer") {
            self.sample = Some((text("prompt").unwrap_or_default(), answer));
        }
    }

    /// The last value of the number `name`.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|v| v.0 == name).map(|v| v.1)
    }
}
