//! What values look like.

use crate::cli_support::Dir;
use crate::terminal::{ask, coloured, expect, leave, session};

/// Protects what people look at most: tensors, models, data sets, batches.
#[test]
fn values_are_shown_well() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    ask(
        &mut p,
        "tensor([[1.0, -2.5], [3.0, 4.0]])",
        "tensor([[ 1.0000, -2.5000],\r\n        [ 3.0000,  4.0000]], f32, [2, 2], cpu)\r\n",
    );
    ask(&mut p, "zeros([512, 512]) / 0.0", "nan, ..., ");
    expect(&mut p, "262144 nan)\r\n");
    p.send_line("let model = llama::load(\"builtin:stories260K\");").unwrap();
    ask(&mut p, "model", "Model stories260K\r\n  blocks      5\r\n");
    expect(&mut p, "  weights     f32 on cpu, 1.0 MiB\r\n");
    p.send_line("let set = data::records([#{ instruction: \"Say a\", output: \"a\" }]);").unwrap();
    ask(&mut p, "set", "Records(records, 1 record)\r\n 0  instruction  Say a\r\n    output       a\r\n");
    p.send_line("let examples = set.tokenize(model.tokenizer);").unwrap();
    ask(&mut p, "examples", "⟦ a</s>⟧\r\n");
    ask(&mut p, "#{ a: [1, 2], long: \"x\" }", "#{a: [1, 2], long: \"x\"}\r\n");
    ask(&mut p, "let l = []; l.pad(100000, 1.5); l", "... 99,");
    expect(&mut p, "more]\r\n");
    leave(p);
}

/// Protects the mask on a terminal: learned tokens are green.
#[test]
fn learned_tokens_are_coloured() {
    let dir = Dir::with(&[]);
    let mut p = coloured(&dir);
    p.send_line("let m = llama::load(\"builtin:stories260K\");").unwrap();
    p.send_line("data::records([#{ instruction: \"Say a\", output: \"a\" }]).tokenize(m.tokenizer)").unwrap();
    expect(&mut p, "\x1b[32m a</s>\x1b[0m");
    leave(p);
}

/// Protects a run's curve: losses so far over steps, with numbers at the axes.
#[test]
fn a_run_is_a_curve() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    p.send_line("let run = runs::create(\"r\", #{});").unwrap();
    ask(&mut p, "run", "Run(r, step 0)\r\n");
    p.send_line("for i in 0..30 { run.log_step(#{ loss: 4.0 - 0.1 * i.to_float() }); }").unwrap();
    p.send_line("run.log_eval(#{ val_loss: 2.5 });").unwrap();
    ask(&mut p, "run", "Run(r, step 30)\r\nloss 1.1000   ◆ validation 2.5000, by optimizer step\r\n");
    expect(&mut p, "┤");
    expect(&mut p, "└");
    expect(&mut p, "30");
    leave(p);
}
