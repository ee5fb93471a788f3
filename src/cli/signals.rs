//! Ctrl-C and friends: ask the work to stop, say what will happen, and leave at once when asked a third time.

use crate::bindings::Output;
use crate::engine::interrupt::{self, Answer};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a third Ctrl-C does when the second one was not honoured either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insisting {
    /// Ends the process: nothing is lost that was not lost by the second.
    Leaves,
    /// Nothing more: a session holds variables that are worth waiting for.
    Waits,
}

/// Handles SIGINT, SIGTERM and SIGHUP from now on.
pub(super) fn install<O: Output + ?Sized + 'static>(output: &Arc<O>, insisting: Insisting) {
    let output = output.clone();
    let pressed = AtomicU32::new(0);
    let installed = ctrlc::set_handler(move || {
        if !interrupt::requested() {
            pressed.store(0, Ordering::Relaxed);
        }
        let lead = if std::io::stderr().is_terminal() { "\n" } else { "" };
        let answer = interrupt::press();
        if answer == Answer::Pauses {
            return output.note(&format!("{lead}pausing at the next statement; Ctrl-C again to stop instead"));
        }
        match pressed.fetch_add(1, Ordering::Relaxed) {
            0 if answer == Answer::Finishes => {
                output.note(&format!("{lead}finishing this step, then saving; Ctrl-C again to stop at once"));
            }
            2.. if insisting == Insisting::Leaves => {
                super::dashboard::leave();
                std::process::exit(130)
            }
            _ => {}
        }
    });
    // Without a handler Ctrl-C still ends the process: the default.
    drop(installed);
}
