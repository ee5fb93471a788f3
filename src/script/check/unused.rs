//! What is declared and never used, and names that hide others.

use super::scope::{Block, Kind, Var};
use super::walk::Walk;
use rhai::Expr;

impl Walk<'_> {
    /// Reports what nothing has read in a block that ends.
    pub(super) fn unused(&mut self, block: Block) {
        let top = self.scopes.0.is_empty();
        for var in block.vars {
            let elsewhere = top && self.from_functions.contains(&var.name);
            if var.read || var.exported || elsewhere || self.silent(&var.name) {
                continue;
            }
            let name = &var.name;
            let (code, message) = match var.kind {
                Kind::Param => ("unused-parameter", format!("parameter `{name}` is not used")),
                Kind::Loop => ("unused-variable", format!("loop variable `{name}` is not used")),
                Kind::Catch => ("unused-variable", format!("the error `{name}` is not used")),
                Kind::Let | Kind::Const if var.written => {
                    ("unused-variable", format!("`{name}` is assigned and never read"))
                }
                Kind::Let | Kind::Const => ("unused-variable", format!("`{name}` is not used")),
            };
            let help = match var.kind {
                Kind::Catch => "write `catch { .. }` without it".to_string(),
                _ => format!("if that is meant, call it `_{name}`"),
            };
            self.warning(code, message, var.at).push(help);
        }
        for import in block.imports {
            let elsewhere = top && self.from_functions.contains(&import.alias);
            if !import.used && !elsewhere && !self.silent(&import.alias) {
                let message = format!("the import `{}` is not used", import.alias);
                self.warning("unused-import", message, import.at).push("leave it out".into());
            }
        }
    }

    /// Reports functions that nothing calls, where nobody else can.
    pub(super) fn unused_functions(&mut self) {
        // A script that only defines things defines them for others.
        let runs = self.unit.runs() && !self.cx.is_imported(self.unit);
        for function in &self.unit.functions {
            // `host test` calls them.
            let test = function.name.starts_with("test_") && function.params.len() <= 1;
            let reachable = !function.private && (!runs || test);
            if reachable || self.called.contains(&function.name) || self.silent(&function.name) {
                continue;
            }
            let help = format!("if that is meant, call it `_{}`", function.name);
            self.warning("unused-function", format!("function `{}` is not used", function.name), function.at)
                .push(help);
        }
    }

    /// Whether nothing is said of `name`: it asks for that, or may be used in text that could not be read.
    fn silent(&self, name: &str) -> bool {
        name.starts_with('_') || self.unit.evaluates || self.unit.parsed.blanked.contains(name)
    }

    /// Reports a variable whose name another one in the same block has already.
    pub(super) fn shadowed(&mut self, var: &Var) {
        let Some(first) = self.scopes.own(&var.name) else { return };
        if first.read {
            // It has done its work: another value under the name is no mistake.
            return;
        }
        // One remark for one mistake.
        first.read = true;
        let what = if first.kind == Kind::Param { "parameter" } else { "variable" };
        let first = first.at;
        let message = format!("`{}` hides the {what} of that name", var.name);
        self.warning_after(first, message, var.at).push("assign to it without `let`, or choose another name".into());
    }

    /// `let name = f()` where `f` returns nothing.
    pub(super) fn no_value(&mut self, value: &Expr, name: &str) {
        if matches!(value, Expr::FnCall(..) | Expr::Dot(..)) {
            self.warning(
                "no-value",
                format!("`{name}` is always (): what is called here returns nothing"),
                value.position(),
            );
        }
    }
}
