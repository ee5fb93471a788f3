//! Engine errors as script errors: thrown where the binding was called, caught as a value with facts.
//!
//! ```rhai
//! try { llama::load("nowhere.gguf") } catch (e) { print(`${e.kind}: ${e.message}`) }
//! ```

use crate::engine::Error;
use rhai::{Dynamic, Engine, EvalAltResult, Position};
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
/// An interruption becomes a termination, which no `catch` can swallow.
pub fn to_rhai(err: Error) -> Box<EvalAltResult> {
    let interrupted = matches!(err, Error::Interrupted);
    let value = Dynamic::from(ScriptError::from(err));
    Box::new(if interrupted {
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

    /// Protects Ctrl-C: a script's own `catch` must not keep it running.
    #[test]
    fn interruption_cannot_be_caught() {
        let err = engine().run("try { stop() } catch { }").unwrap_err();
        assert!(matches!(*err, EvalAltResult::ErrorTerminated(..)), "{err:?}");
    }
}
