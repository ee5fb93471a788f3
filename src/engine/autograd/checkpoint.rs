//! Gradient checkpointing: keep a segment's inputs, drop what is inside, compute it again during backward.
//!
//! Source: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. As PyTorch's
//! `torch.utils.checkpoint` with `preserve_rng_state`: the second run sees the random numbers, autocast policy and inputs
//! of the first, so that its values, and the gradients, are the same bits.

use super::backward::backward;
use super::node::record_always;
use super::{mode, tensor::Tensor};
use crate::engine::error::{Error, Result};
use crate::engine::profile::{self, Phase};
use crate::engine::rng;
use std::sync::Arc;

/// Which of its two runs a segment is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// For its values.
    First,
    /// For its history, during backward: the values of the results are not looked at.
    Replay,
}

/// A segment that can be run twice.
pub type Segment = Arc<dyn Fn(&[Tensor], Pass) -> Result<Vec<Tensor>> + Send + Sync>;

/// Runs `f(inputs)` without keeping what is inside for backward.
///
/// Parameters that `f` uses without naming them as inputs get their gradients too. If nothing that `f` touches
/// requires grad, nothing is recorded. With grad mode off this is `f(inputs)`.
pub fn checkpoint(f: Segment, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    if !mode::grad_enabled() {
        return f(inputs, Pass::First);
    }
    let at = rng::state();
    let policy = mode::autocast();
    let (outputs, touched) = mode::watch(|| {
        let _mode = mode::no_grad_guard();
        f(inputs, Pass::First)
    });
    let outputs: Vec<_> = outputs?.into_iter().map(|t| t.value().clone()).collect();
    if !touched {
        return Ok(outputs.into_iter().map(Tensor::new).collect());
    }
    let saved: Vec<(candle_core::Tensor, bool)> =
        inputs.iter().map(|t| (t.value().clone(), t.requires_grad())).collect();
    let replay = move |grads: Vec<Option<candle_core::Tensor>>| {
        let inputs = saved
            .into_iter()
            .map(|(value, needs)| if needs { Tensor::parameter(value) } else { Ok(Tensor::new(value)) })
            .collect::<Result<Vec<_>>>()?;
        let outputs = {
            let _stream = Rewind::to(at);
            let _grad = mode::enable_grad_guard();
            let _policy = mode::autocast_guard(policy);
            let _phase = profile::phase(Phase::Recompute);
            f(&inputs, Pass::Replay)?
        };
        if outputs.len() != grads.len() {
            return Err(Error::config(format!(
                "checkpoint: the function returned {} values the first time and {} the second",
                grads.len(),
                outputs.len()
            )));
        }
        let roots: Vec<_> = outputs
            .into_iter()
            .zip(grads)
            .filter(|(output, _)| output.requires_grad())
            .filter_map(|(output, grad)| grad.map(|g| (output, g)))
            .collect();
        backward(&roots)?;
        Ok(inputs.iter().map(Tensor::take_grad).collect())
    };
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    Ok(record_always("checkpoint", outputs, &inputs, Box::new(replay)))
}

/// Puts the random stream back where the first run found it, and afterwards where it is now.
struct Rewind(rng::RngState);

impl Rewind {
    fn to(at: rng::RngState) -> Self {
        let now = rng::state();
        rng::restore(at);
        Rewind(now)
    }
}

impl Drop for Rewind {
    fn drop(&mut self) {
        rng::restore(self.0);
    }
}
