//! What a person types: lines, functions over several lines, pastes, Tab, the arrow keys.

use crate::cli_support::Dir;
use crate::terminal::{ask, coloured, expect, keys, leave, session};

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
    ask(&mut p, ":vars", "name    type  value\r\nrank    int   40\r\nloaded  int   5\r\n");
    expect(&mut p, "fn twice(x)\r\n");
    expect(&mut p, "module m (1 function)\r\n");
    p.send_line(":reset").unwrap();
    ask(&mut p, "rank", "no variable `rank`");
    leave(p);
}

/// Protects the history: kept from one session to the next, and offered as a hint that the right arrow takes.
#[test]
fn history_outlives_the_session() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(&mut p, "6 * 111", "666\r\n");
    leave(p);
    let kept = std::fs::read_to_string(dir.path().join("state/host/history")).unwrap();
    assert!(kept.contains("6 * 111"), "{kept}");
    let mut p = session(&dir);
    keys(&mut p, "\x1b[A");
    ask(&mut p, "", "666\r\n");
    // The hint is shown behind what was typed, and taken whole.
    keys(&mut p, "6 * ");
    expect(&mut p, "111");
    keys(&mut p, "\x1b[C");
    ask(&mut p, "", "666\r\n");
    leave(p);
}

/// Protects pastes: several lines come as one input, and are run once.
#[test]
fn a_paste_of_several_lines_is_one_input() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    keys(&mut p, "\x1b[200~let a = 20;\nfn f(x) {\n\tx + 1\n}\nlet b = f(a);\na + b\x1b[201~");
    ask(&mut p, "", "41\r\n");
    // A terminal that does not mark its pastes types them line by line.
    p.send_line("fn g(x) {\n    x * 2\n}\ng(b)").unwrap();
    expect(&mut p, "42\r\n");
    leave(p);
}

/// Protects Tab: names, members of the value at the cursor, option keys, paths, commands.
#[test]
fn tab_completes() {
    let dir = Dir::with(&[("records.json", "[]")]);
    let mut p = session(&dir);
    p.send_line("let model = llama::load(\"builtin:stories260K\");").unwrap();
    keys(&mut p, "model.tokeni\t.enc\t(\"a\").le\t");
    ask(&mut p, "", "1\r\n");
    keys(&mut p, "model.inject_lora(#{ ra\t: 4, target_mod\t: [\"q_proj\"] })");
    ask(&mut p, "", "5\r\n");
    keys(&mut p, "\"rec\t\"");
    ask(&mut p, "", "\"records.json\"\r\n");
    keys(&mut p, "let o = optim::ada\t(model.trainable(), #{ weight_d\t: 0.5 });\r");
    keys(&mut p, "o.l\t");
    ask(&mut p, "", "0.001\r\n");
    keys(&mut p, ":va\t");
    ask(&mut p, "", "Optimizer");
    // Two Tabs list what there is, methods with parentheses.
    keys(&mut p, "model.trai\t\t");
    expect(&mut p, "trainable_params");
    expect(&mut p, "trainable()");
    p.send_control('c').unwrap();
    leave(p);
}

/// Protects the colours: keywords, numbers and strings while typing, and none under NO_COLOR.
#[test]
fn inputs_are_coloured() {
    let dir = Dir::with(&[]);
    let mut p = coloured(&dir);
    keys(&mut p, "let x = \"a\"");
    expect(&mut p, "\x1b[35mlet\x1b[0m x = \x1b[32m\"a\"\x1b[0m");
    keys(&mut p, "\r");
    ask(&mut p, "x", "\"a\"\r\n");
    leave(p);
    let mut p = session(&dir);
    p.send_line("let x = 5;").unwrap();
    p.send_line("x").unwrap();
    let before = p.exp_string("5\r\n").unwrap();
    assert!(!before.contains("\x1b[35m"), "{before:?}");
    leave(p);
}
