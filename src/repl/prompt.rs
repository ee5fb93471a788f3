//! A place where inputs run: the session's own variables, or the scope of a script that is paused.
//!
//! Completion, colours, `:vars` and every other command that does not change the place itself work on any [`Prompt`].

use super::show;
use crate::bindings::Context;
use crate::script::{Diagnostic, catalog::Signature};
use rhai::{Dynamic, Engine, Scope};
use std::sync::Arc;

/// See the module's description.
pub(super) trait Prompt {
    /// Who prints, and on what.
    fn ctx(&self) -> &Context;

    /// The engine, for the types and the text of values.
    fn engine(&self) -> &Engine;

    /// The variables in reach, later ones hide earlier ones of the same name.
    fn scope(&self) -> &Scope<'_>;

    /// Every registered function.
    fn catalog(&self) -> Arc<[Signature]>;

    /// The functions of the script or session itself.
    fn functions(&self) -> Vec<Signature>;

    /// The imported modules in reach: the name given to each, and its functions.
    fn modules(&self) -> Vec<(String, Arc<[Signature]>)>;

    /// Runs script text here.
    fn eval(&mut self, text: &str) -> Result<Dynamic, Box<Diagnostic>>;

    /// Writes a line to standard output.
    fn line(&self, text: &str) {
        self.ctx().output.line(text);
    }

    /// Shows the value of an input; there is nothing to see in `()`.
    fn show(&self, value: &Dynamic) {
        if !value.is_unit() {
            self.line(&show::value(self.engine(), value, self.ctx().output.screen()));
        }
    }
}

/// The variables of `scope` by name, each as it is seen: the last of its name, oldest first.
pub(super) fn visible<'a>(scope: &'a Scope<'_>) -> Vec<(&'a str, bool, &'a Dynamic)> {
    let mut seen = std::collections::HashSet::new();
    // Rhai gives the newest first.
    let mut visible: Vec<_> = scope.iter_raw().filter(|(name, ..)| seen.insert(*name)).collect();
    visible.reverse();
    visible
}
