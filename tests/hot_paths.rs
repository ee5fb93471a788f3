//! The short ways to a run, through the real binary: text from the command line and standard input, settings from files,
//! running again on change; completions, version, doctor.

mod cli_support;

use cli_support::Dir;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[track_caller]
fn ok(dir: &Dir, args: &[&str]) -> String {
    let ran = dir.run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.out
}

#[track_caller]
fn refused(dir: &Dir, args: &[&str]) -> String {
    let ran = dir.run(args);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
    ran.err
}

/// Protects one-liners: the value is printed, strings bare, `()` not at all; arguments arrive; a mistake shows its place.
#[test]
fn text_from_the_command_line() {
    let dir = Dir::with(&[("m.rhai", "fn two() { 2 }")]);
    for (text, out) in [
        ("1 + 1", "2\n"),
        ("version()", concat!(env!("CARGO_PKG_VERSION"), "\n")),
        ("let x = 3;", ""),
        ("print(\"a\"); \"b\"", "a\nb\n"),
        ("import \"m\" as m; m::two()", "2\n"),
        ("[\"a\", 1.0]", "[\"a\", 1.0]\n"),
        ("zeros([2]).shape", "[2]\n"),
    ] {
        assert_eq!(ok(&dir, &["run", "-e", text]), out, "{text}");
    }
    assert_eq!(ok(&dir, &["run", "-e", "args()", "a", "--", "--b"]), "[\"a\", \"--b\"]\n");
    assert_eq!(ok(&dir, &["run", "-e", "const OPTIONS = #{ n: 1 }; options().n", "--n", "4"]), "4\n");
    let ran = dir.run(&["run", "-e", "1 +* 2"]);
    assert!(ran.code == Some(1) && ran.err.contains("-e:1:"), "{ran:?}");
}

/// Protects scripts that come through a pipe: options and arguments stay usable, imports start from the working directory.
#[test]
fn a_script_from_standard_input() {
    let dir = Dir::with(&[("m.rhai", "fn two() { 2 }")]);
    let run = |text: &str, args: &[&str]| {
        let mut child = dir.host(&[&["run", "-"], args].concat());
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let text = "import \"m\" as m; const OPTIONS = #{ n: 1 }; print(m::two() * options().n + args()[0].len);";
    assert_eq!(run(text, &["--n", "5", "abc"]), (Some(0), "13\n".into(), String::new()));
    let (code, _, err) = run("throw \"x\";", &[]);
    assert!(code == Some(1) && err.contains("stdin:1:1"), "{err}");
    let (code, _, err) = run("1", &["--watch"]);
    assert!(code == Some(2) && err.contains("can be read only once"), "{err}");
}

/// Steps, losses and gradient norms of a run: what must repeat.
fn losses(dir: &Dir, run: &str) -> Vec<String> {
    let log = fs::read_to_string(dir.path().join(run).join("log.jsonl")).unwrap();
    let line = |l: &str| {
        let json: serde_json::Value = serde_json::from_str(l).unwrap();
        format!("{} {} {} {}", json["kind"], json["loss"], json["grad_norm"], json["val_loss"])
    };
    log.lines().map(line).collect()
}

/// Protects reproduction: a training run repeated from its settings alone, without naming the script, takes the same steps
/// to the last bit; one setting changed on top changes it.
#[test]
fn a_run_is_repeated_from_its_settings() {
    let dir = Dir::with(&[]);
    let args = "run --quiet finetune --limit 8 --val-fraction 0.25 --epochs 1 --batch-size 2 --grad-accum-steps 2 --max-seq-len 128 --samples 0 \
                --lr 3.3e-3 --amp off --out runs/x --set rank=2 --target-modules q_proj,v_proj,o_proj";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(["--template", "{instruction}\nAnswer \"so\": "]);
    ok(&dir, &args);
    let first = losses(&dir, "runs/x");
    assert!(first.len() >= 4, "{first:?}");
    ok(&dir, &["run", "--quiet", "--config", "runs/x/settings.toml"]);
    assert_eq!(losses(&dir, "runs/x-2"), first);
    let bytes = |run: &str| fs::read(dir.path().join(run).join("adapter/adapter_model.safetensors")).unwrap();
    assert!(bytes("runs/x") == bytes("runs/x-2"), "the adapters differ");
    ok(&dir, &["run", "--quiet", "finetune", "--config", "runs/x-2/settings.toml"]);
    assert_eq!(losses(&dir, "runs/x-3"), first);
    ok(&dir, &["run", "--quiet", "--config", "runs/x/settings.toml", "--seed", "5", "--out", "runs/y"]);
    assert_ne!(losses(&dir, "runs/y"), first);
    let settings = fs::read_to_string(dir.path().join("runs/y/settings.toml")).unwrap();
    assert!(settings.contains("\nseed = 5\n") && settings.contains("script = \"finetune\""), "{settings}");
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(
        settings.contains(&version) && settings.contains("device = \"cpu\"") && settings.contains("dtype = \"f32\"")
    );
}

/// Protects the order of precedence, from the script's own default to the command line, and what is said when a repeated
/// run cannot be the same.
#[test]
fn later_settings_win() {
    let script = "const OPTIONS = #{ a: 1, b: 1, c: 1, d: 1, m: #{ x: 1, y: 1, z: 1 } };\nprint(options());\n\
                  runs::create(\"runs/r\", options());";
    let dir = Dir::with(&[
        ("r/recipe.toml", "name = \"r\"\nversion = \"1.0.0\"\n[options]\nb = 2\nc = 2\nd = 2\nm = { y = 2 }\n"),
        ("r/main.rhai", script),
        ("c.toml", "c = 3\nd = 3\n[m]\nz = 3\n"),
        ("c.json", "{\"d\": 4}"),
    ]);
    let shown = |args: &[&str]| ok(&dir, &[&["run", "--quiet"], args].concat());
    assert_eq!(shown(&["r"]), "#{\"a\": 1, \"b\": 2, \"c\": 2, \"d\": 2, \"m\": #{\"x\": 1, \"y\": 2, \"z\": 1}}\n");
    let all = "#{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 5, \"m\": #{\"x\": 5, \"y\": 2, \"z\": 3}}\n";
    assert_eq!(shown(&["--set", "d=5", "--config", "c.toml", "r", "--set", "m.x=5"]), all);
    assert_eq!(shown(&["r", "--set", "d=5", "--set=m.x=5", "--config=c.toml"]), all);
    assert!(shown(&["r", "--config", "c.toml", "--config", "c.json"]).contains("\"d\": 4"));

    let newest = "runs/r-4/settings.toml";
    assert!(shown(&["--config", newest]).contains("\"d\": 4"));
    let path = dir.path().join("r/main.rhai");
    fs::write(&path, script.replace("print(", "print( ")).unwrap();
    let ran = dir.run(&["run", "--config", newest]);
    assert!(ran.code == Some(0) && ran.err.contains("r has changed since the run of these settings"), "{ran:?}");

    let said = refused(&dir, &["run", "--config", "c.toml"]);
    assert!(said.contains("c.toml does not say which script it is for"), "{said}");
    fs::write(dir.path().join("c.toml"), "a = 1\nmm = { x = 1 }\n").unwrap();
    let said = refused(&dir, &["run", "r", "--config", "c.toml"]);
    assert!(said.contains("c.toml:2") && said.contains("unknown option: `mm`"), "{said}");
    assert!(refused(&dir, &["run", "r", "--config", "none.toml"]).contains("none.toml cannot be read"));
    assert!(refused(&dir, &["run", "r", "--config"]).contains("`--config` needs a value"));
    assert!(refused(&dir, &["run", "--devise", "cpu", "r"]).contains("did you mean `--device`?"));
}

/// Lines of a process as they come: of standard output, which the errors go to as well, so that their order is kept.
struct Lines(Receiver<String>);

impl Lines {
    fn of(child: &mut std::process::Child) -> Lines {
        let (send, receive) = channel();
        let stream = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Lines(receive)
    }

    /// Waits for a line that contains `text`; returns those before it.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        let mut before = String::new();
        loop {
            match self.0.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return before,
                Ok(line) => before += &format!("{line}\n"),
                Err(_) => panic!("no line with {text:?} after:\n{before}"),
            }
        }
    }
}

/// Ends its process when a test fails half way.
struct Ending(std::process::Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Protects `--watch`: a change of the script, of a module, of a file it read and of one that was missing runs it again;
/// a mistake is shown and waited out; a run under way is stopped by a change; Ctrl-C ends it.
#[test]
fn watching_runs_again() {
    let dir = Dir::with(&[
        ("main.rhai", "import \"part\" as p; print(`value ${p::value()} of ${data::load(\"d.json\").len}`);"),
        ("part.rhai", "fn value() { 1 }"),
        ("d.json", "[{\"instruction\": \"a\", \"output\": \"b\"}]"),
    ]);
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec \"$0\" run main.rhai --watch 2>&1", env!("CARGO_BIN_EXE_host")]).current_dir(dir.path());
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(&mut child);
    let mut child = Ending(child);
    let child = &mut child.0;
    lines.until("value 1 of 1");
    lines.until("done; watching 3 files");

    write("part.rhai", "fn value() { 22 }");
    lines.until("-- part.rhai has changed: running again --");
    lines.until("value 22 of 1");
    lines.until("done; watching");
    write("d.json", "[{\"instruction\": \"a\", \"output\": \"b\"}, {\"instruction\": \"c\", \"output\": \"d\"}]");
    lines.until("d.json has changed");
    lines.until("value 22 of 2");
    lines.until("done; watching");

    write("main.rhai", "let x = ;");
    lines.until("error[syntax]");
    lines.until("failed; watching");
    write("main.rhai", "import \"later\" as l; print(l::name());");
    lines.until("there is no file");
    lines.until("failed; watching");
    write("later.rhai", "fn name() { \"found\" }");
    lines.until("later.rhai has changed");
    lines.until("found");
    lines.until("done; watching");

    write("main.rhai", "print(\"spinning\"); loop {}");
    lines.until("spinning");
    std::thread::sleep(Duration::from_millis(300));
    // As editors save: beside it, then in its place.
    write("main.rhai.new", "print(\"still\");");
    fs::rename(dir.path().join("main.rhai.new"), dir.path().join("main.rhai")).unwrap();
    lines.until("main.rhai has changed");
    lines.until("still");
    lines.until("done; watching");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Protects the completions: each shell takes the script, and bash offers verbs, options, recipes and files.
#[test]
fn completions_complete() {
    let dir = Dir::with(&[("finish.rhai", ""), ("recipes/filter.rhai", "print(1);")]);
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&dir, &["completions", shell]);
        assert!(script.contains("host ls --names") && script.contains("doctor"), "{shell}: {script}");
        fs::write(dir.path().join(shell), &script).unwrap();
        let Ok(checked) = Command::new(shell).arg("-n").arg(dir.path().join(shell)).output() else {
            eprintln!("{shell} is not installed: its script was not parsed");
            continue;
        };
        assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    assert!(fs::read_to_string(dir.path().join("zsh")).unwrap().contains("'*::script:_host_scripts'"));
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_host")).parent().unwrap();
    let complete = |words: &str, at: usize| {
        let script = format!(
            "source ./bash; COMP_WORDS=({words}); COMP_CWORD={at}; _host_with_recipes host \"${{COMP_WORDS[{at}]}}\" \
             \"${{COMP_WORDS[{at}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        let out = bash.args(["-c", &script]).env("PATH", path).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(complete("host doc", 1), ["doc", "doctor"]);
    let mut offered = complete("host run fi", 2);
    offered.sort();
    assert_eq!(offered, ["filter", "finetune", "finish.rhai", "fish"]);
    assert_eq!(complete("host run --wat", 2), ["--watch"]);
    assert_eq!(complete("host run finetune --ra", 3), ["--rank"]);
    assert_eq!(complete("host run filter --conf", 3), ["--config"]);
    assert!(refused(&dir, &["completions", "tcsh"]).contains("tcsh"));
}

/// Protects bug reports: what the program is, what it runs on, what it found; a fault has its own exit code.
#[test]
fn the_doctor_looks() {
    let dir = Dir::with(&[("home/host/recipes/good.rhai", "//! Good.\n")]);
    let doctor = |args: &[&str]| {
        let out = dir.host(args).env("XDG_DATA_HOME", dir.path().join("home")).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, text) = doctor(&["doctor"]);
    assert!(code == Some(0) && text.ends_with("all is well\n"), "{text}");
    for part in
        ["processor", "GFLOP/s in f32", "memory", "CUDA", "builtin:seed-tasks: 175 records", "finetune", "TERM=dumb"]
    {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let (_, json) = doctor(&["doctor", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["gflops"].as_f64().unwrap() > 0.1 && json["cpu"]["threads"].as_u64().unwrap() > 0, "{json}");
    assert!(json["memory"]["total"].as_u64().is_none_or(|b| b > 1 << 26), "{json}");
    assert_eq!(json["cuda"]["compiled"], cfg!(feature = "cuda"));
    assert_eq!(json["terminal"]["stdout"], false);

    fs::write(dir.path().join("home/host/recipes/bad.rhai"), "let = 1;").unwrap();
    let (code, text) = doctor(&["doctor"]);
    assert!(code == Some(2) && text.contains("problem: the recipe bad cannot be run: "), "{text}");
}

/// Protects `host --version`: one line for scripts under -V, the whole for people.
#[test]
fn the_version_says_what_it_is() {
    let dir = Dir::with(&[]);
    assert_eq!(ok(&dir, &["-V"]), format!("host {}\n", env!("CARGO_PKG_VERSION")));
    let text = ok(&dir, &["--version"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("host {}", env!("CARGO_PKG_VERSION")));
    let cuda = if cfg!(feature = "cuda") { "features: cuda" } else { "features: none (built without cuda)" };
    assert_eq!(lines[1], cuda);
    assert!(lines[2].starts_with("cpu:      ") && lines[3].starts_with("system:   "), "{text}");
}
