//! `host run --dashboard`: the run on one screen while it goes on. Curve, speed, memory, time left, the last answer and the
//! last lines; what was printed is on the terminal again when the run is over.
//!
//! It stands where the printer stands, and knows what the printer is told and what `Run.log_*` logs. A thread of its own
//! draws a few times a second; the script only leaves values. Without `--dashboard`, or where output goes elsewhere than to
//! a terminal, there is none of it.

mod state;
mod terminal;
mod view;

pub(super) use terminal::restore;

use super::printer::Printer;
use crate::bindings::{Output, Screen};
use crate::engine::progress::{Progress, Reporter, Unit};
use serde_json::{Map, Value};
use state::{Line, State};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two drawings.
const EVERY: Duration = Duration::from_millis(250);

/// See the module's description.
pub(super) struct Dashboard {
    shared: Arc<Shared>,
}

/// What the script's thread, the drawing one, and whoever ends the process share.
pub(super) struct Shared {
    on: AtomicBool,
    state: Mutex<State>,
    printer: Arc<Printer>,
}

/// What is on the screen.
static SHOWN: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

/// Gives the terminal back with what was printed, for threads that end the process at once. It takes locks: a signal's
/// handler calls [`restore`].
pub(super) fn leave() {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(shared) = shown {
        shared.give_back();
    }
}

impl Shared {
    /// Gives the terminal back, with what was printed meanwhile.
    fn give_back(&self) {
        let mut state = self.state(); // nothing is drawn from here on
        self.on.store(false, Ordering::Relaxed);
        terminal::restore();
        for Line { text, note } in state.take_lines() {
            if note { self.printer.note(&text) } else { self.printer.line(&text) }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Values that are shown hold nothing that a panic could leave half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dashboard {
    /// A dashboard for a script called `name`; `None` where there is no terminal for it. Off until [`Dashboard::start`].
    pub(super) fn new(printer: &Arc<Printer>, name: &str) -> Option<Arc<Dashboard>> {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        terminal.then(|| {
            let state = Mutex::new(State::new(name));
            let (on, printer) = (AtomicBool::new(false), printer.clone());
            Arc::new(Dashboard { shared: Arc::new(Shared { on, state, printer }) })
        })
    }

    /// Takes the screen until the answer is dropped. If the terminal or the system refuses, the printer goes on as ever.
    pub(super) fn start(&self) -> Live {
        let shared = self.shared.clone();
        let thread = terminal::Screen::enter().ok().and_then(|mut screen| {
            shared.on.store(true, Ordering::Relaxed);
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared.clone());
            let draw = move || {
                loop {
                    let state = shared.state();
                    // Asked while nobody can give the terminal back.
                    if !shared.on.load(Ordering::Relaxed) {
                        return;
                    }
                    // A terminal that is gone is found out by the script's own output.
                    let _ = screen.draw(&state);
                    drop(state);
                    std::thread::park_timeout(EVERY);
                }
            };
            std::thread::Builder::new().name("dashboard".into()).spawn(draw).ok()
        });
        if thread.is_none() {
            leave();
        }
        Live { thread, shared: self.shared.clone() }
    }

    fn on(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }
}

/// The dashboard is on the screen while this lives; then the terminal is as it was, with what was printed meanwhile.
pub(super) struct Live {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.on.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // it holds nothing that its panic could have broken
        }
        leave();
    }
}

impl Output for Dashboard {
    fn line(&self, text: &str) {
        if self.on() { self.shared.state().line(text, false) } else { self.shared.printer.line(text) }
    }

    fn text(&self, text: &str) {
        if self.on() { self.shared.state().text(text) } else { self.shared.printer.text(text) }
    }

    fn note(&self, text: &str) {
        if self.on() { self.shared.state().line(text, true) } else { self.shared.printer.note(text) }
    }

    fn screen(&self) -> Screen {
        self.shared.printer.screen()
    }

    fn aside(&self) -> Box<dyn Send> {
        self.shared.printer.aside()
    }

    fn logged(&self, line: &Map<String, Value>) {
        self.shared.state().logged(line);
    }

    fn noted(&self, name: &str, value: &Value) {
        self.shared.state().noted(name, value);
    }
}

impl Reporter for Dashboard {
    fn start(&self, total: u64, label: &str, unit: Unit) -> Box<dyn Progress> {
        if !self.on() {
            return Reporter::start(&*self.shared.printer, total, label, unit);
        }
        let id = self.shared.state().begin(total, label);
        Box::new(Bar { id, shared: self.shared.clone() })
    }
}

/// One piece of work, as the dashboard knows it.
struct Bar {
    id: u64,
    shared: Arc<Shared>,
}

impl Progress for Bar {
    fn update(&self, done: u64, _: &[(String, String)]) {
        self.shared.state().update(self.id, done);
    }

    fn finish(&self) {
        self.shared.state().end(self.id);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shared.state().end(self.id);
    }
}

#[cfg(test)]
mod tests;
