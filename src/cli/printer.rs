//! All output of the process: lines and streamed text on standard output, notes, errors and progress on standard error.
//!
//! Lines go around a progress bar that is on the screen. When standard output is closed (`host run x | head`), the
//! work is asked to stop and nothing more is written.

use super::bars;
use crate::bindings::{self, Output};
use crate::engine::{
    interrupt,
    progress::{Progress, Reporter, Silent, Unit},
};
use indicatif::{MultiProgress, ProgressDrawTarget};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// See the module's description.
pub(super) struct Printer {
    screen: Arc<Screen>,
    quiet: AtomicBool,
    /// Bars when standard error is a terminal, lines at this distance otherwise.
    lines_every: Duration,
}

/// What the printer and its progress displays share.
pub(super) struct Screen {
    pub(super) multi: MultiProgress,
    /// Bars on the screen now.
    pub(super) bars: AtomicUsize,
    closed: AtomicBool,
    /// Whether standard output ends in the middle of a line.
    midline: AtomicBool,
    /// A line begun by [`Output::text`] while a bar is shown, which would be overdrawn: kept until it ends.
    partial: Mutex<String>,
}

/// Seconds between two progress lines when there is no terminal.
const LINES_EVERY: f64 = 5.0;

impl Printer {
    /// A printer for this process. `HOST_PROGRESS_SECONDS` sets the time between plain progress lines.
    pub(super) fn new() -> Self {
        let seconds = std::env::var("HOST_PROGRESS_SECONDS").ok().and_then(|s| s.parse().ok());
        let lines_every = Duration::try_from_secs_f64(seconds.unwrap_or(LINES_EVERY)).unwrap_or(Duration::MAX);
        Printer {
            screen: Arc::new(Screen {
                multi: MultiProgress::new(),
                bars: AtomicUsize::new(0),
                closed: AtomicBool::new(false),
                midline: AtomicBool::new(false),
                partial: Mutex::default(),
            }),
            quiet: AtomicBool::new(false),
            lines_every,
        }
    }

    /// Leaves out notes and progress from now on.
    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    /// Whether standard output was closed by its reader.
    pub(super) fn closed(&self) -> bool {
        self.screen.closed.load(Ordering::Relaxed)
    }

    /// A line on standard error that `--quiet` does not silence.
    pub(super) fn error(&self, text: &str) {
        self.screen.stderr(text);
    }

    /// Writes what is held back of an unfinished line.
    pub(super) fn flush(&self) {
        let rest = std::mem::take(&mut *self.screen.partial());
        if !rest.is_empty() {
            self.screen.stdout(&rest);
        }
    }

    fn quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }
}

impl Screen {
    /// Writes a line to standard error, above any bar.
    pub(super) fn stderr(&self, text: &str) {
        // On a terminal both streams meet: a line that is being written ends first.
        let broken = std::io::stdout().is_terminal() && self.midline.swap(false, Ordering::Relaxed);
        let lead = if broken { "\n" } else { "" };
        // There is nowhere left to report a failure to.
        self.around_bars(|| drop(writeln!(std::io::stderr().lock(), "{lead}{text}")));
    }

    fn stdout(&self, text: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        self.midline.store(!text.ends_with('\n'), Ordering::Relaxed);
        let written = self.around_bars(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        if let Err(e) = written
            && !self.closed.swap(true, Ordering::Relaxed)
        {
            if e.kind() != ErrorKind::BrokenPipe {
                self.stderr(&format!("standard output cannot be written: {e}"));
            }
            interrupt::request();
        }
    }

    fn around_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.bars.load(Ordering::Relaxed) > 0 { self.multi.suspend(write) } else { write() }
    }

    fn partial(&self) -> std::sync::MutexGuard<'_, String> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output for Printer {
    fn line(&self, text: &str) {
        let begun = std::mem::take(&mut *self.screen.partial());
        self.screen.stdout(&format!("{begun}{text}\n"));
    }

    fn text(&self, text: &str) {
        let mut partial = self.screen.partial();
        partial.push_str(text);
        let whole = match self.screen.bars.load(Ordering::Relaxed) {
            0 => partial.len(),
            _ => partial.rfind('\n').map_or(0, |end| end + 1),
        };
        let ready: String = partial.drain(..whole).collect();
        drop(partial);
        if !ready.is_empty() {
            self.screen.stdout(&ready);
        }
    }

    fn note(&self, text: &str) {
        if !self.quiet() {
            self.screen.stderr(text);
        }
    }

    fn screen(&self) -> bindings::Screen {
        let terminal = std::io::stdout().is_terminal();
        // A window may be narrower than any table: then the lines wrap.
        let columns = terminal_size::terminal_size_of(std::io::stdout()).map(|(w, _)| usize::from(w.0).max(40));
        bindings::Screen {
            width: columns.unwrap_or(bindings::Screen::default().width),
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }

    fn aside(&self) -> Box<dyn Send> {
        // Neither fails other than by a terminal that is gone.
        let _ = self.screen.multi.clear();
        self.screen.multi.set_draw_target(ProgressDrawTarget::hidden());
        // A bar's clock may have drawn it once more in between.
        if self.screen.bars.load(Ordering::Relaxed) > 0 && std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
        Box::new(Aside(self.screen.clone()))
    }
}

/// Bars are off the screen while this lives.
struct Aside(Arc<Screen>);

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.multi.set_draw_target(ProgressDrawTarget::stderr());
    }
}

impl Reporter for Printer {
    fn start(&self, total: u64, label: &str, unit: Unit) -> Box<dyn Progress> {
        if self.quiet() {
            Box::new(Silent)
        } else if std::io::stderr().is_terminal() {
            Box::new(bars::Bar::new(self.screen.clone(), total, label, unit))
        } else {
            Box::new(bars::Lines::new(self.screen.clone(), total, label, unit, self.lines_every))
        }
    }
}
