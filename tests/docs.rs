//! The pages and the program agree: examples run, excerpts stand in the scripts, links and names of files lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: README, the changelog, docs/.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().map(|p| (p.clone(), fs::read_to_string(p).unwrap())).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The fenced blocks of `page` whose first line is exactly "```rhai".
fn scripts(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match &mut open {
            None if line.starts_with("```") => open = Some((line == "```rhai", String::new())),
            None => {}
            Some((wanted, text)) if line == "```" => {
                if *wanted {
                    blocks.push(std::mem::take(text));
                }
                open = None;
            }
            Some((_, text)) => *text += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Protects readers who copy an example: every script of the guide runs as it stands.
#[test]
fn examples_of_the_guide_run() {
    let mut ran = 0;
    for (path, page) in pages().iter().filter(|(p, _)| p.parent() == Some(&root().join("docs/guide"))) {
        for (i, text) in scripts(page).iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("example.rhai"), text).unwrap();
            let out = Command::new(env!("CARGO_BIN_EXE_host"))
                .args(["run", "--quiet", "example.rhai"])
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{}, example {}:\n{text}\n{said}", name(path), i + 1);
            ran += 1;
        }
    }
    assert!(ran >= 5, "only {ran} examples were found");
}

/// Protects README's excerpt: each of its lines stands in the recipe, in that order.
#[test]
fn the_excerpt_stands_in_the_recipe() {
    let recipe = fs::read_to_string(root().join("scripts/finetune.rhai")).unwrap();
    let mut rest = recipe.lines().map(str::trim);
    let [excerpt] = &scripts(&fs::read_to_string(root().join("README.md")).unwrap())[..] else {
        panic!("README shows one script")
    };
    for line in excerpt.lines().map(str::trim).filter(|l| !l.is_empty()) {
        assert!(rest.any(|l| l == line), "README shows a line that scripts/finetune.rhai does not have there: {line}");
    }
}

/// Protects links between pages, and to files.
#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for (path, page) in pages() {
        for target in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let file = target.split('#').next().unwrap_or(target);
            if !path.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", name(&path)));
            }
        }
    }
    assert!(seen > 10, "only {seen} links were found");
    assert!(broken.is_empty(), "links to nowhere:\n  {}", broken.join("\n  "));
}

/// Protects the internals pages from files that were moved: a name such as `ops/rope.rs` in them is a file under src or
/// tests.
#[test]
fn source_files_that_are_named_exist() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for (path, page) in pages() {
        for word in page.split('`').skip(1).step_by(2) {
            let source = word.ends_with(".rs") || word.ends_with(".sh") || word.ends_with(".rhai");
            if !source || word.contains(|c: char| c.is_whitespace() || c == '*') || !word.contains('/') {
                continue;
            }
            seen += 1;
            let bases = ["", "src", "src/engine"];
            if !bases.iter().any(|base| root().join(base).join(word).exists()) {
                missing.push(format!("{}: {word}", name(&path)));
            }
        }
    }
    assert!(seen > 10, "only {seen} names were found");
    assert!(missing.is_empty(), "named files that do not exist:\n  {}", missing.join("\n  "));
}
