//! Progress: a bar on a terminal, now and then a line elsewhere.

use super::printer::Screen;
use crate::engine::{
    memory,
    progress::{Progress, Unit},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// One piece of work, as far as it has come.
struct Work {
    label: String,
    total: u64,
    unit: Unit,
    started: Instant,
    done: u64,
    metrics: Vec<(String, String)>,
    over: bool,
}

impl Work {
    fn new(total: u64, label: &str, unit: Unit) -> Self {
        let started = Instant::now();
        Work { label: label.to_string(), total, unit, started, done: 0, metrics: Vec::new(), over: false }
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        line(&self.label, self.done, self.total, self.unit, seconds, &self.metrics)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Displays hold no state that a panic could leave half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar with position, rate, time left, metrics and memory. A line stays in its place when it is over.
pub(super) struct Bar {
    screen: Arc<Screen>,
    bar: ProgressBar,
    work: Mutex<Work>,
}

impl Bar {
    pub(super) fn new(screen: Arc<Screen>, total: u64, label: &str, unit: Unit) -> Self {
        // Among the others from the start: a bar of its own would draw itself at once, where nobody clears it away.
        let bar = screen.multi.add(if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) });
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
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar { screen, bar, work: Mutex::new(Work::new(total, label, unit)) }
    }

    fn leave(&self) {
        let mut work = lock(&self.work);
        if std::mem::replace(&mut work.over, true) {
            return;
        }
        self.bar.finish_and_clear();
        self.screen.multi.remove(&self.bar);
        self.screen.bars.fetch_sub(1, Ordering::Relaxed);
        if work.done > 0 {
            self.screen.stderr(&work.line());
        }
    }
}

impl Progress for Bar {
    fn update(&self, done: u64, metrics: &[(String, String)]) {
        let mut work = lock(&self.work);
        if !work.over {
            work.done = done;
            work.metrics = metrics.to_vec();
            self.bar.set_message(format!("{}{}", text(metrics), memory_text()));
            self.bar.set_position(done);
        }
    }

    fn finish(&self) {
        self.leave();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A line at every tenth of the way, and every few seconds in between.
pub(super) struct Lines {
    screen: Arc<Screen>,
    every: Duration,
    state: Mutex<State>,
}

struct State {
    work: Work,
    printed_at: Instant,
    printed: Option<u64>,
}

impl Lines {
    pub(super) fn new(screen: Arc<Screen>, total: u64, label: &str, unit: Unit, every: Duration) -> Self {
        let state = State { work: Work::new(total, label, unit), printed_at: Instant::now(), printed: None };
        Lines { screen, every, state: Mutex::new(state) }
    }

    fn print(&self, state: &mut State) {
        self.screen.stderr(&state.work.line());
        state.printed_at = Instant::now();
        state.printed = Some(state.work.done);
    }

    /// The last state is always shown, once; work that never began has none.
    fn leave(&self) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.work.over, true)
            && state.work.done > 0
            && state.printed != Some(state.work.done)
        {
            self.print(&mut state);
        }
    }
}

impl Progress for Lines {
    fn update(&self, done: u64, metrics: &[(String, String)]) {
        let mut state = lock(&self.state);
        if state.work.over {
            return;
        }
        state.work.done = done;
        state.work.metrics = metrics.to_vec();
        let tenth = |n: u64| (u128::from(n) * 10).checked_div(u128::from(state.work.total)).unwrap_or(0);
        let since = state.printed_at.elapsed();
        // Work that is over in a second says so once, at its end.
        let tenth_passed =
            tenth(done) > tenth(state.printed.unwrap_or(0)) && since >= self.every.min(Duration::from_secs(1));
        if tenth_passed || since >= self.every {
            self.print(&mut state);
        }
    }

    fn finish(&self) {
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
pub(super) fn clock(seconds: f64) -> String {
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
