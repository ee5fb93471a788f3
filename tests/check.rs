//! `host check` from outside: planted faults, no false alarms, what runs and what does not.

mod cli_support;

use cli_support::Dir;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The problems of a JSON report: file, line, code.
fn problems(json: &str) -> BTreeSet<(String, u64, String)> {
    let rows: Vec<Value> = serde_json::from_str(json).expect("an array");
    rows.iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_string();
            (text("file"), row["line"].as_u64().unwrap(), text("code"))
        })
        .collect()
}

fn check(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    let done = command.arg("check").args(args).current_dir(root()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

/// The faults that a file names itself: each word behind `//~` is a code.
fn planted(file: &str) -> BTreeSet<(String, u64, String)> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let lines = text.lines().zip(1..).filter_map(|(line, n)| Some((line.split_once("//~")?.1, n)));
    lines
        .flat_map(|(codes, n)| codes.split_whitespace().map(move |code| (file.to_string(), n, code.to_string())))
        .collect()
}

/// Protects the promise of the verb: every planted fault is found at its line, and nothing else is reported.
#[test]
fn planted_faults_are_found() {
    let files = ["faults", "helper", "cycle_a", "cycle_b"].map(|name| format!("tests/check/{name}.rhai"));
    let expected: BTreeSet<_> = files.iter().flat_map(|file| planted(file)).collect();
    let kinds: BTreeSet<&str> = expected.iter().map(|(.., code)| code.as_str()).collect();
    assert!(kinds.len() >= 20, "only {} kinds: {kinds:?}", kinds.len());

    let (code, json) = check(&["--json", "tests/check/faults.rhai"]);
    let found = problems(&json);
    let missed: Vec<_> = expected.difference(&found).collect();
    let invented: Vec<_> = found.difference(&expected).collect();
    assert!(missed.is_empty() && invented.is_empty(), "missed: {missed:#?}\ninvented: {invented:#?}");
    assert_eq!(code, Some(2));
}

/// Scripts below `folder`, those with planted faults left out.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let planted = path.ends_with("tests/check") || path.ends_with("tests/hostile");
        if path.is_dir() && !planted {
            scripts(&path, found);
        } else if path.extension().is_some_and(|e| e == "rhai") {
            found.push(path);
        }
    }
}

/// Protects trust: no word about any script that is shipped, tested or shown in the guide.
#[test]
fn no_false_alarms() {
    let mut files = Vec::new();
    for folder in ["scripts", "stdlib", "src", "tests"] {
        scripts(&root().join(folder), &mut files);
    }
    let dir = tempfile::tempdir().unwrap();
    for page in fs::read_dir(root().join("docs/guide")).unwrap().map(|e| e.unwrap().path()) {
        let text = fs::read_to_string(&page).unwrap();
        for (i, block) in text.split("\n```rhai\n").skip(1).enumerate() {
            let name = format!("{}_{i}.rhai", page.file_stem().unwrap().to_string_lossy().replace('-', "_"));
            let example = dir.path().join(name);
            fs::write(&example, block.split("\n```").next().unwrap()).unwrap();
            files.push(example);
        }
    }
    assert!(files.len() > 15, "only {} scripts were found", files.len());
    let paths: Vec<&str> = files.iter().map(|f| f.to_str().unwrap()).collect();
    let (code, said) = check(&[&["--deny-warnings"], &paths[..]].concat());
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
}

/// Scripts in which something looks wrong that is not.
const RIGHT: &[&str] = &[
    // Variables that change, in loops, in closures, in functions of the script.
    "let best = (); for i in 0..3 { if best == () || i > best { best = i; } } print(best);",
    "let t = 1; let f = || { t = \"long\"; }; f.call(); print(t.len);",
    "let m = (); if args().len > 0 { m = llama::load(\"x\"); print(m.params); } else { m = 3; } print(m);",
    "fn set() { this = \"text\"; } let x = 1; x.set(); print(x.len);",
    "let x = if args().len > 0 { 1 } else { \"a\" }; print(x.len);",
    // Maps that grow.
    "let m = #{}; m.a = 1; print(m.a);",
    "let m = #{ a: 1 }; m.set(\"k\", 1); print(m.k);",
    "let m = #{}; set(m, \"k\", 1); print(m.k);",
    "let m = #{}; m += #{ k: 1 }; print(m.k);",
    "let m = #{}; for k in [\"a\", \"b\"] { m[k] = 1; } print(m.a + m.b);",
    "let m = #{}; let f = |v| { m.k = v; }; f.call(1); print(m.k);",
    "fn grow() { this.k = 1; } let m = #{}; m.grow(); print(m.k);",
    "let o = options(); o.extra = 1; print(o.extra);",
    // Functions as values.
    "let m = #{ f: |x| x + 1 }; print(m.f(1));",
    "fn sq(x) { x * x } print([1, 2].map(sq)); print([1].map(Fn(\"sq\")));",
    "fn apply(f, x) { f.call(x) } let k = 2; print(apply(|x| { let g = |y| y + k; g.call(x) }, 1));",
    "fn notify(callbacks) { callbacks.on_step(1); callbacks.stepp(1, 2, 3); } notify(#{ on_step: |_n| 1, stepp: |_a, _b, _c| 2 });",
    // Names that come from elsewhere.
    "eval(\"let z = 1;\"); print(z);",
    "if is_def_fn(\"extra\", 1) { extra(1); }",
    "const LIMIT = 3; fn limit() { global::LIMIT } print(limit());",
    "fn count(list) { import \"std/log\" as log; log::count(list.len) } print(count([1]));",
    "let e = 1; print(e); let e = \"two\"; print(e.len);",
    "import \"std/test\" as test; test::assert_throws(|| nowhere(1)); fn test_it() { } fn test_model(_model) { }",
    "/// Says.\n///\n/// # Options\n/// - `a` (1): one.\nfn f(o) { o } f(#{ b: 2 });",
    "fn opened(x) { let x = x ?? 1; x } print(opened(()));",
    // Types that go together.
    "let t = 2.0 * ones([2]) + 1; print((-t @ t).item() ** 2 > 3 && !(t.len == 2)); print(t[0] + t[[0]]);",
    "for (x, i) in [1, 2] { print(x + i); } for c in \"ab\" { print(c == 'a'); }",
    "print(1 == 1.0, ); print(\"a\" + 1 + 'c' + [1] + #{}); print('a' in \"abc\"); print(2 in [1]); print(1 in 0..3);",
    "let e = (); try { throw #{ kind: \"mine\" }; } catch (err) { e = err.kind; } print(e);",
    "let n = 0; do { n += 1; } until n > 3; while n > 0 { n -= 1; if n == 2 { continue; } } print(n);",
    "let kind = switch args().len { 0 => \"none\", 1..3 => \"few\", _ => \"x\", }; print(kind);",
    "let total = 0.0; for i in 0..2 { total += (ones([1], #{ requires_grad: true }) * i).item(); } print(total);",
    "let total = ones([1]); for i in 0..2 { total += ones([1]) * i; } total.sum().backward();",
    "let total = 0.0; for i in 0..2 { total += ones([1]).sum() * i; } total.backward();",
];

/// Protects trust again: nothing is said where nothing is known.
#[test]
fn what_may_be_right_is_not_reported() {
    let named: Vec<(String, &str)> =
        RIGHT.iter().enumerate().map(|(i, text)| (format!("{i:02}.rhai"), *text)).collect();
    let files: Vec<(&str, &str)> = named.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let ran = Dir::with(&files).run(&["check", "--deny-warnings", "."]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 1), "{}{}", ran.out, ran.err);
}

/// Protects against reports that follow from a mistake elsewhere: whatever is cut off a recipe's end, what is left has no
/// errors but those of the cut.
#[test]
fn a_cut_is_one_mistake() {
    let mut cut = Vec::new();
    for recipe in ["finetune", "evaluate", "generate", "pretrain_tiny"] {
        let text = fs::read_to_string(root().join(format!("scripts/{recipe}.rhai"))).unwrap();
        // Behind these something must follow.
        let open = |c: char| "([{,=.:+".contains(c);
        let ends: Vec<usize> = text.match_indices(open).map(|(at, c)| at + c.len()).collect();
        cut.extend(ends.iter().step_by(7).map(|end| (format!("{recipe}_{end:05}.rhai"), text[..*end].to_string())));
    }
    assert!(cut.len() > 60, "{}", cut.len());
    let files: Vec<(&str, &str)> = cut.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let ran = Dir::with(&files).run(&["check", "--json", "."]);
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.err));
    let errors = rows.iter().filter(|row| row["severity"] == "error");
    let others: Vec<_> = errors.filter(|row| row["code"] != "syntax").collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// Protects against checks that run what they look at.
#[test]
fn nothing_runs() {
    let text = "//! Writes.\nconst X = write_file();\nfn write_file() { runs::create(\"made\", #{}); print(\"ran\"); 1 }\n\
                print(X);\nimport \"inner\" as inner;\ninner::f();";
    let inner = "//! Writes too.\nruns::create(\"made\", #{});\nfn f() { print(\"ran\"); }";
    let dir = Dir::with(&[("t.rhai", text), ("inner.rhai", inner)]);
    let ran = dir.run(&["check", "t.rhai"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "no problems in 2 files\n", ""));
    assert!(!dir.path().join("made").exists());
}

/// Protects CI: the exit code says whether there are errors, and `--deny-warnings` counts warnings.
#[test]
fn exit_codes() {
    let dir = Dir::with(&[
        ("good.rhai", "print(1);"),
        ("warned.rhai", "let x = 1;"),
        ("sub/wrong.rhai", "print(y);"),
        ("target/CACHEDIR.TAG", ""),
        ("target/left.rhai", "print(out);"),
        (".hidden/left.rhai", "print(out);"),
        ("empty/readme.md", ""),
    ]);
    let code = |args: &[&str]| dir.run(&[&["check"], args].concat()).code;
    assert_eq!(code(&["good.rhai"]), Some(0));
    assert_eq!(code(&["warned.rhai", "good.rhai"]), Some(0));
    assert_eq!(code(&["--deny-warnings", "warned.rhai"]), Some(2));
    assert_eq!(code(&["sub/wrong.rhai"]), Some(2));
    assert_eq!(code(&["."]), Some(2));
    assert_eq!(code(&["finetune"]), Some(0), "a recipe by its name");
    for nothing in ["empty", "absent.rhai"] {
        let ran = dir.run(&["check", nothing]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{nothing}");
        assert!(ran.err.contains(nothing), "{}", ran.err);
    }
    let ran = dir.run(&["check", "--json", "."]);
    let files: BTreeSet<_> = problems(&ran.out).into_iter().map(|(file, ..)| file).collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["sub/wrong.rhai", "warned.rhai"]);
    assert_eq!(dir.run(&["check", "--json", "good.rhai"]).out, "[]\n");
}

/// Protects editors: where a problem begins and ends, how bad it is, what to do.
#[test]
fn json_has_places_and_help() {
    let dir = Dir::with(&[("t.rhai", "let modell = 1;\nprint(model);\n")]);
    let rows: Value = serde_json::from_str(&dir.run(&["check", "--json", "t.rhai"]).out).unwrap();
    let expected = serde_json::json!([
        {
            "file": "t.rhai", "line": 1, "column": 5, "end_column": 11, "severity": "warning", "code": "unused-variable",
            "message": "`modell` is not used", "help": ["if that is meant, call it `_modell`"],
        },
        {
            "file": "t.rhai", "line": 2, "column": 7, "end_column": 12, "severity": "error", "code": "unknown-variable",
            "message": "no variable `model`", "help": ["did you mean `modell`?"],
        },
    ]);
    assert_eq!(rows, expected);
}

/// Protects the summary and the layout that people read.
#[test]
fn text_has_snippets_and_a_sum() {
    let dir = Dir::with(&[("t.rhai", "fn f(a) { a }\nf(1, 2);\nlet x = 1;\n")]);
    let said = dir.run(&["check", "t.rhai"]).out;
    assert!(said.contains("error[arguments]: `f` takes 1 argument, not 2"), "{said}");
    assert!(said.contains("f(1, 2);\n") && said.contains("^^^^^^^"), "{said}");
    assert!(said.contains("candidate: f(a)"), "{said}");
    assert!(said.contains("warning[unused-variable]: `x` is not used"), "{said}");
    assert!(said.ends_with("\n1 error and 1 warning in 1 file\n"), "{said}");
}

/// Protects hours of training: what cannot work is said before anything runs, and `--no-check` runs it all the same.
#[test]
fn a_run_is_refused_before_it_starts() {
    let text = "print(\"begun\");\nif args().len > 0 { model_savee(1); }\n";
    let dir = Dir::with(&[("t.rhai", text), ("caught.rhai", "try { nothing(); } catch { print(\"caught\"); }")]);
    let ran = dir.run(&["run", "t.rhai"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("no function `model_savee`") && ran.err.contains("--no-check"), "{}", ran.err);
    for args in [["run", "--no-check", "t.rhai"], ["run", "t.rhai", "--no-check"]] {
        let ran = dir.run(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "begun\n"), "{}", ran.err);
    }
    assert_eq!(dir.run(&["run", "t.rhai", "--no-check", "x"]).code, Some(1));
    assert_eq!(dir.run(&["run", "caught.rhai"]).out, "caught\n");
}
