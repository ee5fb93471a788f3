//! What a terminal shows: the dashboard takes the screen and gives it back, a bar leaves nothing behind.
#![cfg(unix)]

use rexpect::session::{PtySession, spawn_command};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = r#"
let run = runs::create("runs/mini", #{});
let bar = progress(40, "training");
for i in 0..40 {
    let t = now() + 0.05;
    while now() < t {}
    run.log_step(#{ loss: 2.0 - i / 40.0, lr: 1e-3 });
    bar.update(i + 1, #{});
    if i == 20 { run.log_eval(#{ val_loss: 1.25 }); print("half of it"); }
}
bar.finish();
print("all of it");
"#;

fn host(dir: &Path, args: &[&str]) -> PtySession {
    // A new pseudo terminal has no size.
    let sized = "stty rows 30 cols 100; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", sized, "sh", env!("CARGO_BIN_EXE_host")]).args(args);
    command.current_dir(dir).env("TERM", "xterm").env_remove("NO_COLOR");
    spawn_command(command, Some(60_000)).unwrap()
}

fn scratch(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mini.rhai"), script).unwrap();
    dir
}

const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";

/// Protects the person's terminal: taken while the run goes on, given back at its end, with what was printed.
#[test]
fn dashboard_takes_the_screen_and_gives_it_back() {
    let dir = scratch(SCRIPT);
    let mut p = host(dir.path(), &["run", "mini.rhai", "--dashboard"]);
    p.exp_string(ENTERED).unwrap();
    p.send_control('\\').unwrap(); // would end it here, and leave the shell on the second screen
    p.exp_string("held out").unwrap();
    p.exp_string(LEFT).unwrap();
    let after = p.exp_eof().unwrap();
    assert!(after.contains("half of it") && after.contains("all of it"), "{after}");
    assert!(!after.contains(ENTERED));

    let mut p = host(dir.path(), &["run", "--dashboard", "-e", "print(\"said\"); 6 * 7"]);
    p.exp_string(LEFT).unwrap();
    let after = p.exp_eof().unwrap();
    assert!(after.contains("said") && after.contains("42"), "the value comes behind it all: {after}");
}

/// Protects it from Ctrl-C and from scripts that fail: the screen is back before anything is said of it.
#[test]
fn dashboard_leaves_before_it_reports() {
    let dir = scratch(SCRIPT);
    let mut p = host(dir.path(), &["run", "mini.rhai", "--dashboard"]);
    p.exp_string("step").unwrap();
    p.send_control('c').unwrap();
    p.exp_string(LEFT).unwrap();
    p.exp_string("interrupted").unwrap();
    p.exp_eof().unwrap();
    let status = format!("{:?}", p.process().wait().unwrap());
    assert!(status.starts_with("Exited(") && status.ends_with(", 130)"), "{status}");

    let dir = scratch("print(1);\nthrow \"no good\";\n");
    let mut p = host(dir.path(), &["run", "mini.rhai", "--dashboard"]);
    p.exp_string(LEFT).unwrap();
    p.exp_string("no good").unwrap();
    p.exp_eof().unwrap();
}

/// Protects logs: without a terminal there are lines, and no escape among them.
#[test]
fn piped_dashboard_is_lines() {
    let dir = scratch(SCRIPT);
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    let done = command.args(["run", "mini.rhai", "--dashboard"]).current_dir(dir.path()).output().unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert_eq!(out, "half of it\nall of it\n");
    assert!(err.contains("training  40/40 (100%)") && !err.contains('\u{1b}'), "{err}");
}

/// Protects the screen after a quick load: each drawing of the bar is cleared before the next thing is written.
#[test]
fn quick_bars_leave_nothing_behind() {
    let dir = scratch("llama::load(\"builtin:stories260K\");\nprint(\"loaded\");\n");
    let mut p = host(dir.path(), &["run", "mini.rhai"]);
    let text = p.exp_eof().unwrap();
    assert!(text.contains("47/47 (100%)") && text.contains("loaded"), "{text:?}");
    for drawn in text.split("\u{1b}[2K") {
        assert!(drawn.matches("loading").count() <= 1, "two bars, one upon the other: {drawn:?}");
    }
}
