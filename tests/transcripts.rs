//! Pages that show what a terminal shows: their commands are run, in order, and answer as the page says.
//!
//! In a block of "```console", a line that begins with `$ ` is a command for bash, whose output, both streams, follows. A line
//! `...` stands for any number of lines, `[..]` for any text within a line. Variables of the shell do not last from one
//! command to the next; the folder that `cd` goes to does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGES: [&str; 2] = ["docs/guide/shipping-a-recipe.md", "docs/guide/data.md"];

/// A command and what it should print.
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (i, line) in page.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (false, _) => {}
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { line: i + 1, command: command.into(), output: Vec::new() }),
                (None, Some(step)) => step.output.push(line.into()),
                (None, None) => panic!("line {}: output before the first command", i + 1),
            },
        }
    }
    steps
}

/// Whether `got` is what `want` describes.
fn fits(want: &[String], got: &[&str]) -> bool {
    match want.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "..." => (0..=got.len()).any(|skip| fits(rest, &got[skip..])),
        Some((first, rest)) => {
            got.split_first().is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others))
        }
    }
}

fn line_fits(want: &str, got: &str) -> bool {
    let parts: Vec<&str> = want.split("[..]").collect();
    let [first, middle @ .., last] = &parts[..] else { return want == got };
    let Some(mut rest) = got.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Protects readers who follow a page from its top to its end.
#[test]
fn pages_do_what_they_show() {
    let binary = Path::new(env!("CARGO_BIN_EXE_host")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    for page in PAGES {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let steps = steps(&text);
        assert!(steps.len() > 5, "{page}: only {} commands", steps.len());
        let home = tempfile::tempdir().unwrap();
        let mut folder: PathBuf = home.path().canonicalize().unwrap();
        for Step { line, command, output } in steps {
            let script = format!("exec 2>&1; {command}\nstatus=$?; pwd > \"$TRANSCRIPT_PWD\"; exit $status");
            let pwd = home.path().join(".pwd");
            let done = Command::new("bash")
                .args(["-c", &script])
                .current_dir(&folder)
                .env("PATH", &path)
                .env("TRANSCRIPT_PWD", &pwd)
                .env("XDG_DATA_HOME", home.path().join(".data"))
                .env("TERM", "dumb")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success(), "{page}:{line}: `{command}` failed:\n{said}");
            let got: Vec<&str> = said.lines().collect();
            assert!(
                fits(&output, &got),
                "{page}:{line}: `{command}` printed\n{said}\nthe page says\n{}",
                output.join("\n")
            );
            folder = fs::read_to_string(&pwd).unwrap().trim().into();
        }
    }
}

/// Protects the test above from passing on anything.
#[test]
fn the_comparison_compares() {
    let fits = |want: &str, got: &str| {
        self::fits(&want.lines().map(String::from).collect::<Vec<_>>(), &got.lines().collect::<Vec<_>>())
    };
    assert!(fits("a\n...\nb", "a\nb") && fits("a\n...\nb", "a\nx\ny\nb") && fits("x [..] y[..]", "x 1 y"));
    assert!(!fits("a", "a\nb") && !fits("a\nb", "a") && !fits("a\n...\nb", "a\nb\nc") && !fits("x[..]y", "xy1"));
    assert!(!fits("[..]ab[..]ab", "ab") && fits("...", "") && !fits("", "a"));
}
