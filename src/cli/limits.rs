//! The limits of a run on time and memory, and what is said where nothing can be caught any more.

use super::printer::Printer;
use crate::engine::{interrupt, memory, pause};
use crate::script::sandbox::Sandbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long native work that asks nobody may go on when time is up.
const GRACE: Duration = Duration::from_secs(3);

/// Puts the limits of `flags` into effect.
pub(super) fn start(flags: &Sandbox, printer: &Arc<Printer>) {
    if let Some(bytes) = flags.max_memory {
        memory::set_limit(bytes);
    }
    if let Some(allowed) = flags.timeout {
        let watching = printer.clone();
        let watch = move || {
            wait(allowed);
            interrupt::expire(allowed);
            std::thread::sleep(GRACE);
            super::dashboard::leave();
            watching.error(&format!(
                "error: stopped after {allowed:?}, the time that --timeout allows, in the middle of native work"
            ));
            watching.flush();
            std::process::exit(1);
        };
        // Without a thread for it there would be no limit: then better no run.
        if let Err(e) = std::thread::Builder::new().name("timeout".into()).spawn(watch) {
            printer.error(&format!("error: --timeout: {e}"));
            std::process::exit(1);
        }
    }
}

/// Sleeps for `allowed` of the script's time: what a person takes at a pause is not the script's.
fn wait(allowed: Duration) {
    let start = Instant::now();
    loop {
        let left = (allowed + pause::time()).saturating_sub(start.elapsed());
        if left.is_zero() && !pause::at_prompt() {
            return;
        }
        std::thread::sleep(left.max(Duration::from_millis(50)));
    }
}

/// Turns an abort into the exit code of a failed script. Rust aborts, after a line of its own that says why, where memory
/// is refused and where the stack is full: scripts can bring that about, and a wrapper should see an error, not a crash.
pub(super) fn end_aborts_as_errors() {
    #[cfg(unix)]
    {
        extern "C" fn on_abort(_: libc::c_int) {
            const TEXT: &[u8] = b"error: out of memory, or calls or values nested too deeply: the run ends here\n";
            super::dashboard::restore(); // two calls that may be made here too
            // SAFETY: both may be called in a signal handler, and the text is `TEXT.len()` bytes long.
            unsafe {
                libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
                libc::_exit(1);
            }
        }
        // SAFETY: a zeroed `sigaction` is an empty mask and no flags; the handler calls only what handlers may call.
        // SA_ONSTACK keeps it on the stack for signals, where a full stack's own handler runs already.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_abort as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(libc::SIGABRT, &action, std::ptr::null_mut());
        }
    }
}
