//! What a user reads when a script fails: whole texts, compared to the letter.

mod cli_support;

use cli_support::{Dir, failure, script};

/// Protects the error report as a whole: message, snippet, caret, the chain through closures and natives, candidates.
#[test]
fn the_whole_report() {
    let text = r#"fn inner(x) {
    let y = x.pad(3);
    y
}
fn outer(xs) { xs.map(|v| inner([v])) }
outer([1, 2]);
"#;
    assert_eq!(
        failure(text),
        "\
error[unknown-function]: no function `pad` takes (array, int)
 --> t.rhai:2:13
  |
1 | fn inner(x) {
2 |     let y = x.pad(3);
  |             ^^^^^^^^
3 |     y
  |
  = in `inner`, called at t.rhai:5:27: inner([v])
  = in a closure called by `map` at t.rhai:5:19: xs.map(|v| inner([v]))
  = in `outer`, called at t.rhai:6:1: outer([1, 2])
  = help: candidate: pad(array: array, len: int, item: any): `item` missing
"
    );
}

/// Protects names: unknown functions, variables, keys and properties come with the near one.
#[test]
fn near_names_are_suggested() {
    let case = |text: &str, message: &str, help: &str| {
        let err = failure(text);
        let (first, last) = (err.lines().next().unwrap(), err.lines().last().unwrap());
        assert_eq!((first, last), (message, format!("  = help: {help}").as_str()), "{text}");
    };
    case("prnt(1);", "error[unknown-function]: no function `prnt`", "did you mean `print`?");
    case("fn scale(x) { x } scael(2);", "error[unknown-function]: no function `scael`", "did you mean `scale`?");
    case("let epochs = 1; print(epoch);", "error[unknown-variable]: no variable `epoch`", "did you mean `epochs`?");
    case(
        "let lr = 1; fn f() { lr } f();",
        "error[unknown-variable]: no variable `lr`",
        "functions do not see variables from outside: pass `lr` as an argument, or use a closure",
    );
    case(
        "let o = #{ epochs: 1 }; print(o.epoch);",
        "error[unknown-key]: the map has no key `epoch`",
        "`.get(\"epoch\")` gives () where a key may be missing",
    );
    case(
        "try { progress(-1, \"x\") } catch (e) { e.mesage }",
        "error[unknown-property]: Error has no property `mesage`",
        "did you mean `message`?",
    );
    case(
        "let p = progress(1, \"x\"); p.update;",
        "error[unknown-property]: Progress has no property `update`",
        "`update` is a method: call it as `.update(..)`",
    );
    case("print(now);", "error[unknown-variable]: no variable `now`", "`now` is a function: call it as `now(..)`");
    case(
        "no_grad { autocast \"bf61\" { 1 } }",
        "error[config]: unknown autocast dtype: `bf61`",
        "did you mean `bf16`?",
    );
}

/// Protects the words for types and operators: those of scripts, not of Rust.
#[test]
fn messages_speak_the_scripts_words() {
    let first = |text: &str| failure(text).lines().next().unwrap().to_string();
    assert_eq!(first("\"a\" - 1"), "error[unknown-operator]: no operator `-` for (string, int)");
    assert_eq!(first("1 @ 2.5"), "error[unknown-operator]: no operator `@` for (int, float)");
    assert_eq!(first("progress(1, \"x\")[\"a\"]"), "error[type]: Progress cannot be indexed by string");
    assert_eq!(first("[1, 2][7]"), "error[index]: index 7 is outside the array, which has 2 elements");
    assert_eq!(first("let f = |x| x; f.call(1, 2)"), "error[unknown-function]: this closure does not take (int, int)");
    assert_eq!(first("1 / 0"), "error[arithmetic]: division by zero: 1 / 0");
    assert_eq!(first("fn f(n) { f(n + 1) } f(0)"), "error[limit]: calls are nested too deeply");
    assert_eq!(first("let s = \"x\"; loop { s += s; }"), "error[limit]: length of string is over the limit");
    assert_eq!(first("let s = \"x\"; s.pad(1000000000000, \"y\")"), "error[limit]: length of string is over the limit");
    assert_eq!(first("let go = 1;"), "error[syntax]: `go` is a reserved word");
    assert_eq!(
        first(&format!("let x = {}1{};", "(".repeat(5000), ")".repeat(5000))),
        "error[syntax]: this expression is nested too deeply"
    );
}

/// Protects text that breaks off: the end of the script is shown.
#[test]
fn syntax_errors_have_a_place() {
    assert_eq!(
        failure("let a = 1;\nlet b = a +;\n"),
        "error[syntax]: unexpected `;`\n --> t.rhai:2:12\n  |\n1 | let a = 1;\n2 | let b = a +;\n  |            ^\n"
    );
    let err = failure("fn f() {\n    1\n");
    assert!(err.contains("--> t.rhai:2:5\n"), "{err}");
}

/// Protects `throw`: text, and maps with a message.
#[test]
fn thrown_values_are_shown() {
    let report = |first: &str, code: &str, last: &str| {
        let carets = "^".repeat(code.len() - 1);
        format!("{first}\n --> t.rhai:1:1\n  |\n1 | {code}\n  | {carets}\n{last}")
    };
    let code = "throw \"no data\";";
    assert_eq!(failure(code), report("error[throw]: no data", code, ""));
    let code = "throw #{ message: \"bad split\", kind: \"data\", index: 3 };";
    assert_eq!(failure(code), report("error[data]: bad split", code, "  |\n  = help: index: 3\n"));
}

/// Protects `catch`: engine errors are values with facts, and thrown on they keep their report.
#[test]
fn engine_errors_can_be_caught() {
    let ran = script("try { progress(-1, \"x\") } catch (e) { print(`${e.kind}|${e.message}`); throw e; }");
    assert_eq!(ran.out, "config|progress: `total` is -1; it counts steps, so 0 or more\n");
    assert!(ran.err.starts_with("error[config]: progress: `total` is -1"), "{}", ran.err);
}

/// Protects people from blaming the standard library: a fault that comes up inside it is shown where the script called
/// it, and then where it came up.
#[test]
fn faults_inside_the_library_are_shown_at_the_call() {
    let err = failure("import \"std/samples\" as samples;\nlet a = samples::ask((), #{ train_records: 3 }, #{});\n");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[1].ends_with("--> t.rhai:2:9") && lines[4].starts_with(" 2 | let a = samples::ask("), "{err}");
    assert!(lines.iter().any(|l| l.contains("::: std/samples:")), "{err}");
    assert!(lines.iter().any(|l| l.ends_with(" raised here")), "{err}");
    assert!(lines.iter().any(|l| l.contains("= raised in `ask` at std/samples:")), "{err}");
}

/// Protects imports: errors inside modules name the module's file and line, at compile time and at run time.
#[test]
fn errors_in_modules_name_the_module() {
    let dir = Dir::with(&[
        ("t.rhai", "import \"lib/m\" as m;\nm::deep(1);\n"),
        ("lib/m.rhai", "import \"n\" as n;\n\nfn deep(x) {\n    n::deeper(x)\n}\n"),
        ("lib/n.rhai", "fn deeper(x) { x.nothing() }\n"),
        ("top.rhai", "import \"lib/broken\" as b;\n"),
        ("lib/broken.rhai", "let a = 1;\nlet b = missing;\n"),
        ("syn.rhai", "import \"lib/syntax\" as s;\n"),
        ("lib/syntax.rhai", "let a = ;\n"),
    ]);
    let ran = dir.run(&["run", "t.rhai"]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            Some(1),
            "\
error[unknown-function]: no function `nothing`
 --> lib/n.rhai:1:16
  |
1 | fn deeper(x) { x.nothing() }
  |                ^^^^^^^^^^^
  |
  = in `deeper`, called at lib/m.rhai:4:8: n::deeper(x)
  = in `deep`, called at t.rhai:2:4: m::deep(1)
"
        )
    );
    assert_eq!(
        dir.run(&["run", "--no-check", "top.rhai"]).err,
        "\
error[unknown-variable]: no variable `missing`
 --> lib/broken.rhai:2:9
  |
1 | let a = 1;
2 | let b = missing;
  |         ^^^^^^^
  |
  = while importing `lib/broken.rhai` at top.rhai:1:8
"
    );
    assert_eq!(
        dir.run(&["run", "--no-check", "syn.rhai"]).err,
        "\
error[syntax]: unexpected `;`
 --> lib/syntax.rhai:1:9
  |
1 | let a = ;
  |         ^
  |
  = while importing `lib/syntax.rhai` at syn.rhai:1:8
"
    );
}

/// Protects against a stack overflow: a cycle of imports is an error that names its members.
#[test]
fn cyclic_imports_are_errors() {
    let dir = Dir::with(&[
        ("t.rhai", "import \"a\" as a;"),
        ("a.rhai", "import \"b\" as b;"),
        ("b.rhai", "import \"a\" as a;"),
        ("self.rhai", "import \"self\" as me;"),
    ]);
    let ran = dir.run(&["run", "t.rhai"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.starts_with("error[config]: cyclic import: a.rhai -> b.rhai -> a.rhai\n --> b.rhai:1:8\n"),
        "{}",
        ran.err
    );
    let ran = dir.run(&["run", "self.rhai"]);
    assert!(ran.err.starts_with("error[config]: cyclic import: self.rhai -> self.rhai\n"), "{}", ran.err);
}

/// Protects files outside: neither `..`, nor absolute paths, nor links lead there.
#[test]
fn imports_stay_inside() {
    let outside = Dir::with(&[("secret.rhai", "print(\"secret\");")]);
    let dir = Dir::with(&[("in/t.rhai", ""), ("in/near.rhai", "fn f() { 7 }"), ("up.rhai", "fn f() { 8 }")]);
    let secret = outside.path().canonicalize().unwrap().join("secret.rhai");
    std::os::unix::fs::symlink(&secret, dir.path().join("in/link.rhai")).unwrap();
    let run = |import: &str| {
        std::fs::write(dir.path().join("in/t.rhai"), format!("import \"{import}\" as m; print(m::f());")).unwrap();
        dir.run(&["run", "in/t.rhai"])
    };
    assert_eq!(run("near").out, "7\n");
    // Below the working directory, though not below the script's folder.
    assert_eq!(run("../up").out, "8\n");
    for import in ["link", secret.to_str().unwrap()] {
        let ran = run(import);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
        let denied = format!("; --allow-read {} would allow it", secret.display());
        assert!(ran.err.contains(&denied), "{}", ran.err);
    }
    assert!(run("nothing").err.contains("there is no file"));
    assert!(run("std/nothing").err.contains("unknown module of std: `nothing`"));
}

/// Protects modules: compiled and run once, with nothing of the importer's visible inside.
#[test]
fn modules_run_once_and_stand_alone() {
    let dir = Dir::with(&[
        ("t.rhai", "let hidden = 1; import \"m\" as a; import \"other\" as o; print(o::get()); print(a::see());"),
        (
            "m.rhai",
            "print(\"loading\"); export const N = 4; fn see() { try { return hidden; } catch { return \"alone\"; } }",
        ),
        ("other.rhai", "import \"m\" as m; fn get() { m::N }"),
    ]);
    let ran = dir.run(&["run", "t.rhai"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("loading\n4\nalone\n", ""));
}
