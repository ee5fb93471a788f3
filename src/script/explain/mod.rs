//! Rhai's errors in the words of the people who write scripts: what was wrong, what fits instead, what to write.

mod declared;
mod functions;
pub(super) mod habits;
mod names;
mod spelling;
mod syntax;
mod values;

pub(super) use names::near;
pub(super) use syntax::syntax;

use super::{
    diagnostics::{Diagnostic, Place},
    errors::ScriptError,
    sources::Sources,
};
use rhai::{Engine, EvalAltResult};

/// What explanations draw on.
pub(super) struct Context<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sources: &'a Sources,
    /// Names that live outside the script's text: the variables of a session.
    pub(super) variables: Vec<String>,
}

/// The innermost error of a failed script `file`, inside its `function` if any, named by Rhai as being `at`.
pub(super) fn error(
    err: &EvalAltResult,
    at: Option<&Place>,
    file: &str,
    function: Option<&str>,
    cx: &Context,
) -> Diagnostic {
    use EvalAltResult as E;
    let new = |code: &str, message: String| Diagnostic::new(code, message);
    match err {
        E::ErrorRuntime(value, _) => values::thrown(value, at, cx),
        E::ErrorTerminated(value, _) => match value.read_lock::<ScriptError>() {
            Some(err) => err.engine_error().map_or_else(|| new("interrupted", "interrupted".into()), Diagnostic::from),
            None => new("interrupted", "interrupted".into()),
        },
        E::ErrorParsing(kind, pos) => syntax(kind, *pos, file, cx.sources),
        E::ErrorFunctionNotFound(signature, _) => functions::not_found(signature, at, file, cx),
        E::ErrorVariableNotFound(name, _) => names::variable(name, at, file, function, cx),
        E::ErrorPropertyNotFound(name, _) => names::key(name, file, cx),
        E::ErrorDotExpr(text, _) => names::property(text, cx),
        E::ErrorModuleNotFound(name, _) => names::module(name, cx),
        E::ErrorIndexingType(text, _) => values::not_indexable(text, cx),
        E::ErrorMismatchDataType(wanted, found, _) | E::ErrorMismatchOutputType(wanted, found, _) => {
            values::mismatch(wanted, found, at, cx)
        }
        E::ErrorArrayBounds(len, index, _) => values::bounds("array", "elements", *len, *index),
        E::ErrorStringBounds(len, index, _) => values::bounds("string", "characters", *len, *index),
        E::ErrorFor(_) => {
            new("type", "this value cannot be looped over".into()).with_help("`for` takes arrays, ranges and strings")
        }
        E::ErrorArithmetic(text, _) => new("arithmetic", lower_first(text)),
        E::ErrorAssignmentToConstant(name, _) => new("constant", format!("`{name}` is a constant")),
        E::ErrorNonPureMethodCallOnConstant(name, _) => {
            new("constant", format!("`{name}` changes its object, which is a constant here"))
                .with_help("declare it with `let`")
        }
        E::ErrorVariableExists(name, _) => new("variable", format!("`{name}` is already defined")),
        E::ErrorUnboundThis(_) => new("variable", "`this` has no object here".into()),
        E::ErrorDataRace(name, _) => new("closure", format!("`{name}` is in use by the closure that shares it")),
        E::ErrorStackOverflow(_) => new("limit", "calls are nested too deeply".into())
            .with_help("a function that calls itself must end; loops may go on"),
        E::ErrorDataTooLarge(what, _) => new("limit", format!("{} is over the limit", lower_first(what))),
        E::ErrorTooManyOperations(_) => new("limit", "the script ran more operations than allowed".into()),
        E::ErrorSystem(text, inner) => {
            new("system", if text.is_empty() { inner.to_string() } else { format!("{text}: {inner}") })
        }
        other => {
            let text = other.to_string();
            new("script", lower_first(text.split(" (line ").next().unwrap_or(&text)))
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
