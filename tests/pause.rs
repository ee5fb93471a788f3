//! Pausing a script: through a pipe, where every answer is known beforehand, and through a pseudo-terminal.

mod cli_support;

use cli_support::{Dir, Ran};
use rexpect::session::{PtySession, spawn_command};
use serde_json::Value as Json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// `host` with `args`, its prompt answered by `input`.
fn piped(dir: &Dir, args: &[&str], input: &str) -> Ran {
    let mut command = dir.host(args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A script that ends before it has read everything is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

const LOOP: &str = "\
fn area(w, h) {
    breakpoint();
    w * h
}
let total = 0;
for i in 1..4 {
    total += area(i, 10);
}
print(total);
";

/// Protects a session at a breakpoint, word by word: where it stands, variables, a change, steps, and going on.
#[test]
fn a_breakpoint_opens_a_prompt_in_its_scope() {
    let dir = Dir::with(&[("t.rhai", LOOP)]);
    let ran = piped(&dir, &["run", "-i", "t.rhai"], "w + h\nh = 1000\n:where\n:out\ntotal\n:step\n:c\n:c\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.out,
        "\
paused at t.rhai:2, in `area`: breakpoint()
  1  fn area(w, h) {
> 2      breakpoint();
  3      w * h
  4  }
11
> in `area` at t.rhai:2
      breakpoint();
  in the top level at t.rhai:7
      total += area(i, 10);
paused at t.rhai:7, in the top level
  5  let total = 0;
  6  for i in 1..4 {
> 7      total += area(i, 10);
  8  }
  9  print(total);
1000
paused at t.rhai:2, in `area`: breakpoint()
  1  fn area(w, h) {
> 2      breakpoint();
  3      w * h
  4  }
paused at t.rhai:2, in `area`: breakpoint()
  1  fn area(w, h) {
> 2      breakpoint();
  3      w * h
  4  }
1050
"
    );
    assert_eq!(ran.err, "every variable can be read and changed; :help lists commands, :continue goes on\n");
}

/// Protects scripts with breakpoints left in them: without a prompt they run through, and say so once.
#[test]
fn breakpoints_are_ignored_without_a_prompt() {
    let dir = Dir::with(&[("t.rhai", LOOP)]);
    let ran = dir.run(&["run", "t.rhai"]);
    let note = "breakpoint(): ignored, there is no prompt; `host run -i` stops here\n";
    assert_eq!(ran, Ran { code: Some(0), out: "60\n".into(), err: note.into() });
    // With a prompt that nobody answers, too.
    let ran = dir.run(&["run", "-i", "--quiet", "t.rhai"]);
    assert_eq!((ran.code, ran.out.lines().last()), (Some(0), Some("60")), "{ran:?}");
}

/// Protects unattended use: the first wrong command ends the run instead of going on with something unintended.
#[test]
fn an_error_in_piped_commands_stops() {
    let dir = Dir::with(&[("t.rhai", LOOP)]);
    let ran = piped(&dir, &["run", "-i", "t.rhai"], "hight = 3\n:c\n:c\n:c\n");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.err.contains("no variable `hight`") && !ran.out.contains("60"), "{ran:?}");
    for (command, said) in [(":stp", "did you mean `step`?"), (":quit", ":abort saves"), (":abort later", "or `now`")] {
        let ran = piped(&dir, &["run", "-i", "t.rhai"], &format!("{command}\n"));
        assert!(ran.code == Some(130) && ran.err.contains(said), "{command}: {ran:?}");
    }
}

const NUMBERS: &str = "\
let x = tensor([2.0], #{ requires_grad: true });
for step in 0..6 {
    let scale = if step == 1 || step == 2 || step == 4 { 0.0 / 0.0 } else { 1.0 };
    let loss = (x * scale).sum();
    loss.backward();
    x.zero_grad();
    print(step);
}
";

/// Protects `--break-on nan`: it pauses at the first bad number of each stretch of them, before the next statement.
#[test]
fn bad_numbers_pause_once_each_time() {
    let dir = Dir::with(&[("t.rhai", NUMBERS)]);
    let ran = piped(&dir, &["run", "--break-on", "nan", "t.rhai"], "`at ${step}`\n:c\n`at ${step}`\n:c\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said: Vec<&str> = ran.out.lines().filter(|l| !l.starts_with([' ', '>'])).collect();
    let paused = "paused at t.rhai:6, in the top level: the loss is NaN";
    assert_eq!(said, ["0", paused, "\"at 1\"", "1", "2", "3", paused, "\"at 4\"", "4", "5"]);
    // Nobody there: the run stops, and does not save what is wrong.
    let ran = dir.run(&["run", "--break-on", "nan", "t.rhai"]);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.err.contains("t.rhai:6: the loss is NaN; stopping here, since standard input has ended"), "{ran:?}");
    assert!(dir.run(&["run", "--break-on", "inf", "t.rhai"]).err.contains("nan"));
    assert!(dir.run(&["run", "t.rhai", "--break-on", "inf"]).err.contains("expected nan"));
}

/// The shipped recipe with a breakpoint in every step, in `dir`.
fn recipe(dir: &Path) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/finetune.rhai")).unwrap();
    let before = "            run.log_batch(loss.item(), batch);\n";
    let step = "        scaler.unscale(opt);\n";
    assert!(text.contains(before) && text.contains(step), "the recipe's loop has changed");
    let text = text.replace(before, &format!("{before}            if batch.weight < 0.0 {{ breakpoint(); }}\n"));
    std::fs::write(dir.join("tune.rhai"), text.replace(step, &format!("        breakpoint();\n{step}"))).unwrap();
}

/// 3 steps of 2 batches of 2, dropout included.
fn tune<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let options = "--limit 12 --epochs 1 --batch-size 2 --grad-accum-steps 2 --max-seq-len 192 --samples 0 --amp off";
    let mut args = vec!["run"];
    args.extend(extra);
    args.extend(["tune.rhai", "--out", out, "--save-every", "1"]);
    args.extend(options.split(' '));
    args.extend(["--template", "{instruction} {input}\nAnswer: "]);
    args
}

fn rates(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<Json>(l).unwrap());
    lines.filter(|l| l["kind"] == "step").map(|l| l["lr"].as_f64().unwrap()).collect()
}

fn adapter(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
}

/// Protects the promise of pausing: looking, at whatever length, changes no bit of the result.
#[test]
fn looking_changes_nothing() {
    let dir = Dir::with(&[]);
    recipe(dir.path());
    let whole = dir.run(&tune("whole", &[]));
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let look = "model.generate(\"Once\", #{ max_new_tokens: 5, temperature: 1.0 }).len() > 0
randn([3]).shape
let name = model.trainable().names().filter(|n| n.contains(\"lora_B\"))[0];
let norm = model.grad_norm(name);
norm > 0.0
no_grad { model.loss(window[0]).item() > 0.0 }
print(window[0].show(model.tokenizer));
log::num(norm - norm, 1)
:vars
:next
:continue
model.evaluate(data.val).loss > 0.0
:c
";
    let ran = piped(&dir, &tune("looked", &["-i"]), look);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out.lines().filter(|l| *l == "true").count(), 4, "{}", ran.out);
    assert!(ran.out.contains("⟦") && ran.out.contains(" trained"), "{}", ran.out);
    assert_eq!(adapter(&dir.path().join("looked")), adapter(&dir.path().join("whole")));
    assert_eq!(rates(&dir.path().join("looked")), [1e-3; 3]);
}

/// Protects a rate changed by hand: the run goes on with it whatever the schedule says, is saved by `:abort`, and goes on
/// with it after `--resume`.
#[test]
fn a_learning_rate_set_by_hand_stays() {
    let dir = Dir::with(&[]);
    recipe(dir.path());
    let ran = piped(&dir, &tune("run", &["-i"]), ":c\nopt.lr = 3e-4\n:abort\n");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.err.contains("going on to where the run saves its state"), "{ran:?}");
    assert!(ran.err.contains("state saved in run after step 2; continue with --resume"), "{ran:?}");
    let run = dir.path().join("run");
    assert_eq!(rates(&run), [1e-3, 3e-4]);
    let ran = dir.run(&tune("run", &["--resume"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(rates(&run), [1e-3, 3e-4, 3e-4]);
}

/// Protects the saved state from a step that is not wanted: `:abort now` leaves it as it was.
#[test]
fn abort_now_saves_nothing() {
    let dir = Dir::with(&[]);
    recipe(dir.path());
    let ran = piped(&dir, &tune("run", &["-i"]), ":c\n:abort now\n");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(!ran.err.contains("state saved"), "{ran:?}");
    let ran = dir.run(&tune("run", &["--resume"]));
    assert!(ran.err.contains("resuming run after step 1 "), "{ran:?}");
}

fn terminal(mut command: Command) -> PtySession {
    // A real terminal's kind: with "dumb" the line editor would read plain lines.
    command.env("TERM", "xterm").env("NO_COLOR", "1").stdin(Stdio::inherit());
    spawn_command(command, Some(60_000)).unwrap()
}

/// Types `line` and waits for `answer`.
#[track_caller]
fn ask(p: &mut PtySession, line: &str, answer: &str) {
    p.send_line(line).unwrap();
    expect(p, answer);
}

#[track_caller]
fn expect(p: &mut PtySession, answer: &str) {
    if let Err(e) = p.exp_string(answer) {
        panic!("{answer:?} should have come: {e}");
    }
}

const ENDLESS: &str = "\
let n = 0;
let stop = false;
print(\"begun\");
while !stop {
    n += 1;
    now();
}
print(`${n > 0} ended`);
";

/// Protects Ctrl-C under -i: it pauses; at the prompt it clears the line, or ends what was begun there, and nothing else.
#[test]
fn ctrl_c_pauses() {
    let dir = Dir::with(&[("t.rhai", ENDLESS)]);
    let mut p = terminal(dir.host(&["run", "-i", "t.rhai"]));
    expect(&mut p, "begun\r\n");
    p.send_control('c').unwrap();
    expect(&mut p, ": Ctrl-C\r\n");
    expect(&mut p, "paused> ");
    ask(&mut p, "n > 0", "true\r\n");
    p.send("half a li").unwrap();
    p.flush().unwrap();
    expect(&mut p, "half a li");
    p.send_control('c').unwrap();
    expect(&mut p, "paused> ");
    p.send_line("print(\"spinning\"); loop { }").unwrap();
    expect(&mut p, "spinning\r\n");
    p.send_control('c').unwrap();
    expect(&mut p, "stopped: interrupted");
    // The run is where it was, and a second Ctrl-C pauses it again.
    ask(&mut p, "n = 0", "paused> ");
    p.send_line(":continue").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    p.send_control('c').unwrap();
    expect(&mut p, ": Ctrl-C\r\n");
    expect(&mut p, "paused> ");
    // The line that comes next, not the prompt, which is drawn anew with each letter typed.
    ask(&mut p, ":next", ";\r\n");
    expect(&mut p, "paused> ");
    p.send_line("stop = true").unwrap();
    ask(&mut p, ":c", "true ended\r\n");
    p.exp_eof().unwrap();
}

/// Protects a way out: `:abort` without anything saved ends the process as Ctrl-C would.
#[test]
fn abort_ends_the_process() {
    let dir = Dir::with(&[("t.rhai", ENDLESS)]);
    let mut p = terminal(dir.host(&["run", "-i", "t.rhai"]));
    expect(&mut p, "begun\r\n");
    p.send_control('c').unwrap();
    expect(&mut p, "paused> ");
    ask(&mut p, ":abort", "no run has a saved state");
    expect(&mut p, "stopped: interrupted");
    p.exp_eof().unwrap();
    let status = p.process().wait().unwrap();
    assert!(format!("{status:?}").contains("130"), "{status:?}");
}

/// Protects sessions: Ctrl-C in a loaded script pauses it under its own name, and its end leads back with its variables.
#[test]
fn scripts_in_a_session_pause() {
    let dir = Dir::with(&[("t.rhai", ENDLESS)]);
    let mut p = terminal(dir.host(&["repl"]));
    expect(&mut p, ":help lists commands");
    ask(&mut p, "let before = 1;", "> ");
    ask(&mut p, ":load t.rhai", "begun\r\n");
    p.send_control('c').unwrap();
    expect(&mut p, "paused at t.rhai:");
    expect(&mut p, "paused> ");
    ask(&mut p, "before + 1", "2\r\n");
    ask(&mut p, ":abort", "stopped: interrupted");
    ask(&mut p, "before + 2 * (n > 0).to_int()", "\r\n");
    // What is typed in is not paused but stopped, and a breakpoint in a function stops there.
    ask(&mut p, "fn f(x) { breakpoint(); x }", "> ");
    ask(&mut p, "f(41)", "in `f`: breakpoint()");
    expect(&mut p, "paused> ");
    p.send_line("x += 1").unwrap();
    ask(&mut p, ":c", "42\r\n");
    p.send_line(":quit").unwrap();
    p.exp_eof().unwrap();
}
