//! Ctrl-C, as a flag that every long native loop polls.
//!
//! The first Ctrl-C asks for a stop. While a run with a saved state is under way (`graceful`), work goes on to the
//! next point where that state can be saved; a second Ctrl-C, or the first one elsewhere, stops at the next poll.

use super::error::{Error, Result};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

static REQUESTS: AtomicU32 = AtomicU32::new(0);
static GRACEFUL: AtomicUsize = AtomicUsize::new(0);

/// Records one Ctrl-C. Safe to call from a signal-handling thread.
pub fn request() {
    REQUESTS.fetch_add(1, Ordering::SeqCst);
}

/// Forgets all requests: the stop was honoured.
pub fn clear() {
    REQUESTS.store(0, Ordering::SeqCst);
}

/// Whether a stop was asked for at all.
pub fn requested() -> bool {
    REQUESTS.load(Ordering::Relaxed) > 0
}

/// Whether work must stop at once, here.
pub fn now() -> bool {
    let requests = REQUESTS.load(Ordering::Relaxed);
    requests > 1 || (requests == 1 && GRACEFUL.load(Ordering::Relaxed) == 0)
}

/// `Err(Interrupted)` if work must stop at once; every long native loop calls this.
pub fn poll() -> Result<()> {
    if now() { Err(Error::Interrupted) } else { Ok(()) }
}

/// `Err(Interrupted)` after any Ctrl-C: for work that loses nothing by stopping, such as generating or evaluating.
pub fn poll_any() -> Result<()> {
    if requested() { Err(Error::Interrupted) } else { Ok(()) }
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
