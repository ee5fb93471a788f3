//! Which blocks keep what backward needs, and which compute it again: checkpointed segments, and a budget of bytes.
//!
//! Every `checkpoint_every` blocks are a segment that keeps its input alone (`autograd::checkpoint`). A budget of bytes then
//! buys segments back, from the last one: as many as it has room for keep everything and are not computed again. The last
//! ones first, because backward frees them before it computes the others again. All blocks cost the same and save the same
//! arithmetic, so that no better choice is among whole segments. A run's peak is that of its longest micro-batch: under the same
//! budget one of 512 tokens is computed again for the most part, and one of 100 not at all.
//!
//! Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; the budget is that of PyTorch's
//! `activation_memory_budget`, in bytes instead of a share.

use super::block::Block;
use super::model::Llama;
use crate::engine::autograd::Autocast;
use crate::engine::lora::Linear;
use crate::engine::ops::cpu::accumulator;
use std::sync::Arc;

/// Blocks that are computed together, and how.
#[derive(Debug)]
pub struct Segment<'a> {
    /// One or more.
    pub blocks: &'a [Arc<Block>],
    /// Whether only the input is kept, and the rest computed again in backward.
    pub recomputed: bool,
}

impl Llama {
    /// The blocks in order, in segments of `every` blocks with a budget of `left` bytes, for a micro-batch of `tokens`, padding
    /// included, whose matrix products compute by `amp`. With 0 for `every` nothing is computed again.
    pub fn segments(&self, tokens: usize, every: usize, mut left: usize, amp: Autocast) -> Vec<Segment<'_>> {
        if every == 0 {
            return self.blocks.chunks(1).map(|blocks| Segment { blocks, recomputed: false }).collect();
        }
        let mut segments: Vec<_> =
            self.blocks.chunks(every).map(|blocks| Segment { blocks, recomputed: true }).collect();
        for segment in segments.iter_mut().rev() {
            let bytes = segment.blocks.iter().map(|b| self.kept(b, amp)).sum::<usize>().saturating_mul(tokens);
            match left.checked_sub(bytes) {
                None => break,
                Some(rest) => left = rest,
            }
            segment.recomputed = false;
        }
        segments
    }

    /// Bytes per token that `block` keeps for backward beside its input; docs/internals/ops.md has the list by operation.
    fn kept(&self, block: &Block, amp: Autocast) -> usize {
        let low = |linear: &Linear| {
            let adapter = linear.adapter.as_ref();
            adapter.map_or(0, |a| a.a.dims()[0] * amp.dtype().unwrap_or(a.a.dtype()).size_in_bytes())
        };
        // An operation with a trainable factor on its input's side keeps that input.
        let keeps = |linear: &Linear| linear.adapter.is_some() || linear.weight.requires_grad();
        let (attention, mlp) = (&block.self_attn, &block.mlp);
        let stream = self.dtype.size_in_bytes();
        let product = amp.dtype().unwrap_or(self.dtype).size_in_bytes();
        let width = |linear: &Linear| linear.weight.dims()[0];
        let hidden = self.config.hidden_size;

        let mut bytes = stream * hidden; // the stream between attention and MLP
        let norms: [&[&Linear]; 2] =
            [&[&attention.q_proj, &attention.k_proj, &attention.v_proj], &[&mlp.gate_proj, &mlp.up_proj]];
        bytes += stream * hidden * norms.into_iter().filter(|readers| readers.iter().copied().any(keeps)).count();
        bytes += product * (2 * width(&attention.q_proj) + width(&attention.k_proj) + width(&attention.v_proj)); // q, out, k, v
        bytes += accumulator(self.dtype).size_in_bytes() * self.config.num_attention_heads; // log-sum-exp
        bytes += product * (width(&mlp.gate_proj) + width(&mlp.up_proj));
        bytes += product * width(&mlp.gate_proj) * usize::from(keeps(&mlp.down_proj));
        bytes + block.linears().iter().map(|(_, linear)| low(linear)).sum::<usize>()
    }
}
