//! The session: through a pseudo-terminal as a person uses it, and through a pipe.

mod cli_support;

use cli_support::Dir;
use rexpect::session::{PtySession, spawn_command};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn session(dir: &Dir) -> PtySession {
    let mut command = dir.host(&["repl"]);
    // A real terminal's kind: with "dumb" the line editor would read plain lines.
    command.env("TERM", "xterm").env("NO_COLOR", "1").stdin(Stdio::inherit());
    let mut p = spawn_command(command, Some(10_000)).unwrap();
    p.exp_string(":help lists commands").unwrap();
    p
}

/// Types `line` and waits for `answer`.
#[track_caller]
fn ask(p: &mut PtySession, line: &str, answer: &str) {
    p.send_line(line).unwrap();
    if let Err(e) = p.exp_string(answer) {
        panic!("{line:?} should be answered by {answer:?}: {e}");
    }
}

/// Protects the session's memory: variables, functions over several lines, and imports last from input to input.
#[test]
fn variables_functions_and_imports_last() {
    let dir = Dir::with(&[("m.rhai", "fn seven() { 7 }"), ("s.rhai", "let loaded = 5;\nfn f() {\n    1 + nope\n}\n")]);
    let mut p = session(&dir);
    p.send_line("let rank = 40;").unwrap();
    ask(&mut p, "rank + 2", "42\r\n");
    p.send_line("fn twice(x) {").unwrap();
    p.send_line("    x * 2 /* a").unwrap();
    p.send_line("    comment */ }").unwrap();
    ask(&mut p, "twice(rank) + 1", "81\r\n");
    p.send_line("import \"m\" as m;").unwrap();
    ask(&mut p, "m::seven() * 100", "700\r\n");
    p.send_line(":load s.rhai").unwrap();
    ask(&mut p, "loaded * 11", "55\r\n");
    // An error in a loaded function names its file and line, however much later it is called.
    ask(&mut p, "f()", "--> s.rhai:3:9");
    ask(&mut p, ":vars", "rank: int = 40\r\n");
    p.exp_string("fn twice(x)").unwrap();
    ask(&mut p, ":time rank", "40\r\n");
    p.send_line(":reset").unwrap();
    ask(&mut p, "rank", "no variable `rank`");
    ask(&mut p, ":hepl", "did you mean `help`?");
    ask(&mut p, ":help", ":load FILE");
    p.send_line(":quit").unwrap();
    p.exp_eof().unwrap();
}

/// Protects Ctrl-C: it stops endless work, keeps the variables, and only clears the line at the prompt.
#[test]
fn ctrl_c_interrupts_work_and_keeps_variables() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    p.send_line("let kept = 41;").unwrap();
    p.send_line("print(\"begun\"); loop { }").unwrap();
    p.exp_string("begun\r\n").unwrap();
    let since = Instant::now();
    p.send_control('c').unwrap();
    p.exp_string("stopped: interrupted").unwrap();
    assert!(since.elapsed() < Duration::from_secs(5));
    ask(&mut p, "kept + 1", "42\r\n");
    p.send("half a li").unwrap();
    p.flush().unwrap();
    p.exp_string("half a li").unwrap();
    p.send_control('c').unwrap();
    p.exp_string("> ").unwrap();
    ask(&mut p, "kept + 2", "43\r\n");
    p.send_control('d').unwrap();
    p.exp_eof().unwrap();
}

/// Protects the history: kept from one session to the next.
#[test]
fn history_outlives_the_session() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(&mut p, "6 * 111", "666\r\n");
    p.send_control('d').unwrap();
    p.exp_eof().unwrap();
    let kept = std::fs::read_to_string(dir.path().join("state/host/history")).unwrap();
    assert!(kept.contains("6 * 111"), "{kept}");
    let mut p = session(&dir);
    p.send("\x1b[A").unwrap();
    ask(&mut p, "", "666\r\n");
    p.send_control('d').unwrap();
    p.exp_eof().unwrap();
}

/// Protects memory: declaring a variable again frees what it held, and reset frees all.
#[test]
fn redeclared_variables_are_freed() {
    let lines = "let a = blob(50000000);\nlet a = blob(50000000);\nlet a = blob(50000000);\nmemory().current_mib < 60.0\n\
                 :reset\nmemory().current_mib < 10.0\n";
    assert_eq!(piped(&Dir::with(&[]), &["repl"], lines), (Some(0), "true\ntrue\n".into(), String::new()));
}

fn piped(dir: &Dir, args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = dir.host(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// Protects `echo '1+1' | host repl`: values on standard output, nothing else.
#[test]
fn pipes_work() {
    let dir = Dir::with(&[("s.rhai", "const OPTIONS = #{ n: 4 };\nlet n = options().n;\n")]);
    assert_eq!(piped(&dir, &["repl"], "1+1"), (Some(0), "2\n".into(), String::new()));
    let text = "fn f(x) {\n  x + 1\n}\nf(1);\nlet s = \"a\";\ns\n[s, 1.5]\n";
    assert_eq!(piped(&dir, &["repl"], text), (Some(0), "2\n\"a\"\n[\"a\", 1.5]\n".into(), String::new()));
    assert_eq!(piped(&dir, &["repl", "s.rhai", "--n", "6"], "n * 2"), (Some(0), "12\n".into(), String::new()));
}

/// Protects scripts fed through a pipe: the first error ends the session with 1 and names the line.
#[test]
fn an_error_in_a_pipe_ends_the_session() {
    let (code, out, err) = piped(&Dir::with(&[]), &["repl"], "let a = 1;\nfn f() {\n  missing()\n}\nf()\nprint(a)\n");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "\
error[unknown-function]: no function `missing`
 --> repl:3:3
  |
2 | fn f() {
3 |   missing()
  |   ^^^^^^^^^
4 | }
  |
  = in `f`, called at repl:5:1: f()
"
    );
    let (code, _, err) = piped(&Dir::with(&[]), &["repl"], "let a = [1,\n");
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error[syntax]"), "{err}");
}
