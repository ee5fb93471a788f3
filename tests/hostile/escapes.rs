//! Scripts that try to read and write what is not theirs.

use crate::child;
use crate::cli_support::{Dir, Ran};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const RECORDS: &str = r#"[{"instruction": "a", "output": "b"}]"#;

/// A working directory `work` as a stranger's folder would bring it, full of links, and `outside` beside it.
struct World {
    dir: Dir,
    before: Vec<(PathBuf, u64)>,
}

impl World {
    fn new() -> World {
        let dir = Dir::with(&[
            ("outside/secret.json", RECORDS),
            ("outside/secret.rhai", "export const S = 1;"),
            ("outside/config.json", "{}"),
            ("outside/adapter/adapter_config.json", r#"{"r": 4, "lora_alpha": 8}"#),
            ("outside/log.jsonl", ""),
            ("outside/empty/.keep", ""),
            ("work/data.json", RECORDS),
            ("work/mine.rhai", "export const S = 2;"),
            ("work/model/config.json", "{}"),
            ("work/runs/planted/run.json", ""),
            ("work/runs/full/thesis.txt", "x"),
            ("work/real_adapter/adapter_config.json", r#"{"r": 4, "lora_alpha": 8}"#),
        ]);
        let world = World { dir, before: Vec::new() };
        std::fs::remove_file(world.outside("empty/.keep")).unwrap();
        for (to, at) in [
            ("outside/secret.json", "work/link.json"),
            ("outside/secret.rhai", "work/link.rhai"),
            ("outside", "work/linked"),
            ("outside/config.json", "work/model/tokenizer.json"),
            ("outside/adapter", "work/adapter"),
            ("outside/adapter/adapter_config.json", "work/real_adapter/adapter_model.safetensors"),
            ("outside/log.jsonl", "work/runs/planted/log.jsonl"),
            ("outside/empty", "work/runs/full-2"),
            ("outside/not_yet", "work/runs/dangling"),
            ("outside", "work/runs/linked"),
        ] {
            symlink(world.dir.path().join(to), world.dir.path().join(at)).unwrap();
        }
        World { before: world.look(), ..world }
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("outside").join(name)
    }

    /// Everything outside, with sizes.
    fn look(&self) -> Vec<(PathBuf, u64)> {
        fn walk(dir: &Path, into: &mut Vec<(PathBuf, u64)>) {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let size = entry.metadata().unwrap().len();
                into.push((entry.path(), if entry.path().is_dir() { 0 } else { size }));
                if entry.path().is_dir() {
                    walk(&entry.path(), into);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.outside(""), &mut found);
        found.sort();
        found
    }

    fn script(&self, text: &str) {
        let text = text.replace("OUTSIDE", self.outside("").to_str().unwrap().trim_end_matches('/'));
        std::fs::write(self.dir.path().join("work/t.rhai"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.dir.host(args);
        command.current_dir(self.dir.path().join("work"));
        let done = command.output().unwrap();
        Ran {
            code: done.status.code(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

const MODEL: &str = "let m = llama::load(\"builtin:stories260K\"); ";
const ADAPTED: &str = "let m = llama::load(\"builtin:stories260K\"); m.inject_lora(#{ rank: 2 }); ";

/// What is tried, and part of what is said.
const TRIES: &[(&str, &str)] = &[
    // Reading.
    ("data::load(\"/etc/passwd\")", "reading /etc/passwd is not allowed; --allow-read /etc/passwd would allow it"),
    ("data::load(\"OUTSIDE/secret.json\")", "is not allowed; --allow-read"),
    ("data::load(\"../outside/secret.json\")", "reading ../outside/secret.json is not allowed"),
    ("data::load(\"runs/../../outside/secret.json\")", "is not allowed"),
    ("data::load(\"no/such/../../../outside/secret.json\")", "is not allowed"),
    ("data::load(\"link.json\")", "because it leads to OUTSIDE/secret.json; --allow-read OUTSIDE/secret.json"),
    ("data::load(\"linked/secret.json\")", "is not allowed"),
    ("data::load(\"/proc/self/root/etc/passwd\")", "is not allowed"),
    ("data::load(\"/proc/self/environ\")", "is not allowed"),
    ("data::load(\"/dev/stdin\")", "is not allowed"),
    ("data::load(\"file:///etc/passwd\")", "is a URL"),
    ("data::load(\"http://localhost/x.json\")", "is a URL"),
    ("#{ instruction: \"a\", output: \"b\" }.prompt(\"OUTSIDE/secret.jinja\")", "is not allowed; --allow-read"),
    ("data::load(\"/etc/passwd\", #{ format: \"text\" })", "reading /etc/passwd is not allowed"),
    ("data::load(\"\")", "error"),
    ("data::load(\"data.json\\0/../../outside/secret.json\")", "error"),
    ("llama::load(\"/etc\")", "reading /etc is not allowed"),
    ("llama::load(\"linked\")", "is not allowed"),
    ("llama::load(\"model\")", "tokenizer.json is not allowed, because it leads to OUTSIDE/config.json"),
    ("llama::load(\"model/config.json\")", "is not allowed"),
    ("llama::load(\"https://huggingface.co/x/y\")", "is a URL"),
    ("MODEL m.load_adapter(\"OUTSIDE/adapter\")", "is not allowed; --allow-read"),
    ("MODEL m.load_adapter(\"adapter\")", "is not allowed"),
    ("MODEL m.load_adapter(\"real_adapter\")", "is not allowed"),
    ("try { data::load(\"/etc/passwd\") } catch (e) { throw e.kind }", "denied"),
    // Imports.
    ("import \"OUTSIDE/secret\" as s;", "is not allowed"),
    ("import \"../outside/secret\" as s;", "is not allowed"),
    ("import \"link\" as s;", "is not allowed"),
    ("import \"linked/secret\" as s;", "is not allowed"),
    ("import \"std/../../outside/secret\" as s;", "unknown module of std"),
    ("eval(\"import \\\"OUTSIDE/secret\\\" as s;\")", "is not allowed"),
    // Writing.
    ("ADAPTED m.save_adapter(\"adapter2\")", "writing adapter2 is not allowed; --allow-write adapter2 would allow it"),
    ("ADAPTED m.save_adapter(\"OUTSIDE/x\")", "is not allowed; --allow-write"),
    ("ADAPTED m.save_adapter(\"runs/../adapter2\")", "is not allowed"),
    ("ADAPTED m.save_adapter(\"runs/linked/x\")", "is not allowed"),
    ("ADAPTED m.save_adapter(\"runs/dangling\")", "because it leads to OUTSIDE/not_yet; --allow-write OUTSIDE/not_yet"),
    ("ADAPTED m.save_adapter(\"runs/new/../../../outside/x\")", "is not allowed"),
    ("MODEL m.save(\"OUTSIDE/x\")", "is not allowed"),
    ("MODEL m.save(\"runs/linked/x\")", "is not allowed"),
    ("runs::create(\"OUTSIDE/run\", #{})", "is not allowed; --allow-write"),
    ("runs::create(\"../outside/run\", #{})", "is not allowed"),
    ("runs::create(\"run\", #{})", "writing run is not allowed"),
    ("runs::create(\"runs/linked/run\", #{})", "is not allowed"),
    ("runs::create(\"runs/planted\", #{}, #{ policy: \"overwrite\" })", "because it leads to OUTSIDE/log.jsonl"),
    ("runs::create(\"runs/planted\", #{}, #{ policy: \"reopen\" })", "because it leads to OUTSIDE/log.jsonl"),
    ("runs::create(\"runs/full\", #{})", "runs/full-2 is not allowed, because it leads to OUTSIDE/empty"),
    ("runs::create(\"/etc\", #{}, #{ policy: \"reopen\" })", "writing /etc is not allowed"),
    ("const OPTIONS = #{ out: \"OUTSIDE/run\" }; runs::create(options().out, #{})", "is not allowed"),
    ("const OPTIONS = #{ data: \"OUTSIDE/secret.json\" }; data::load(options().data)", "is not allowed"),
];

/// Protects the rest of the machine: every way out that we could think of is closed, says so, and leaves nothing behind.
#[test]
fn there_is_no_way_out() {
    let world = World::new();
    let outside = world.outside("");
    let mut faults = Vec::new();
    for (text, says) in TRIES {
        world.script(&text.replace("MODEL", MODEL).replace("ADAPTED", ADAPTED));
        let ran = world.run(&["run", "t.rhai"]);
        let says = says.replace("OUTSIDE", outside.to_str().unwrap().trim_end_matches('/'));
        if ran.code != Some(1) || !ran.err.contains(&says) {
            faults.push(format!("{text}\n    {:?}: {}", ran.code, ran.err.trim()));
        }
        if world.look() != world.before {
            faults.push(format!("{text}: something was written outside"));
        }
    }
    assert!(faults.is_empty(), "{} of {} tries:\n  {}", faults.len(), TRIES.len(), faults.join("\n  "));
}

/// Protects a folder called `runs` that is itself a link; and its owner, who names it.
#[test]
fn a_linked_runs_folder_must_be_named() {
    let world = World::new();
    std::fs::remove_dir_all(world.dir.path().join("work/runs")).unwrap();
    symlink(world.outside("empty"), world.dir.path().join("work/runs")).unwrap();
    world.script("const OPTIONS = #{ out: \"runs/x\" }; runs::create(options().out, #{});");
    let ran = world.run(&["run", "t.rhai"]);
    let says = format!("writing runs/x is not allowed, because it leads to {}", world.outside("empty/x").display());
    assert!(ran.code == Some(1) && ran.err.contains(&says), "{ran:?}");
    assert_eq!(world.look(), world.before);
    for numbered in ["x", "x-2"] {
        let ran = world.run(&["run", "t.rhai", "--out", "runs/x"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(world.outside("empty").join(numbered).join("run.json").is_file());
    }
}

/// Protects consent: what is named on the command line is allowed, before the script's name and after it, and no more.
#[test]
fn naming_and_flags_allow() {
    let world = World::new();
    let secret = world.outside("secret.json").display().to_string();
    let outside = world.outside("").display().to_string();
    world.script("const OPTIONS = #{ data: \"\", list: [\"a\"] }; print(data::load(\"OUTSIDE/secret.json\").len);");
    assert_eq!(world.run(&["run", "t.rhai"]).code, Some(1));
    for args in [
        vec!["run", "t.rhai", "--data", &secret],
        vec!["run", "t.rhai", "--list", &format!("x,{secret}")],
        vec!["run", "t.rhai", &secret],
        vec!["run", "--allow-read", &secret, "t.rhai"],
        vec!["run", "t.rhai", "--allow-read", &format!("nothing,{outside}")],
        vec!["run", "t.rhai", "--allow-read", "nothing", "--allow-read", "../outside"],
        vec!["run", "--allow-all", "t.rhai"],
        vec!["run", "t.rhai", "--allow-write", &outside],
    ] {
        let ran = world.run(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "1\n"), "{args:?}: {ran:?}");
    }
    let config = world.outside("config.json").display().to_string();
    assert_eq!(world.run(&["run", "t.rhai", "--data", &config]).code, Some(1));
    // A separator is no path.
    assert_eq!(world.run(&["run", "t.rhai", "--data", "/"]).code, Some(1));

    world.script(&format!("{ADAPTED} m.save_adapter(\"kept\"); m.remove_adapter(); print(m.load_adapter(\"kept\"));"));
    assert_eq!(world.run(&["run", "t.rhai", "--allow-read", "kept"]).code, Some(1));
    assert_eq!(world.run(&["run", "t.rhai", "--allow-write", "kept"]).code, Some(0));
}

/// Protects whoever protects himself by a flag: a script cannot take the flag's name for an option of its own.
#[test]
fn a_script_cannot_take_the_flags() {
    let world = World::new();
    for name in ["allow_all", "allow_read", "timeout", "max_memory"] {
        world.script(&format!("const OPTIONS = #{{ {name}: 1 }};"));
        let ran = world.run(&["run", "t.rhai"]);
        assert!(ran.code != Some(0) && ran.err.contains(&format!("`{name}` is an option of the host")), "{ran:?}");
    }
    world.script("");
    for (flag, says) in
        [("--timeout=soon", "expected a time"), ("--max-memory=much", "expected a size"), ("--max-ops=0", "from 1")]
    {
        for args in [["run", flag, "t.rhai"], ["run", "t.rhai", flag]] {
            let ran = world.run(&args);
            assert!(ran.code == Some(2) && ran.err.contains(says), "{args:?}: {ran:?}");
        }
    }
}

/// Protects scripts that wait at a pipe for ever.
#[test]
fn pipes_in_the_folder_are_no_data() {
    let world = World::new();
    let pipe = world.dir.path().join("work/pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    world.script("data::load(\"pipe.json\")");
    let ended = child::run_in(&world.dir, "work", &["run", "t.rhai"]);
    assert!(ended.code == Some(1) && ended.err.contains("neither a file nor a directory"), "{ended:?}");
}

/// Protects `host repl` from limits that only other people's scripts need.
#[test]
fn the_session_is_its_owners() {
    let world = World::new();
    let mut command = world.dir.host(&["repl"]);
    command.current_dir(world.dir.path().join("work"));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"data::load(\"../outside/secret.json\").len\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "1");
}
