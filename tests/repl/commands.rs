//! The words behind a colon, and questions.

use crate::cli_support::Dir;
use crate::terminal::{ask, expect, leave, session};

/// Protects questions: functions, methods of a variable, modules and types are described, and near names offered.
#[test]
fn names_are_described() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(&mut p, "?optim::adamw", "optim::adamw(params: ");
    expect(&mut p, "AdamW with decoupled weight decay");
    expect(&mut p, "weight_decay");
    p.send_line("let model = llama::load(\"builtin:stories260K\");").unwrap();
    ask(&mut p, "model.generate?", "Model.generate(prompt: ");
    ask(&mut p, ":doc optim", "grad_scaler");
    ask(&mut p, "?Tensor", "requires_grad");
    p.send_line("/// Twice `x`.\nfn twice(x) { 2 * x }").unwrap();
    ask(&mut p, "?twice", "twice(x: any)\r\n\r\nTwice `x`.\r\n");
    ask(&mut p, "?optim::adanw", "near: optim::adamw");
    ask(&mut p, "?model.generat", "near: Model.generate");
    leave(p);
}

/// Protects the small commands: what each says, and that a mistyped one is answered with the near one.
#[test]
fn commands_answer() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(&mut p, ":type ones([2, 3])", "Tensor, shape [2, 3], f32, cpu, 24 B\r\n");
    ask(&mut p, ":time 40 + 2", "42\r\n");
    expect(&mut p, "operation");
    expect(&mut p, "memory +");
    p.send_line("let t = zeros([1024, 256]);").unwrap();
    ask(&mut p, ":mem", "at its peak\r\n  t  1.0 MiB\r\n");
    ask(&mut p, ":vars", "name  type    shape        dtype  device     size\r\n");
    expect(&mut p, "t     Tensor  [1024, 256]  f32    cpu     1.0 MiB\r\n");
    ask(&mut p, ":plot [3, 2, 1]", "3.0 ┤");
    ask(&mut p, ":plot \"a\"", "cannot be drawn");
    ask(&mut p, ":hepl", "did you mean `help`?");
    ask(&mut p, ":help", ":load FILE");
    p.send_line(":quit").unwrap();
    p.exp_eof().unwrap();
}

/// Protects `:save`: what was typed and succeeded becomes a script that runs, and no file is replaced unasked.
#[test]
fn a_session_becomes_a_script() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(&mut p, ":save mine.rhai", "nothing to save");
    p.send_line("let a = 20").unwrap();
    ask(&mut p, "a + nope", "no variable `nope`");
    p.send_line("fn twice(x) { x }").unwrap();
    p.send_line("fn twice(x) { x * 2 }").unwrap();
    p.send_line("print(`answer ${twice(a) + 2}`)").unwrap();
    expect(&mut p, "answer 42\r\n");
    ask(&mut p, ":save mine.rhai", "3 lines written to mine.rhai");
    ask(&mut p, ":save mine.rhai", "mine.rhai exists");
    ask(&mut p, ":save mine.rhai --force", "written to mine.rhai");
    leave(p);
    let text = std::fs::read_to_string(dir.path().join("mine.rhai")).unwrap();
    assert_eq!(text, "let a = 20;\nfn twice(x) { x * 2 }\nprint(`answer ${twice(a) + 2}`);\n");
    assert_eq!(dir.run(&["run", "mine.rhai"]).out, "answer 42\n");
}
