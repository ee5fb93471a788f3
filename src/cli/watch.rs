//! `host run --watch`: runs the script again whenever it, a module it imported or a file it was given changes.

use super::{Exit, fail, printer::Printer, run, signals};
use crate::bindings::Output;
use crate::engine::{interrupt, memory, rng};
use crate::script::{Diagnostic, sources::display_name, watch::Watch};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `args` until Ctrl-C.
pub(super) fn run(args: &run::Args, printer: &Arc<Printer>) -> Exit {
    signals::install(printer, signals::Insisting::Leaves);
    let mut watch = Watch::new();
    loop {
        // As a process that has just begun: only what a script does may tell two runs apart.
        interrupt::clear();
        rng::seed(0);
        memory::reset_peak();
        let (exit, mut changed) = once(args, printer, &mut watch);
        if changed.is_none() && exit == Exit::Interrupted || printer.closed() {
            return exit;
        }
        if changed.is_none() {
            if watch.is_empty() {
                return exit; // there is nothing whose change could mend it
            }
            let how = if exit == Exit::Success { "done" } else { "failed" };
            let files = match watch.len() {
                1 => "1 file".to_string(),
                n => format!("{n} files"),
            };
            printer.note(&format!("-- {how}; watching {files}, Ctrl-C ends --"));
            changed = watch.changed(exit != Exit::Success, &Vec::new, &interrupt::requested);
        }
        let Some(changed) = changed else { return Exit::Interrupted };
        let names: Vec<String> = changed.iter().map(|f| display_name(f)).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        printer.flush();
        printer.note(&format!("-- {} {verb} changed: running again --", names.join(", ")));
    }
}

/// One run; the files that changed meanwhile, if that ended it.
fn once(args: &run::Args, printer: &Arc<Printer>, watch: &mut Watch) -> (Exit, Option<Vec<PathBuf>>) {
    let failed = |d: &Diagnostic| fail(printer, d);
    let mut files = Vec::new();
    let ready = match run::prepare(args, printer, &mut files, None) {
        Ok(ready) => ready,
        Err(diagnostic) => {
            files.iter().for_each(|f| watch.add(f));
            return (failed(&diagnostic), None);
        }
    };
    files.iter().for_each(|f| watch.add(f));
    let Some(ready) = ready else { return (Exit::Success, None) };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let host = &ready.host;
        let watching = scope.spawn(|| {
            let changed = watch.changed(false, &|| host.files(), &|| over.load(Ordering::SeqCst));
            if changed.is_some() {
                // Twice: at once, and not at the next saved state.
                interrupt::request();
                interrupt::request();
            }
            changed
        });
        let result = ready.run(printer);
        over.store(true, Ordering::SeqCst);
        let changed = watching.join().unwrap_or_default(); // a fault in watching costs the watching alone
        let exit = match result {
            Ok(()) => Exit::Success,
            Err(d) if d.is_interrupt() && changed.is_some() => Exit::Interrupted,
            Err(d) => failed(&d),
        };
        (exit, changed)
    })
}
