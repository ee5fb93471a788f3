//! `?name`: what a name means here, whether a variable, a member of one, or anything in the reference.

use super::commands::look::type_line;
use super::complete::types;
use super::names::Names;
use super::prompt::{Prompt, visible};
use super::show;
use crate::script::Diagnostic;
use crate::script::catalog::Signature;
use crate::script::reference::{Found, Style, lookup, render};

/// Columns of text that are still read with ease.
const COLUMNS: usize = 110;

/// The description of `name`: signatures, what the doc comment says, options, example; or what there is below it.
///
/// # Errors
/// If nothing is called so, with the near names.
pub(super) fn describe(prompt: &dyn Prompt, name: &str) -> Result<String, Box<Diagnostic>> {
    let names = Names::of(prompt, Vec::new());
    let screen = prompt.ctx().output.screen();
    let style = Style { color: screen.color, width: screen.width.min(COLUMNS) };
    let known = known(&names);
    if let Some((_, _, value)) = visible(prompt.scope()).into_iter().find(|(n, ..)| *n == name) {
        let head =
            format!("{name}: {}\n{}", type_line(prompt, value), show::brief(prompt.engine(), value, style.width));
        let of = names.variables.get(name).map_or("any", |o| o.type_name());
        return Ok(match lookup(&known, of) {
            found @ Found::List(_) => format!("{head}\n\n{}", render(&found, of, style)),
            _ => head,
        });
    }
    let found = member(&names, &known, name).unwrap_or_else(|| lookup(&known, name));
    match found {
        Found::Nothing(near) => {
            let unknown = Diagnostic::new("unknown-name", format!("nothing is called `{name}`"));
            Err(Box::new(match near.as_slice() {
                [] => unknown.with_help("`host doc` lists all there is"),
                near => unknown.with_help(format!("near: {}", near.join(", "))),
            }))
        }
        found => Ok(render(&found, name, style)),
    }
}

/// `generate` of the type of `model`, for `model.generate`.
fn member(names: &Names, known: &[Signature], name: &str) -> Option<Found> {
    let (object, member) = name.trim_end_matches("()").rsplit_once('.')?;
    let of = types::of_text(names, object)?;
    match lookup(known, &format!("{}.{member}", of.type_name())) {
        Found::Nothing(_) | Found::List(_) => None,
        found => Some(found),
    }
}

/// The catalog, and what the session or script itself has.
fn known(names: &Names) -> Vec<Signature> {
    let modules = names.modules.iter().flat_map(|(_, all)| all.iter());
    names.functions.iter().chain(modules).chain(names.catalog.iter()).cloned().collect()
}
