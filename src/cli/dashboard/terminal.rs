//! The terminal while the dashboard has it: its second screen, no cursor, no echo of what is typed. Ctrl-C stays a signal,
//! the only one.

use super::state::State;
use super::view;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// To the second screen, without a cursor; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// The terminal, taken.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    pub(super) fn enter() -> io::Result<Screen> {
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        echo::off();
        TAKEN.store(true, Ordering::SeqCst);
        let mut out = io::stdout().lock();
        let entered = out.write_all(ENTER).and_then(|()| out.flush());
        drop(out);
        if entered.is_err() {
            restore();
        }
        entered.map(|()| Screen(terminal))
    }

    /// Draws on the whole screen, whatever its size is by now.
    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        self.0.draw(|frame| view::draw(frame, state)).map(drop)
    }
}

/// Gives the terminal back as it was, if it is taken: also for whoever ends the process at once.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Not through the standard streams: their locks may be held by a thread that will not run again.
        #[cfg(unix)]
        // SAFETY: writes bytes of a constant to a descriptor.
        unsafe {
            libc::write(1, LEAVE.as_ptr().cast(), LEAVE.len());
        }
        #[cfg(not(unix))]
        drop(io::stdout().write_all(LEAVE).and_then(|()| io::stdout().flush()));
        echo::on();
    }
}

#[cfg(unix)]
mod echo {
    use std::sync::OnceLock;

    static BEFORE: OnceLock<libc::termios> = OnceLock::new();

    pub(super) fn off() {
        // SAFETY: zeroed bytes are a termios, which tcgetattr fills and tcsetattr reads.
        unsafe {
            let mut now: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &raw mut now) == 0 {
                let _ = BEFORE.set(now);
                now.c_lflag &= !(libc::ECHO | libc::ICANON);
                // Ctrl-Z and Ctrl-\ would leave the shell on this screen.
                for key in [libc::VSUSP, libc::VQUIT] {
                    now.c_cc[key] = libc::_POSIX_VDISABLE;
                }
                libc::tcsetattr(0, libc::TCSANOW, &raw const now);
            }
        }
    }

    pub(super) fn on() {
        if let Some(before) = BEFORE.get() {
            // SAFETY: reads a termios.
            unsafe {
                // What was typed meanwhile was for no one.
                libc::tcsetattr(0, libc::TCSAFLUSH, before);
            }
        }
    }
}

#[cfg(not(unix))]
mod echo {
    pub(super) fn off() {}
    pub(super) fn on() {}
}
