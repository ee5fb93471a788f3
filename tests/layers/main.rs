//! The layout is the architecture, so it is tested: who may import whom, who may name `rhai`, who may print.
//!
//! Run by `cargo layers`. The order of the engine's modules is read from `src/engine/mod.rs`, where it is declared.

mod scan;

use scan::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// The library's layers, lowest first. Each imports itself and what stands before it.
const LAYERS: [&str; 5] = ["engine", "bindings", "script", "repl", "cli"];

/// Where the script language may be named.
const SCRIPTED: [&str; 3] = ["bindings", "script", "repl"];

/// The longest file.
const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Every Rust file under src.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&root(), &mut paths);
    assert!(paths.len() > 20, "only {} files under src: is this the project's folder?", paths.len());
    paths.iter().map(|p| Source::read(&root(), p)).collect()
}

/// The engine's modules, lowest first: the `pub mod` lines of its `mod.rs`.
fn engine_order() -> Vec<String> {
    let text = fs::read_to_string(root().join("engine/mod.rs")).unwrap();
    let order: Vec<String> =
        text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_string).collect();
    assert_eq!(order.first().map(String::as_str), Some("error"), "src/engine/mod.rs begins with the lowest module");
    order
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// A module that imports upwards cannot be read, tested or replaced without what stands above it.
#[test]
fn layers_import_downwards() {
    let rank = |name: &str| LAYERS.iter().position(|l| *l == name);
    let mut found = Vec::new();
    for source in sources() {
        let Some(own) = rank(&source.module[0]) else { continue };
        for path in &source.paths {
            let [top, ..] = path.absolute.as_slice() else { continue };
            if rank(top).is_some_and(|r| r > own) {
                found.push(format!("{}:{} names {}", source.name, path.line, path.absolute.join("::")));
            }
        }
    }
    none("a layer imports from above itself (order: cli, repl, script, bindings, engine)", found);
}

/// The same inside the engine, in the order that its mod.rs declares.
#[test]
fn engine_modules_import_downwards() {
    let order = engine_order();
    let rank = |name: &str| order.iter().position(|m| m == name);
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| s.module[0] == "engine" && s.module.len() > 1) {
        let Some(own) = rank(&source.module[1]) else {
            found.push(format!("{} belongs to no module of src/engine/mod.rs", source.name));
            continue;
        };
        for path in &source.paths {
            let [engine, module, ..] = path.absolute.as_slice() else { continue };
            if engine == "engine" && rank(module).is_some_and(|r| r > own) {
                found.push(format!("{}:{} names {}", source.name, path.line, path.absolute.join("::")));
            }
        }
    }
    none("an engine module imports one that src/engine/mod.rs lists after it", found);
}

/// The engine serves any host: the script language stays in the three layers that are about it.
#[test]
fn only_the_script_layers_name_rhai() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| !SCRIPTED.contains(&s.module[0].as_str())) {
        let named = source.paths.iter().filter(|p| p.written.first().is_some_and(|s| s == "rhai"));
        found.extend(named.map(|p| format!("{}:{} names {}", source.name, p.line, p.written.join("::"))));
    }
    none("rhai is named outside src/{bindings,script,repl}", found);
}

/// A library that prints cannot be used under a progress bar, and one that exits loses its caller's run.
#[test]
fn the_engine_neither_prints_nor_exits() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| s.module[0] == "engine") {
        let macros = source.macros.iter().filter(|m| !m.in_tests);
        let prints = macros.filter(|m| matches!(m.name.as_str(), "print" | "println" | "eprint" | "eprintln" | "dbg"));
        found.extend(prints.map(|m| format!("{}:{} calls {}!", source.name, m.line, m.name)));
        let exits = source.paths.iter().filter(|p| p.written.ends_with(&["process".to_string(), "exit".to_string()]));
        found.extend(exits.map(|p| format!("{}:{} calls process::exit", source.name, p.line)));
    }
    none("the engine prints or exits", found);
}

/// One concept per file, said in its first line.
#[test]
fn files_are_short_and_say_what_they_hold() {
    let mut found = Vec::new();
    for source in sources() {
        if source.lines > MAX_LINES {
            found.push(format!("{} has {} lines; split it at {MAX_LINES}", source.name, source.lines));
        }
        if !source.first_line.starts_with("//! ") {
            found.push(format!("{} does not begin with a `//! ` line", source.name));
        }
    }
    none("files to mend", found);
}
