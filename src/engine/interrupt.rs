//! Reasons to stop, which every long native loop polls: Ctrl-C, the end of the allowed time, too much memory in use.
//!
//! The first Ctrl-C asks for a stop. While a run with a saved state is under way (`graceful`), work goes on to the
//! next point where that state can be saved; a second Ctrl-C, or the first one elsewhere, stops at the next poll.
//! Where scripts can [`pause`], a Ctrl-C asks for that before it asks for anything else.

use super::error::{Error, Result};
use super::{memory, pause};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

static REQUESTS: AtomicU32 = AtomicU32::new(0);
static GRACEFUL: AtomicUsize = AtomicUsize::new(0);
/// Milliseconds that were allowed and are over; 0: there is time.
static EXPIRED: AtomicU64 = AtomicU64::new(0);

/// What a Ctrl-C leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The script pauses at its next statement.
    Pauses,
    /// The run goes on to where its state is saved.
    Finishes,
    /// Work stops at its next poll.
    Stops,
}

/// One Ctrl-C: asks for a pause if there is somebody to pause, else for a stop. Safe to call from a signal-handling
/// thread.
pub fn press() -> Answer {
    if !requested() && pause::ask_by_hand() {
        return Answer::Pauses;
    }
    request();
    if now() { Answer::Stops } else { Answer::Finishes }
}

/// Asks for a stop. Safe to call from a signal-handling thread.
pub fn request() {
    REQUESTS.fetch_add(1, Ordering::SeqCst);
}

/// Forgets all requests: the stop was honoured.
pub fn clear() {
    REQUESTS.store(0, Ordering::SeqCst);
}

/// The time `allowed` is over: everything stops at its next poll, and nothing is saved.
pub fn expire(allowed: Duration) {
    EXPIRED.store((allowed.as_millis() as u64).max(1), Ordering::SeqCst);
}

/// Whether Ctrl-C asked for a stop at all.
pub fn requested() -> bool {
    REQUESTS.load(Ordering::Relaxed) > 0
}

/// Whether Ctrl-C asks to stop at once, here. At a pause's prompt the run itself stands still: no need to wait for it.
pub fn now() -> bool {
    let requests = REQUESTS.load(Ordering::Relaxed);
    requests > 1 || (requests == 1 && (!graceful() || pause::at_prompt()))
}

/// Why work must stop at once, here.
pub fn reason() -> Option<Error> {
    let expired = EXPIRED.load(Ordering::Relaxed);
    if expired > 0 {
        return Some(Error::Timeout(Duration::from_millis(expired)));
    }
    if now() {
        return Some(Error::Interrupted);
    }
    memory::exceeded().then(memory::over)
}

/// `Err` if work must stop at once; every long native loop calls this.
pub fn poll() -> Result<()> {
    reason().map_or(Ok(()), Err)
}

/// [`poll`] that stops at any Ctrl-C: for work that loses nothing by stopping, such as generating or evaluating.
pub fn poll_any() -> Result<()> {
    if requested() { Err(Error::Interrupted) } else { poll() }
}

/// Whether a run under way has a saved state, so that a stop waits for its next one.
pub fn graceful() -> bool {
    GRACEFUL.load(Ordering::Relaxed) > 0
}

/// While alive, the first Ctrl-C waits for the next save point instead of stopping at the next poll.
#[derive(Debug)]
pub struct Graceful(());

impl Graceful {
    /// Enters graceful mode.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        GRACEFUL.fetch_add(1, Ordering::SeqCst);
        Graceful(())
    }
}

impl Drop for Graceful {
    fn drop(&mut self) {
        GRACEFUL.fetch_sub(1, Ordering::SeqCst);
    }
}
