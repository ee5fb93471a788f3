//! Perplexity of a text longer than the model's context: windows that overlap, so that each token is predicted with at
//! least `window - stride` tokens before it, and counted once.
//!
//! As "Perplexity of fixed-length models" in transformers' documentation. Its code weights a window by one token less than
//! it predicts, in all but the first window; [`Weighting::Windows`] does the same, for comparing with it.

use super::tokens::Target;
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::generate::BatchLimits;
use crate::engine::llama::Llama;

/// What a window's loss counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weighting {
    /// The tokens that it predicts: every token counts the same.
    #[default]
    Tokens,
    /// As the code in transformers' documentation: the tokens that its labels name, less one.
    Windows,
}

impl Weighting {
    /// `"tokens"` or `"windows"`.
    ///
    /// # Errors
    /// For another name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "tokens" => Ok(Weighting::Tokens),
            "windows" => Ok(Weighting::Windows),
            _ => Err(unknown_name("weighting", name, ["tokens", "windows"])),
        }
    }
}

/// How a text is walked through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strided {
    /// Tokens of a window; `None`: the model's positions.
    pub window: Option<usize>,
    /// Tokens from one window's start to the next, at most a window; `None`: half a window.
    pub stride: Option<usize>,
    /// What a window's loss counts for.
    pub weighting: Weighting,
    /// How much is worked on at once.
    pub limits: BatchLimits,
}

/// The loss of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextLoss {
    /// Mean negative log-likelihood of a token, in nats.
    pub loss: f64,
    /// Tokens predicted: all but the first.
    pub tokens: usize,
    /// Windows read.
    pub windows: usize,
    /// Sum over all tokens, in nats.
    pub sum: f64,
}

impl TextLoss {
    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// `(start, end, first predicted token)` of each window over `count` tokens.
fn windows(count: usize, window: usize, stride: usize) -> Vec<(usize, usize, usize)> {
    let mut all = Vec::new();
    let mut before = 0;
    for start in (0..count).step_by(stride) {
        let end = (start + window).min(count);
        // A window's first token has nothing before it to be predicted from.
        all.push((start, end, before.max(start + 1)));
        before = end;
        if end == count {
            break;
        }
    }
    all
}

impl Llama {
    /// Loss of the text of `ids`, BOS included where the model reads it.
    ///
    /// # Errors
    /// If there are fewer than two tokens, or window and stride do not fit the model or each other.
    pub fn text_loss(&mut self, ids: &[u32], how: &Strided, on_done: &mut dyn FnMut(usize, usize)) -> Result<TextLoss> {
        let room = self.config.max_position_embeddings;
        let window = how.window.unwrap_or(room);
        let stride = how.stride.unwrap_or((window / 2).max(1));
        if !(2..=room).contains(&window) {
            return Err(Error::config(format!(
                "window is {window}; it must be from 2 to the model's {room} positions"
            )));
        }
        if !(1..=window).contains(&stride) {
            return Err(Error::config(format!(
                "stride is {stride}; it must be from 1 to the window's {window} tokens"
            )));
        }
        if ids.len() < 2 {
            return Err(Error::config(format!("a text of {} tokens leaves none to predict", ids.len())));
        }
        let windows = windows(ids.len(), window, stride);
        let inputs: Vec<&[u32]> = windows.iter().map(|(start, end, _)| &ids[*start..*end]).collect();
        let targets: Vec<Vec<Target>> = windows
            .iter()
            .map(|&(start, end, first)| (first..end).map(|i| Target { at: i - 1 - start, id: ids[i] }).collect())
            .collect();
        let total = windows.len();
        let scores = self.token_scores(&inputs, &targets, how.limits, &mut |done| on_done(done, total))?;
        let sums: Vec<(f64, usize)> =
            scores.iter().map(|s| (-s.iter().map(|t| t.logprob).sum::<f64>(), s.len())).collect();
        let tokens: usize = sums.iter().map(|(_, n)| n).sum();
        let sum: f64 = sums.iter().map(|(sum, _)| sum).sum();
        let loss = match how.weighting {
            Weighting::Tokens => sum / tokens as f64,
            Weighting::Windows => {
                let (mut loss, mut weights, mut before) = (0.0, 0.0, 0);
                for ((_, end, _), (sum, n)) in windows.iter().zip(&sums).filter(|(_, (_, n))| *n > 0) {
                    let weight = (end - before - 1) as f64;
                    loss += sum / *n as f64 * weight;
                    weights += weight;
                    before = *end;
                }
                loss / weights
            }
        };
        Ok(TextLoss { loss, tokens, windows: total, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the walk: every token but the first is predicted once, whatever window and stride.
    #[test]
    fn every_token_once() {
        for count in [2, 3, 7, 20, 33] {
            for window in 2..12 {
                for stride in 1..=window {
                    let predicted: Vec<usize> =
                        windows(count, window, stride).iter().flat_map(|(_, end, first)| *first..*end).collect();
                    // With stride == window a window's first token has nothing before it.
                    let whole: Vec<usize> =
                        (1..count).filter(|t| stride < window || !t.is_multiple_of(stride)).collect();
                    assert_eq!(predicted, whole, "{count} tokens, window {window}, stride {stride}");
                }
            }
        }
    }
}
