//! What our scripts add to Rhai's grammar: `no_grad { .. }`, `autocast POLICY { .. }`, the operator `@`.
//!
//! Each mode is a guard that lives while its block runs: however the block ends (value, `return`, `break`, error), the
//! guard is dropped and the mode is what it was.

use crate::engine::{Error, Result};
use rhai::{Engine, EvalAltResult, ImmutableString, Position};
use std::any::Any;

/// What restores a mode when dropped.
pub type Guard = Box<dyn Any>;

/// How the modes are entered.
pub struct Modes {
    /// Stops the recording of history.
    pub no_grad: fn() -> Guard,
    /// Sets the policy by its name: `"off"`, `"bf16"`, `"f16"`.
    pub autocast: fn(&str) -> Result<Guard>,
}

impl Modes {
    /// Blocks run as they are: for parsing alone, where nothing is run.
    pub const NONE: Modes = Modes { no_grad: || Box::new(()), autocast: |_| Ok(Box::new(())) };
}

/// The words that begin a mode.
pub(super) const WORDS: [&str; 2] = ["no_grad", "autocast"];

/// Registers the syntax into `engine`.
pub fn register(engine: &mut Engine, modes: Modes) {
    let Modes { no_grad, autocast } = modes;
    // The symbols below are constants that Rhai accepts, which the tests of this file show.
    engine
        .register_custom_syntax(["no_grad", "$block$"], false, move |context, inputs| {
            let _guard = no_grad();
            context.eval_expression_tree(&inputs[0])
        })
        .expect("constant syntax");
    engine
        .register_custom_syntax(["autocast", "$expr$", "$block$"], false, move |context, inputs| {
            let at = inputs[0].position();
            let policy = context.eval_expression_tree(&inputs[0])?;
            let Some(name) = policy.read_lock::<ImmutableString>().map(|s| s.clone()) else {
                let err = Error::config_help(
                    format!(
                        "autocast: the policy must be a string, not {}",
                        context.engine().map_type_name(policy.type_name())
                    ),
                    "policies are \"off\", \"bf16\" and \"f16\"",
                );
                return Err(placed(err, at));
            };
            let _guard = autocast(&name).map_err(|e| placed(e, at))?;
            context.eval_expression_tree(&inputs[1])
        })
        .expect("constant syntax");
    // As tight as `*`, like Python's.
    engine.register_custom_operator("@", 180).expect("constant operator");
}

fn placed(err: Error, at: Position) -> Box<EvalAltResult> {
    let mut err = super::errors::to_rhai(err);
    err.set_position(at);
    err
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static DEPTH: Cell<i64> = const { Cell::new(0) };
    }

    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }

    fn enter() -> Guard {
        DEPTH.set(DEPTH.get() + 1);
        Box::new(Leave)
    }

    fn engine() -> Engine {
        let mut engine = Engine::new();
        let autocast = |name: &str| match name {
            "bf16" => Ok(enter()),
            _ => Err(Error::config("unknown policy")),
        };
        register(&mut engine, Modes { no_grad: enter, autocast });
        engine.register_fn("depth", || DEPTH.get()).register_fn("@", |a: i64, b: i64| a * 10 + b);
        engine
    }

    /// Protects `let loss = autocast "bf16" { .. }`: the block's value is the expression's.
    #[test]
    fn a_block_has_a_value_and_its_mode() {
        let script = r#"let p = #{ amp: "bf16" }; let x = autocast p.amp { no_grad { depth() } }; x * 10 + depth()"#;
        assert_eq!(engine().eval::<i64>(script).unwrap(), 20);
    }

    /// Protects the mode after an early exit: a gradient lost to a mode left on would be silent.
    #[test]
    fn early_exits_restore_the_mode() {
        let script = r#"
            fn f() { no_grad { return depth(); } }
            let inside = f();
            for i in 0..3 { no_grad { if i == 1 { break; } } }
            try { autocast "bf16" { throw "x" } } catch { }
            try { autocast "f8" { 1 } } catch { }
            inside * 10 + depth()
        "#;
        assert_eq!(engine().eval::<i64>(script).unwrap(), 10);
    }

    /// Protects `a @ b`, and its place among the other operators.
    #[test]
    fn at_binds_like_times() {
        assert_eq!(engine().eval::<i64>("1 + 2 @ 3 * 2").unwrap(), 1 + 46);
    }
}
