//! Inputs through a pipe.

use crate::cli_support::Dir;
use std::io::Write;
use std::process::Stdio;

fn piped(dir: &Dir, args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = dir.host(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// Protects memory: declaring a variable again frees what it held, tensors too, and reset frees all.
#[test]
fn redeclared_variables_are_freed() {
    let lines = "let a = blob(15000000);\nlet a = blob(15000000);\nlet a = blob(15000000);\nmemory().current_mib < 25.0\n\
                 :reset\nmemory().current_mib < 10.0\n\
                 let t = zeros([4000, 4000]);\nlet t = zeros([4000, 4000]);\nlet t = t + 1.0;\nmemory().current_mib < 70.0\n\
                 let t = ();\nmemory().current_mib < 10.0\n";
    let wanted = "true\ntrue\ntrue\ntrue\n";
    assert_eq!(piped(&Dir::with(&[]), &["repl"], lines), (Some(0), wanted.into(), String::new()));
}

/// Protects `echo '1+1' | host repl`: values on standard output, nothing else.
#[test]
fn pipes_work() {
    let dir = Dir::with(&[("s.rhai", "const OPTIONS = #{ n: 4 };\nlet n = options().n;\n")]);
    assert_eq!(piped(&dir, &["repl"], "1+1"), (Some(0), "2\n".into(), String::new()));
    let text = "fn f(x) {\n  x + 1\n}\nf(1)\nf(2); // not shown\nlet s = \"a\";\ns\n[s, 1.5]\n";
    assert_eq!(piped(&dir, &["repl"], text), (Some(0), "2\n\"a\"\n[\"a\", 1.5]\n".into(), String::new()));
    assert_eq!(piped(&dir, &["repl", "s.rhai", "--n", "6"], "n * 2"), (Some(0), "12\n".into(), String::new()));
    let (code, out, _) = piped(&dir, &["repl"], "?optim::sgd\n:type [1, 2]\nquit\n1 + 1\n");
    assert_eq!(code, Some(0));
    assert!(out.contains("as `torch.optim.SGD`") && out.ends_with("array, length 2, 32 B\n"), "{out}");
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
