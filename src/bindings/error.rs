//! Errors inside scripts: thrown where the binding was called, caught as a value with facts.
//!
//! ```rhai
//! try { llama::load("nowhere.gguf") } catch (e) { print(`${e.kind}: ${e.message}`) }
//! ```
//!
//! An engine error is thrown as a [`ScriptError`]. Rhai's own errors become one when they are caught, so that `catch (e)`
//! binds the same kind of value for both; what a script throws itself stays what it is.

use super::registration::getter;
use crate::engine::Error;
use crate::engine::error::Fact;
use rhai::{Dynamic, Engine, EvalAltResult, INT, ImmutableString, Map, NativeCallContext, Position};
use std::sync::{Arc, OnceLock};

/// What `catch (e)` binds.
#[derive(Debug, Clone)]
pub struct ScriptError {
    /// `None` for an error of Rhai's own, which is that of `caught`.
    engine: Option<Arc<Error>>,
    caught: Option<Arc<Caught>>,
}

/// An error as it was when it was caught: with its calls and positions.
#[derive(Debug)]
pub struct Caught {
    error: Box<EvalAltResult>,
    file: String,
    explain: Explain,
    explained: OnceLock<Explained>,
}

/// How errors of Rhai's own are put into words, which takes time and is done when somebody asks.
#[derive(Clone)]
pub struct Explain(pub Arc<ExplainFn>);

/// The engine, the error, and the file that it was caught in.
pub type ExplainFn = dyn Fn(&Engine, &EvalAltResult, &str) -> Explained + Send + Sync;

impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Explain")
    }
}

/// An error of Rhai's own, in words.
#[derive(Debug, Default)]
pub struct Explained {
    /// Short, stable name of the kind of problem.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Vec<String>,
}

impl ScriptError {
    /// The engine's error, if it is one.
    pub fn engine_error(&self) -> Option<&Error> {
        self.engine.as_deref()
    }

    /// The error as it was thrown first, and the file that the `try` stood in, if it was caught.
    pub fn caught(&self) -> Option<(&EvalAltResult, &str)> {
        self.caught.as_ref().map(|c| (&*c.error, c.file.as_str()))
    }

    /// `error`, caught in `file`: as a value, and as what `throw;` throws on. What a script has thrown itself is given
    /// back as it is.
    ///
    /// # Errors
    /// The error, if scripts cannot catch it: an interruption, a limit.
    pub fn catch(
        error: Box<EvalAltResult>,
        file: &str,
        explain: &Explain,
    ) -> Result<(Dynamic, Box<EvalAltResult>), Box<EvalAltResult>> {
        let inner = error.unwrap_inner();
        if !inner.is_catchable() || inner.is_pseudo_error() {
            return Err(error);
        }
        let thrown = if let EvalAltResult::ErrorRuntime(value, _) = inner { Some(value.clone()) } else { None };
        let engine = match thrown.as_ref().map(|value| (value, value.clone().try_cast::<ScriptError>())) {
            None => None,
            Some((_, Some(known))) if known.caught.is_none() => known.engine,
            // Thrown by a script, or thrown on: then where it came from first is what matters.
            Some((value, _)) => return Ok((value.clone(), error)),
        };
        let caught = Caught { error, file: file.to_string(), explain: explain.clone(), explained: OnceLock::new() };
        let value = Dynamic::from(ScriptError { engine, caught: Some(Arc::new(caught)) });
        Ok((value.clone(), Box::new(EvalAltResult::ErrorRuntime(value, Position::NONE))))
    }

    /// What is wrong: the engine's words, or those for Rhai's error.
    fn message(&self, engine: &Engine) -> String {
        self.say(engine, ToString::to_string, |e| e.message.clone())
    }

    fn say(&self, engine: &Engine, own: fn(&Error) -> String, rhai: fn(&Explained) -> String) -> String {
        match (&self.engine, &self.caught) {
            (Some(err), _) => own(err),
            (None, Some(c)) => rhai(c.explained.get_or_init(|| (c.explain.0)(engine, &c.error, &c.file))),
            (None, None) => String::new(),
        }
    }

    /// File, line and column where it was thrown, once it was caught.
    fn place(&self) -> Option<(ImmutableString, Position)> {
        let caught = self.caught.as_ref()?;
        let mut file: ImmutableString = caught.file.as_str().into();
        let mut error = &*caught.error;
        loop {
            error = match error {
                EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                    if !source.is_empty() {
                        file = source.as_str().into();
                    }
                    inner
                }
                EvalAltResult::ErrorInModule(name, inner, _) => {
                    file = name.as_str().into();
                    inner
                }
                innermost => return Some((file, innermost.position())),
            }
        }
    }

    fn values(&self) -> Map {
        let from_engine = self.engine.iter().flat_map(|e| e.facts()).map(|(name, fact)| (name.into(), script(fact)));
        let mut values: Map = from_engine.collect();
        if let (None, Some(caught)) = (&self.engine, &self.caught) {
            use EvalAltResult as E;
            match caught.error.unwrap_inner() {
                E::ErrorArrayBounds(size, index, _) | E::ErrorStringBounds(size, index, _) => {
                    values.insert("index".into(), (*index).into());
                    values.insert("size".into(), (*size as INT).into());
                }
                E::ErrorVariableNotFound(name, _)
                | E::ErrorPropertyNotFound(name, _)
                | E::ErrorModuleNotFound(name, _) => {
                    values.insert("name".into(), name.into());
                }
                E::ErrorFunctionNotFound(signature, _) => {
                    let name = signature.split(" (").next().unwrap_or(signature);
                    values.insert("name".into(), name.into());
                }
                _ => {}
            }
        }
        values
    }
}

fn script(fact: Fact) -> Dynamic {
    match fact {
        Fact::Int(n) => n.into(),
        Fact::Text(text) => text.into(),
        Fact::Shape(dims) => dims.iter().map(|d| Dynamic::from(*d as INT)).collect::<Vec<_>>().into(),
        Fact::Texts(list) => list.into_iter().map(Dynamic::from).collect::<Vec<_>>().into(),
    }
}

impl From<Error> for ScriptError {
    fn from(err: Error) -> Self {
        ScriptError { engine: Some(Arc::new(err)), caught: None }
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
    result: Result<T, impl Into<Box<EvalAltResult>>>,
) -> Result<T, Box<EvalAltResult>> {
    result.map_err(|e| {
        let mut e = e.into();
        if e.position().is_none() {
            e.set_position(ctx.call_position());
        }
        e
    })
}

/// What an error is about, and where it arose.
fn facts(engine: &mut Engine) {
    getter("op", "Error", "string or ()").register_into_engine(engine, |e: &mut ScriptError| {
        e.engine_error().and_then(Error::op).map_or(Dynamic::UNIT, Into::into)
    });
    getter("values", "Error", "Map").register_into_engine(engine, |e: &mut ScriptError| e.values());
    getter("file", "Error", "string or ()")
        .register_into_engine(engine, |e: &mut ScriptError| e.place().map_or(Dynamic::UNIT, |(file, _)| file.into()));
    getter("line", "Error", "int or ()")
        .register_into_engine(engine, |e: &mut ScriptError| count(e.place().and_then(|(_, at)| at.line())));
    getter("column", "Error", "int or ()")
        .register_into_engine(engine, |e: &mut ScriptError| count(e.place().and_then(|(_, at)| at.position())));
}

pub(crate) fn register(engine: &mut Engine) {
    type Cx<'a> = NativeCallContext<'a>;
    facts(engine);
    engine
        .register_type_with_name::<ScriptError>("Error")
        .register_get("kind", |cx: Cx, e: &mut ScriptError| e.say(cx.engine(), |e| e.kind().into(), |e| e.kind.clone()))
        .register_get("message", |cx: Cx, e: &mut ScriptError| e.message(cx.engine()))
        .register_get("help", |cx: Cx, e: &mut ScriptError| {
            e.say(cx.engine(), |e| e.help().unwrap_or_default().into(), |e| e.help.join("\n"))
        })
        .register_fn("to_string", |cx: Cx, e: &mut ScriptError| e.message(cx.engine()))
        .register_fn("to_debug", |cx: Cx, e: &mut ScriptError| {
            let kind = e.say(cx.engine(), |e| e.kind().into(), |e| e.kind.clone());
            format!("Error({kind}: {})", e.message(cx.engine()))
        });
}

fn count(n: Option<usize>) -> Dynamic {
    n.map_or(Dynamic::UNIT, |n| (n as INT).into())
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
