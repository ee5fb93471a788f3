//! A session on a pseudo-terminal.

use crate::cli_support::Dir;
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Milliseconds until an answer counts as missing: far more than any takes on a machine that does nothing else.
const PATIENCE: u64 = 120_000;

/// A session without colours.
pub fn session(dir: &Dir) -> PtySession {
    start(dir, true)
}

/// A session with colours.
pub fn coloured(dir: &Dir) -> PtySession {
    start(dir, false)
}

fn start(dir: &Dir, plain: bool) -> PtySession {
    let mut command = dir.host(&["repl"]);
    // A real terminal's kind: with "dumb" the line editor would read plain lines.
    command.env("TERM", "xterm").stdin(Stdio::inherit());
    if plain {
        command.env("NO_COLOR", "1");
    }
    let mut p = spawn_command(command, Some(PATIENCE)).unwrap();
    p.exp_string(":help lists commands").unwrap();
    p
}

/// Types `line` and waits for `answer`.
#[track_caller]
pub fn ask(p: &mut PtySession, line: &str, answer: &str) {
    p.send_line(line).unwrap();
    expect(p, answer);
}

/// Waits for `answer`.
#[track_caller]
pub fn expect(p: &mut PtySession, answer: &str) {
    // rexpect reads each byte as a character.
    let bytes: String = answer.bytes().map(char::from).collect();
    if let Err(e) = p.exp_string(&bytes) {
        panic!("expected {answer:?}: {e}");
    }
}

/// Types `keys` as they are, without a line break.
pub fn keys(p: &mut PtySession, keys: &str) {
    p.send(keys).unwrap();
    p.flush().unwrap();
}

/// Leaves with Ctrl-D, as often as it takes: between an answer and the next prompt the terminal swallows it.
#[track_caller]
pub fn leave(mut p: PtySession) {
    let patience = Instant::now();
    while matches!(p.process().status(), Some(WaitStatus::StillAlive)) {
        assert!(patience.elapsed() < Duration::from_millis(PATIENCE), "Ctrl-D does not leave");
        // It may have left just now.
        let _ = p.send_control('d');
        std::thread::sleep(Duration::from_millis(100));
    }
    p.exp_eof().unwrap();
}
