//! The reference: everything a script can name is documented, every example runs and shows what it says, the committed
//! pages are those that the program writes.

use lora_host::bindings::{HostContext, Output};
use lora_host::engine::progress::{Progress, Reporter, Silent, Unit};
use lora_host::script::catalog::{Kind, Origin, Signature};
use lora_host::script::reference::{self, Entry};
use lora_host::script::{Host, Script, render::render, topics};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Keeps what a script prints.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Reporter for Recorder {
    fn start(&self, total: u64, label: &str, unit: Unit) -> Box<dyn Progress> {
        Silent.start(total, label, unit)
    }
}

impl Output for Recorder {
    fn line(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_string());
    }
    fn text(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

fn host(output: Arc<dyn Output>, folder: Option<&Path>) -> Host {
    Host::new(&Arc::new(HostContext::new(output)), folder)
}

/// Everything that is ours to document.
fn ours() -> Vec<Entry> {
    let all = reference::entries(host(Arc::new(Silent), None).catalog());
    all.into_values().filter(|e| matches!(e.doc().origin, Origin::Host | Origin::Std)).collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Protects people who ask for help: nothing that scripts can name is without a sentence and an example.
#[test]
fn everything_is_documented() {
    let all = ours();
    assert!(all.len() > 200, "only {} entries", all.len());
    let mut missing = Vec::new();
    for (key, doc) in all.iter().flat_map(|e| e.parts().into_iter().map(|(_, part)| (&e.key, part))) {
        let wrong = [
            (doc.summary().is_empty(), "has no documentation"),
            (!doc.summary().is_empty() && !doc.summary().ends_with('.'), "has a summary that is no sentence"),
            (doc.examples().is_empty(), "has no example"),
        ];
        missing.extend(wrong.iter().filter(|(is, _)| *is).map(|(_, what)| format!("{key} {what}")));
    }
    none("write an entry in src/bindings/docs/, or a doc comment in stdlib/", &missing);
}

/// Protects readers of pages from functions that are gone.
#[test]
fn every_entry_of_a_page_exists() {
    let keys: BTreeSet<String> = ours().into_iter().map(|e| e.key).collect();
    let stale = topics::topics().iter().flat_map(|t| t.keys.iter().map(move |k| (t.name, k)));
    let stale: Vec<String> = stale.filter(|(_, k)| !keys.contains(*k)).map(|(t, k)| format!("{t}.md: {k}")).collect();
    none("entries of src/bindings/docs/ that nothing is registered for", &stale);
}

/// Protects checks and completion, which rely on them: parameters have names and types, results a type.
#[test]
fn signatures_are_complete() {
    let untyped = |s: &Signature| {
        let named = s.kind == Kind::Function || s.kind == Kind::Method;
        let nameless = named && s.params.iter().any(|(name, _)| name == "_");
        // These take whatever there is.
        let anything = ["value", "left", "right", "actual", "expected"];
        let any = s.params.iter().any(|(name, of)| of == "any" && !anything.contains(&name.as_str()));
        // A callback's result, only the script knows.
        let any = any || s.returns == "any";
        nameless || any && s.name != "checkpoint"
    };
    let found = ours().into_iter().flat_map(|e| e.signatures).filter(|s| s.origin == Origin::Host && untyped(s));
    none("signatures with unnamed or untyped parts", &found.map(|s| s.to_string()).collect::<Vec<_>>());
}

/// Protects checks and people from options that are documented and refused, or taken and not documented: the keys that
/// the bindings' sources read are those of the pages.
#[test]
fn options_are_those_that_are_read() {
    let all = ours();
    let mut wrong = Vec::new();
    let mut seen = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bindings");
    for file in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some()) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for part in code.split("OptionsMap::new(\"").skip(1) {
            let (path, rest) = part.split_once('"').unwrap();
            let body = rest.split(".finish()").next().unwrap();
            let mut read: BTreeSet<&str> = ["dtype", "device"].into_iter().filter(|_| body.contains("place")).collect();
            if body.contains("Parts::read") {
                read.extend(["model", "optimizer", "scaler"]);
            }
            for (at, _) in body.match_indices("(\"") {
                let called = body[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let reads = ["float", "int", "usize", "bool", "string", "strings", "floats", "ints", "map", "fn_ptr"];
                let stem = called.trim_end_matches("_or").trim_end_matches("_opt");
                if reads.contains(&stem) || ["value", "object", "tolerance"].contains(&stem) {
                    read.insert(body[at + 2..].split('"').next().unwrap());
                }
            }
            let named = |e: &&Entry| if path.contains("::") { e.key == path } else { e.short() == path };
            // Several types may have a method of the name: this is the reader of one of them.
            let mut differ = Vec::new();
            for entry in all.iter().filter(named) {
                seen += 1;
                let documented: Vec<_> = entry.signatures.iter().flat_map(Signature::options).collect();
                let documented: BTreeSet<&str> = documented.iter().map(|o| o.name.as_str()).collect();
                // Some read part of them, or all, through a function of their own.
                let fits = if body.contains("&mut o") { read.is_subset(&documented) } else { read == documented };
                differ.push((!fits).then(|| format!("{}: documented {documented:?}, read {read:?}", entry.key)));
            }
            if !read.is_empty() && differ.iter().all(Option::is_some) {
                wrong.extend(differ.into_iter().flatten());
            }
        }
    }
    assert!(seen > 15, "only {seen} readers of options were found");
    none("options of pages and bindings differ", &wrong);
}

/// An example with its promises turned into printed lines: `EXPR; // => VALUE` and `print(EXPR); // => TEXT`.
struct Promises {
    script: String,
    /// Line and what it says.
    said: Vec<(usize, String)>,
}

fn promises(host: &Host, example: &str) -> Result<Promises, String> {
    let mut lines: Vec<String> = Vec::new();
    let mut said = Vec::new();
    // Where the statement of a promise may begin: behind the last one.
    let mut from = 0;
    for (n, line) in example.lines().enumerate() {
        lines.push(line.to_string());
        let Some((code, value)) = line.split_once("// => ") else { continue };
        said.push((n, value.trim().to_string()));
        if let Some((before, rest)) = code.split_once("print(") {
            let (inside, after) = rest.rsplit_once(");").ok_or(format!("not a whole print: {line}"))?;
            lines[n] = format!("{before}print(`\u{1}{n} ${{{inside}}}`);{after}");
        } else {
            let whole = |start: usize| {
                let chunk = [&lines[start..n], &[code.to_string()]].concat().join("\n");
                let inside = chunk.trim().trim_end_matches(';').to_string();
                let script = format!("print(\"\u{1}{n} \" + to_debug({inside}));");
                host.engine().compile(&script).ok().map(|_| (start, script))
            };
            let (start, script) =
                (from..=n).rev().find_map(whole).ok_or(format!("no expression ends in this line: {line}"))?;
            lines.truncate(start);
            lines.push(script);
            // Later lines keep their numbers.
            lines.resize(n + 1, String::new());
        }
        from = n + 1;
    }
    Ok(Promises { script: lines.join("\n"), said })
}

/// The numbers of `text` and what stands between them.
fn pieces(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut number = false;
    let chars: Vec<char> = text.chars().collect();
    for (i, &c) in chars.iter().enumerate() {
        let digit = |k: usize| chars.get(k).is_some_and(char::is_ascii_digit);
        let goes_on =
            number && (c.is_ascii_digit() || c == '.' && digit(i + 1) || c == 'e' && (digit(i + 1) || digit(i + 2)));
        let sign = number && (c == '-' || c == '+') && chars[i - 1] == 'e';
        let begins = !number && (c.is_ascii_digit() || c == '-' && digit(i + 1));
        let after_word = i > 0 && (chars[i - 1].is_alphabetic() || chars[i - 1] == '_');
        let is = goes_on || sign || begins && !after_word;
        if is != number {
            found.push(String::new());
            number = is;
        }
        found.last_mut().unwrap().push(c);
    }
    found
}

/// Whether `actual` is what `said` says: text as it is, floats to the digits that are given.
fn same(said: &str, actual: &str) -> bool {
    let (a, b) = (pieces(said), pieces(actual));
    let close = |x: &str, y: &str| match (x.parse::<f64>(), y.parse::<f64>()) {
        (Ok(p), Ok(q)) if x.contains(['.', 'e']) && y.contains(['.', 'e']) => {
            // Four digits or more are rounded; fewer are meant exactly, f32's rounding aside.
            let mantissa = x.split('e').next().unwrap_or(x).trim_start_matches('-');
            let places = mantissa.split_once('.').map_or(0, |(_, d)| d.len());
            let significant = mantissa.replace('.', "").trim_start_matches('0').len();
            let exponent = x.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
            let last = 0.5 * 10f64.powi(exponent - i32::try_from(places).unwrap());
            (p - q).abs() <= if significant >= 4 { last * 1.0001 } else { 1e-5 * p.abs().max(1e-6) }
        }
        _ => x == y,
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| close(x, y))
}

/// Runs `example` in a folder of its own and says what is wrong with it.
fn run(example: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    let output = Arc::new(Recorder::default());
    let host = host(output.clone(), Some(dir.path()));
    let script =
        |text: &str| Script { name: "example.rhai".into(), text: text.into(), folder: Some(dir.path().into()) };
    // As it stands it is a whole script: people copy it.
    host.compile(&script(example)).map_err(|d| render(&d, false, 100))?;
    let promised = promises(&host, example)?;
    host.run(&script(&promised.script)).map_err(|d| render(&d, false, 100))?;
    let printed = output.0.lock().unwrap();
    for (line, said) in &promised.said {
        let mark = format!("\u{1}{line} ");
        let shown: Vec<&str> = printed.iter().filter_map(|p| p.strip_prefix(&mark)).collect();
        if shown.is_empty() || !shown.iter().all(|s| same(said, s)) {
            return Err(format!("line {}: says {said}, is {}", line + 1, shown.join(" and ")));
        }
    }
    Ok(())
}

/// Protects people who copy an example: it runs, in an empty folder, and shows what it says. One test, because the
/// working directory is the process's.
#[test]
fn examples_run_and_show_what_they_say() {
    let filter = std::env::var("EXAMPLE").unwrap_or_default();
    let mut failed = Vec::new();
    let (mut ran, mut promised) = (0, 0);
    for entry in ours().iter().filter(|e| e.key.contains(&filter)) {
        for example in entry.parts().iter().flat_map(|(_, part)| part.examples()) {
            ran += 1;
            promised += example.matches("// => ").count();
            if let Err(why) = run(&example) {
                failed.push(format!("{}: {}\n{example}\n", entry.key, why.trim_end()));
            }
        }
    }
    std::env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    none(&format!("{} of {ran} examples fail", failed.len()), &failed);
    assert!(!filter.is_empty() || ran > 200 && promised > 250, "{ran} examples, {promised} promises");
}

/// Protects the test above: it finds an expression over several lines, and tells right from wrong.
#[test]
fn promises_are_kept_or_not() {
    assert!(same("[1.0, 0.7311]", "[1.0, 0.731058]") && !same("[1.0, 0.7312]", "[1.0, 0.731058]"));
    assert!(
        same("1e-8", "0.00000001")
            && !same("0.0001", "0.00014")
            && same("\"e5\"", "\"e5\"")
            && !same("1", "1.0")
            && !same("2", "3")
    );
    assert!(!same("5.0", "5.01") && same("-0.5", "-0.5") && !same("-0.5", "0.5"));
    let host = host(Arc::new(Silent), None);
    let found =
        promises(&host, "let x = [1,\n 2];\nx\n  .map(|v| v * 2); // => [2, 4]\nprint(x); // => [1, 2]").unwrap();
    assert_eq!(found.said.len(), 2);
    assert!(found.script.contains("to_debug(x\n  .map(|v| v * 2))"), "{}", found.script);
    assert!(promises(&host, "let x = 1; // => 1").is_err());
}

/// Protects readers of docs/reference: it says what the program says. `host doc --markdown docs/reference` writes it.
#[test]
fn committed_pages_are_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    let written = reference::markdown(host(Arc::new(Silent), None).catalog());
    let stale = written.iter().filter(|(name, text)| fs::read_to_string(dir.join(name)).ok().as_ref() != Some(text));
    let mut wrong: Vec<String> = stale.map(|(name, _)| name.clone()).collect();
    let files =
        fs::read_dir(&dir).map(|d| d.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>());
    wrong.extend(files.unwrap_or_default().into_iter().filter(|f| !written.iter().any(|(name, _)| name == f)));
    none("run `host doc --markdown docs/reference`; stale or left over", &wrong);
}
