//! `host check`: what is wrong in scripts, without running them.

use super::{Exit, fail, printer::Printer, report};
use crate::bindings::{HostContext, Output};
use crate::script::{
    Diagnostic, Host, Severity, check,
    recipes::{self, Found},
    render::{self, render},
};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Look for mistakes in scripts without running them: unknown names, wrong arguments and options, what is unused
#[derive(Debug, clap::Args)]
#[command(after_help = "Imported modules are looked at too. Exit codes: 0 nothing wrong (warnings alone count as \
                        nothing), 2 errors. A name that begins with `_` is never reported as unused.")]
pub(super) struct Args {
    /// Scripts, names of recipes (`host ls`), or folders: every .rhai file below
    #[arg(required = true, value_name = "SCRIPT OR FOLDER")]
    paths: Vec<String>,
    /// One JSON array on standard output, for editors and CI
    #[arg(long)]
    json: bool,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
}

/// One problem as `--json` shows it.
#[derive(Serialize)]
struct Problem<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    /// Column behind the last character that is meant.
    end_column: usize,
    severity: Severity,
    code: &'a str,
    message: &'a str,
    help: &'a [String],
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Arc<Printer>) -> Exit {
    let found = match scripts(&args.paths) {
        Ok(found) => found,
        Err(diagnostic) => return fail(printer, &diagnostic),
    };
    // Everything a script may call is registered in a host; nothing of the script runs in it.
    let host = Host::new(&Arc::new(HostContext::new(printer.clone())), None);
    let found = check::check(&host, found.iter().map(|f| (&f.script, f.folder.as_deref())));
    if args.json {
        printer.line(&json(&found.problems));
    } else {
        show(&found, printer);
    }
    let failed = found.errors() > 0 || args.deny_warnings && found.warnings() > 0;
    if failed { Exit::Usage } else { Exit::Success }
}

/// Refuses a script in which something cannot work whatever its values are. Warnings, and what may be caught or depends
/// on values, are left to `host check`.
///
/// # Errors
/// Everything that is certain to fail was reported; the error that comes back says that nothing was run.
pub(super) fn before_run(host: &Host, script: &Found, printer: &Printer) -> Result<(), Box<Diagnostic>> {
    let found = check::check(host, [(&script.script, script.folder.as_deref())].into_iter());
    if found.certain.is_empty() {
        return Ok(());
    }
    found.certain.iter().for_each(|diagnostic| report(printer, diagnostic));
    let d = Diagnostic::new("usage", "nothing was run, because this cannot work");
    Err(Box::new(d.with_help("`--no-check` runs the script up to there; `host check` looks at more")))
}

fn show(found: &check::Report, printer: &Printer) {
    let terminal = std::io::stdout().is_terminal();
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let size = if terminal { terminal_size::terminal_size() } else { None };
    let columns = size.map_or(render::COLUMNS, |(width, _)| usize::from(width.0));
    for diagnostic in &found.problems {
        printer.line(&format!("{}\n", render(diagnostic, color, columns)));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let files = count(found.files.len(), "file");
    printer.line(&match (found.errors(), found.warnings()) {
        (0, 0) => format!("no problems in {files}"),
        (errors, 0) => format!("{} in {files}", count(errors, "error")),
        (0, warnings) => format!("{} in {files}", count(warnings, "warning")),
        (errors, warnings) => format!("{} and {} in {files}", count(errors, "error"), count(warnings, "warning")),
    });
}

impl<'a> From<&'a Diagnostic> for Problem<'a> {
    fn from(d: &'a Diagnostic) -> Self {
        let (file, line, column) = d.place.as_ref().map_or(("", 0, 0), |p| (&p.file, p.line, p.column));
        let (severity, code, message, help) = (d.severity, &d.code, &d.message, &d.help);
        Problem { file, line, column, end_column: column + d.width, severity, code, message, help }
    }
}

fn json(problems: &[Diagnostic]) -> String {
    let rows: Vec<Problem> = problems.iter().map(Problem::from).collect();
    serde_json::to_string_pretty(&rows).expect("strings and numbers have a form in JSON")
}

/// The scripts that `paths` name: files below folders, and what `host run` would find.
fn scripts(paths: &[String]) -> Result<Vec<Found>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for path in paths {
        let folder = Path::new(path);
        if folder.is_dir() {
            if folder.join(recipes::MANIFEST).is_file() {
                // The defaults in a recipe's manifest are those of its script's options.
                recipes::find(path)?.declared()?;
            }
            let mut files = Vec::new();
            below(folder, &mut files)
                .map_err(|e| Box::new(Diagnostic::new("usage", format!("{path} cannot be read: {e}"))))?;
            if files.is_empty() {
                return Err(Box::new(Diagnostic::new("usage", format!("there is no .rhai file in {path}"))));
            }
            files.sort();
            for file in files {
                found.push(recipes::find(&file.display().to_string())?);
            }
        } else {
            found.push(recipes::find(path)?);
        }
    }
    Ok(found)
}

/// Every script below `folder`, hidden folders and those of build tools left out.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && !hidden && !path.join("CACHEDIR.TAG").exists() {
            below(&path, found)?;
        } else if !kind.is_dir() && path.is_file() && path.extension().is_some_and(|e| e == "rhai") {
            found.push(path);
        }
    }
    Ok(())
}
