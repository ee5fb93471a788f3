//! Randomness and recomputation: `seed(n)`, `checkpoint(|x| block(x), x)`.
//!
//! A checkpointed function is a script's, and runs again in the middle of `backward()`. It is kept together with the
//! context it was given in; the Rhai engine to run it with is the one that runs `backward()`, on the same thread.

use super::ScriptResult;
use super::error::Carried;
use super::registration::method;
use crate::engine::autograd::{self as tape, Tensor, checkpoint::Segment};
use crate::engine::error::{Error, Result};
use crate::engine::rng;
use rhai::{Array, Dynamic, Engine, FnPtr, INT, NativeCallContext};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn register(engine: &mut Engine) {
    method("seed", ["n: int"]).register_into_engine(engine, |n: INT| rng::seed(n as u64));
    method("checkpoint", ["f: Fn", "x: Tensor", "Tensor"])
        .register_into_engine(engine, |ctx: NativeCallContext, f: FnPtr, x: Tensor| run(&ctx, f, vec![x]));
    method("checkpoint", ["f: Fn", "x: Tensor", "y: Tensor", "Tensor"])
        .register_into_engine(engine, |ctx: NativeCallContext, f: FnPtr, x: Tensor, y: Tensor| {
            run(&ctx, f, vec![x, y])
        });
    method("checkpoint", ["f: Fn", "x: Tensor", "y: Tensor", "z: Tensor", "Tensor"])
        .register_into_engine(engine, |ctx: NativeCallContext, f: FnPtr, x: Tensor, y: Tensor, z: Tensor| {
            run(&ctx, f, vec![x, y, z])
        });
}

fn run(ctx: &NativeCallContext, f: FnPtr, inputs: Vec<Tensor>) -> ScriptResult<Dynamic> {
    // Rhai marks both calls as subject to change, not as deprecated; its version is pinned.
    #[allow(deprecated)]
    let stored = ctx.store_data();
    let single = Arc::new(AtomicBool::new(true));
    let one = single.clone();
    let segment: Segment = Arc::new(move |inputs: &[Tensor], _| {
        let args: Vec<Dynamic> = inputs.iter().map(|t| Dynamic::from(t.clone())).collect();
        let value = call_back(|engine| {
            #[allow(deprecated)]
            let ctx = stored.create_context(engine);
            f.call_raw(&ctx, None, args)
        })?
        .flatten();
        if let Some(t) = value.read_lock::<Tensor>() {
            return Ok(vec![t.clone()]);
        }
        one.store(false, Ordering::Relaxed);
        let tensors = value.read_lock::<Array>().and_then(|list| {
            list.iter().map(|v| v.read_lock::<Tensor>().map(|t| t.clone())).collect::<Option<Vec<_>>>()
        });
        tensors.ok_or_else(|| {
            let given = super::options_map::type_name(&value);
            Error::config(format!("checkpoint: the function must return a tensor or an array of tensors, not {given}"))
        })
    });
    let mut outputs = with_engine(ctx.engine(), || tape::checkpoint(segment, &inputs))?;
    if single.load(Ordering::Relaxed)
        && let Some(only) = outputs.pop()
    {
        return Ok(Dynamic::from(only));
    }
    Ok(Dynamic::from(outputs.into_iter().map(Dynamic::from).collect::<Array>()))
}

/// Native code that may call script functions back: what it runs them with, and the error of one that failed.
struct Frame<'a> {
    engine: &'a Engine,
    carried: RefCell<Carried>,
}

thread_local! {
    /// The innermost such call on this thread.
    static FRAME: Cell<Option<NonNull<Frame<'static>>>> = const { Cell::new(None) };
}

/// Runs native code that may call script functions back, e.g. backward through a checkpoint. An error of such a function
/// comes out as it was thrown.
pub(super) fn with_engine<T>(engine: &Engine, f: impl FnOnce() -> Result<T>) -> ScriptResult<T> {
    struct Restore(Option<NonNull<Frame<'static>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FRAME.set(self.0);
        }
    }
    let frame = Frame { engine, carried: RefCell::default() };
    let result = {
        let _restore = Restore(FRAME.replace(Some(NonNull::from(&frame).cast())));
        f()
    };
    frame.carried.into_inner().release(result)
}

/// `f` with this thread's engine, if native code was called through [`with_engine`]. Its script error is kept for there.
fn call_back<T>(f: impl FnOnce(&Engine) -> ScriptResult<T>) -> Result<T> {
    let Some(frame) = FRAME.get() else {
        return Err(Error::config("checkpoint: backward() has to be called from a script, to run the function again"));
    };
    // SAFETY: the pointer was made from a frame in `with_engine` that is still on this thread's stack: it is removed
    // before the frame goes, by return or unwinding, and no other thread sees it. The borrow ends with this function,
    // within the engine's lifetime that the cast erased.
    let frame: &Frame<'_> = unsafe { frame.as_ref() };
    let result = f(frame.engine);
    frame.carried.borrow_mut().hold(result)
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::{engine, run};
    use rhai::EvalAltResult;

    /// Protects checkpoint in scripts: the same loss and gradients as without, dropout and captured weights included.
    #[test]
    fn same_gradients() {
        let script = r#"
            fn block(x, w) { nn::dropout((x @ w).tanh(), 0.5) }
            fn train(checkpointed) {
                seed(7);
                let w = randn([4, 4], #{ requires_grad: true });
                let x = randn([3, 4], #{ requires_grad: true });
                let y = if checkpointed { checkpoint(|x| block(x, w), x) } else { block(x, w) };
                let y = if checkpointed { checkpoint(Fn("block"), y, w) } else { block(y, w) };
                let loss = (y * y).sum();
                loss.backward();
                [loss.item(), w.grad.to_array(), x.grad.to_array()]
            }
            train(true) == train(false)
        "#;
        assert_eq!(run(script), "true");
        let runs = "let n = [0]; let w = ones([2], #{ requires_grad: true }); let f = |x| { n[0] += 1; x * w };
            let y = checkpoint(f, ones([2])); let before = n[0]; y.sum().backward(); [before, n[0], w.grad.to_array()]";
        assert_eq!(run(runs), "[1, 2, [1.0, 1.0]]");
    }

    /// Protects several outputs, nesting, and `no_grad`-like use without anything to train.
    #[test]
    fn outputs_and_nesting() {
        let two = "let x = ones([2], #{ requires_grad: true }); let p = checkpoint(|x| [x * 2, x * 3], x); (p[0] + p[1]).sum().backward(); x.grad.to_array()";
        assert_eq!(run(two), "[5.0, 5.0]");
        let nested = "let x = ones([2], #{ requires_grad: true }); let y = checkpoint(|a| checkpoint(|b| b * b * 3, a) * 2, x); y.sum().backward(); x.grad.to_array()";
        assert_eq!(run(nested), "[12.0, 12.0]");
        assert_eq!(run("checkpoint(|x| x * 2, ones([2])).requires_grad"), "false");
        assert!(run("checkpoint(|x| 5, ones([2]))").contains("must return a tensor"));
    }

    /// Protects diagnostics: an error thrown inside comes out as itself, in forward and in backward.
    #[test]
    fn errors_inside_keep_their_position() {
        let forward = engine().run("\nlet x = ones([2]);\ncheckpoint(|x| x + ones([3]), x);").unwrap_err();
        assert!(matches!(*forward, EvalAltResult::ErrorInFunctionCall(..)), "{forward:?}");
        let backward = "let n = [0]; let x = ones([2], #{ requires_grad: true });
            let y = checkpoint(|x| { n[0] += 1; if n[0] > 1 { throw \"second time\" } x * 2 }, x); y.sum().backward();";
        let e = engine().run(backward).unwrap_err();
        assert!(e.to_string().contains("second time"), "{e}");
    }

    /// Protects reproducibility.
    #[test]
    fn seeds() {
        assert_eq!(run("seed(-1); let a = rand(2).to_array(); seed(-1); a == rand(2).to_array()"), "true");
    }
}
