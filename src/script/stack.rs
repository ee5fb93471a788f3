//! The thread that scripts run on: a stack deep enough for nested calls, and a panic caught instead of an abort.

use std::sync::{Mutex, PoisonError};

/// Bytes of stack: Rhai recurses natively for nested expressions and calls, and a debug build's frames are large.
const STACK: usize = 64 << 20;

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic of ours: what it said and where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(pub String);

/// Runs `work` on the script thread and waits for it.
///
/// # Errors
/// [`Panicked`] if `work` panicked, or if the thread could not be started.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Panicked> {
    std::panic::set_hook(Box::new(|info| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
    }));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("script".into()).stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|e| Panicked(format!("the script thread could not be started: {e}")))?;
        thread.join().map_err(|_| {
            let said = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
            Panicked(said.unwrap_or_else(|| "panicked without a message".into()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the user from an abort: a bug of ours comes back as an error with its place.
    #[test]
    fn panics_come_back() {
        let err = with_deep_stack(|| -> () { panic!("boom") }).unwrap_err();
        assert!(err.0.contains("boom") && err.0.contains("stack.rs"), "{err}");
    }
}
