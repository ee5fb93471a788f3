//! The line editor's help: when an input is whole, and what a word may become.

use super::{commands::COMMANDS, session::Session};
use crate::script::incomplete;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::HistoryHinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper as Marker, Hinter, Result};
use std::borrow::Cow;
use std::collections::BTreeSet;

const KEYWORDS: [&str; 22] = [
    "let", "const", "if", "else", "for", "in", "while", "loop", "do", "until", "break", "continue", "return", "fn",
    "import", "as", "try", "catch", "throw", "switch", "no_grad", "autocast",
];

/// See the module's description.
#[derive(Default, Marker, Hinter)]
pub(super) struct Helper {
    #[rustyline(Hinter)]
    hints: HistoryHinter,
    /// What can stand where a name is expected; modules' members with their path.
    names: BTreeSet<String>,
    /// What can stand behind a dot.
    members: BTreeSet<String>,
}

impl Helper {
    /// Takes over the names that `session` knows now.
    pub(super) fn refresh(&mut self, session: &Session) {
        if self.members.is_empty() {
            for signature in session.host.catalog() {
                if let Some(property) = signature.property() {
                    self.members.insert(property.to_string());
                } else if signature.callable() {
                    self.members.extend(signature.namespace.is_empty().then(|| signature.name.clone()));
                    self.names.insert(signature.path());
                }
            }
            self.names.extend(KEYWORDS.map(String::from));
        }
        self.names.extend(session.scope.iter_raw().map(|(name, ..)| name.to_string()));
        self.names.extend(session.modules());
        self.names.extend(session.functions().iter().filter_map(|f| f.split('(').next().map(str::to_string)));
    }
}

impl Highlighter for Helper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

impl Validator for Helper {
    fn validate(&self, ctx: &mut ValidationContext) -> Result<ValidationResult> {
        let text = ctx.input();
        let whole = text.trim_start().starts_with(':') || !incomplete(text);
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        let before = &line[..pos];
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let start = before.rfind(|c| !part(c)).map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let matching = |names: &BTreeSet<String>| names.iter().filter(|n| n.starts_with(word)).cloned().collect();
        if let Some(command) = before.strip_prefix(':').filter(|c| !c.contains(' ')) {
            let names = COMMANDS.iter().map(|(name, ..)| *name).filter(|n| n.starts_with(command));
            return Ok((1, names.map(str::to_string).collect()));
        }
        match before[..start].ends_with('.') && !word.is_empty() {
            true => Ok((start, matching(&self.members))),
            false if word.is_empty() => Ok((start, Vec::new())),
            false => Ok((start, matching(&self.names))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects completion: names at a word, members behind a dot, commands behind the colon.
    #[test]
    fn completion_knows_its_place() {
        let mut helper = Helper::default();
        helper.names.extend(["optim::adamw", "opt", "print"].map(String::from));
        helper.members.extend(["shape", "softmax"].map(String::from));
        let history = rustyline::history::DefaultHistory::new();
        let ctx = Context::new(&history);
        let complete = |line: &str| helper.complete(line, line.len(), &ctx).unwrap();
        assert_eq!(complete("é = op"), (5, vec!["opt".to_string(), "optim::adamw".to_string()]));
        assert_eq!(complete("t.s"), (2, vec!["shape".to_string(), "softmax".to_string()]));
        assert_eq!(complete(":lo"), (1, vec!["load".to_string()]));
        assert_eq!(complete("1 + "), (4, vec![]));
    }
}
