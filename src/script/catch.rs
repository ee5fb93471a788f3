//! `try { .. } catch (e) { .. }`: as Rhai has it, but `e` is one kind of value for every error that was not thrown by a
//! script itself, with `kind`, `message`, `help`, `values`, `file` and `line`.
//!
//! Rhai binds a map with a Rust-worded message for its own errors, and the bare value for others, whose place is then
//! lost. Its grammar is kept: tools that only parse know nothing of this.

use super::{diagnostics, explain::Context, sources::Sources};
use crate::bindings::error::{Explain, Explained, ScriptError};
use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Expression, ImmutableString, ParseError};
use std::sync::Arc;

/// Puts the statement into `engine`, whose scripts' texts are in `sources`.
pub(super) fn register(engine: &mut Engine, sources: Arc<Sources>) {
    let explain = Explain(Arc::new(move |engine, err, file| {
        let context = Context { engine, sources: &sources, variables: Vec::new() };
        let found = diagnostics::from_eval_error(err, file, &context);
        Explained { kind: found.code, message: found.message, help: found.help }
    }));
    engine.disable_symbol("try");
    engine.register_custom_syntax_with_state_raw(
        "try",
        |symbols, next, _| grammar(symbols, next),
        true,
        move |cx, parts, _| run(cx, parts, &explain),
    );
}

/// The symbol that follows `symbols`; the error's name may be left out.
fn grammar(symbols: &[ImmutableString], next: &str) -> Result<Option<ImmutableString>, ParseError> {
    let named = symbols.get(3).is_some_and(|s| s == "(");
    Ok(match (symbols.len(), named) {
        (1, _) => Some("$block$"),
        (2, _) => Some("catch"),
        (3, _) if next == "(" => Some("("),
        (3, _) => Some("$block$"),
        (4, true) => Some("$ident$"),
        (5, true) => Some(")"),
        (6, true) => Some("$block$"),
        _ => None,
    }
    .map(Into::into))
}

fn run(cx: &mut EvalContext, parts: &[Expression], explain: &Explain) -> Result<Dynamic, Box<EvalAltResult>> {
    let error = match cx.eval_expression_tree(&parts[0]) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let file = cx.global_runtime_state().source().unwrap_or_default().to_string();
    let (value, mut again) = ScriptError::catch(error, &file, explain)?;
    let before = cx.scope().len();
    if let [_, name, _] = parts {
        cx.scope_mut().push_dynamic(name.get_string_value().unwrap_or_default().to_string(), value);
    }
    let handled = cx.eval_expression_tree(&parts[parts.len() - 1]);
    cx.scope_mut().rewind(before);
    match handled {
        Ok(_) => Ok(Dynamic::UNIT),
        Err(err) => match *err {
            // `throw;`
            EvalAltResult::ErrorRuntime(value, pos) if value.is_unit() => {
                again.set_position(pos);
                Err(again)
            }
            other => Err(Box::new(other)),
        },
    }
}
