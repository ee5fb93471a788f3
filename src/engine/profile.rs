//! Where native time goes: calls, time, arithmetic and bytes of each operation, and all of them in order as a trace.
//!
//! Off until [`start`]; then every operation opens a [`span`], and whoever multiplies matrices reports its [`work`]. An
//! operation's time is its own: that of operations inside it is theirs. The clock is that of the thread that runs the script,
//! on which kernels' threads are waited for; on a GPU it sees kernels launched, not run.

mod table;
mod trace;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What an operation is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// For its value.
    #[default]
    Forward,
    /// For gradients.
    Backward,
    /// Once more, where checkpointing kept nothing.
    Recompute,
}

impl Phase {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Recompute => "recompute",
        }
    }
}

/// What the calls of one operation in one phase came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// How many there were.
    pub calls: u64,
    /// Their time, without that of operations inside them.
    pub time: Duration,
    /// Floating-point operations of matrix products, two for each multiplication and addition.
    pub flops: f64,
    /// Bytes of operands and results.
    pub bytes: f64,
}

/// What was seen between [`start`] and [`stop`].
#[derive(Debug)]
pub struct Profile {
    /// From one to the other.
    pub wall: Duration,
    /// By operation and phase.
    pub totals: BTreeMap<(&'static str, Phase), Total>,
    events: Vec<Event>,
    /// Calls that the trace has no more room for.
    left_out: u64,
}

/// One call.
#[derive(Debug, Clone, Copy)]
struct Event {
    op: &'static str,
    phase: Phase,
    /// Since [`start`].
    at: Duration,
    /// With what was inside.
    time: Duration,
    flops: f64,
    bytes: f64,
}

/// Most calls that a trace keeps: no viewer opens more.
const EVENTS: usize = 1_000_000;

/// An operation under way.
struct Open {
    op: &'static str,
    phase: Phase,
    start: Instant,
    inside: Duration,
    flops: f64,
    bytes: f64,
}

struct Recorder {
    began: Instant,
    open: Vec<Open>,
    profile: Profile,
    traced: bool,
}

impl Recorder {
    fn close(&mut self) {
        let Some(Open { op, phase, start, inside, flops, bytes }) = self.open.pop() else { return };
        let time = start.elapsed();
        if let Some(outer) = self.open.last_mut() {
            outer.inside += time;
        }
        let total = self.profile.totals.entry((op, phase)).or_default();
        total.calls += 1;
        total.time += time.saturating_sub(inside);
        total.flops += flops;
        total.bytes += bytes;
        if !self.traced {
            return;
        }
        if self.profile.events.len() < EVENTS {
            let at = start.duration_since(self.began);
            self.profile.events.push(Event { op, phase, at, time, flops, bytes });
        } else {
            self.profile.left_out += 1;
        }
    }
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Forward) };
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Begins to watch this thread; if `traced`, every call is kept for a trace.
pub fn start(traced: bool) {
    let profile = Profile { wall: Duration::ZERO, totals: BTreeMap::new(), events: Vec::new(), left_out: 0 };
    RECORDER.set(Some(Recorder { began: Instant::now(), open: Vec::new(), profile, traced }));
    ON.set(true);
}

/// Ends watching; `None` if it had not begun.
pub fn stop() -> Option<Profile> {
    ON.set(false);
    let recorder = RECORDER.take()?;
    Some(Profile { wall: recorder.began.elapsed(), ..recorder.profile })
}

/// Whether this thread is watched.
#[inline]
pub fn on() -> bool {
    ON.get()
}

fn with(f: impl FnOnce(&mut Recorder)) {
    RECORDER.with_borrow_mut(|r| r.as_mut().map(f));
}

/// An operation that is under way until this is dropped.
#[must_use = "a span ends where it is dropped"]
#[derive(Debug)]
pub struct Span(bool);

/// Opens a span of `op`; does nothing where nobody watches.
#[inline]
pub fn span(op: &'static str) -> Span {
    if on() {
        let phase = PHASE.get();
        with(|r| {
            r.open.push(Open { op, phase, start: Instant::now(), inside: Duration::ZERO, flops: 0.0, bytes: 0.0 });
        });
    }
    Span(on())
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.0 {
            with(Recorder::close);
        }
    }
}

/// Adds to what the innermost span counts: floating-point operations, bytes of operands and results.
#[inline]
pub fn work(flops: f64, bytes: usize) {
    if on() {
        with(|r| {
            if let Some(open) = r.open.last_mut() {
                open.flops += flops;
                open.bytes += bytes as f64;
            }
        });
    }
}

/// What follows belongs to `phase` until this is dropped.
#[must_use = "a phase ends where it is dropped"]
#[derive(Debug)]
pub struct PhaseGuard(Phase);

/// Begins a phase.
pub fn phase(phase: Phase) -> PhaseGuard {
    PhaseGuard(PHASE.replace(phase))
}

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        PHASE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const MS: Duration = Duration::from_millis(1);

    /// Protects the table's sums: an operation's time is without that of those inside it, by phase, with its own work.
    #[test]
    fn time_is_an_operations_own() {
        let _nobody_watches = span("before");
        start(true);
        {
            let _outer = span("outer");
            work(4.0, 8);
            sleep(5 * MS);
            let _phase = phase(Phase::Backward);
            for _ in 0..2 {
                let _inner = span("inner");
                work(1.0, 2);
                sleep(10 * MS);
            }
        }
        let p = stop().unwrap();
        let (outer, inner) = (p.totals[&("outer", Phase::Forward)], p.totals[&("inner", Phase::Backward)]);
        assert_eq!((outer.calls, outer.flops, outer.bytes), (1, 4.0, 8.0));
        assert_eq!((inner.calls, inner.flops, inner.bytes), (2, 2.0, 4.0));
        assert!(inner.time >= 20 * MS && outer.time >= 5 * MS && outer.time + inner.time <= p.wall);
        assert_eq!((p.totals.len(), p.events.len(), PHASE.get()), (2, 3, Phase::Forward));
        assert!(stop().is_none() && !on());
    }
}
