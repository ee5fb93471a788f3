//! `host test` through the real binary: what it finds, what it says of a failure, how it ends.

mod cli_support;

use cli_support::{Dir, Ran};
use serde_json::Value as Json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const USE: &str = "import \"std/test\" as test;\n";

/// `host test` with `args` in a folder with `files`, each of which imports std/test first.
fn tested(files: &[(&str, &str)], args: &[&str]) -> Ran {
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (*name, format!("{USE}{text}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let all: Vec<&str> = ["test"].iter().chain(args).copied().collect();
    Dir::with(&files).run(&all)
}

/// The last line, which tools read.
fn summary(ran: &Ran) -> &str {
    ran.out.lines().last().unwrap_or_default()
}

/// The tests that were run, in order, with how they ended: "ok test_a".
fn results(ran: &Ran) -> Vec<String> {
    let rows = ran.out.lines().filter_map(|l| l.strip_prefix("  "));
    let rows = rows.filter(|l| ["ok ", "FAIL ", "skip "].iter().any(|s| l.starts_with(s)));
    rows.map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Protects a failure's report: the assertion's own line in the test, the values, what the test printed, and nothing of
/// the library's inside.
#[test]
fn a_failed_assertion_is_shown_in_the_test() {
    let text = "fn check(x) {\n    print(`checking ${x}`);\n    test::assert_eq(x, [1, 3]);\n}\nfn test_lists() {\n    check([1, 2]);\n}\n";
    let ran = tested(&[("a_test.rhai", text)], &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(summary(&ran), "0 passed, 1 failed");
    for part in [
        "FAIL a_test.rhai::test_lists",
        "error[assertion]: assert_eq: the values at [1] differ",
        "left:  2",
        "right: 3",
        "--> a_test.rhai:4:5",
        "test::assert_eq(x, [1, 3]);",
        "in `check`, called at a_test.rhai:7:5",
        "it printed:\n  checking [1, 2]",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in:\n{}", ran.out);
    }
    assert!(!ran.out.contains("std/test:"), "{}", ran.out);
}

/// Protects the count: passed, failed and skipped, the summary in its plain form alone on the last line.
#[test]
fn every_way_to_end_is_counted() {
    let text = "
        fn test_passes() { print(\"not shown\"); }
        fn test_skips() { test::skip(\"no GPU here\"); }
        fn test_throws() { throw \"oh no\"; }
        fn test_is_wrong() { nowhere(1); }
        fn helper() { throw \"not a test\"; }";
    let ran = tested(&[("a_test.rhai", text)], &[]);
    assert_eq!((ran.code, summary(&ran)), (Some(1), "1 passed, 2 failed, 1 skipped"));
    assert_eq!(results(&ran), ["ok test_passes", "skip test_skips", "FAIL test_throws", "FAIL test_is_wrong"]);
    assert!(ran.out.contains("no GPU here") && ran.out.contains("error[throw]: oh no"), "{}", ran.out);
    assert!(!ran.out.contains("not shown"), "{}", ran.out);
    let ran = tested(&[("a_test.rhai", "fn test_passes() { }")], &[]);
    assert_eq!((ran.code, summary(&ran)), (Some(0), "1 passed, 0 failed"));
}

/// Protects isolation: each test has a fresh top level, the same random numbers, an empty directory of its own that is
/// gone afterwards, and sees imports and constants, not variables.
#[test]
fn tests_do_not_see_each_other() {
    let text = "
        const LIST = [1];
        let outer = 5;
        fn setup() { #{ n: 7 } }
        fn teardown(s) { print(`cleared ${s.n}`); }
        fn leave(mark) {
            let run = runs::create(testing::temp_dir() + \"/run\", #{});
            print(`dir ${run.dir} ${rand(1).item()} ${mark}`);
        }
        fn test_one(s) { test::assert_eq([s.n, global::LIST], [7, [1]]); leave(1); }
        fn test_two(s) { leave(2); }
        fn test_outer() { outer }";
    let ran = tested(&[("a_test.rhai", text)], &["--nocapture"]);
    assert_eq!(summary(&ran), "2 passed, 1 failed", "{ran:?}");
    let dirs: Vec<Vec<&str>> =
        ran.out.lines().filter_map(|l| l.strip_prefix("dir ")).map(|l| l.split(' ').collect()).collect();
    let [one, two] = &dirs[..] else { panic!("{}", ran.out) };
    assert!(one[0] != two[0] && one[0].ends_with("/run") && two[0].ends_with("/run"), "{}", ran.out);
    assert_eq!(one[1], two[1], "the same random numbers");
    assert!(!Path::new(one[0]).exists() && !Path::new(two[0]).exists());
    assert_eq!(ran.out.matches("cleared 7").count(), 3, "also after a failure\n{}", ran.out);
    assert!(ran.out.contains("functions do not see variables from outside"), "{}", ran.out);
}

/// Protects finding: below a folder, by name, one test by FILE::NAME; hidden folders and caches are not looked into.
#[test]
fn files_are_found() {
    let one = "fn test_x() { }";
    let files = [
        ("b_test.rhai", one),
        ("deep/er/a_test.rhai", "fn test_y() { } fn test_z() { }"),
        (".hidden/c_test.rhai", one),
        ("target/d_test.rhai", one),
        ("target/CACHEDIR.TAG", ""),
        ("not_a_test_file.rhai", "fn test_w() { }"),
    ];
    let list = |args: &[&str]| {
        let args: Vec<&str> = ["--list"].iter().chain(args).copied().collect();
        let ran = tested(&files, &args);
        (ran.code, ran.out)
    };
    let all = "b_test.rhai::test_x\ndeep/er/a_test.rhai::test_y\ndeep/er/a_test.rhai::test_z\n";
    assert_eq!(list(&[]), (Some(0), all.to_string()));
    assert_eq!(list(&["deep"]), (Some(0), "deep/er/a_test.rhai::test_y\ndeep/er/a_test.rhai::test_z\n".into()));
    assert_eq!(list(&["b_test.rhai", "--filter", "x"]), (Some(0), "b_test.rhai::test_x\n".into()));
    assert_eq!(list(&["deep/er/a_test.rhai::test_z"]), (Some(0), "deep/er/a_test.rhai::test_z\n".into()));
    assert_eq!(list(&["not_a_test_file.rhai"]), (Some(0), "not_a_test_file.rhai::test_w\n".into()));
    let ran = tested(&files, &["--filter", "er/a_test.rhai::test_y"]);
    assert_eq!((ran.code, summary(&ran)), (Some(0), "1 passed, 0 failed"));
}

/// Protects scripts that call it: 2 for what is no test run at all, with a word about it.
#[test]
fn wrong_usage_is_told_from_failure() {
    let files = [("a_test.rhai", "fn test_x() { }"), ("sub/readme.md", "")];
    for (args, words) in [
        (&["nowhere"][..], "there is no file or folder nowhere"),
        (&["--filter", "zebra"], "no test's name contains `zebra`"),
        (&["a_test.rhai::test_y"], "there is no such test"),
        (&["sub"], "no test below"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        let ran = tested(&files, args);
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
        assert!(!ran.out.contains("passed"), "{args:?}: {}", ran.out);
    }
}

/// Protects the other files: one that does not compile, or has no test, is a failure of its own.
#[test]
fn a_broken_file_fails_and_the_others_run() {
    let files = [
        ("a_test.rhai", "fn test_x() { let = 3; }"),
        ("b_test.rhai", "fn tset_x() { }"),
        ("c_test.rhai", "import \"nowhere\" as n; fn test_x() { } fn test_y() { }"),
        ("d_test.rhai", "fn test_x() { }\nfn test_odd(a, b) { }"),
    ];
    let ran = tested(&files, &[]);
    assert_eq!((ran.code, summary(&ran)), (Some(1), "1 passed, 5 failed"), "{}", ran.out);
    for part in [
        "error[syntax]",
        "--> a_test.rhai:2:19",
        "b_test.rhai has no test",
        "as c_test.rhai::test_x",
        "`test_odd` takes 2 parameters",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in:\n{}", ran.out);
    }
}

/// Protects quick answers: nothing runs after the first failure.
#[test]
fn fail_fast_stops() {
    let text = "fn test_a() { } fn test_b() { throw 1; }\nfn test_c() { }";
    let ran = tested(&[("a_test.rhai", text), ("b_test.rhai", text)], &["--fail-fast"]);
    assert_eq!((ran.code, summary(&ran)), (Some(1), "1 passed, 1 failed"));
    assert_eq!(results(&ran), ["ok test_a", "FAIL test_b"]);
}

/// Protects tools: one object per line, with place and message of a failure, then the counts.
#[test]
fn json_has_it_all() {
    let text = "fn test_a() { test::skip(\"why\"); }\nfn test_b() { print(\"said\"); test::assert(false); }";
    let ran = tested(&[("a_test.rhai", text)], &["--json", "--nocapture"]);
    assert_eq!(ran.code, Some(1));
    let lines: Vec<Json> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let [a, b, end] = &lines[..] else { panic!("{}", ran.out) };
    assert_eq!((&a["status"], &a["reason"], &a["test"]), (&"skipped".into(), &"why".into(), &"test_a".into()));
    assert_eq!((&b["status"], &b["line"], &b["output"]), (&"failed".into(), &3.into(), &"said\n".into()));
    assert_eq!((&b["diagnostic"]["code"], &b["diagnostic"]["place"]["line"]), (&"assertion".into(), &3.into()));
    assert!(b["seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert_eq!((&end["event"], &end["passed"], &end["failed"]), (&"summary".into(), &0.into(), &1.into()));
    let list = tested(&[("a_test.rhai", text)], &["--list", "--json"]);
    assert!(
        list.out.starts_with("{\"event\":\"test\",\"file\":\"a_test.rhai\",\"test\":\"test_a\",\"line\":2}"),
        "{list:?}"
    );
}

/// Protects the keyboard: Ctrl-C ends an endless test, what was counted is said, and the temporary directory goes.
#[test]
fn ctrl_c_ends_an_endless_test() {
    let text = format!(
        "{USE}fn test_a() {{ }}\nfn test_b() {{ print(testing::temp_dir()); loop {{ }} }}\nfn test_c() {{ }}\n"
    );
    let dir = Dir::with(&[("a_test.rhai", &text)]);
    let out = dir.path().join("out.txt");
    let mut child: std::process::Child = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["test", "--nocapture"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&out).unwrap();
    let start = Instant::now();
    let scratch = loop {
        if let Some(line) = said().lines().find(|l| l.contains("host-")) {
            break line.to_string();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(Path::new(&scratch).is_dir());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(said().lines().last(), Some("1 passed, 0 failed"), "{}", said());
    assert!(!Path::new(&scratch).exists());
}

/// Protects the shipped scripts: two modules with a function of one name each call their own, and so does a closure that
/// a module calls back.
#[test]
fn functions_of_one_name_stay_apart() {
    let module = |n: i32| {
        format!("fn work(f) {{ let s = 0; for i in 0..3 {{ s += brief(i) + f.call(i); }} s }}\nfn brief(x) {{ {n} }}\n")
    };
    let (a, b) = (module(1), module(100));
    let main = "import \"a\" as a;\nimport \"b\" as b;\nfn brief(x) { 10000 }\n
        let f = |x| brief(x);\nprint([a::work(f), b::work(f), brief(0), b::brief(0)]);\nfn fails(x) { x.nothing }\nfails(1);";
    let ran = Dir::with(&[("a.rhai", &a), ("b.rhai", &b), ("main.rhai", main)]).run(&["run", "main.rhai"]);
    assert_eq!(ran.out, "[30003, 30300, 10000, 100]\n", "{ran:?}");
    assert!(ran.err.contains("in `fails`") && !ran.err.contains("__x"), "{}", ran.err);
}

/// Protects the standard library and the recipes: their own tests pass.
#[test]
fn the_repositorys_own_tests_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["test", "tests/scripts"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}");
    assert!(out.lines().last().is_some_and(|l| l.contains(" passed, 0 failed")), "{out}");
}
