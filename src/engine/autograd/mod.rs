//! A define-by-run tape over candle tensors.
//!
//! - [`Tensor`]: a candle tensor with gradient history. A [`node`] exists only if grad mode is on and an input requires
//!   grad; it holds exactly what its backward needs and drops it as the backward pass goes by.
//! - `backward`: reverse accumulation. Leaves accumulate into `.grad` in place; frozen leaves are not visited, and
//!   nothing below the first trainable parameter is differentiated.
//! - [`mode`]: `no_grad` and autocast, per thread.
//! - `checkpoint`: recompute instead of keep.
//!
//! Why not candle's own `backward`: see `docs/internals/autograd.md`.

pub(crate) mod add;
pub mod backward;
pub mod checkpoint;
pub mod mode;
pub mod node;
pub mod stats;
pub mod tensor;

#[cfg(test)]
pub(crate) mod gradcheck;

pub use backward::backward;
pub use checkpoint::checkpoint;
pub use mode::{Autocast, autocast, autocast_guard, grad_enabled, history_guard, no_grad_guard};
pub use node::{record, record_many};
pub use tensor::Tensor;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::error::Result;
    use candle_core::{Device, Tensor as Value};

    fn scalar(x: f64) -> Value {
        Value::new(x, &Device::Cpu).unwrap()
    }

    /// `a * b`, recorded by hand.
    fn mul(a: &Tensor, b: &Tensor) -> Tensor {
        let value = (a.value() * b.value()).unwrap();
        record("mul", value, &[a, b], |needs| {
            let (a, b) = (needs[1].then(|| a.value().clone()), needs[0].then(|| b.value().clone()));
            move |g: Value| Ok(vec![b.map(|b| &g * b).transpose()?, a.map(|a| &g * a).transpose()?])
        })
    }

    /// Protects accumulation: a tensor used twice gets the sum, and a second backward pass adds to `.grad`.
    #[test]
    fn gradients_accumulate() {
        let x = Tensor::parameter(scalar(3.0)).unwrap();
        for want in [6.0, 12.0] {
            mul(&x, &x).backward().unwrap();
            assert_eq!(x.grad().unwrap().to_scalar::<f64>().unwrap(), want);
        }
    }

    /// Protects memory: nothing is recorded without need, and what is recorded is freed by backward.
    #[test]
    fn only_what_needs_grad_is_recorded() {
        stats::reset();
        let (x, frozen) = (Tensor::parameter(scalar(3.0)).unwrap(), Tensor::new(scalar(2.0)));
        let below = mul(&frozen, &frozen);
        assert!(stats::by_op().is_empty());
        let y = mul(&mul(&below, &x), &frozen);
        y.backward().unwrap();
        assert_eq!(stats::by_op()["mul"], stats::OpStats { recorded: 2, executed: 2, input_grads: 2 });
        assert!(frozen.grad().is_none() && below.grad().is_none());
        let _quiet = no_grad_guard();
        assert!(!mul(&x, &x).requires_grad());
    }

    /// Protects scripts that add up thousands of losses: dropping a long chain must not overflow the stack.
    #[test]
    fn long_chains_drop_without_recursion() {
        let x = Tensor::parameter(scalar(1.0)).unwrap();
        let mut y = x.clone();
        for _ in 0..200_000 {
            y = mul(&y, &x);
        }
        drop(y);
    }

    /// Protects the person who calls backward twice: an error that says what to do, not a wrong gradient.
    #[test]
    fn second_backward_is_an_error() {
        let x = Tensor::parameter(scalar(1.0)).unwrap();
        let y = mul(&x, &x);
        y.backward().unwrap();
        assert!(y.backward().unwrap_err().to_string().contains("already freed"));
        assert!(x.detach().backward().is_err());
    }

    /// Protects checkpointing: same gradients for inputs and for parameters hidden inside, and nothing recorded when
    /// nothing inside is trainable.
    #[test]
    fn checkpoint_equals_plain() -> Result<()> {
        let w = Tensor::parameter(scalar(5.0))?;
        let x = Tensor::parameter(scalar(3.0))?;
        let (w2, data) = (w.clone(), Tensor::new(scalar(2.0)));
        let f: checkpoint::Segment = std::sync::Arc::new(move |t: &[Tensor], _| Ok(vec![mul(&mul(&t[0], &w2), &t[0])]));
        checkpoint(f.clone(), std::slice::from_ref(&x))?[0].backward()?;
        assert_eq!(x.grad().unwrap().to_scalar::<f64>()?, 30.0);
        assert_eq!(w.grad().unwrap().to_scalar::<f64>()?, 9.0);
        w.zero_grad();
        checkpoint(f.clone(), std::slice::from_ref(&data))?[0].backward()?;
        assert_eq!(w.grad().unwrap().to_scalar::<f64>()?, 4.0);
        w.set_requires_grad(false)?;
        assert!(!checkpoint(f, &[data])?[0].requires_grad());
        Ok(())
    }
}
