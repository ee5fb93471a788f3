//! `host run` as a user meets it: options, help, arguments, exit codes, signals, pipes.

mod cli_support;

use cli_support::{Dir, script};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const OPTIONS: &str = r#"
//! Trains an adapter.
//!
//! host run t.rhai --lr 3e-4
const OPTIONS = #{
    model: "builtin:tiny",        // where the model is
    lr: 1e-4,                     // peak learning rate
    epochs: 3,
    target_modules: ["q_proj"],   // layers to adapt
    shuffle: true,
    half: false,
    lora: #{ rank: 8, alpha: 16.0 },
    init: (),                     // start from these weights
};
let o = options();
print(`${o.model} ${o.lr} ${o.epochs} ${o.target_modules} ${o.shuffle} ${o.half} ${o.lora} ${o.init}|${args()}`);
print(`${resuming()} ${device()}`);
"#;

fn with_options(args: &[&str]) -> cli_support::Ran {
    let mut all = vec!["run", "t.rhai"];
    all.extend(args);
    Dir::with(&[("t.rhai", OPTIONS)]).run(&all)
}

/// Protects the recipes' command line: every type of option, in every spelling, arrives typed.
#[test]
fn options_arrive_typed() {
    let ran = with_options(&[]);
    assert_eq!(
        ran.out,
        "builtin:tiny 0.0001 3 [\"q_proj\"] true false #{\"alpha\": 16.0, \"rank\": 8} |[]\nfalse cpu\n"
    );

    let ran = with_options(&[
        "in.json",
        "--model=a=b",
        "--lr",
        "2",
        "--epochs=1_0",
        "--target-modules",
        "q_proj,v_proj",
        "--no-shuffle",
        "--half",
        "--lora",
        r#"{"rank": 4}"#,
        "--init",
        "w.gguf",
        "--resume",
        "--",
        "--raw",
    ]);
    assert_eq!(
        ran.out,
        "a=b 2.0 10 [\"q_proj\", \"v_proj\"] false true #{\"alpha\": 16.0, \"rank\": 4} w.gguf|[\"in.json\", \"--raw\"]\n\
         true cpu\n"
    );
    assert!(with_options(&["--target_modules", r#"["k,x"]"#]).out.contains(" [\"k,x\"] "));
}

/// Protects against typos on the command line: nothing runs, exit code 2, the near name and the expected type.
#[test]
fn wrong_options_exit_with_2() {
    let wrong = |args: &[&str], message: &str| {
        let ran = with_options(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(2), "", message), "{args:?}");
    };
    wrong(
        &["--target-module", "q"],
        "error[usage]: unknown option `--target-module`\n = help: did you mean `--target-modules`?\n",
    );
    wrong(&["--epochs", "many"], "error[usage]: option `--epochs` is `many`; expected an int\n");
    wrong(&["--epochs", "1.5"], "error[usage]: option `--epochs` is `1.5`; expected an int\n");
    wrong(&["--lr", "fast"], "error[usage]: option `--lr` is `fast`; expected a number\n");
    wrong(&["--lr"], "error[usage]: option `--lr` needs a value\n");
    wrong(&["--half=7"], "error[usage]: option `--half` is `7`; expected true or false\n");
    wrong(
        &["--lora", r#"{"rang": 1}"#],
        "error[usage]: option `--lora` is `{\"rang\": 1}`; expected a JSON object with the keys alpha, rank; `rang` is \
         none of them\n",
    );
    wrong(
        &["--device", "tpu"],
        "error[usage]: unknown device `tpu`\n = help: devices are \"cpu\", \"cuda\" and \"cuda:N\"\n",
    );
    wrong(&["--threads", "0"], "error[usage]: option `--threads` is `0`; expected a count from 1 on\n");
}

/// Protects `host run SCRIPT --help`: the script's own words, options in its order, defaults.
#[test]
fn help_comes_from_the_script() {
    let ran = with_options(&["--help"]);
    assert_eq!(ran.code, Some(0));
    let (of_script, of_host) = ran.out.split_at(ran.out.find("Options of the host:\n").unwrap() + 21);
    for flag in
        ["--device <NAME>", "--no-check", "--config <FILE>", "--set <KEY=VALUE>", "--watch", "--allow-read <PATH>"]
    {
        assert!(
            of_host.contains(&format!("\n  {flag} ")) || of_host.starts_with(&format!("  {flag} ")),
            "{flag}: {of_host}"
        );
    }
    assert_eq!(
        of_script,
        "\
Trains an adapter.

host run t.rhai --lr 3e-4

Usage: host run t.rhai [OPTIONS] [ARGS]

Options of this script:
  --model <TEXT>              where the model is [default: builtin:tiny]
  --lr <FLOAT>                peak learning rate [default: 1e-4]
  --epochs <INT>              [default: 3]
  --target-modules <TEXT,..>  layers to adapt [default: q_proj]
  --no-shuffle
  --half
  --lora <JSON>               [default: {\"alpha\":16.0,\"rank\":8}]
  --init <VALUE>              start from these weights

Options of the host:
"
    );
}

/// Protects the rule that a script's `resume` is its own, and the host's flag is seen all the same.
#[test]
fn resume_reaches_both_where_declared() {
    let text = "const OPTIONS = #{ resume: false, device: \"cpu\" }; print(`${options().resume} ${resuming()}`);";
    let dir = Dir::with(&[("t.rhai", text)]);
    assert_eq!(dir.run(&["run", "t.rhai", "--resume"]).out, "true true\n");
    assert_eq!(dir.run(&["run", "--resume", "t.rhai"]).out, "false true\n");
    assert_eq!(dir.run(&["run", "t.rhai", "--device", "tpu"]).code, Some(2));
}

/// Protects recipes as folders: the script of the folder's name, or main.rhai, with imports beside it.
#[test]
fn folders_run() {
    let dir = Dir::with(&[
        ("tune/tune.rhai", "import \"parts/p\" as p; print(p::name());"),
        ("tune/parts/p.rhai", "fn name() { \"part\" }"),
        ("other/main.rhai", "print(\"main\");"),
        ("empty/readme.md", ""),
    ]);
    assert_eq!(dir.run(&["run", "tune"]).out, "part\n");
    assert_eq!(dir.run(&["run", "other/"]).out, "main\n");
    let ran = dir.run(&["run", "empty"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            Some(2),
            "error[usage]: `empty` is a folder without a script to run\n = help: looked for empty/recipe.toml, \
             empty/empty.rhai and empty/main.rhai\n"
        )
    );
    let ran = dir.run(&["run", "nothere.rhai"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), "error[usage]: there is no script nothere.rhai\n"));
}

/// Protects scripts in CI: 0 done, 1 failed, 2 usage.
#[test]
fn exit_codes() {
    assert_eq!(script("let x = 1;").code, Some(0));
    assert_eq!(script("exit();").code, Some(0));
    assert_eq!(script("throw 1;").code, Some(1));
    assert_eq!(script("let = 1;").code, Some(1));
    let dir = Dir::with(&[]);
    assert_eq!(dir.run(&["run"]).code, Some(2));
    assert_eq!(dir.run(&["walk"]).code, Some(2));
    let version = dir.run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.out.starts_with(&format!("host {}\n", env!("CARGO_PKG_VERSION"))), "{version:?}");
}

/// Starts `text` and waits until it has printed a line.
fn started(dir: &Dir, args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = dir.host(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    (child, out)
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Protects Ctrl-C: an infinite loop ends soon, with 130, whatever the script catches.
#[test]
fn interrupting_a_loop_exits_with_130() {
    let loops = "fn spin() { loop { } } print(\"started\"); try { spin(); } catch { print(\"caught\"); }";
    let dir = Dir::with(&[("t.rhai", loops)]);
    for name in ["-INT", "-TERM"] {
        let (mut child, mut out) = started(&dir, &["run", "t.rhai"]);
        let since = Instant::now();
        signal(&child, name);
        let status = child.wait().unwrap();
        assert!(since.elapsed() < Duration::from_secs(5), "took {:?}", since.elapsed());
        let (mut rest, mut err) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((status.code(), rest.as_str()), (Some(130), ""), "{name}");
        assert_eq!(err.lines().next(), Some("stopped: interrupted"));
    }
}

/// Protects `host run t.rhai | head`: it ends quietly when nobody reads any more.
#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let dir = Dir::with(&[("t.rhai", "print(\"started\"); loop { print(\"more\"); }")]);
    let (mut child, out) = started(&dir, &["run", "t.rhai"]);
    drop(out);
    let since = Instant::now();
    let status = child.wait().unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}

/// Protects logs: without a terminal, work that is over at once says so in one line; longer work has lines on its way, as
/// far apart as was asked for; `--quiet` has none.
#[test]
fn progress_is_lines_when_piped() {
    let text = r#"
        let p = progress(40, "training");
        for i in 0..40 { p.update(i + 1, #{ loss: 2.0 / (i + 1), phase: "warm" }); }
        p.finish();
        let q = progress(2, "given up"); q.update(1);
        note("a note"); print("done");
    "#;
    let dir = Dir::with(&[("t.rhai", text)]);
    let ran = dir.run(&["run", "t.rhai"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "done\n"));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.err);
    assert!(lines[0].starts_with("training  40/40 (100%)  ") && lines[0].contains("loss 0.050  phase warm  mem "));
    assert!(lines[1] == "a note" && lines[2].starts_with("given up  1/2 (50%)  "), "{}", ran.err);
    let out = dir.host(&["run", "t.rhai"]).env("HOST_PROGRESS_SECONDS", "0").output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(err.starts_with("training  1/40 (") && err.lines().count() >= 41, "{err}");
    assert_eq!(dir.run(&["run", "--quiet", "t.rhai"]).err, "");
}

/// Protects the screen: lines printed while a bar is shown stay whole, and the finished bar stays below them.
#[test]
fn printing_goes_around_the_bar() {
    let text = r#"
        let p = progress(3, "training");
        for i in 0..3 { p.update(i + 1, #{ loss: 0.5 }); print(`line ${i}`); }
        p.finish(); print("end");
    "#;
    let dir = Dir::with(&[("t.rhai", text)]);
    let mut command = dir.host(&["run", "t.rhai"]);
    command.env("TERM", "xterm").stdin(Stdio::inherit());
    let mut p = rexpect::session::spawn_command(command, Some(10_000)).unwrap();
    let screen = p.exp_eof().unwrap();
    for line in ["line 0", "line 1", "line 2", "end"] {
        // On a line of its own: behind an erased bar or a line break, before a line break.
        let at = screen.find(&format!("{line}\r\n")).unwrap_or_else(|| panic!("{line} is broken in {screen:?}"));
        assert!(screen[..at].ends_with(['\n', '\r', 'K', 'H', 'J']), "{line} follows other text in {screen:?}");
    }
    let last = screen.rsplit("training").next().unwrap();
    assert!(
        last.starts_with("  3/3 (100%)") && last.contains("  loss 0.500  ") && last.ends_with("end\r\n"),
        "{screen:?}"
    );
}

/// Protects streamed text: pieces come out as they are written, without added line breaks.
#[test]
fn written_text_streams() {
    let ran = script("write(\"a\"); write(\"b\\n\"); print(\"c\"); write(\"d\");");
    assert_eq!(ran.out, "ab\nc\nd");
}

/// Protects timing and memory figures in recipes.
#[test]
fn memory_and_time_are_measured() {
    let ran = script(
        "let t = now(); let m = memory(); print(t > 1.7e9 && m.peak_mib >= m.current_mib && m.current_mib > 0.0);
         print(version());",
    );
    assert_eq!(ran.out, format!("true\n{}\n", env!("CARGO_PKG_VERSION")));
}

/// Protects whoever looks for time: the table names operations of every phase behind the output, also of a script that
/// fails, and the trace is what a viewer reads.
#[test]
fn a_profile_is_shown_and_traced() {
    const STEP: &str = r#"
        let model = llama::load("builtin:stories260K");
        model.freeze();
        model.inject_lora(#{ rank: 4 });
        model.checkpoint_every(2);
        let data = data::load("builtin:seed-tasks").take(2).tokenize(model.tokenizer, #{ max_seq_len: 64, template: "{instruction}\n" });
        for window in data.batches(#{ size: 2 }) { for batch in window { model.loss(batch).backward(); } }
        print("done");
    "#;
    let dir = Dir::with(&[("t.rhai", STEP), ("bad.rhai", "let x = rand([4, 4]) @ rand([4, 4]);\nthrow \"so\";\n")]);
    for args in [["run", "--profile=trace.json", "t.rhai"], ["run", "t.rhai", "--profile=trace.json"]] {
        let ran = dir.run(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "done\n"), "{}", ran.err);
        for row in [
            "lora_linear          forward ",
            "lora_linear          backward",
            "attention            recompute",
            "script and the rest",
        ] {
            assert!(ran.err.contains(row), "{row}: {}", ran.err);
        }
        let trace: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("trace.json")).unwrap()).unwrap();
        assert!(trace["traceEvents"].as_array().unwrap().iter().any(|e| e["name"] == "head_loss" && e["ph"] == "X"));
        std::fs::remove_file(dir.path().join("trace.json")).unwrap();
    }
    let ran = dir.run(&["run", "--profile", "bad.rhai"]);
    assert!(ran.code == Some(1) && ran.err.contains("matmul") && ran.err.contains("so"), "{}", ran.err);
    let ran = dir.run(&["run", "--profile=no/such/trace.json", "t.rhai"]);
    assert!(ran.code == Some(1) && ran.err.contains("no/such: No such file"), "{}", ran.err);
}
