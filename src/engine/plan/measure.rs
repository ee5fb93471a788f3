//! One training step of a model that is there, with its peak by the counting allocator and its time by the clock.
//!
//! A step is what a recipe's loop does with one optimizer window: forward and backward of each micro-batch, unscaling,
//! clipping, the optimizer. Counted is the step's own heap: what else the process holds (data, tokenizer, the script)
//! is taken off. On a GPU the counter sees the host's side only.

use super::split::{Phases, Split};
use crate::engine::autograd::{Autocast, Tensor, autocast_guard};
use crate::engine::data::batch::Batch;
use crate::engine::error::{Error, Result};
use crate::engine::llama::Llama;
use crate::engine::ops::arith;
use crate::engine::optim::{GradScaler, GradScalerConfig, Optimizer, clip_grad_norm};
use crate::engine::{memory, rng};
use std::time::Instant;

/// How a step is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepOptions {
    /// What matrix products compute in.
    pub amp: Autocast,
    /// Gradients are clipped to this norm; 0: never.
    pub max_norm: f64,
    /// Whether parameters, optimizer and random stream go on. If not, they are as if nothing had happened.
    pub update: bool,
    /// Steps taken before the one that is measured, without an update: thread pools and tables are made in the first.
    pub warmup: usize,
    /// Threads that share the work; 0: all that this process has.
    pub threads: usize,
}

/// Bytes of stack of the threads of [`StepOptions::threads`].
const STACK: usize = 16 << 20;

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions { amp: Autocast::Off, max_norm: 1.0, update: true, warmup: 1, threads: 0 }
    }
}

/// What one step took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Most heap bytes of the step at once.
    pub peak: usize,
    /// Where those were.
    pub split: Split,
    /// Phase by phase.
    pub phases: Phases,
    /// Heap bytes that the process held for other things.
    pub other: usize,
    /// Wall time.
    pub seconds: f64,
    /// Tokens of the window, padding not counted.
    pub tokens: usize,
    /// Mean loss of the window's label tokens.
    pub loss: f64,
}

/// Takes one step of `model` on `window`, the micro-batches of one optimizer step.
///
/// The peak is that of every later step: an optimizer that has not seen its first step yet is counted with the memory
/// that it will have. Without [`StepOptions::update`] the optimizer's own arithmetic is left out of the time.
///
/// # Errors
/// If the window is empty, the optimizer has parameters that are not the model's, or the step fails; the model is then
/// as before, unless the update itself failed.
pub fn measure_step(
    model: &Llama,
    optimizer: &mut dyn Optimizer,
    window: &[&Batch],
    options: &StepOptions,
) -> Result<Measured> {
    if options.threads == 0 {
        return measure_here(model, optimizer, window, options);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).stack_size(STACK).build();
    let pool = pool.map_err(|e| Error::config(format!("measure_step: {} threads: {e}", options.threads)))?;
    // The random stream is each thread's own.
    let stream = rng::state();
    let (measured, stream) = pool.install(|| {
        rng::restore(stream);
        (measure_here(model, optimizer, window, options), rng::state())
    });
    rng::restore(stream);
    measured
}

/// [`measure_step`] on the threads that are at hand.
fn measure_here(
    model: &Llama,
    optimizer: &mut dyn Optimizer,
    window: &[&Batch],
    options: &StepOptions,
) -> Result<Measured> {
    if window.is_empty() {
        return Err(Error::config("measure_step: there is no batch to measure with"));
    }
    let bytes_of = |params: &[(String, crate::engine::param::Param)]| params.iter().map(|(_, p)| p.bytes()).sum();
    let weights: usize = bytes_of(&model.base_parameters());
    let adapter: usize = bytes_of(&model.adapter_parameters());
    let parameters = model.parameters();
    // A quantized one has no gradient.
    let dense = parameters.iter().filter(|(_, p)| p.quantized().is_none());
    let own: Vec<Tensor> = dense.map(|(_, p)| p.tensor().cloned()).collect::<Result<_>>()?;
    if let Some((name, _)) = optimizer.params().iter().find(|(_, p)| !own.iter().any(|o| o.same(p))) {
        return Err(Error::config(format!("measure_step: the optimizer's parameter `{name}` is none of the model's")));
    }
    // Gradients that somebody has accumulated are put aside, and back.
    let kept: Vec<_> = own.iter().map(Tensor::take_grad).collect();
    let stream = rng::state();
    let mut warm = Ok(());
    let highest = memory::peak();
    for _ in 0..options.warmup {
        warm = passes(model, window, options, 1.0, &mut Levels::default()).map(|_| ());
        own.iter().for_each(|p| p.set_grad(None));
        rng::restore(stream);
        if warm.is_err() {
            break;
        }
    }
    let measured = warm.and_then(|()| step(model, optimizer, window, options, weights, adapter));
    // Whoever watches the process's peak still sees what was there before.
    memory::raise_peak(highest);
    match &measured {
        Ok(_) if options.update => {}
        _ => {
            rng::restore(stream);
            own.iter().zip(kept).for_each(|(p, grad)| p.set_grad(grad));
        }
    }
    measured
}

/// What the allocator said in the passes of a window.
#[derive(Debug, Default)]
struct Levels {
    /// Most at once in a forward pass.
    forward: usize,
    /// Most at once in a backward pass.
    backward: usize,
    /// What the last forward pass left.
    left: usize,
}

/// Forward and backward of every micro-batch; the window's mean loss.
fn passes(model: &Llama, window: &[&Batch], options: &StepOptions, scale: f64, levels: &mut Levels) -> Result<f64> {
    let mut total = 0.0;
    for batch in window {
        let before = memory::current();
        memory::reset_peak();
        let scaled = {
            let ids = batch.input_tensor(&model.device)?;
            let mode = autocast_guard(options.amp);
            let loss = model.loss(&ids, &batch.labels, Some(&batch.documents))?.mean;
            drop(mode);
            total += loss.item()? * batch.weight;
            arith::mul_number(&loss, batch.weight * scale)?
        };
        levels.forward = levels.forward.max(memory::peak());
        levels.left = memory::current().saturating_sub(before);
        memory::reset_peak();
        scaled.backward()?;
        levels.backward = levels.backward.max(memory::peak());
    }
    Ok(total)
}

fn step(
    model: &Llama,
    optimizer: &mut dyn Optimizer,
    window: &[&Batch],
    options: &StepOptions,
    weights: usize,
    adapter: usize,
) -> Result<Measured> {
    let config = GradScalerConfig { enabled: options.amp == Autocast::F16, ..Default::default() };
    let mut scaler = GradScaler::new(config)?;
    let remembered = optimizer.memory();
    // Stands for what the optimizer will remember. Nobody touches it, so that it costs no memory.
    let to_come = remembered.full - remembered.now;
    memory::check(|| "what the optimizer will remember".into(), Some(to_come))?;
    let mut stand_in = vec![0u8; to_come];
    std::hint::black_box(&mut stand_in);

    let model_and_optimizer = weights + adapter + remembered.full;
    let other = memory::current().saturating_sub(model_and_optimizer);
    let mut levels = Levels::default();
    let began = Instant::now();
    let loss = passes(model, window, options, scaler.scale_factor(), &mut levels)?;
    memory::reset_peak();
    let gradients = optimizer
        .params()
        .iter()
        .filter_map(|(_, p)| p.grad())
        .map(|g| g.elem_count() * g.dtype().size_in_bytes())
        .sum();
    scaler.unscale(optimizer.params())?;
    if options.max_norm > 0.0 {
        clip_grad_norm(optimizer.params(), options.max_norm)?;
    }
    drop(stand_in);
    if options.update {
        scaler.step(optimizer)?;
    }
    let update = memory::peak();
    optimizer.zero_grad();
    let seconds = began.elapsed().as_secs_f64();

    let own = |level: usize| level.saturating_sub(other);
    let phases = Phases {
        weights,
        adapter,
        gradients,
        optimizer: remembered.full,
        activations: levels.left,
        forward: own(levels.forward),
        backward: own(levels.backward),
        update: own(update),
    };
    Ok(Measured {
        peak: phases.peak(),
        split: Split::of(&phases),
        phases,
        other,
        seconds,
        tokens: window.iter().map(|b| b.tokens).sum(),
        loss,
    })
}
