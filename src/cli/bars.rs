//! Progress: a bar on a terminal, now and then a line elsewhere.

use super::printer::Screen;
use crate::engine::{
    memory,
    progress::{Progress, Unit},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const MIB: f64 = 1024.0 * 1024.0;

/// A bar with position, rate, time left, metrics and memory.
pub(super) struct Bar {
    screen: Arc<Screen>,
    bar: ProgressBar,
    shown: AtomicBool,
}

impl Bar {
    pub(super) fn new(screen: Arc<Screen>, total: u64, label: &str, unit: Unit) -> Self {
        let bar = if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) };
        let style = match (total, unit) {
            (0, Unit::Items) => "{prefix} {spinner} {pos} {per_sec} {elapsed} {msg}",
            (0, Unit::Bytes) => "{prefix} {spinner} {bytes} {bytes_per_sec} {elapsed} {msg}",
            (_, Unit::Items) => "{prefix} {bar:24.cyan/blue} {pos}/{len} {per_sec} eta {eta} {msg}",
            (_, Unit::Bytes) => "{prefix} {bar:24.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}",
        };
        // The templates are the constants above; one that did not parse would leave the default bar.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_prefix(label.to_string());
        screen.bars.fetch_add(1, Ordering::Relaxed);
        let bar = screen.multi.add(bar);
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar { screen, bar, shown: AtomicBool::new(true) }
    }

    fn leave(&self, done: bool) {
        if self.shown.swap(false, Ordering::Relaxed) {
            if done && self.bar.length().is_some() {
                self.bar.finish();
            } else {
                self.bar.abandon();
            }
            self.screen.bars.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Progress for Bar {
    fn update(&self, done: u64, metrics: &[(String, String)]) {
        if self.shown.load(Ordering::Relaxed) {
            self.bar.set_message(format!("{}{}", text(metrics), memory_text()));
            self.bar.set_position(done);
        }
    }

    fn finish(&self) {
        self.leave(true);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.leave(false);
    }
}

/// A line at every tenth of the way, and at most every few seconds in between.
pub(super) struct Lines {
    screen: Arc<Screen>,
    label: String,
    total: u64,
    unit: Unit,
    every: Duration,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    done: u64,
    metrics: Vec<(String, String)>,
    printed_at: Instant,
    printed: Option<u64>,
    finished: bool,
}

impl Lines {
    pub(super) fn new(screen: Arc<Screen>, total: u64, label: &str, unit: Unit, every: Duration) -> Self {
        let started = Instant::now();
        let state = State { done: 0, metrics: Vec::new(), printed_at: started, printed: None, finished: false };
        Lines { screen, label: label.to_string(), total, unit, every, started, state: Mutex::new(state) }
    }

    fn print(&self, state: &mut State) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.screen.stderr(&line(&self.label, state.done, self.total, self.unit, seconds, &state.metrics));
        state.printed_at = Instant::now();
        state.printed = Some(state.done);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last state is always shown, once.
    fn leave(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.finished, true) && state.printed != Some(state.done) {
            self.print(&mut state);
        }
    }
}

impl Progress for Lines {
    fn update(&self, done: u64, metrics: &[(String, String)]) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.done = done;
        state.metrics = metrics.to_vec();
        let tenth = |n: u64| (u128::from(n) * 10).checked_div(u128::from(self.total)).unwrap_or(0);
        if tenth(done) > tenth(state.printed.unwrap_or(0)) || state.printed_at.elapsed() >= self.every {
            self.print(&mut state);
        }
    }

    fn finish(&self) {
        let mut state = self.state();
        state.done = state.done.max(self.total);
        drop(state);
        self.leave();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.leave();
    }
}

fn line(label: &str, done: u64, total: u64, unit: Unit, seconds: f64, metrics: &[(String, String)]) -> String {
    let amount = |n: f64| match unit {
        Unit::Items => format!("{n:.0}"),
        Unit::Bytes => format!("{:.1} MiB", n / MIB),
    };
    let rate = done as f64 / seconds.max(1e-9);
    let mut parts = vec![label.to_string()];
    match total {
        0 => parts.push(amount(done as f64)),
        _ => parts.push(format!(
            "{}/{} ({:.0}%)",
            amount(done as f64),
            amount(total as f64),
            100.0 * done as f64 / total as f64
        )),
    }
    parts.push(match unit {
        Unit::Items if rate >= 10.0 => format!("{rate:.0}/s"),
        Unit::Items => format!("{rate:.2}/s"),
        Unit::Bytes => format!("{}/s", amount(rate)),
    });
    match total.saturating_sub(done) {
        left @ 1.. if done > 0 => parts.push(format!("eta {}", clock(left as f64 / rate))),
        _ => parts.push(clock(seconds)),
    }
    parts.push(format!("{}{}", text(metrics), memory_text()));
    parts.join("  ")
}

fn text(metrics: &[(String, String)]) -> String {
    metrics.iter().map(|(name, value)| format!("{name} {value}  ")).collect()
}

fn memory_text() -> String {
    format!("mem {:.0} MiB", memory::current() as f64 / MIB)
}

/// `0:07`, `12:30`, `3:00:00`.
fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the lines that end up in logs: amount, rate, time left, metrics.
    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let metrics = [("loss".to_string(), "1.25".to_string())];
        let text = line("training", 30, 120, Unit::Items, 60.0, &metrics);
        assert!(text.starts_with("training  30/120 (25%)  0.50/s  eta 3:00  loss 1.25  mem "), "{text}");
        let text = line("loading", 3 << 20, 3 << 20, Unit::Bytes, 2.0, &[]);
        assert!(text.starts_with("loading  3.0 MiB/3.0 MiB (100%)  1.5 MiB/s  0:02  mem "), "{text}");
        assert_eq!(clock(10_800.2), "3:00:00");
    }
}
