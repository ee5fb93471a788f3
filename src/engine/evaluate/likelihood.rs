//! Log-likelihoods of continuations, and multiple choice by them, as lm-evaluation-harness 0.4 computes both.
//!
//! White space at the end of a context belongs to the continuation. The two are tokenized as one text; the continuation's
//! tokens are those behind as many as the context alone has. Where the context has no token (it is empty, or white space
//! to a tokenizer without BOS), the model's BOS, else its EOS, stands there. What is too long loses its beginning.

use super::tokens::{Target, TokenScore};
use crate::engine::data::metrics::python_space;
use crate::engine::error::{Error, Result};
use crate::engine::generate::BatchLimits;
use crate::engine::interrupt;
use crate::engine::llama::Llama;
use std::collections::HashMap;

/// What the model thinks of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Sum of its tokens' log-probabilities, in nats.
    pub sum: f64,
    /// How many tokens it has.
    pub tokens: usize,
    /// Whether greedy decoding would produce it.
    pub greedy: bool,
}

/// A question with its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What stands before each choice.
    pub context: String,
    /// The choices, at least one.
    pub choices: Vec<String>,
    /// Index of the right one, if it is known.
    pub answer: Option<usize>,
}

/// How an item came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Log-likelihood of each choice.
    pub choices: Vec<Likelihood>,
    /// The likeliest choice.
    pub pick: usize,
    /// The likeliest per character: what the harness's `acc_norm` counts.
    pub pick_norm: usize,
    /// The likeliest per byte of UTF-8: its `acc_bytes`.
    pub pick_bytes: usize,
}

impl Llama {
    /// Log-likelihood of each continuation behind its context, in order. `on_done` hears how many sequences are finished of
    /// how many there are: pairs that differ in their last token only share one.
    ///
    /// # Errors
    /// If the model has no tokenizer, or a continuation has no tokens or more than the model has positions.
    pub fn loglikelihoods(
        &mut self,
        pairs: &[(String, String)],
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Likelihood>> {
        let room = self.config.max_position_embeddings;
        // The sequences that are read, each once, and for every pair its place in one of them.
        let mut inputs: Vec<Vec<u32>> = Vec::new();
        let mut targets: Vec<Vec<Target>> = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut places = Vec::with_capacity(pairs.len());
        // The choices of a question have one context.
        let mut last: Option<(&str, usize)> = None;
        for (i, (context, continuation)) in pairs.iter().enumerate() {
            interrupt::poll()?;
            let before = match last {
                Some((text, before)) if text == context => before,
                _ => self.context_tokens(context)?,
            };
            last = Some((context, before));
            let (mut whole, count) = self.encode_pair(context, before, continuation)?;
            if count == 0 || count > room {
                return Err(Error::config(format!(
                    "continuation {i} ({continuation:?}) has {count} tokens; it needs at least 1 and at most the model's {room} positions",
                )));
            }
            whole.drain(..whole.len().saturating_sub(room + 1));
            let first = whole.len() - 1 - count; // there is a token before the continuation
            let wanted = (first..first + count).map(|at| Target { at, id: whole[at + 1] }).collect::<Vec<_>>();
            whole.pop();
            let sequence = *known.entry(whole).or_insert_with_key(|whole| {
                inputs.push(whole.clone());
                targets.push(Vec::new());
                inputs.len() - 1
            });
            places.push((sequence, targets[sequence].len(), count));
            targets[sequence].extend(wanted);
        }
        let sequences: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let total = sequences.len();
        let scores = self.token_scores(&sequences, &targets, limits, &mut |done| on_done(done, total))?;
        let likelihood = |(sequence, from, count): (usize, usize, usize)| {
            let tokens: &[TokenScore] = &scores[sequence][from..from + count];
            Likelihood {
                sum: tokens.iter().map(|t| t.logprob).sum(),
                tokens: count,
                greedy: tokens.iter().all(|t| t.greedy),
            }
        };
        Ok(places.into_iter().map(likelihood).collect())
    }

    /// The choice of each item; ties go to the first.
    ///
    /// # Errors
    /// As [`Llama::loglikelihoods`], and for an item without choices or whose answer is none of them.
    pub fn choose(
        &mut self,
        items: &[Item],
        delimiter: &str,
        limits: BatchLimits,
        on_done: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Chosen>> {
        for (i, item) in items.iter().enumerate() {
            let count = item.choices.len();
            if count == 0 || item.answer.is_some_and(|a| a >= count) {
                let answer = item.answer.map_or(String::new(), |a| format!(" and the answer {a}"));
                return Err(Error::config(format!("item {i} has {count} choices{answer}")));
            }
        }
        let pairs: Vec<(String, String)> = items
            .iter()
            .flat_map(|item| item.choices.iter().map(|c| (item.context.clone(), format!("{delimiter}{c}"))))
            .collect();
        let mut found = self.loglikelihoods(&pairs, limits, on_done)?.into_iter();
        let chosen = |item: &Item| {
            let choices: Vec<Likelihood> = found.by_ref().take(item.choices.len()).collect();
            // An empty choice cannot be divided by its length; it is scored by its delimiter alone.
            let by = |length: fn(&str) -> usize| {
                let per = |(l, c): (&Likelihood, &String)| l.sum / length(c).max(1) as f64;
                first_largest(choices.iter().zip(&item.choices).map(per))
            };
            Chosen {
                pick: first_largest(choices.iter().map(|l| l.sum)),
                pick_norm: by(|c| c.chars().count()),
                pick_bytes: by(str::len),
                choices,
            }
        };
        Ok(items.iter().map(chosen).collect())
    }

    /// How many tokens stand before a continuation of `context`.
    fn context_tokens(&self, context: &str) -> Result<usize> {
        if context.is_empty() {
            return Ok(0); // not even the BOS that an empty prompt gets
        }
        Ok(self.prompt_ids(context.trim_end_matches(python_space))?.len())
    }

    /// The tokens of both, the context having `before`, and how many at the end are the continuation's.
    fn encode_pair(&self, context: &str, before: usize, continuation: &str) -> Result<(Vec<u32>, usize)> {
        let text = format!("{context}{continuation}");
        if before > 0 {
            let ids = self.prompt_ids(&text)?;
            let count = ids.len().saturating_sub(before);
            return Ok((ids, count));
        }
        let tokenizer = self.tokenizer()?;
        let mut ids = tokenizer.encode(&text)?;
        let start = tokenizer.bos_id().or(tokenizer.eos_id()).ok_or_else(|| {
            Error::config_help(
                "a continuation without a context needs a token to stand before it, and the tokenizer has neither BOS nor EOS",
                "give it a context",
            )
        })?;
        // A continuation that spells the token itself keeps it as its context.
        if ids.first() != Some(&start) {
            ids.insert(0, start);
        }
        let count = ids.len() - 1;
        Ok((ids, count))
    }
}

fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let larger = |best: (usize, f64), (i, x): (usize, f64)| if x > best.1 { (i, x) } else { best };
    values.enumerate().fold((0, f64::NEG_INFINITY), larger).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn stories() -> Llama {
        Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
    }

    /// Protects the boundary: white space goes to the continuation, and a context without tokens is BOS.
    #[test]
    fn pairs_are_tokenized_as_the_harness_does() {
        let model = stories();
        let encoded = |context| model.encode_pair(context, model.context_tokens(context).unwrap(), "time").unwrap();
        let once = model.prompt_ids("Once upon a").unwrap();
        let whole = model.prompt_ids("Once upon a time").unwrap();
        assert_eq!(encoded("Once upon a "), (whole.clone(), whole.len() - once.len()));
        let time = model.tokenizer().unwrap().encode("time").unwrap();
        assert_eq!(encoded(""), ([vec![1], time.clone()].concat(), time.len()));
        // As for a tokenizer that adds no BOS, to which white space is no context at all.
        let (ids, count) = model.encode_pair(" ", 0, "time").unwrap();
        assert_eq!((ids[0], ids.len()), (1, count + 1));
    }

    /// Protects the choice: by the sum, by characters and by bytes; and the errors.
    #[test]
    fn choices() {
        let mut model = stories();
        let item = |choices: &[&str], answer| Item {
            context: "Once upon a".into(),
            choices: choices.iter().map(|c| c.to_string()).collect(),
            answer,
        };
        let items = [item(&["time", "truck of bricks", "ö"], Some(0)), item(&["time"], None)];
        let chosen = model.choose(&items, " ", BatchLimits::default(), &mut |_, _| ()).unwrap();
        assert_eq!((chosen[0].pick, chosen[0].pick_norm, chosen[0].pick_bytes), (0, 0, 0));
        assert_eq!(chosen[0].choices[0], chosen[1].choices[0]);
        assert!(chosen[0].choices[0].greedy && !chosen[0].choices[1].greedy);
        let mut wrong =
            |item| model.choose(&[item], " ", BatchLimits::default(), &mut |_, _| ()).unwrap_err().to_string();
        assert_eq!(wrong(item(&[], None)), "item 0 has 0 choices");
        assert_eq!(wrong(item(&["a"], Some(1))), "item 0 has 1 choices and the answer 1");
    }

    /// Protects long contexts: they lose their beginning, and pairs that differ in their last token share a sequence.
    #[test]
    fn long_contexts_and_shared_sequences() {
        let mut model = stories();
        let long = "The dog ran. ".repeat(400);
        let pairs = [(long.clone(), "He".to_string()), (long, "She".to_string()), ("He".into(), " sat".into())];
        let mut total = 0;
        let found = model.loglikelihoods(&pairs, BatchLimits::default(), &mut |_, all| total = all).unwrap();
        assert_eq!(total, 2);
        assert!(found.iter().all(|l| l.sum < 0.0 && l.sum.is_finite()));
        let empty = [("He".to_string(), String::new())];
        let err = model.loglikelihoods(&empty, BatchLimits::default(), &mut |_, _| ()).unwrap_err();
        assert!(err.to_string().starts_with("continuation 0 (\"\") has 0 tokens"), "{err}");
    }
}
