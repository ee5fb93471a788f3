//! Ctrl-C: it stops whatever runs and keeps every variable.

use crate::cli_support::Dir;
use crate::terminal::{ask, expect, keys, leave, session};
use rexpect::session::PtySession;
use std::time::{Duration, Instant};

/// Starts `line`, which prints "begun" and goes on forever, and stops it.
#[track_caller]
fn stop(p: &mut PtySession, line: &str) {
    p.send_line(line).unwrap();
    expect(p, "begun\r\n");
    // Well into the work, not at its first statement.
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    p.send_control('c').unwrap();
    expect(p, "stopped: interrupted");
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

/// Protects Ctrl-C: it stops endless work, keeps the variables, and only clears the line at the prompt.
#[test]
fn interrupts_keep_variables() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    p.send_line("let kept = 41;").unwrap();
    stop(&mut p, "print(\"begun\"); loop { }");
    ask(&mut p, "kept + 1", "42\r\n");
    keys(&mut p, "half a li");
    expect(&mut p, "half a li");
    p.send_control('c').unwrap();
    expect(&mut p, "> ");
    ask(&mut p, "kept + 2", "43\r\n");
    // A line that was typed while work ran is read after it.
    ask(&mut p, "[1, nope]", "no variable `nope`");
    ask(&mut p, "kept + 3", "44\r\n");
    leave(p);
}

/// Protects Ctrl-C inside native work: products of matrices, training steps, generation.
#[test]
fn native_work_is_interrupted() {
    let dir = Dir::with(&[]);
    let mut p = session(&dir);
    p.send_line("let a = ones([384, 384]);").unwrap();
    stop(&mut p, "let n = 0; print(\"begun\"); loop { let c = a @ a; n += 1; }");
    ask(&mut p, "n > 0 && a.sum().item() == 147456.0", "true\r\n");

    p.send_line("let model = llama::load(\"builtin:stories260K\"); model.unfreeze(\"*\");").unwrap();
    p.send_line("let set = data::load(\"builtin:seed-tasks\").tokenize(model.tokenizer, #{ max_seq_len: 256 });")
        .unwrap();
    p.send_line("let opt = optim::adamw(model.trainable(), #{ lr: 1e-4 }); let steps = 0;").unwrap();
    let train = "print(\"begun\"); loop { for window in set.batches(#{ size: 8 }) { for batch in window { \
                 model.loss(batch).backward(); } opt.step(); opt.zero_grad(); steps += 1; } }";
    stop(&mut p, train);
    ask(&mut p, "[model.params, opt.steps == steps]", "[260032, true]\r\n");
    stop(&mut p, "print(\"begun\"); loop { model.generate(\"Once\", #{ max_new_tokens: 400, stop_at_eos: false }) }");
    ask(&mut p, "model.generate(\"Once\", #{ max_new_tokens: 1 }).len > 0", "true\r\n");
    leave(p);
}
