//! One transformer block: `x + attention(norm(x))`, then `x + mlp(norm(x))`.
//!
//! Source: Touvron et al., "LLaMA", 2023; `LlamaDecoderLayer` of transformers.

use super::attention::{Attention, Span};
use super::cache::BlockCache;
use crate::engine::autograd::{Tensor, history_guard};
use crate::engine::error::Result;
use crate::engine::lora::Linear;
use crate::engine::ops::{residual::residual, rms_norm::rms_norm, swiglu::swiglu};
use crate::engine::param::Param;

/// `down(silu(gate(x)) * up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Linear,
    /// `[intermediate, hidden]`.
    pub up_proj: Linear,
    /// `[hidden, intermediate]`.
    pub down_proj: Linear,
}

impl Mlp {
    /// `x` `[.., hidden]` to `silu(gate(x)) * up(x)`, `[.., intermediate]`.
    fn inner(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x, training)?;
        swiglu(&gate, &up)
    }
}

/// A transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Weight of the norm before attention, `[hidden]`.
    pub input_layernorm: Param,
    /// Self-attention.
    pub self_attn: Attention,
    /// Weight of the norm before the MLP, `[hidden]`.
    pub post_attention_layernorm: Param,
    /// Feed-forward layer.
    pub mlp: Mlp,
    pub(super) eps: f64,
}

impl Block {
    /// `x` `[batch, seq, hidden]` to the same shape and dtype.
    pub fn forward(&self, x: &Tensor, span: &Span, cache: Option<&mut BlockCache>) -> Result<Tensor> {
        let (x, inner) = self.upper(x, span, cache)?;
        residual(&x, &self.mlp.down_proj.forward(&inner, span.training)?)
    }

    /// As [`Block::forward`] for the history alone, at the end of a checkpointed segment: no gradient depends on the value of
    /// the result, so that the last projection, a quarter of a block's arithmetic, is not computed.
    pub(super) fn replay(&self, x: &Tensor, span: &Span) -> Result<Tensor> {
        let (x, inner) = self.upper(x, span, None)?;
        let _mode = history_guard();
        residual(&x, &self.mlp.down_proj.forward(&inner, span.training)?)
    }

    /// The stream after attention, `[batch, seq, hidden]`, and what the MLP projects down, `[batch, seq, intermediate]`.
    fn upper(&self, x: &Tensor, span: &Span, cache: Option<&mut BlockCache>) -> Result<(Tensor, Tensor)> {
        let h = rms_norm(x, self.input_layernorm.tensor()?, self.eps)?;
        let x = residual(x, &self.self_attn.forward(&h, span, cache)?)?;
        drop(h);
        let h = rms_norm(&x, self.post_attention_layernorm.tensor()?, self.eps)?;
        let inner = self.mlp.inner(&h, span.training)?;
        Ok((x, inner))
    }

    /// The linear layers, with their names inside the block.
    pub fn linears(&self) -> [(&'static str, &Linear); 7] {
        let (a, m) = (&self.self_attn, &self.mlp);
        [
            ("self_attn.q_proj", &a.q_proj),
            ("self_attn.k_proj", &a.k_proj),
            ("self_attn.v_proj", &a.v_proj),
            ("self_attn.o_proj", &a.o_proj),
            ("mlp.gate_proj", &m.gate_proj),
            ("mlp.up_proj", &m.up_proj),
            ("mlp.down_proj", &m.down_proj),
        ]
    }

    /// As [`Block::linears`], to change them.
    pub fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
        let (a, m) = (&mut self.self_attn, &mut self.mlp);
        [
            ("self_attn.q_proj", &mut a.q_proj),
            ("self_attn.k_proj", &mut a.k_proj),
            ("self_attn.v_proj", &mut a.v_proj),
            ("self_attn.o_proj", &mut a.o_proj),
            ("mlp.gate_proj", &mut m.gate_proj),
            ("mlp.up_proj", &mut m.up_proj),
            ("mlp.down_proj", &mut m.down_proj),
        ]
    }
}
