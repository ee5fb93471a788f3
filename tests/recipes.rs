//! The shipped recipes through the real binary: what they print, what they leave, stopping and resuming, bad input.

use serde_json::Value as Json;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Settings that keep a run short.
const SMALL: [&str; 16] = [
    "--epochs",
    "2",
    "--batch-size",
    "2",
    "--grad-accum-steps",
    "3",
    "--max-seq-len",
    "192",
    "--template",
    "{instruction} {input}\nAnswer: ",
    "--max-new-tokens",
    "6",
    "--save-every",
    "3",
    "--amp",
    "off",
];

/// A quick fine-tuning run of the embedded model into `out`: 2 epochs of 6 optimizer steps, the last window partial.
fn finetune(dir: &Path, extra: &[&str]) -> Command {
    let mut c = host(dir, "finetune");
    c.args(["--out", "run", "--limit", "40", "--samples", "1"]).args(SMALL);
    c.args(extra);
    c
}

fn host(dir: &Path, recipe: &str) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_host"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(format!("{recipe}.rhai"));
    c.current_dir(dir).arg("run").arg(script).stdin(Stdio::null());
    c
}

fn ok(mut c: Command) -> String {
    let out = c.output().unwrap();
    let text = both(&out);
    assert!(out.status.success(), "{text}");
    text
}

fn both(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// The log without what depends on the machine.
fn log(run: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut json: Json = serde_json::from_str(line).unwrap();
            let fields = json.as_object_mut().unwrap();
            for timing in ["seconds", "tokens_per_s", "peak_mib"] {
                fields.remove(timing);
            }
            json
        })
        .collect()
}

fn adapter(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
}

/// Waits until the log of `run` has `lines` lines, while `child` runs.
fn wait_for_lines(run: &Path, lines: usize, child: &mut std::process::Child) {
    let start = Instant::now();
    let count = || std::fs::read_to_string(run.join("log.jsonl")).map_or(0, |t| t.lines().count());
    while count() < lines {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before line {lines} of its log");
        assert!(start.elapsed() < Duration::from_secs(120), "no line {lines} after two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &std::process::Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

/// Protects the main job: trains, reports counts, lowers the held-out loss, leaves a whole run directory; and a new
/// process with the saved adapter gives the very answer that the run ended with.
#[test]
fn finetune_leaves_a_working_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let text = ok(finetune(dir.path(), &[]));
    assert!(text.contains("trainable 17920 of 260032"), "{text}");
    let run = dir.path().join("run");
    for file in ["settings.json", "log.jsonl", "notes.json", "loss.svg", "loss.png", "report.html", "report.md"] {
        assert!(run.join(file).metadata().is_ok_and(|m| m.len() > 0), "{file} is missing\n{text}");
    }
    let log = log(&run);
    let val: Vec<f64> = log.iter().filter_map(|l| l["val_loss"].as_f64()).collect();
    assert!(val.len() == 3 && val[2] < val[0], "held-out loss: {val:?}");
    assert_eq!(log.iter().filter(|l| l["kind"] == "step").count(), 12);

    let notes: Json = serde_json::from_slice(&std::fs::read(run.join("notes.json")).unwrap()).unwrap();
    let answer = &notes["after"][0];
    let mut again = host(dir.path(), "generate");
    let instruction = answer["prompt"].as_str().unwrap();
    again.args(["--adapter", "run/adapter", "--max-new-tokens", "6", "--prompt"]);
    again.arg(format!("{} \nAnswer: ", instruction));
    let out = again.output().unwrap();
    assert!(out.status.success(), "{}", both(&out));
    // Records with an input show it on a line of its own; this one has none if its prompt is one line.
    if !instruction.contains('\n') {
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let want = answer["answer"].as_str().unwrap();
        assert!(text.trim_end().ends_with(want.trim_end()), "{text:?} does not end with {want:?}");
    }
}

/// Protects `std/train`: the recipe of five lines on it and the open loop give the same losses and adapter, bit for bit,
/// dropout, accumulation, warmup and a partial last window included.
#[test]
fn quick_is_the_open_loop() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--epochs", "1", "--limit", "20", "--warmup", "2", "--schedule", "cosine", "--samples", "0"];
    ok(finetune(dir.path(), &[&["--out", "open"], &settings[..]].concat()));
    let mut quick = host(dir.path(), "quick");
    quick.args(SMALL).args(["--out", "quick"]).args(settings);
    ok(quick);
    let (open, quick) = (dir.path().join("open"), dir.path().join("quick"));
    assert_eq!(log(&quick), log(&open));
    assert!(log(&open).iter().filter(|l| l["kind"] == "step").count() >= 3);
    assert!(adapter(&quick) == adapter(&open), "another adapter");
}

/// Protects `std/train`'s resuming: killed between two steps and resumed, a run with evaluations, early stopping and the
/// best weights kept ends as the one that was not killed.
#[test]
fn quick_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let start = |out: &str, extra: &[&str]| {
        let mut c = host(dir.path(), "quick");
        c.args(SMALL).args(["--limit", "20", "--out", out, "--samples", "0", "--lr", "0.05"]);
        c.args(["--eval-every", "2", "--patience", "3", "--keep-best"]).args(extra);
        c
    };
    ok(start("whole", &[]));
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let mut child = start("killed", &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_lines(&killed, 5, &mut child);
    signal(&child, "KILL");
    child.wait().unwrap();
    let text = ok(start("killed", &["--resume"]));
    assert_eq!(log(&killed), log(&whole), "{text}");
    assert!(adapter(&killed) == adapter(&whole), "another adapter");
}

/// Protects long runs: killed without warning at several points and resumed, the run ends with the same adapter and log,
/// bit for bit, dropout included.
#[test]
fn killed_runs_resume_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    ok(finetune(dir.path(), &["--out", "whole"]));
    let whole = dir.path().join("whole");
    // Inside the first epoch before any saved state, after one, and in the second epoch.
    for (i, lines) in [2, 5, 11].into_iter().enumerate() {
        let name = format!("killed{i}");
        let run = dir.path().join(&name);
        let mut child =
            finetune(dir.path(), &["--out", &name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_lines(&run, lines, &mut child);
        signal(&child, "KILL");
        child.wait().unwrap();
        let text = ok(finetune(dir.path(), &["--out", &name, "--resume"]));
        assert!(adapter(&run) == adapter(&whole), "killed at line {lines}: another adapter\n{text}");
        assert_eq!(log(&run), log(&whole), "killed at line {lines}: another log");
    }
}

/// Protects Ctrl-C: the run stops at the next step with its state saved, says how to go on, exits with 130, and resumes.
#[test]
fn ctrl_c_saves_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = finetune(dir.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_lines(&dir.path().join("run"), 5, &mut child);
    signal(&child, "INT");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", both(&out));
    assert!(both(&out).contains("--resume"), "{}", both(&out));
    assert!(dir.path().join("run/state.safetensors").exists());
    let text = ok(finetune(dir.path(), &["--resume"]));
    assert!(text.contains("resuming"), "{text}");
    assert!(dir.path().join("run/adapter/adapter_model.safetensors").exists());
}

/// Protects the claim that the primitives are general: a model trained from nothing learns.
#[test]
fn pretraining_learns() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = host(dir.path(), "pretrain_tiny");
    c.args(["--steps", "30", "--max-seq-len", "48", "--hidden-size", "32", "--layers", "2"]);
    ok(c);
    let val: Vec<f64> = log(&dir.path().join("runs/pretrain")).iter().filter_map(|l| l["val_loss"].as_f64()).collect();
    assert!(val[0] > 5.5 && *val.last().unwrap() < val[0] - 1.0, "{val:?}");
    assert!(dir.path().join("runs/pretrain/model/config.json").exists());
    // What was saved loads as a Hugging Face directory.
    let mut c = host(dir.path(), "generate");
    c.args(["--model", "runs/pretrain/model", "--prompt", "The", "--max-new-tokens", "3"]);
    ok(c);
}

/// Protects evaluation: scores without and with the adapter, in one process.
#[test]
fn evaluation_compares() {
    let dir = tempfile::tempdir().unwrap();
    ok(finetune(dir.path(), &[]));
    let mut c = host(dir.path(), "evaluate");
    c.args(["--adapter", "run/adapter", "--limit", "40", "--max-seq-len", "192", "--max-new-tokens", "4"]);
    c.args(["--template", "{instruction} {input}\nAnswer: ", "--samples", "1", "--score", "2", "--out", "runs/scores"]);
    let text = ok(c);
    let rows = |name: &str| text.lines().filter(|l| l.starts_with(name)).count();
    assert!(text.contains("perplexity") && rows("base ") == 2 && rows("run/adapter ") == 2, "{text}");
    for file in ["train.json", "train.csv", "val.md"] {
        assert!(dir.path().join("runs/scores").join(file).is_file(), "{file}");
    }
}

/// Protects the person who types something wrong: each is a message that names it, with the right exit code, and no
/// panic.
#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let broken = write("broken.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \n");
    let empty = write("empty.json", "[]");
    let silent = write("silent.json", r#"[{"instruction": "a", "output": "b"}, {"instruction": "c"}]"#);
    let cases: [(&[&str], i32, &[&str]); 10] = [
        (&["--model", "nowhere.gguf"], 1, &["nowhere.gguf"]),
        (&["--data", "nowhere.json"], 1, &["nowhere.json"]),
        (&["--data", &broken], 1, &["broken.jsonl", "line 2"]),
        (&["--data", &empty], 1, &["empty.json"]),
        (&["--data", &silent], 1, &["silent.json", "output"]),
        (&["--learning-rate", "1"], 2, &["learning", "--lr"]),
        (&["--epochs", "many"], 2, &["epochs", "many"]),
        (&["--target-modules", "q_porj"], 1, &["q_porj", "q_proj"]),
        (&["--amp", "fp16"], 1, &["fp16", "did you mean `f16`"]),
        (&["--max-seq-len", "4"], 1, &["max_seq_len"]),
    ];
    for (args, code, words) in cases {
        let out = finetune(dir.path(), args).output().unwrap();
        let text = both(&out);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{args:?} does not mention {word}: {text}");
        }
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
}

/// Protects a second run under the same name: it gets a directory of its own, and the first stays whole.
#[test]
fn a_second_run_takes_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let quick = ["--epochs", "1", "--limit", "8", "--samples", "0"];
    ok(finetune(dir.path(), &quick));
    let first = adapter(&dir.path().join("run"));
    ok(finetune(dir.path(), &quick));
    assert!(adapter(&dir.path().join("run")) == first);
    assert!(adapter(&dir.path().join("run-2")) == first, "the same settings give the same bits");
}
