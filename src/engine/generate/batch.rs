//! Answers to many prompts at once. Each is what it would be alone; only the time differs.
//!
//! Weights are read from memory once for a token of every row, where one answer after the other reads them for each token.
//! Long prompts come first, so that a set that does not fit into memory says so at the beginning. A row whose answer has
//! ended drops out at once, and once a quarter of the rows are free the next prompts are read into their places. How many
//! rows there are goes by the longest of those at work, so that one long prompt does not hold back all others.

use super::answer::Answer;
use super::decode::{GenerateConfig, Generated};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::llama::{Llama, cache::KvCache};
use candle_core::{DType, Tensor as Value};
use rayon::prelude::*;
use std::collections::VecDeque;

/// How much is worked on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most rows, at least 1.
    pub rows: usize,
    /// Most tokens, padding included: rows times the longest of them, the answer's room included. One row is always
    /// worked on, however long it is.
    pub tokens: usize,
}

impl Default for BatchLimits {
    /// Eight rows of 512 tokens: no more than a small training step holds.
    fn default() -> Self {
        BatchLimits { rows: 8, tokens: 4096 }
    }
}

impl BatchLimits {
    /// Refuses limits that let nothing through.
    pub fn validate(&self) -> Result<()> {
        match (self.rows, self.tokens) {
            (0, _) => Err(Error::config("batch_size is 0, but must be at least 1")),
            (_, 0) => Err(Error::config("batch_tokens is 0, but must be at least 1")),
            _ => Ok(()),
        }
    }

    /// How many rows of at most `width` tokens fit, at least one.
    pub fn rows_of(&self, width: usize) -> usize {
        (self.tokens / width.max(1)).clamp(1, self.rows)
    }

    /// Indices of `lengths` in batches that keep to the limits, the longest first.
    pub fn batches(&self, lengths: &[usize]) -> Vec<Vec<usize>> {
        let order = longest_first(lengths);
        let mut batches = Vec::new();
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let (batch, later) = rest.split_at(self.rows_of(lengths[*first]).min(rest.len()));
            batches.push(batch.to_vec());
            rest = later;
        }
        batches
    }
}

fn longest_first(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i])); // stable: ties stay in their order
    order
}

/// A row of the batch: which prompt it answers, and the answer so far.
type Row = (usize, Answer);

impl Llama {
    /// Continues each of `prompts` as [`Llama::generate`] would, several at a time; the answers are in the prompts' order.
    /// `on_done` hears of each answer as it ends, with its prompt's place.
    ///
    /// # Errors
    /// As [`Llama::generate`], before any work where a prompt cannot be answered.
    pub fn generate_all(
        &mut self,
        prompts: &[Vec<u32>],
        config: &GenerateConfig,
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize, &Generated) -> Result<()>,
    ) -> Result<Vec<Generated>> {
        limits.validate()?;
        self.inference(|model| model.decode_all(prompts, config, limits, on_done))
    }

    fn decode_all(
        &self,
        prompts: &[Vec<u32>],
        config: &GenerateConfig,
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize, &Generated) -> Result<()>,
    ) -> Result<Vec<Generated>> {
        let lengths: Vec<usize> = prompts.iter().map(|p| p.len()).collect();
        let row = |i: usize| Ok((i, Answer::to(&prompts[i], self, config)?));
        let mut waiting: VecDeque<Row> = longest_first(&lengths).into_iter().map(row).collect::<Result<_>>()?;
        let mut made: Vec<Option<Generated>> = vec![None; prompts.len()];
        let mut rows: Vec<Row> = Vec::new();
        let mut cache = KvCache::new(self.blocks.len());
        let width =
            |(i, _): &Row| lengths[*i].saturating_add(config.max_new_tokens).min(self.config.max_position_embeddings);
        while !(waiting.is_empty() && rows.is_empty()) {
            interrupt::poll_any()?;
            // The rows that fit beside the widest. Those that wait are no wider than the first of them.
            let full = limits.rows_of(rows.iter().chain(waiting.front()).map(width).max().unwrap_or(0));
            let free = full.saturating_sub(rows.len());
            let joining = !waiting.is_empty() && (rows.is_empty() || free >= full.div_ceil(4));
            let (from, logits) = if joining {
                let from = rows.len();
                rows.extend(waiting.drain(..free.min(waiting.len())));
                let texts: Vec<&[u32]> = rows[from..].iter().map(|(i, _)| prompts[*i].as_slice()).collect();
                let mut read = KvCache::new(self.blocks.len());
                let logits = self.prefill(&texts, &mut read)?;
                cache.admit(read)?;
                (from, logits)
            } else {
                let last: Vec<u32> = rows.iter().map(|(_, a)| a.last()).collect();
                (0, self.step(&last, &mut cache)?)
            };
            let ended = grow(&mut rows[from..], &logits)?;
            // From the back, so that the row that takes a place has been looked at.
            for row in ended.into_iter().rev().map(|row| from + row) {
                let (i, answer) = rows.swap_remove(row);
                cache.swap_remove(row)?;
                let answer = answer.made();
                on_done(i, &answer)?;
                made[i] = Some(answer);
            }
        }
        Ok(made.into_iter().flatten().collect())
    }
}

/// Gives each row its next token by its line of `logits` `[rows, vocab]`; returns the rows whose answer is complete.
fn grow(rows: &mut [Row], logits: &Value) -> Result<Vec<usize>> {
    let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    // To choose among a whole vocabulary takes a while, and each row has random numbers of its own.
    let grown = rows.par_iter_mut().zip(&logits).map(|((_, answer), logits)| answer.grow(logits, &mut |_| Ok(())));
    let grown: Vec<Result<bool>> = grown.collect();
    let mut ended = Vec::new();
    for (row, grown) in grown.into_iter().enumerate() {
        if grown? {
            ended.push(row);
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::generate::sampling::SamplingConfig;
    use candle_core::Device;

    fn stories() -> Llama {
        Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
    }

    fn prompts(model: &Llama) -> Vec<Vec<u32>> {
        let texts = [
            "Once upon a time",
            "Lily and Tom went to the park. They saw a big dog and",
            "The",
            "One day, a little boy named Tim found a red ball. He was very happy. He took",
            "A cat",
            "Mom said,",
            "There was a tree",
        ];
        texts.iter().map(|t| model.prompt_ids(t).unwrap()).collect()
    }

    /// Protects batches: whatever their size, every answer is the one that its prompt gets alone, in order; rows that end
    /// early drop out and others take their place.
    #[test]
    fn answers_are_those_of_one_at_a_time() {
        let mut model = stories();
        let prompts = prompts(&model);
        let greedy =
            GenerateConfig { max_new_tokens: 24, stop: vec!["he ".into(), ". She".into()], ..Default::default() };
        let sampled = GenerateConfig {
            sampling: SamplingConfig { temperature: 0.9, top_p: Some(0.9), seed: 7, ..Default::default() },
            max_new_tokens: 12,
            ..Default::default()
        };
        for config in [greedy, sampled] {
            let alone: Vec<Generated> =
                prompts.iter().map(|p| model.generate(p, &config, &mut |_| Ok(())).unwrap()).collect();
            let lens: std::collections::HashSet<usize> = alone.iter().map(|a| a.ids.len()).collect();
            assert!(config.stop.is_empty() || lens.len() > 1, "answers must end at different times: {lens:?}");
            for (rows, tokens) in [(1, 100_000), (2, 100_000), (3, 100_000), (5, 100_000), (64, 100_000), (8, 90)] {
                let mut heard = Vec::new();
                let limits = BatchLimits { rows, tokens };
                let all = model.generate_all(&prompts, &config, limits, &mut |i, _| {
                    heard.push(i);
                    Ok(())
                });
                let all = all.unwrap();
                heard.sort_unstable();
                assert_eq!(heard, (0..prompts.len()).collect::<Vec<_>>());
                for (i, (one, together)) in alone.iter().zip(&all).enumerate() {
                    let facts = |g: &Generated| (g.ids.clone(), g.text.clone(), g.reason.clone(), g.prompt_tokens);
                    assert_eq!(facts(one), facts(together), "prompt {i}, {rows} rows, {tokens} tokens");
                }
            }
        }
    }

    /// Protects prompts that end at once or at the model's last position, and sets without any.
    #[test]
    fn edges() {
        let mut model = stories();
        let room = model.config.max_position_embeddings;
        let long: Vec<u32> = (0..room).map(|i| 3 + (i % 200) as u32).collect();
        let prompts = vec![long, vec![1], vec![1, 403]];
        let config = GenerateConfig { max_new_tokens: 1, ..Default::default() };
        let all = model.generate_all(&prompts, &config, BatchLimits::default(), &mut |_, _| Ok(())).unwrap();
        assert_eq!(all.iter().map(|a| a.ids.len()).collect::<Vec<_>>(), [1, 1, 1]);
        let none = model.generate_all(&[], &config, BatchLimits::default(), &mut |_, _| Ok(())).unwrap();
        assert!(none.is_empty());
        let empty = model.generate_all(&[vec![1], vec![]], &config, BatchLimits::default(), &mut |_, _| Ok(()));
        assert!(empty.unwrap_err().to_string().contains("the prompt has 0 tokens"));
    }

    /// Protects memory: a batch holds no more tokens than allowed, unless one row alone is longer.
    #[test]
    fn batches_keep_to_the_limits() {
        let lengths = [5, 900, 30, 31, 2, 400, 8, 8, 8, 1];
        let limits = BatchLimits { rows: 4, tokens: 128 };
        let batches = limits.batches(&lengths);
        let mut seen: Vec<usize> = batches.concat();
        for batch in &batches {
            let width = batch.iter().map(|&i| lengths[i]).max().unwrap();
            assert!(batch.len() == 1 || batch.len() <= 4 && batch.len() * width <= 128, "{batch:?}");
        }
        assert_eq!(batches[..3], [vec![1], vec![5], vec![3, 2, 6, 7]]);
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
    }
}
