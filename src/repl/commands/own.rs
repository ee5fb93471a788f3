//! Commands about the session itself: `:load :save :reset :help :quit`.

use super::{ANYWHERE, Answer, Next, OWN, list, needs};
use crate::repl::prompt::Prompt;
use crate::repl::session::Session;
use crate::script::{Diagnostic, Script};
use std::path::Path;

pub(super) fn help(session: &mut Session, _: &str) -> Answer {
    super::write(session, &[list(&ANYWHERE), list(&OWN)].concat(), &[]);
    session.line("");
    session.line("Anything else is a script: its value is shown. Tab completes; the right arrow takes a hint; Ctrl-R");
    session.line("searches the history; Ctrl-C stops work and keeps variables.");
    Ok(Next::Input)
}

pub(super) fn reset(session: &mut Session, _: &str) -> Answer {
    session.reset();
    Ok(Next::Input)
}

pub(super) fn quit(_: &mut Session, _: &str) -> Answer {
    Ok(Next::Leave)
}

pub(super) fn load(session: &mut Session, file: &str) -> Answer {
    let file = file.trim_matches('"');
    if file.is_empty() {
        return Err(needs(":load needs the name of a script"));
    }
    let path = Path::new(file);
    let text = std::fs::read_to_string(path)
        .map_err(|e| Box::new(Diagnostic::new("io", format!("{file} cannot be read: {e}"))))?;
    let folder = path.canonicalize().ok().and_then(|p| p.parent().map(Path::to_path_buf));
    session.load(&Script { name: file.to_string(), text, folder })?;
    Ok(Next::Input)
}

pub(super) fn save(session: &mut Session, args: &str) -> Answer {
    let (file, force) = match args.strip_suffix("--force").or_else(|| args.strip_prefix("--force")) {
        Some(file) => (file.trim(), true),
        None => (args, false),
    };
    let file = file.trim_matches('"');
    if file.is_empty() {
        return Err(needs(":save needs the name of a file to write"));
    }
    let text = session.script()?;
    let path = Path::new(file);
    if path.exists() && !force {
        let exists = Diagnostic::new("io", format!("{file} exists"));
        return Err(Box::new(exists.with_help(format!("`:save {file} --force` replaces it"))));
    }
    std::fs::write(path, &text)
        .map_err(|e| Box::new(Diagnostic::new("io", format!("{file} cannot be written: {e}"))))?;
    let lines = text.lines().count();
    session.ctx.output.note(&format!("{lines} lines written to {file}"));
    Ok(Next::Input)
}
