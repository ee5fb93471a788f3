//! The words that begin with a colon, and `?name`.
//!
//! [`ANYWHERE`] works on any [`Prompt`]; [`OWN`] is about the session itself. A prompt of another kind has a table of its
//! own beside [`ANYWHERE`].

pub(super) mod look;
mod own;
mod time;

use super::prompt::Prompt;
use super::session::Session;
use super::show::table;
use crate::engine::error::unknown_name;
use crate::script::Diagnostic;

/// What comes after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next one.
    Input,
    /// Nothing: the session ends.
    Leave,
}

/// How a command ends.
pub(super) type Answer = Result<Next, Box<Diagnostic>>;

/// What completion offers behind a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completes {
    /// Nothing.
    Nothing,
    /// What stands in a script.
    Script,
    /// Names that have a description.
    Name,
    /// Files.
    File,
}

/// A command: `:NAME ARGS`.
pub(super) struct Command<Run> {
    pub(super) name: &'static str,
    /// Its arguments, as `:help` shows them.
    pub(super) args: &'static str,
    /// What it does, as `:help` says it.
    pub(super) about: &'static str,
    pub(super) completes: Completes,
    /// Runs it with what stands behind its name.
    pub(super) run: Run,
}

type OnPrompt = fn(&mut dyn Prompt, &str) -> Answer;
type OnSession = fn(&mut Session, &str) -> Answer;

macro_rules! command {
    ($name:literal $args:literal, $completes:ident, $run:path, $about:literal) => {
        Command { name: $name, args: $args, about: $about, completes: Completes::$completes, run: $run }
    };
}

/// Commands of every prompt.
pub(super) const ANYWHERE: [Command<OnPrompt>; 6] = [
    command!("vars" "", Nothing, look::vars, "variables with type, shape, dtype, device and size; functions; imports"),
    command!("type" "EXPR", Script, look::type_of, "run EXPR and say what its value is, without showing it"),
    command!("doc" "NAME", Name, look::doc, "describe a function, module, type or variable; so do ?NAME and NAME?"),
    command!("mem" "", Nothing, look::mem, "memory in use, at its peak, and in each variable"),
    command!("time" "EXPR", Script, time::time, "run EXPR, show its value, time, operations and memory"),
    command!("plot" "EXPR", Script, look::plot, "draw an array of numbers, a tensor, or a run's losses"),
];

/// Commands of the session.
pub(super) const OWN: [Command<OnSession>; 5] = [
    command!("load" "FILE", File, own::load, "run a script here; its variables and functions stay"),
    command!("save" "FILE", File, own::save, "write the inputs that succeeded as a script; --force replaces FILE"),
    command!("reset" "", Nothing, own::reset, "forget variables, functions and imports"),
    command!("help" "", Nothing, own::help, "this list"),
    command!("quit" "", Nothing, own::quit, "leave; so does Ctrl-D"),
];

/// Names of `commands`, and what may follow each.
pub(super) fn names<R>(commands: &[Command<R>]) -> impl Iterator<Item = (&'static str, Completes)> {
    commands.iter().map(|c| (c.name, c.completes))
}

/// The lines of `:help` about `commands`.
pub(super) fn list<R>(commands: &[Command<R>]) -> Vec<[String; 2]> {
    commands.iter().map(|c| [format!(":{} {}", c.name, c.args), c.about.to_string()]).collect()
}

/// The command and its argument, if `input` is no script: `:time f()`, `?name`, `name?`.
pub(super) fn split(input: &str) -> Option<(&str, &str)> {
    let input = input.trim();
    if let Some(line) = input.strip_prefix(':') {
        return Some(line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim())));
    }
    let asked = input.strip_prefix('?').or_else(|| {
        let name = input.strip_suffix('?')?;
        name.chars().all(|c| c.is_alphanumeric() || "_:.@$".contains(c)).then_some(name)
    })?;
    Some(("doc", asked.trim()))
}

/// Runs the session's command `name`.
pub(super) fn run(session: &mut Session, name: &str, rest: &str) -> Answer {
    if let Some(own) = OWN.iter().find(|c| c.name == name) {
        return (own.run)(session, rest);
    }
    match anywhere(session, name, rest) {
        Some(answer) => answer,
        None => Err(unknown(name, names(&OWN))),
    }
}

/// Runs the command `name` if it is one of [`ANYWHERE`].
pub(super) fn anywhere(prompt: &mut dyn Prompt, name: &str, rest: &str) -> Option<Answer> {
    ANYWHERE.iter().find(|c| c.name == name).map(|c| (c.run)(prompt, rest))
}

/// No prompt with [`ANYWHERE`] and `others` knows the command `name`.
pub(super) fn unknown(name: &str, others: impl Iterator<Item = (&'static str, Completes)>) -> Box<Diagnostic> {
    let known = names(&ANYWHERE).chain(others).map(|(name, _)| name);
    Box::new(Diagnostic::from(&unknown_name("command", name, known)).with_help(":help lists the commands"))
}

/// A command that was not given what it needs.
fn needs(what: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("command", what))
}

/// Writes rows of aligned cells.
fn write<const N: usize>(prompt: &dyn Prompt, rows: &[[String; N]], right: &[usize]) {
    let width = prompt.ctx().output.screen().width;
    for line in table(rows, right, width) {
        prompt.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects scripts from being taken for commands, and questions from being taken for scripts.
    #[test]
    fn commands_and_questions_are_recognised() {
        assert_eq!(split(":time  f(x) "), Some(("time", "f(x)")));
        assert_eq!(split(" :quit"), Some(("quit", "")));
        assert_eq!(split("?optim::adamw"), Some(("doc", "optim::adamw")));
        assert_eq!(split("model.generate?"), Some(("doc", "model.generate")));
        assert_eq!(split("a ?? b"), None);
        assert_eq!(split("print(\"what?\")"), None);
        assert_eq!(split("m?.x"), None);
    }
}
