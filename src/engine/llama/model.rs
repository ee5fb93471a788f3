//! The model: embedding, blocks, final norm, output projection.

use super::attention::Span;
use super::block::Block;
use super::cache::KvCache;
use super::config::LlamaConfig;
use super::positions::Positions;
use crate::engine::autograd::{Tensor, checkpoint, checkpoint::Pass, mode, no_grad_guard};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::lora::LoraConfig;
use crate::engine::ops::quant::Kind;
use crate::engine::ops::weight::{Precision, Weight};
use crate::engine::ops::{documents::Documents, embedding::embedding, linear::linear, rms_norm::rms_norm};
use crate::engine::param::Param;
use crate::engine::tokenizer::Tokenizer;
use candle_core::{DType, Device, Tensor as Value};
use std::sync::Arc;

/// A LLaMA model that can be trained. Parameter names are Hugging Face's; RoPE is half-split.
#[derive(Debug)]
pub struct Llama {
    /// Hyper-parameters.
    pub config: LlamaConfig,
    /// Where it came from, for `adapter_config.json` and reports.
    pub name: String,
    /// Dtype of the base weights; of those that are not quantized, and of activations, where some are.
    pub dtype: DType,
    /// Where the weights are.
    pub device: Device,
    /// `[vocab, hidden]`.
    pub embed: Param,
    /// The blocks, shared with the segments that checkpointing replays.
    pub blocks: Vec<Arc<Block>>,
    /// Weight of the final norm, `[hidden]`.
    pub norm: Param,
    /// `[vocab, hidden]`; `None` where it is tied to the embedding.
    pub head: Option<Param>,
    /// The model's tokenizer, if its files had one.
    pub tokenizer: Option<Tokenizer>,
    /// Settings of the injected or loaded adapter.
    pub lora: Option<LoraConfig>,
    /// Blocks per checkpointed segment; 0: no checkpointing.
    pub checkpoint_every: usize,
    /// Bytes of activations that checkpointed segments may keep all the same, those that have room; see `checkpointing`.
    pub activation_budget: usize,
    /// Whether dropout acts.
    pub training: bool,
    pub(super) positions: Positions,
}

impl Llama {
    /// The output projection's weight, `[vocab, hidden]`.
    pub fn head(&self) -> &Param {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// `param` as the model multiplies with it now.
    pub(super) fn weight<'a>(&self, param: &'a Param) -> Result<Weight<'a>> {
        param.weight(Precision::of(self.training))
    }

    /// Name of the dtype of most base weights, or of the format that they are kept in, e.g. `q4_1`.
    pub fn dtype_name(&self) -> &'static str {
        let mut counts: Vec<(Kind, usize)> = Vec::new();
        for (_, param) in self.base_parameters() {
            let Some(kind) = param.quantized() else { continue };
            match counts.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, n)) => *n += param.len(),
                None => counts.push((kind, param.len())),
            }
        }
        counts.into_iter().max_by_key(|(_, n)| *n).map_or(self.dtype.as_str(), |(kind, _)| kind.name())
    }

    /// Runs `f` on the model without gradients and without dropout.
    pub fn inference<T>(&mut self, f: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let _mode = no_grad_guard();
        let training = std::mem::replace(&mut self.training, false);
        let result = f(self);
        self.training = training;
        result
    }

    /// The residual stream after the last block, before the final norm: `[batch, seq, hidden]`.
    ///
    /// `ids` are `[batch, seq]`; `documents` says what of each row is not padding (on the right), and which documents it
    /// holds: each is computed as if it were alone, from position 0. With a cache the tokens follow those already in it.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a document is longer than the model's positions, several stand in a row with a
    /// cache, or Ctrl-C was pressed.
    pub fn hidden(&self, ids: &Value, documents: Option<&Documents>, cache: Option<&mut KvCache>) -> Result<Tensor> {
        let (batch, seq) = ids.dims2().map_err(|_| {
            Error::shape_help(
                "forward",
                format!("ids must be [batch, seq], not {:?}", ids.dims()),
                "unsqueeze(0) makes a batch of one",
            )
        })?;
        documents.map_or(Ok(()), |d| d.check("forward", batch, seq))?;
        let packed = documents.filter(|d| d.is_packed());
        if packed.is_some() && cache.is_some() {
            return Err(Error::config("a cache continues one text: it cannot hold several documents in a row"));
        }
        let start = cache.as_ref().map_or(0, |c| c.len());
        let longest = packed.map_or(start + seq, Documents::longest);
        if longest > self.config.max_position_embeddings {
            return Err(Error::config_help(
                format!(
                    "a sequence of {longest} tokens is longer than the model's {} positions",
                    self.config.max_position_embeddings
                ),
                "shorten it, e.g. with max_seq_len",
            ));
        }
        let (cos, sin) = match packed {
            None => self.positions.rows(start, seq)?,
            Some(documents) => {
                let (cos, sin) = self.positions.at(&documents.positions(seq))?; // [batch * seq, head_dim / 2]
                let half = cos.dims()[1];
                (cos.reshape((batch, seq, half))?, sin.reshape((batch, seq, half))?)
            }
        };
        let span = Span { cos, sin, documents: documents.cloned(), rows: None, training: self.training };
        let mut x = embedding(self.weight(&self.embed)?, &ids.to_device(&self.device)?)?;
        if let Some(cache) = cache {
            for (i, block) in self.blocks.iter().enumerate() {
                interrupt::poll()?;
                x = block.forward(&x, &span, Some(cache.block(i)?))?;
            }
            cache.advance(seq);
            return Ok(x);
        }
        for segment in self.segments(batch * seq, self.checkpoint_every, self.activation_budget, mode::autocast()) {
            interrupt::poll()?;
            if !segment.recomputed {
                for block in segment.blocks {
                    x = block.forward(&x, &span, None)?;
                }
                continue;
            }
            let (blocks, span) = (segment.blocks.to_vec(), span.clone());
            let replayed = Arc::new(move |inputs: &[Tensor], pass: Pass| {
                let mut x = inputs[0].clone();
                for (i, block) in blocks.iter().enumerate() {
                    let last = i + 1 == blocks.len();
                    x = if last && pass == Pass::Replay {
                        block.replay(&x, &span)?
                    } else {
                        block.forward(&x, &span, None)?
                    };
                }
                Ok(vec![x])
            });
            let mut out = checkpoint(replayed, &[x])?;
            x = out.pop().ok_or_else(|| Error::config("checkpoint: a segment returned nothing"))?;
        }
        Ok(x)
    }

    /// Logits `[batch, seq, vocab]` of `ids` `[batch, seq]`, in autocast's dtype or the weights'.
    pub fn forward(&self, ids: &Value, documents: Option<&Documents>) -> Result<Tensor> {
        let x = self.hidden(ids, documents, None)?;
        self.project(&x)
    }

    /// Logits of the last position only, `[batch, vocab]` in f32 or f64, appending to `cache`.
    pub fn next_logits(&self, ids: &Value, cache: &mut KvCache) -> Result<Value> {
        let x = self.hidden(ids, None, Some(cache))?;
        let last = x.value().narrow(1, x.dims()[1].saturating_sub(1), 1)?.squeeze(1)?;
        self.logits_of(&last)
    }

    pub(super) fn project(&self, x: &Tensor) -> Result<Tensor> {
        let x = rms_norm(x, self.norm.tensor()?, self.config.rms_norm_eps)?;
        linear(&x, self.weight(self.head())?, None)
    }
}
