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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::error::to_rhai;
    use crate::engine::Error;

    fn run(text: &str) -> String {
        let mut engine = Engine::new();
        let sources = Arc::new(Sources::default());
        sources.insert("t", text, None);
        register(&mut engine, sources);
        engine.set_fail_on_invalid_map_property(true);
        crate::bindings::error::register(&mut engine);
        engine.register_fn("fail", || -> Result<(), Box<EvalAltResult>> {
            Err(Error::shape_help("cat", "no", "yes").about("left", &[2usize, 3][..]))?
        });
        engine.register_fn("stop", || -> Result<(), Box<EvalAltResult>> { Err(to_rhai(Error::Interrupted)) });
        let mut ast = engine.compile(text).unwrap_or_else(|e| panic!("{e}"));
        ast.set_source("t");
        match engine.eval_ast::<Dynamic>(&ast) {
            Ok(value) => value.to_string(),
            Err(err) => format!("error: {err}"),
        }
    }

    /// Protects scripts that look at what went wrong: the engine's errors and Rhai's answer the same questions.
    #[test]
    fn errors_answer_the_same_questions() {
        let ask = "`${e.kind}|${e.help}|${e.op}|${e.values}|${e.file}:${e.line}:${e.column}|${type_of(e)}`";
        assert_eq!(
            run(&format!("let r = ();\ntry {{ fail() }} catch (e) {{ r = {ask} }} r")),
            "shape|yes|cat|#{\"left\": [2, 3]}|t:2:7|Error"
        );
        assert_eq!(
            run(&format!("fn f() {{ nope }}\nlet r = ();\ntry {{ f() }} catch (e) {{ r = {ask} }} r")),
            "unknown-variable|||#{\"name\": \"nope\"}|t:1:10|Error"
        );
        assert_eq!(run("let r = 0; try { [1][4] } catch (e) { r = e.values } r.index * 10 + r.size"), "41");
        assert_eq!(
            run("let r = 0; try { [1][4] } catch (e) { r = `${e}` } r"),
            "index 4 is outside the array, which has 1 element"
        );
    }

    /// Protects what scripts throw: it is caught as it is.
    #[test]
    fn thrown_values_stay_what_they_are() {
        assert_eq!(run("let r = 0; try { throw #{ a: 1 } } catch (e) { r = e.a } r"), "1");
        assert_eq!(run("let r = 0; try { try { throw 5 } catch { throw; } } catch (e) { r = e } r"), "5");
    }

    /// Protects control flow and scopes: `return`, `break`, `continue`, names before and after, values of blocks.
    #[test]
    fn control_flow_passes_through() {
        let text = "
            fn f() { try { return 5; } catch { return 6; } }
            let a = 1; let n = 0; let seen = [];
            for i in 0..4 {
                try { if i == 1 { continue; } if i == 3 { break; } let inner = i; [][9] }
                catch (a) { seen.push(a.kind); n += i; }
                let b = a;
                seen.push(b);
            }
            `${f()} ${a} ${n} ${seen}`";
        assert_eq!(run(text), "5 1 2 [\"index\", 1, \"index\", 1]");
    }

    /// Protects the trail: what is caught and thrown on says where it came from first.
    #[test]
    fn the_first_place_is_kept() {
        let text = "fn f() { fail() }\nlet r = [];\ntry { try { f() } catch (e) { r.push(e.line); throw e; } } catch (e) { r.push(e.line) } r";
        assert_eq!(run(text), "[1, 1]");
        let text = "let r = 0;\ntry {\n try { [][1] } catch { throw; }\n} catch (e) { r = e.line } r";
        assert_eq!(run(text), "3");
    }

    /// Protects Ctrl-C and the limits: no `catch` keeps a script running.
    #[test]
    fn interruption_cannot_be_caught() {
        assert!(run("fn f() { stop() } try { f() } catch { } 1").starts_with("error"));
    }
}
