//! Counters of what the tape did on this thread: how a test shows that nothing needless was differentiated.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

/// What happened to one operation's nodes since [`reset`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpStats {
    /// Nodes recorded.
    pub recorded: u64,
    /// Backward functions run.
    pub executed: u64,
    /// Input gradients that those computed.
    pub input_grads: u64,
}

thread_local! {
    static OPS: RefCell<BTreeMap<&'static str, OpStats>> = const { RefCell::new(BTreeMap::new()) };
}
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Forgets this thread's counters.
pub fn reset() {
    OPS.with_borrow_mut(BTreeMap::clear);
}

/// This thread's counters, by operation.
pub fn by_op() -> BTreeMap<&'static str, OpStats> {
    OPS.with_borrow(Clone::clone)
}

/// Nodes alive in the process.
pub fn live_nodes() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

pub(super) fn node_recorded(op: &'static str) {
    LIVE.fetch_add(1, Ordering::Relaxed);
    OPS.with_borrow_mut(|m| m.entry(op).or_default().recorded += 1);
}

pub(super) fn node_executed(op: &'static str, input_grads: usize) {
    OPS.with_borrow_mut(|m| {
        let s = m.entry(op).or_default();
        s.executed += 1;
        s.input_grads += input_grads as u64;
    });
}

pub(super) fn node_dropped() {
    LIVE.fetch_sub(1, Ordering::Relaxed);
}
