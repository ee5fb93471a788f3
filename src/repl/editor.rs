//! Where inputs come from: a line editor on a terminal, lines of a pipe elsewhere.

use super::{
    commands::{ANYWHERE, Next, OWN, names},
    helper::Helper,
    names::Names,
    prompt::Prompt,
    session::{Ended, Session},
};
use crate::engine::interrupt;
use crate::script::{Diagnostic, incomplete, recipes::places};
use rustyline::{ColorMode, CompletionType, Config, Editor, error::ReadlineError, history::DefaultHistory};
use std::io::IsTerminal;
use std::path::PathBuf;

const PROMPT: &str = "> ";

/// Feeds `session` until its inputs end.
pub(super) fn run(session: &mut Session, report: &dyn Fn(&Diagnostic)) -> Ended {
    if std::io::stdin().is_terminal() {
        match Reader::new() {
            Ok(reader) => return terminal(session, reader, report),
            Err(e) => report(&Diagnostic::new("terminal", format!("the line editor cannot start: {e}"))),
        }
    }
    piped(session, report)
}

/// What a person did at the prompt.
pub(super) enum Typed {
    /// An input, whole as far as the parser can tell.
    Input(String),
    /// Ctrl-C: the line is given up.
    Nothing,
    /// Ctrl-D.
    End,
}

/// A line editor with the history of all sessions.
pub(super) struct Reader {
    editor: Editor<Helper, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Reader {
    /// On the process's terminal.
    pub(super) fn new() -> rustyline::Result<Self> {
        let mut editor = editor()?;
        let history = history_file();
        if let Some(file) = &history {
            // A missing file is a first session.
            let _ = editor.load_history(file);
        }
        Ok(Reader { editor, history })
    }

    /// Asks for an input with `names` in reach.
    ///
    /// # Errors
    /// If the terminal fails.
    pub(super) fn read(&mut self, prompt: &str, names: Names) -> Result<Typed, Box<Diagnostic>> {
        if let Some(helper) = self.editor.helper_mut() {
            helper.refresh(names);
        }
        match self.editor.readline(prompt) {
            Ok(text) => {
                if !text.trim().is_empty() {
                    // Sessions go on without their history where it cannot be kept.
                    let _ = self.editor.add_history_entry(text.as_str());
                    if let Some(file) = &self.history {
                        let _ = self.editor.append_history(file);
                    }
                }
                Ok(Typed::Input(text))
            }
            Err(ReadlineError::Interrupted) => {
                interrupt::clear();
                Ok(Typed::Nothing)
            }
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(e) => Err(Box::new(Diagnostic::new("terminal", e.to_string()))),
        }
    }
}

fn editor() -> rustyline::Result<Editor<Helper, DefaultHistory>> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let color = if plain { ColorMode::Disabled } else { ColorMode::Enabled };
    let config = Config::builder()
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .max_history_size(10_000)?
        .color_mode(color)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Helper::default()));
    Ok(editor)
}

fn terminal(session: &mut Session, mut reader: Reader, report: &dyn Fn(&Diagnostic)) -> Ended {
    session.ctx().output.note(&format!("host {}; :help lists commands, Ctrl-D leaves", env!("CARGO_PKG_VERSION")));
    loop {
        let commands = names(&ANYWHERE).chain(names(&OWN)).collect();
        match reader.read(PROMPT, Names::of(session, commands)) {
            Ok(Typed::Input(text)) if text.trim().is_empty() => {}
            Ok(Typed::Input(text)) => match session.input(&text) {
                Ok(Next::Input) => {}
                Ok(Next::Leave) => return Ended::Well,
                Err(diagnostic) => report(&diagnostic),
            },
            Ok(Typed::Nothing) => {}
            Ok(Typed::End) => return Ended::Well,
            Err(diagnostic) => {
                report(&diagnostic);
                return Ended::Failed;
            }
        }
    }
}

/// `$XDG_STATE_HOME/host/history`, with its folder made.
fn history_file() -> Option<PathBuf> {
    let folder = places::state()?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// Runs each input as soon as it is whole; the first error ends the session, like that of a script.
fn piped(session: &mut Session, report: &dyn Fn(&Diagnostic)) -> Ended {
    loop {
        let done = match next_input() {
            Ok(Some(text)) if text.trim().is_empty() => Ok(Next::Input),
            Ok(Some(text)) => session.input(&text),
            Ok(None) => Ok(Next::Leave),
            Err(diagnostic) => Err(diagnostic),
        };
        match done {
            Ok(Next::Input) => {}
            Ok(Next::Leave) => return Ended::Well,
            Err(diagnostic) => {
                report(&diagnostic);
                return if diagnostic.is_interrupt() { Ended::Interrupted } else { Ended::Failed };
            }
        }
    }
}

/// The next input from a pipe, as soon as it is whole; `None` at the end. Standard input is free between two calls: a
/// script that pauses reads its commands from there too.
pub(super) fn next_input() -> Result<Option<String>, Box<Diagnostic>> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let read = read.map_err(|e| Diagnostic::new("io", format!("standard input cannot be read: {e}")))?;
        text.push_str(&line);
        let input = text.strip_suffix('\n').unwrap_or(&text);
        let input = input.strip_suffix('\r').unwrap_or(input);
        match read {
            0 => return Ok(Some(input.to_string()).filter(|t| !t.trim().is_empty())),
            _ if incomplete(input) => {}
            _ => return Ok(Some(input.to_string())),
        }
    }
}
