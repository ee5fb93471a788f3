//! What the line editor asks for: colours, completion, hints, and whether an input is whole.

use super::commands::split;
use super::complete::complete;
use super::highlight::{at_bracket, highlight};
use super::names::Names;
use crate::script::incomplete;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper as Marker, Result};
use std::borrow::Cow;
use std::cell::Cell;

/// See the module's description. Works from the [`Names`] of any prompt.
#[derive(Default, Marker)]
pub(super) struct Helper {
    hints: HistoryHinter,
    names: Names,
    /// The input is being left: the cursor's bracket is of no interest any more.
    leaving: Cell<bool>,
}

impl Helper {
    /// Takes over what is in reach now.
    pub(super) fn refresh(&mut self, names: Names) {
        self.names = names;
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        Cow::Owned(highlight(line, (!self.leaving.get()).then_some(pos)))
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1;32m{prompt}\x1b[0m"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }

    fn highlight_char(&self, line: &str, pos: usize, kind: CmdKind) -> bool {
        self.leaving.set(kind == CmdKind::ForcedRefresh);
        match kind {
            CmdKind::MoveCursor => at_bracket(line, pos),
            CmdKind::Other => true,
            CmdKind::ForcedRefresh => true,
        }
    }
}

impl Hinter for Helper {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.hints.hint(line, pos, ctx)
    }
}

impl Validator for Helper {
    fn validate(&self, ctx: &mut ValidationContext) -> Result<ValidationResult> {
        let text = ctx.input();
        let whole = split(text).is_some() || !incomplete(text);
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let (start, found) = complete(&self.names, &line[..pos]);
        Ok((start, found.into_iter().map(|c| Pair { display: c.listed, replacement: c.text }).collect()))
    }
}
