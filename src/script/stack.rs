//! The thread that scripts run on: a stack deep enough for nested calls, and a panic caught instead of an abort.

use std::any::Any;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Bytes of stack: Rhai recurses natively for nested expressions and calls, and values in values are freed one inside the
/// other. What is not used costs address space alone.
const STACK: usize = 256 << 20;

thread_local! {
    /// An address near the beginning of the script thread's stack; 0 on other threads.
    static BASE: Cell<usize> = const { Cell::new(0) };
}

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic of ours: what it said and where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(pub String);

/// Keeps the message and place of panics for [`Panicked`] instead of printing them. For the whole process.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
    }));
}

/// Runs `work` on the script thread and waits for it.
///
/// # Errors
/// [`Panicked`] if `work` panicked, or if the thread could not be started.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Panicked> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("script".into()).stack_size(STACK).spawn_scoped(scope, move || {
                BASE.set(here());
                work()
            });
        let thread = thread.map_err(|e| Panicked(format!("the script thread could not be started: {e}")))?;
        thread.join().map_err(panicked)
    })
}

/// Whether a script has used three quarters of the stack: there are ways into native recursion that count no calls.
pub fn nearly_full() -> bool {
    let base = BASE.get();
    base > 0 && base.abs_diff(here()) > STACK / 4 * 3
}

/// An address on the stack, here.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    std::ptr::from_ref(&local).addr()
}

/// Runs `work` here, for callers that go on after a panic; what `work` changes must bear being left half-done.
///
/// # Errors
/// [`Panicked`] if `work` panicked.
pub fn catching<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(panicked)
}

fn panicked(payload: Box<dyn Any + Send>) -> Panicked {
    let kept = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    let said = || payload.downcast_ref::<String>().cloned().or(payload.downcast_ref::<&str>().map(|s| s.to_string()));
    Panicked(kept.or_else(said).unwrap_or_else(|| "panicked without a message".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the user from an abort: a bug of ours comes back as an error with its place.
    #[test]
    fn panics_come_back() {
        assert_eq!(with_deep_stack(|| -> () { panic!("boom") }).unwrap_err().0, "boom");
        assert_eq!(catching(|| -> () { panic!("boom {}", 2) }).unwrap_err().0, "boom 2");
    }
}
