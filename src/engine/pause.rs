//! Asking a script to pause: by Ctrl-C, or because a number that should be finite is not.
//!
//! These are flags. Whoever runs scripts looks at [`asked`] before each statement and opens a prompt there; native work
//! never looks, so what is under way is finished first. While nobody [listens](Listening), Ctrl-C is no pause.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static PROMPTS: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicBool = AtomicBool::new(false);
static REASON: Mutex<Option<Reason>> = Mutex::new(None);
static WATCHING: AtomicBool = AtomicBool::new(false);
/// A bad number pauses once; the next finite loss arms the watch again.
static ARMED: AtomicBool = AtomicBool::new(true);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// Why a script is to pause.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Ctrl-C.
    ByHand,
    /// `what` is `value`, which is NaN or infinite.
    NotFinite {
        /// The number's name, such as `loss`.
        what: String,
        /// Its value.
        value: f64,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::ByHand => write!(f, "Ctrl-C"),
            Reason::NotFinite { what, value } => write!(f, "{what} is {value}"),
        }
    }
}

/// While alive, Ctrl-C asks for a pause.
#[derive(Debug)]
pub struct Listening(());

impl Listening {
    /// Listens from now on.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Listening(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // A pause that nobody came to is over with the script that it was meant for.
        if LISTENERS.fetch_sub(1, Ordering::SeqCst) == 1 {
            drop(take());
        }
    }
}

/// While alive, a script is paused: its clocks stand still, and Ctrl-C stops what was begun at the prompt.
#[derive(Debug)]
pub struct AtPrompt(Instant);

impl AtPrompt {
    /// The prompt opens now.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        PROMPTS.fetch_add(1, Ordering::SeqCst);
        AtPrompt(Instant::now())
    }
}

impl Drop for AtPrompt {
    fn drop(&mut self) {
        PROMPTS.fetch_sub(1, Ordering::SeqCst);
        NANOS.fetch_add(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

/// Whether a script is paused now.
pub fn at_prompt() -> bool {
    PROMPTS.load(Ordering::Relaxed) > 0
}

/// How long scripts have been paused in all, up to the last time one went on.
pub fn time() -> Duration {
    Duration::from_nanos(NANOS.load(Ordering::Relaxed))
}

/// Asks for a pause on behalf of Ctrl-C. False if nobody listens, or if that was asked for already.
pub fn ask_by_hand() -> bool {
    let heard = LISTENERS.load(Ordering::SeqCst) > 0 && !at_prompt() && !asked();
    if heard {
        ask(Reason::ByHand);
    }
    heard
}

/// Whether a pause was asked for: cheap enough to look at before every statement.
#[inline]
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The reason, if a pause was asked for, which is thereby granted.
pub fn take() -> Option<Reason> {
    let mut reason = reason();
    ASKED.store(false, Ordering::SeqCst);
    reason.take()
}

/// Pauses from now on when a number that [`number`] or [`loss`] sees is NaN or infinite, or no longer does.
pub fn watch_numbers(on: bool) {
    ARMED.store(true, Ordering::SeqCst);
    WATCHING.store(on, Ordering::SeqCst);
}

/// Looks at a number called `what` that should be finite. It is computed only while numbers are watched.
pub fn number(what: &str, value: impl FnOnce() -> f64) {
    if WATCHING.load(Ordering::Relaxed) && !at_prompt() {
        let value = value();
        if !value.is_finite() && ARMED.swap(false, Ordering::SeqCst) {
            ask(Reason::NotFinite { what: what.to_string(), value });
        }
    }
}

/// [`number`] for a loss: a finite one ends a stretch of bad numbers, of which only the first pauses.
pub fn loss(what: &str, value: impl FnOnce() -> f64) {
    if WATCHING.load(Ordering::Relaxed) && !at_prompt() {
        let value = value();
        if value.is_finite() {
            ARMED.store(true, Ordering::SeqCst);
        }
        number(what, || value);
    }
}

fn ask(why: Reason) {
    let mut reason = reason();
    // The first reason stands: what follows from a bad number is no news.
    reason.get_or_insert(why);
    ASKED.store(true, Ordering::SeqCst);
}

fn reason() -> MutexGuard<'static, Option<Reason>> {
    // Two words that are always consistent.
    REASON.lock().unwrap_or_else(PoisonError::into_inner)
}
