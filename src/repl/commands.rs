//! The words that begin with a colon.

use super::session::Session;
use crate::script::{Diagnostic, Script, catalog::friendly_type};
use std::path::Path;
use std::time::Instant;

/// What comes after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next one.
    Input,
    /// Nothing: the session ends.
    Leave,
}

/// Names, arguments and descriptions, as `:help` lists them.
pub(super) const COMMANDS: [(&str, &str, &str); 6] = [
    ("help", "", "this list"),
    ("vars", "", "variables and functions of this session"),
    ("time", "EXPR", "run EXPR, show its value and the time it took"),
    ("load", "FILE", "run a script here; its variables and functions stay"),
    ("reset", "", "forget variables, functions and imports"),
    ("quit", "", "leave; so does Ctrl-D"),
];

/// Runs the command `line`, which follows the colon.
pub(super) fn run(session: &mut Session, line: &str) -> Result<Next, Box<Diagnostic>> {
    let (name, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()));
    match name {
        "help" => help(session),
        "vars" => vars(session),
        "reset" => session.reset(),
        "quit" => return Ok(Next::Leave),
        "time" => time(session, rest)?,
        "load" => load(session, rest)?,
        _ => {
            let known = COMMANDS.iter().map(|(name, ..)| *name);
            return Err(Box::new(Diagnostic::from(&crate::engine::error::unknown_name("command", name, known))));
        }
    }
    Ok(Next::Input)
}

fn help(session: &Session) {
    for (name, args, what) in COMMANDS {
        session.ctx.output.line(&format!("  {:12} {what}", format!(":{name} {args}")));
    }
    session.ctx.output.line("Anything else is a script: its value is shown. Ctrl-C stops work and keeps variables.");
}

fn vars(session: &Session) {
    let engine = session.host.engine();
    for (name, constant, value) in session.scope.iter() {
        let of = friendly_type(engine, value.type_name());
        let shown = cut(&session.host.show(value));
        session.ctx.output.line(&format!("{}{name}: {of} = {shown}", if constant { "const " } else { "" }));
    }
    for function in session.functions() {
        session.ctx.output.line(&format!("fn {function}"));
    }
}

/// The first line of `text`, and not too much of it.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(72) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None if line.len() < text.len() => format!("{line} ..."),
        None => line.to_string(),
    }
}

fn time(session: &mut Session, text: &str) -> Result<(), Box<Diagnostic>> {
    let start = Instant::now();
    let value = session.eval(text)?;
    let elapsed = start.elapsed();
    if !value.is_unit() {
        let shown = session.host.show(value);
        session.ctx.output.line(&shown);
    }
    session.ctx.output.line(&format!("{elapsed:.3?}"));
    Ok(())
}

fn load(session: &mut Session, file: &str) -> Result<(), Box<Diagnostic>> {
    let file = file.trim_matches('"');
    if file.is_empty() {
        return Err(Box::new(Diagnostic::new("command", ":load needs the name of a script")));
    }
    let path = Path::new(file);
    let text = std::fs::read_to_string(path)
        .map_err(|e| Box::new(Diagnostic::new("io", format!("{file} cannot be read: {e}"))))?;
    let folder = path.canonicalize().ok().and_then(|p| p.parent().map(Path::to_path_buf));
    session.load(&Script { name: file.to_string(), text, folder })
}
