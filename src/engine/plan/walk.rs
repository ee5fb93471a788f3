//! A training step gone through with shapes alone: what is allocated and freed, in the order of the real one.
//!
//! The walk follows `llama::{block, attention, model, loss}` over a model that may have shapes only, so that nothing has to
//! be loaded. It takes microseconds per block.

use super::heap::{Heap, Sym, Work};
use super::ops::{self, Attention};
use super::split::{Phases, Split};
use super::tape::{Tape, Var};
use crate::engine::autograd::{Autocast, checkpoint::Pass};
use crate::engine::error::{Error, Result};
use crate::engine::llama::{Llama, block::Block};
use crate::engine::lora::Linear;
use crate::engine::ops::cpu::accumulator;
use crate::engine::param::Param;
use std::rc::Rc;

/// The tensors of one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchShape {
    /// Sequences.
    pub rows: usize,
    /// Tokens of each, padding included.
    pub width: usize,
    /// Positions whose label counts.
    pub labels: usize,
}

/// What a step is made of beside the model.
#[derive(Debug, Clone, PartialEq)]
pub struct StepShape {
    /// The micro-batches of one optimizer step.
    pub window: Vec<BatchShape>,
    /// What matrix products compute in.
    pub amp: Autocast,
    /// Blocks per checkpointed segment; 0: none.
    pub checkpoint_every: usize,
    /// Bytes of activations that those may keep all the same.
    pub activation_budget: usize,
    /// Numbers that the optimizer remembers of each trainable one: 2 for AdamW.
    pub slots: usize,
}

/// What a step is going to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foretold {
    /// Most bytes at once.
    pub peak: usize,
    /// Where those are.
    pub split: Split,
    /// Phase by phase.
    pub phases: Phases,
    /// The arithmetic of the micro-batches' passes.
    pub work: Work,
    /// That of the update after them.
    pub update: Work,
}

/// Parameters as leaves of the tape.
struct Layer {
    weight: Var,
    bias: Option<Var>,
    adapter: Option<[Var; 2]>,
    dropout: bool,
}

struct Layers {
    norms: [Var; 2],
    /// q, k, v, o, gate, up, down.
    linears: [Layer; 7],
}

struct Walk {
    tape: Rc<Tape>,
    sizes: Attention,
}

/// Foretells what one step of `model` takes, once the optimizer has its memory.
///
/// # Errors
/// If there is no micro-batch, or one that is empty, learns nothing, or takes more bytes than can be counted.
pub fn foretell(model: &Llama, step: &StepShape) -> Result<Foretold> {
    if step.window.is_empty() || step.window.iter().any(|b| b.rows == 0 || b.width == 0 || b.labels == 0) {
        return Err(Error::config("plan: a step needs at least one micro-batch, with tokens and labels in it"));
    }
    if let Some(BatchShape { rows, width, .. }) = step.window.iter().find(|b| !countable(model, b)) {
        return Err(Error::config(format!("plan: {rows} x {width} tokens take more bytes than can be counted")));
    }
    let heap = Rc::new(Heap::default());
    let tape = Rc::new(Tape::new(heap.clone(), step.amp.dtype()));
    let mut leaves = Vec::new();
    let mut leaf = |p: &Param| {
        let (rows, cols) = match *p.dims() {
            [rows, cols] => (rows, cols),
            _ => (1, p.len()),
        };
        let var = Var::leaf(heap.tensor(rows, cols, p.dtype()), p.requires_grad());
        leaves.push(var.clone());
        var
    };
    let embed = leaf(&model.embed);
    let blocks: Vec<Rc<Layers>> = model.blocks.iter().map(|b| Rc::new(layers(b, model.training, &mut leaf))).collect();
    let norm = leaf(&model.norm);
    let head = model.head.as_ref().map_or_else(|| embed.clone(), &mut leaf);

    let trained = leaves.iter().filter(|v| v.needs());
    let remembered: usize =
        trained.map(|v| step.slots * v.value().len() * accumulator(v.value().dtype).size_in_bytes()).sum();
    let _optimizer = heap.bytes(remembered);
    let bytes = |all: &[(String, Param)]| all.iter().map(|(_, p)| p.bytes()).sum();
    let mut phases = Phases {
        weights: bytes(&model.base_parameters()),
        adapter: bytes(&model.adapter_parameters()),
        optimizer: remembered,
        ..Phases::default()
    };
    for batch in &step.window {
        let before = heap.now();
        heap.reset_peak();
        let sizes = Attention {
            batch: batch.rows,
            seq: batch.width,
            heads: model.config.num_attention_heads,
            kv_heads: model.config.num_key_value_heads,
            head_dim: model.config.head_dim,
            threads: rayon::current_num_threads(),
        };
        let walk = Rc::new(Walk { tape: tape.clone(), sizes });
        let tokens = batch.rows * batch.width;
        let segments = model.segments(tokens, step.checkpoint_every, step.activation_budget, step.amp);
        let segments: Vec<_> = segments.iter().map(|s| (s.blocks.len(), s.recomputed)).collect();
        let loss = walk.loss(&embed, &blocks, &norm, &head, batch, &segments);
        phases.forward = phases.forward.max(heap.peak());
        phases.activations = heap.now() - before;
        heap.reset_peak();
        tape.backward(&loss, loss.value().clone());
        phases.backward = phases.backward.max(heap.peak());
    }
    phases.gradients = leaves.iter().map(Var::grad_bytes).sum();
    // Clipping and the optimizer work in place.
    phases.update = heap.now();
    let update = Work { elements: 3.0 * remembered as f64 / 8.0, ..Work::default() };
    Ok(Foretold { peak: phases.peak(), split: Split::of(&phases), phases, work: heap.work(), update })
}

/// Whether no sum of a pass overflows: a block makes fewer than 64 tensors, none wider than this.
fn countable(model: &Llama, batch: &BatchShape) -> bool {
    let c = &model.config;
    let widest = c.hidden_size.max(c.intermediate_size).max(c.num_attention_heads * c.head_dim);
    let bytes = 64 * size_of::<f64>() * (c.num_hidden_layers + 1);
    let all =
        batch.rows.checked_mul(batch.width).and_then(|n| n.checked_mul(widest)).and_then(|n| n.checked_mul(bytes));
    all.is_some_and(|all| all <= usize::MAX / 4)
}

fn layers(block: &Block, training: bool, leaf: &mut impl FnMut(&Param) -> Var) -> Layers {
    let norms = [&block.input_layernorm, &block.post_attention_layernorm].map(&mut *leaf);
    let layer = |linear: &Linear| Layer {
        weight: leaf(&linear.weight),
        bias: linear.bias.as_ref().map(&mut *leaf),
        adapter: linear.adapter.as_ref().map(|a| [leaf(&a.a), leaf(&a.b)]),
        dropout: training && linear.adapter.as_ref().is_some_and(|a| a.dropout > 0.0),
    };
    Layers { norms, linears: block.linears().map(|(_, l)| l).map(layer) }
}

impl Walk {
    fn linear(&self, layer: &Layer, x: &Var) -> Var {
        match &layer.adapter {
            None => ops::linear(&self.tape, x, &layer.weight, layer.bias.as_ref()),
            Some([a, b]) => ops::lora_linear(&self.tape, x, &layer.weight, layer.bias.as_ref(), [a, b], layer.dropout),
        }
    }

    /// `llama::attention`.
    fn attention(&self, layers: &Layers, x: &Var) -> Var {
        let [q_proj, k_proj, v_proj, o_proj, ..] = &layers.linears;
        let q = self.linear(q_proj, x);
        let k = self.linear(k_proj, x);
        let v = self.linear(v_proj, x);
        // The names shadow those above, which stay alive, as in the real one.
        let (q_turned, k_turned) = (ops::rope(&self.tape, &q), ops::rope(&self.tape, &k));
        let out = ops::attention(&self.tape, &q_turned, &k_turned, &v, self.sizes);
        self.linear(o_proj, &out)
    }

    /// `llama::block`.
    fn block(&self, layers: &Layers, x: &Var) -> Var {
        let (x, inner) = self.upper(layers, x);
        ops::residual(&self.tape, &x, &self.linear(&layers.linears[6], &inner))
    }

    fn replay(&self, layers: &Layers, x: &Var) -> Var {
        let (x, inner) = self.upper(layers, x);
        let values = self.tape.values.replace(false);
        let out = ops::residual(&self.tape, &x, &self.linear(&layers.linears[6], &inner));
        self.tape.values.set(values);
        out
    }

    fn upper(&self, layers: &Layers, x: &Var) -> (Var, Var) {
        let tape = &self.tape;
        let h = ops::rms_norm(tape, x, &layers.norms[0]);
        let x = ops::residual(tape, x, &self.attention(layers, &h));
        drop(h);
        let h = ops::rms_norm(tape, &x, &layers.norms[1]);
        let [.., gate_proj, up_proj, _] = &layers.linears;
        let (gate, up) = (self.linear(gate_proj, &h), self.linear(up_proj, &h));
        let inner = ops::swiglu(tape, &gate, &up);
        (x, inner)
    }

    /// `llama::model`, `Llama::hidden`. `segments`: of how many blocks, and whether they are computed again.
    fn hidden(
        self: &Rc<Self>,
        embed: &Var,
        mut blocks: &[Rc<Layers>],
        batch: &BatchShape,
        segments: &[(usize, bool)],
    ) -> Var {
        let mut x = ops::embedding(&self.tape, embed, batch.rows * batch.width);
        for &(count, recomputed) in segments {
            let (of_segment, rest) = blocks.split_at(count);
            blocks = rest;
            if !recomputed {
                x = of_segment.iter().fold(x, |x, block| self.block(block, &x));
                continue;
            }
            let (blocks, walk) = (of_segment.to_vec(), self.clone());
            let segment = Rc::new(move |input: &Var, pass: Pass| {
                let mut x = input.clone();
                for (i, block) in blocks.iter().enumerate() {
                    let last = i + 1 == blocks.len();
                    x = if last && pass == Pass::Replay { walk.replay(block, &x) } else { walk.block(block, &x) };
                }
                x
            });
            x = self.tape.checkpoint(segment, &x);
        }
        x
    }

    /// `llama::loss`.
    fn loss(
        self: &Rc<Self>,
        embed: &Var,
        blocks: &[Rc<Layers>],
        norm: &Var,
        head: &Var,
        batch: &BatchShape,
        segments: &[(usize, bool)],
    ) -> Var {
        let tape = &self.tape;
        let _ids: Sym = tape.heap.tensor(batch.rows, batch.width, candle_core::DType::U32);
        let picked = ops::select_rows(tape, &self.hidden(embed, blocks, batch, segments), batch.labels);
        let x = ops::rms_norm(tape, &picked, norm);
        ops::head_loss(tape, &x, head)
    }
}
