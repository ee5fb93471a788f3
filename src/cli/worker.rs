//! This process as a worker: started by another one for a single job, whose end is its own.

use crate::engine::interrupt;
use crate::script::options::HostFlags;
use std::io::{ErrorKind, Read};

/// Leaves out of `flags` what is for a person at a terminal and what would be written twice, and `--threads`: how many it
/// may have, whoever started the worker has said in its environment.
pub(super) fn plain(flags: &mut HostFlags) {
    flags.dashboard = false;
    flags.interactive = false;
    flags.break_on_nan = false;
    flags.profile = None;
    flags.watch = false;
    flags.threads = None;
}

/// Follows the lifeline from now on: a byte on standard input asks for a stop at the next saved state; its end says that
/// whoever started this process is gone. Signals are theirs to answer, who pass on what is to be done.
pub(super) fn follow() {
    // A terminal's Ctrl-C reaches every process of the group. Without a handler it would end this one, unsaved.
    drop(ctrlc::set_handler(|| {}));
    let watching = std::thread::Builder::new().name("lifeline".into()).spawn(|| {
        let mut byte = [0];
        loop {
            match std::io::stdin().read(&mut byte) {
                Ok(1) => interrupt::request(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => std::process::exit(130),
            }
        }
    });
    // Nobody could end it: then better no worker.
    if watching.is_err() {
        std::process::exit(1);
    }
}
