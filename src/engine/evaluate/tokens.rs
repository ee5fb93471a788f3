//! Log-likelihoods of chosen tokens of many sequences.

use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::generate::BatchLimits;
use crate::engine::interrupt;
use crate::engine::llama::Llama;
use crate::engine::ops::rows::select_rows;
use candle_core::DType;
use rayon::prelude::*;

/// Bytes of logits that exist at once.
const LOGITS: usize = 64 << 20;

/// Token `id` expected behind position `at` of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Position whose logits predict it, from 0.
    pub at: usize,
    /// The token.
    pub id: u32,
}

/// What the model thinks of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// Its log-probability, in nats, at most 0.
    pub logprob: f64,
    /// Whether it is the likeliest token there: the first of the largest logits.
    pub greedy: bool,
}

impl Llama {
    /// Scores of `targets[i]` in the sequence `inputs[i]`, in their order. Sequences are taken together as `limits` allow,
    /// longest first; the logits of a few rows exist at a time. Dropout is off. `on_done` hears how many are finished.
    ///
    /// # Errors
    /// If a sequence is empty or longer than the model's positions, or a target is outside its sequence or the vocabulary.
    pub fn token_scores(
        &mut self,
        inputs: &[&[u32]],
        targets: &[Vec<Target>],
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<TokenScore>>> {
        limits.validate()?;
        self.inference(|model| model.scored(inputs, targets, limits, on_done))
    }

    fn scored(
        &self,
        inputs: &[&[u32]],
        targets: &[Vec<Target>],
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<TokenScore>>> {
        if inputs.len() != targets.len() {
            return Err(Error::config(format!("{} sequences with {} lists of targets", inputs.len(), targets.len())));
        }
        for (input, targets) in inputs.iter().zip(targets) {
            let outside = |t: &&Target| t.at >= input.len() || t.id as usize >= self.config.vocab_size;
            if let Some(t) = targets.iter().find(outside) {
                let (at, id, len) = (t.at, t.id, input.len());
                return Err(Error::config(format!("token {id} behind position {at} of a sequence of {len} tokens")));
            }
        }
        let lengths: Vec<usize> = inputs.iter().map(|i| i.len()).collect();
        let mut scores = vec![Vec::new(); inputs.len()];
        let mut done = 0;
        for batch in limits.batches(&lengths) {
            interrupt::poll_any()?;
            let (ids, documents) = self.padded(&batch.iter().map(|&i| inputs[i]).collect::<Vec<_>>())?;
            let x = self.hidden(&ids, Some(&documents), None)?;
            let width = ids.dims()[1];
            let wanted: Vec<(usize, Target)> = batch
                .iter()
                .enumerate()
                .flat_map(|(row, &i)| targets[i].iter().map(move |t| (row * width + t.at, *t)))
                .collect();
            let mut found = self.score_rows(&x, &wanted)?.into_iter();
            for &i in &batch {
                scores[i] = found.by_ref().take(targets[i].len()).collect();
            }
            done += batch.len();
            on_done(done);
        }
        Ok(scores)
    }

    /// Scores of targets in rows of `x` `[batch, seq, hidden]`, counted through the whole batch.
    fn score_rows(&self, x: &Tensor, wanted: &[(usize, Target)]) -> Result<Vec<TokenScore>> {
        // Several targets of one row, as the choices of a question are, share its logits.
        let mut rows: Vec<u32> = wanted.iter().map(|(row, _)| *row as u32).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut by_row: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
        for (k, (row, _)) in wanted.iter().enumerate() {
            if let Ok(place) = rows.binary_search(&(*row as u32)) {
                by_row[place].push(k);
            }
        }
        let mut scores = vec![TokenScore { logprob: 0.0, greedy: false }; wanted.len()];
        let at_once = (LOGITS / (4 * self.config.vocab_size.max(1))).max(1);
        for (rows, targets) in rows.chunks(at_once).zip(by_row.chunks(at_once)) {
            interrupt::poll()?;
            let logits = self.logits_of(select_rows(x, rows)?.value())?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let found: Vec<Vec<(usize, TokenScore)>> = logits
                .par_iter()
                .zip(targets)
                .map(|(logits, targets)| {
                    let (best, lse) = best_and_lse(logits);
                    let score = |k: &usize| {
                        let id = wanted[*k].1.id as usize;
                        (*k, TokenScore { logprob: f64::from(logits[id]) - lse, greedy: id == best })
                    };
                    targets.iter().map(score).collect()
                })
                .collect();
            for (k, score) in found.into_iter().flatten() {
                scores[k] = score;
            }
        }
        Ok(scores)
    }
}

/// The first of the largest logits, and the logarithm of the sum of their exponentials.
fn best_and_lse(logits: &[f32]) -> (usize, f64) {
    let first = |best: (usize, f32), (i, &x): (usize, &f32)| if x > best.1 { (i, x) } else { best };
    let (best, max) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), first);
    let max = f64::from(max);
    (best, max + logits.iter().map(|x| (f64::from(*x) - max).exp()).sum::<f64>().ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor as Value};

    /// Protects batching and sharing: any split gives the losses that `Llama::loss` gives one sequence at a time, and the
    /// likeliest token is the one that greedy decoding takes.
    #[test]
    fn agrees_with_the_loss() {
        let mut model = Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
        let texts = ["Once upon a time, there was a dog.", "Tom", "The sun was warm and the sky was blue all day"];
        let ids: Vec<Vec<u32>> = texts.iter().map(|t| model.prompt_ids(t).unwrap()).collect();
        let inputs: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let targets: Vec<Vec<Target>> = ids
            .iter()
            .map(|ids| {
                (1..ids.len()).flat_map(|t| [(t - 1, ids[t]), (t - 1, 7)]).map(|(at, id)| Target { at, id }).collect()
            })
            .collect();
        let next = model.generate(&ids[0], &Default::default(), &mut |_| Ok(())).unwrap().ids[0];
        for limits in [(1, 1), (2, 1000), (9, 30)] {
            let limits = BatchLimits { rows: limits.0, tokens: limits.1 };
            let mut heard = 0;
            let scores = model.token_scores(&inputs, &targets, limits, &mut |n| heard = n).unwrap();
            assert_eq!(heard, 3);
            for (ids, scores) in ids.iter().zip(&scores) {
                let row = Value::from_slice(ids, (1, ids.len()), &Device::Cpu).unwrap();
                let labels: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                let loss = model.loss(&row, &labels, None).unwrap();
                for (score, nll) in scores.iter().step_by(2).zip(&loss.each) {
                    assert!((score.logprob + nll).abs() < 1e-5, "{} and {nll}", score.logprob);
                }
            }
            let last = vec![vec![Target { at: ids[0].len() - 1, id: next }, Target { at: 0, id: 7 }], vec![], vec![]];
            let scores = model.token_scores(&inputs, &last, limits, &mut |_| ()).unwrap();
            assert!(scores[0][0].greedy && !scores[0][1].greedy && scores[1].is_empty());
        }
        let wrong = model.token_scores(
            &inputs,
            &[vec![Target { at: 99, id: 1 }], vec![], vec![]],
            Default::default(),
            &mut |_| (),
        );
        assert!(wrong.unwrap_err().to_string().contains("behind position 99"));
    }
}
