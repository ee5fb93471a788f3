//! Speed and time left: tokens per second of each step, of the whole run, and an estimate of the end.
//!
//! Time is measured between marks. A step ends at a mark; whatever else takes time between steps (validation, saving,
//! sampling) calls [`Meter::mark`] when it is done, so that it is not charged to the next step.

use crate::engine::{memory, pause};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// A clock that never goes back. A test brings its own.
pub trait Clock: Debug + Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // A paused script does no work that could be fast or slow.
        self.0.elapsed().saturating_sub(pause::time())
    }
}

/// What one step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTiming {
    /// Seconds since the last mark.
    pub seconds: f64,
    /// Input tokens of the step over its seconds; `None` if the clock did not move.
    pub tokens_per_s: Option<f64>,
}

/// Measures steps. See the module's text.
#[derive(Debug)]
pub struct Meter {
    clock: Box<dyn Clock>,
    marked: Duration,
    total_steps: Option<u64>,
    tokens: u64,
    seconds: f64,
    recent: f64,  // exponential mean of seconds per step, not yet bias-corrected
    correct: f64, // its bias correction: 1 - KEEP^steps
}

/// Share of the old mean that a new step keeps: the estimate follows the last ten steps or so.
const KEEP: f64 = 0.9;

impl Meter {
    /// A meter that starts now.
    pub fn new(clock: Box<dyn Clock>) -> Self {
        let marked = clock.now();
        Meter { clock, marked, total_steps: None, tokens: 0, seconds: 0.0, recent: 0.0, correct: 0.0 }
    }

    /// Says how many steps the whole run has: without it there is no [`Meter::eta`].
    pub fn set_total_steps(&mut self, total: u64) {
        self.total_steps = Some(total);
    }

    /// How many steps the whole run has, if that was said.
    pub fn total_steps(&self) -> Option<u64> {
        self.total_steps
    }

    /// Leaves the time since the last mark out of the next step; returns how long it was.
    pub fn mark(&mut self) -> Duration {
        let now = self.clock.now();
        let since = now.saturating_sub(self.marked);
        self.marked = now;
        since
    }

    /// Ends a step of `tokens` input tokens.
    pub fn step(&mut self, tokens: u64) -> StepTiming {
        let seconds = self.mark().as_secs_f64();
        self.tokens = self.tokens.saturating_add(tokens);
        self.seconds += seconds;
        self.recent = KEEP * self.recent + (1.0 - KEEP) * seconds;
        self.correct = KEEP * self.correct + (1.0 - KEEP);
        StepTiming { seconds, tokens_per_s: rate(tokens, seconds) }
    }

    /// Input tokens per second over all steps measured so far.
    pub fn tokens_per_s(&self) -> Option<f64> {
        rate(self.tokens, self.seconds)
    }

    /// Time left after `done` steps of the whole run, from the pace of the last ten steps or so.
    ///
    /// `None` before the first step, and if the number of steps is not known.
    pub fn eta(&self, done: u64) -> Option<Duration> {
        let left = self.total_steps?.saturating_sub(done);
        if self.correct == 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(self.recent / self.correct * left as f64).ok()
    }
}

fn rate(tokens: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// Most heap memory in use at once so far, in MiB, to a tenth.
pub fn peak_mib() -> f64 {
    (memory::peak() as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A clock that a test moves by hand, in milliseconds.
    #[derive(Debug, Clone, Default)]
    pub struct HandClock(pub Arc<AtomicU64>);

    impl HandClock {
        pub fn advance(&self, milliseconds: u64) {
            self.0.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    /// Protects the speed of every log line: evaluation time is not charged to training, and the mean is by time.
    #[test]
    fn marks_keep_other_work_out() {
        let clock = HandClock::default();
        let mut meter = Meter::new(Box::new(clock.clone()));
        clock.advance(500);
        assert_eq!(meter.step(100), StepTiming { seconds: 0.5, tokens_per_s: Some(200.0) });
        clock.advance(9_000); // validation
        meter.mark();
        clock.advance(1_500);
        assert_eq!(meter.step(100).tokens_per_s, Some(100.0 / 1.5));
        assert_eq!(meter.tokens_per_s(), Some(100.0));
    }

    /// Protects the estimate: exact for a steady pace from the first step on, silent before it and without a total.
    #[test]
    fn eta_is_exact_for_a_steady_pace() {
        let clock = HandClock::default();
        let mut meter = Meter::new(Box::new(clock.clone()));
        assert_eq!(meter.eta(0), None);
        meter.set_total_steps(10);
        assert_eq!(meter.eta(0), None);
        for done in 1..=3 {
            clock.advance(2_000);
            meter.step(1);
            assert!((meter.eta(done).unwrap().as_secs_f64() - 2.0 * (10 - done) as f64).abs() < 1e-9);
        }
        assert_eq!(meter.eta(11), Some(Duration::ZERO));
    }

    /// Protects against a division by zero: a clock that stood still gives no rate.
    #[test]
    fn still_clock_gives_no_rate() {
        let mut meter = Meter::new(Box::new(HandClock::default()));
        assert_eq!(meter.step(7).tokens_per_s, None);
    }
}
