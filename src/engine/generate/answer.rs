//! One answer in the making: from the logits behind its last token to the next token, and to text.

use super::decode::{GenerateConfig, Generated};
use super::sampling::Sampler;
use super::stop::{StopReason, Stopping};
use crate::engine::error::{Error, Result};
use crate::engine::llama::Llama;
use crate::engine::tokenizer::DecodeStream;

/// An answer that may still grow.
pub(super) struct Answer {
    sampler: Sampler,
    stopping: Stopping,
    stream: Option<DecodeStream>,
    /// Prompt and answer.
    history: Vec<u32>,
    /// Positions that the model has.
    room: usize,
    made: Generated,
}

impl Answer {
    /// An answer to `prompt` that has no token yet.
    pub(super) fn to(prompt: &[u32], model: &Llama, config: &GenerateConfig) -> Result<Self> {
        let room = model.config.max_position_embeddings;
        if prompt.is_empty() || prompt.len() > room {
            return Err(Error::config(format!(
                "generate: the prompt has {} tokens; it needs at least 1 and at most the model's {room} positions",
                prompt.len()
            )));
        }
        let end_tokens = match &model.tokenizer {
            Some(t) if config.stop_at_eos => t.stop_ids().to_vec(),
            None if config.stop_at_eos => model.config.eos_token_ids.clone(),
            _ => Vec::new(),
        };
        Ok(Answer {
            sampler: Sampler::new(config.sampling.clone())?,
            stopping: Stopping::new(&end_tokens, config.stop.clone(), config.max_new_tokens)?,
            stream: model.tokenizer.as_ref().map(|t| t.stream_after(prompt)),
            history: prompt.to_vec(),
            room,
            made: Generated {
                ids: Vec::new(),
                text: String::new(),
                prompt_tokens: prompt.len(),
                reason: StopReason::Length,
            },
        })
    }

    /// The last token so far, of the prompt or the answer.
    pub(super) fn last(&self) -> u32 {
        self.history[self.history.len() - 1] // a prompt has at least one token
    }

    /// Chooses the next token by the `logits` behind the last one. Calls `on_text` with the text that it makes certain;
    /// true: the answer is complete.
    pub(super) fn grow(&mut self, logits: &[f32], on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<bool> {
        let id = self.sampler.next(logits, &self.history)?;
        self.history.push(id);
        self.made.ids.push(id);
        let ended = self.stopping.token(id);
        if let Some(reason @ StopReason::Token(_)) = ended {
            self.made.reason = reason;
            self.finish(on_text)?;
            return Ok(true);
        }
        let piece = self.stream.as_mut().map(|s| s.push(id)).transpose()?.flatten();
        if self.read(piece, on_text)? {
            return Ok(true);
        }
        if ended.is_some() || self.history.len() >= self.room {
            self.finish(on_text)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The answer as it is.
    pub(super) fn made(self) -> Generated {
        self.made
    }

    /// Adds a piece of text; true: it holds a stop text, where the answer ends.
    fn read(&mut self, piece: Option<String>, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<bool> {
        let Some(piece) = piece else { return Ok(false) };
        let (certain, stop) = self.stopping.text(&piece);
        on_text(&certain)?;
        self.made.text.push_str(&certain);
        let ended = stop.is_some();
        if let Some(reason) = stop {
            self.made.reason = reason;
        }
        Ok(ended)
    }

    /// A character that was never completed, then what was held back as the possible start of a stop text.
    fn finish(&mut self, on_text: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let piece = self.stream.as_mut().map(|s| s.finish()).transpose()?.flatten();
        if !self.read(piece, on_text)? {
            let rest = self.stopping.finish();
            on_text(&rest)?;
            self.made.text.push_str(&rest);
        }
        Ok(())
    }
}
