//! A block's attention: project to q, k, v, turn q and k by their positions, attend, project back.

use super::cache::BlockCache;
use super::config::LlamaConfig;
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::Result;
use crate::engine::lora::Linear;
use crate::engine::ops::attention::{AttentionConfig, attention};
use crate::engine::ops::documents::Documents;
use crate::engine::ops::rope::{RopeStyle, rope};
use candle_core::Tensor as Value;

/// What every block needs to know about the tokens it is given.
#[derive(Debug, Clone)]
pub struct Span {
    /// RoPE's cosines, `[seq, head_dim / 2]`, or `[batch, seq, head_dim / 2]` where rows differ.
    pub cos: Value,
    /// RoPE's sines, of the same shape.
    pub sin: Value,
    /// Tokens of each row that are not padding, by document, those in the cache included where rows have lengths of
    /// their own; `None`: all, each row of one document.
    pub documents: Option<Documents>,
    /// Tokens that the cache holds of each row, where rows have lengths of their own: each is given one token more.
    pub rows: Option<Vec<usize>>,
    /// Whether dropout acts.
    pub training: bool,
}

/// Grouped-query self-attention.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[heads * head_dim, hidden]`.
    pub q_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub k_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub v_proj: Linear,
    /// `[hidden, heads * head_dim]`.
    pub o_proj: Linear,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Attention {
    pub(super) fn new(config: &LlamaConfig, [q_proj, k_proj, v_proj, o_proj]: [Linear; 4]) -> Self {
        Attention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        }
    }

    /// `x` `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor, span: &Span, cache: Option<&mut BlockCache>) -> Result<Tensor> {
        let heads = |t: Tensor, n| split_heads(&t, n, self.head_dim);
        let [q, k, v] = Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], x, span.training)?;
        let (q, k, v) = (heads(q, self.heads)?, heads(k, self.kv_heads)?, heads(v, self.kv_heads)?); // [batch, seq, heads, head_dim]
        let q = rope(&q, &span.cos, &span.sin, RopeStyle::HalfSplit)?;
        let k = rope(&k, &span.cos, &span.sin, RopeStyle::HalfSplit)?;
        // The one query of a row with a length of its own is its last token: the length says all that a mask would.
        let causal = span.rows.is_none();
        let config = AttentionConfig { causal, scale: None, documents: span.documents.clone() };
        let out = match cache {
            None => attention(&q, &k, &v, &config)?,
            Some(cache) => {
                let (k, v) = match &span.rows {
                    None => cache.append(k.value(), v.value())?,
                    Some(lens) => cache.append_each(k.value(), v.value(), lens)?,
                };
                attention(&q, &Tensor::new(k), &Tensor::new(v), &config)?
            }
        };
        self.o_proj.forward(&join_heads(&out)?, span.training)
    }
}

/// `[batch, seq, heads * head_dim]` as `[batch, seq, heads, head_dim]`.
fn split_heads(x: &Tensor, heads: usize, head_dim: usize) -> Result<Tensor> {
    let (b, t) = (x.dims()[0], x.dims()[1]);
    reshape(x, &[b, t, heads, head_dim])
}

/// `[batch, seq, heads, head_dim]` as `[batch, seq, heads * head_dim]`.
fn join_heads(x: &Tensor) -> Result<Tensor> {
    let d = x.dims();
    reshape(x, &[d[0], d[1], d[2] * d[3]])
}

fn reshape(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let value = x.value().reshape(dims)?;
    let from = x.dims().to_vec();
    Ok(record("reshape", value, &[x], |_| move |dy: Value| Ok(vec![Some(dy.reshape(from)?)])))
}
