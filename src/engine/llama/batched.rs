//! Reading several sequences of different lengths at once: prompts padded on the right, then a token of each at a time.
//!
//! Each row has positions of its own and sees only its own tokens, so that a row's logits are those it would have alone.

use super::attention::Span;
use super::cache::KvCache;
use super::model::Llama;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::{documents::Documents, embedding::embedding};
use crate::engine::{interrupt, ops};
use candle_core::{D, Tensor as Value};

impl Llama {
    /// `rows` as ids `[rows, longest]`, padded on the right, and what of them is no padding.
    ///
    /// # Errors
    /// If there are no rows, or one is empty.
    pub(in crate::engine) fn padded(&self, rows: &[&[u32]]) -> Result<(Value, Documents)> {
        let lens: Vec<usize> = rows.iter().map(|r| r.len()).collect();
        let width = lens.iter().max().copied().unwrap_or(0);
        if lens.is_empty() || lens.contains(&0) {
            return Err(Error::config("each sequence needs at least one token"));
        }
        let mut ids = Vec::with_capacity(width * lens.len());
        for row in rows {
            ids.extend_from_slice(row);
            // Any token will do: nothing looks at it.
            ids.resize(ids.len() + width - row.len(), 0);
        }
        Ok((Value::from_vec(ids, (lens.len(), width), &self.device)?, Documents::one_each(&lens)))
    }

    /// Reads `prompts` (each at least one token) into an empty cache; returns the logits behind each one's last token,
    /// `[prompts, vocab]` in f32 or f64.
    ///
    /// # Errors
    /// If a prompt is empty or longer than the model's positions, or the cache is not empty.
    pub fn prefill(&self, prompts: &[&[u32]], cache: &mut KvCache) -> Result<Value> {
        if !cache.is_empty() {
            return Err(Error::config("prefill: the cache already holds tokens"));
        }
        let (ids, documents) = self.padded(prompts)?;
        let x = self.hidden(&ids, Some(&documents), Some(cache))?;
        let (lens, width) = (prompts.iter().map(|p| p.len()).collect::<Vec<_>>(), ids.dims()[1]);
        cache.set_rows(&lens);
        let last: Vec<u32> = lens.iter().enumerate().map(|(row, len)| (row * width + len - 1) as u32).collect();
        let last = Value::new(last.as_slice(), &self.device)?;
        let flat = x.value().flatten_to(1)?; // [prompts * width, hidden]
        self.logits_of(&flat.index_select(&last, 0)?)
    }

    /// Reads one more token of each row of `cache`; returns the logits behind it, `[rows, vocab]` in f32 or f64.
    ///
    /// # Errors
    /// If there are not as many ids as rows, or a row is at the model's last position.
    pub fn step(&self, ids: &[u32], cache: &mut KvCache) -> Result<Value> {
        let lens = cache.rows().to_vec();
        if ids.len() != lens.len() || ids.is_empty() {
            return Err(Error::config(format!("step: {} ids for {} rows", ids.len(), lens.len())));
        }
        let room = self.config.max_position_embeddings;
        if let Some(row) = lens.iter().position(|n| *n >= room) {
            return Err(Error::config(format!("row {row} is at the model's last position, {room}")));
        }
        let (cos, sin) = self.positions.at(&lens)?; // [rows, head_dim / 2]
        let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
        let with_this: Vec<usize> = lens.iter().map(|n| n + 1).collect();
        let documents = Some(Documents::one_each(&with_this));
        let span = Span { cos, sin, documents, rows: Some(lens), training: self.training };
        let ids = Value::from_slice(ids, (ids.len(), 1), &self.device)?;
        let mut x = embedding(self.weight(&self.embed)?, &ids)?;
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::poll()?;
            x = block.forward(&x, &span, Some(cache.block(i)?))?;
        }
        cache.advance_rows();
        self.logits_of(&x.value().squeeze(1)?)
    }

    /// Logits of final hidden states `[rows, hidden]`, `[rows, vocab]` in f32 or f64.
    pub fn logits_of(&self, x: &Value) -> Result<Value> {
        let logits = self.project(&Tensor::new(x.clone()))?;
        debug_assert_eq!(logits.value().dim(D::Minus1)?, self.config.vocab_size);
        Ok(logits.value().to_dtype(ops::cpu::accumulator(logits.dtype()))?)
    }
}
