//! Engine errors as script errors: thrown where the binding was called, caught as a value with facts.
//!
//! ```rhai
//! try { llama::load("nowhere.gguf") } catch (e) { print(`${e.kind}: ${e.message}`) }
//! ```

use crate::engine::Error;
use rhai::{Dynamic, Engine, EvalAltResult, NativeCallContext, Position};
use std::sync::Arc;

/// An engine error inside a script: what `catch (e)` binds.
#[derive(Debug, Clone)]
pub struct ScriptError(Arc<Error>);

impl ScriptError {
    /// The engine's error.
    pub fn get(&self) -> &Error {
        &self.0
    }
}

impl From<Error> for ScriptError {
    fn from(err: Error) -> Self {
        ScriptError(Arc::new(err))
    }
}

/// `err` as a script error. Rhai fills in the position of the call that failed.
///
/// An interruption, or the end of the allowed time, becomes a termination, which no `catch` can swallow.
pub fn to_rhai(err: Error) -> Box<EvalAltResult> {
    let ends = matches!(err, Error::Interrupted | Error::Timeout(_));
    let value = Dynamic::from(ScriptError::from(err));
    Box::new(if ends {
        EvalAltResult::ErrorTerminated(value, Position::NONE)
    } else {
        EvalAltResult::ErrorRuntime(value, Position::NONE)
    })
}

impl From<Error> for Box<EvalAltResult> {
    fn from(err: Error) -> Self {
        to_rhai(err)
    }
}

/// Carries a callback's script error through an engine call that knows only engine errors.
///
/// ```ignore
/// let mut carried = Carried::default();
/// let result = engine::checkpoint(|x| carried.hold(f.call_within_context(&cx, (x,))), input);
/// carried.release(result)
/// ```
#[derive(Debug, Default)]
pub struct Carried(Option<Box<EvalAltResult>>);

impl Carried {
    /// The callback's result for the engine; a script error stays here, with its position and calls.
    pub fn hold<T>(&mut self, result: super::ScriptResult<T>) -> crate::engine::Result<T> {
        result.map_err(|err| {
            self.0 = Some(err);
            Error::config("a callback of the script failed")
        })
    }

    /// The engine's result for the script: the held error, if it was the callback that failed.
    pub fn release<T>(self, result: crate::engine::Result<T>) -> super::ScriptResult<T> {
        result.map_err(|err| self.0.unwrap_or_else(|| to_rhai(err)))
    }
}

/// `result` with the place of the call that `ctx` stands for: Rhai fills it in for methods and global functions, but not
/// for functions of modules (`llama::load`).
pub(super) fn placed<T>(
    ctx: &NativeCallContext,
    result: Result<T, Box<EvalAltResult>>,
) -> Result<T, Box<EvalAltResult>> {
    result.map_err(|mut e| {
        if e.position().is_none() {
            e.set_position(ctx.call_position());
        }
        e
    })
}

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<ScriptError>("Error")
        .register_get("kind", |e: &mut ScriptError| e.0.kind())
        .register_get("message", |e: &mut ScriptError| e.0.to_string())
        .register_get("help", |e: &mut ScriptError| e.0.help().unwrap_or_default().to_string())
        .register_fn("to_string", |e: &mut ScriptError| e.0.to_string())
        .register_fn("to_debug", |e: &mut ScriptError| format!("Error({}: {})", e.0.kind(), e.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        let mut engine = Engine::new();
        register(&mut engine);
        engine
            .register_fn("fail", || -> Result<(), Box<EvalAltResult>> { Err(Error::config_help("bad rank", "use 8"))? })
            .register_fn("stop", || -> Result<(), Box<EvalAltResult>> { Err(Error::Interrupted)? });
        engine
    }

    /// Protects `catch`: scripts branch on `e.kind` and show `e.message` and `e.help`.
    #[test]
    fn scripts_see_kind_message_and_help() {
        let text: String =
            engine().eval(r#"try { fail() } catch (e) { return `${e.kind}|${e.message}|${e.help}|${e}` }"#).unwrap();
        assert_eq!(text, "config|bad rank|use 8|bad rank");
    }

    /// Protects error reports of callbacks: what the closure threw comes out of the engine call as it was.
    #[test]
    fn callback_errors_pass_through_the_engine() {
        let mut engine = engine();
        engine.register_fn("twice", |cx: rhai::NativeCallContext, f: rhai::FnPtr| -> Result<i64, Box<EvalAltResult>> {
            let mut carried = Carried::default();
            let result = carried.hold(f.call_within_context::<i64>(&cx, ())).map(|n| n * 2);
            carried.release(result)
        });
        assert_eq!(engine.eval::<i64>("twice(|| 4)").unwrap(), 8);
        let err = engine.run("twice(|| throw \"mine\")").unwrap_err();
        assert!(err.to_string().contains("mine"), "{err}");
    }

    /// Protects Ctrl-C: a script's own `catch` must not keep it running.
    #[test]
    fn interruption_cannot_be_caught() {
        let err = engine().run("try { stop() } catch { }").unwrap_err();
        assert!(matches!(*err, EvalAltResult::ErrorTerminated(..)), "{err:?}");
    }
}
