//! The decoding loop: prompt through the model once, then token by token through the cache.

use super::answer::Answer;
use super::sampling::SamplingConfig;
use super::stop::StopReason;
use crate::engine::data::tokenize::prompt_ids;
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::llama::{Llama, cache::KvCache};
use candle_core::{DType, Tensor as Value};

/// How to continue a prompt.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// How each token is chosen; the default is greedy.
    pub sampling: SamplingConfig,
    /// Most tokens to add, at least 1.
    pub max_new_tokens: usize,
    /// Texts that end the answer (and are no part of it), besides the model's own end tokens.
    pub stop: Vec<String>,
    /// Whether the model's end tokens end the answer.
    pub stop_at_eos: bool,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        GenerateConfig { sampling: SamplingConfig::default(), max_new_tokens: 128, stop: Vec::new(), stop_at_eos: true }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The tokens added, an end token included.
    pub ids: Vec<u32>,
    /// Their text: without special tokens and without the stop text.
    pub text: String,
    /// Tokens in the prompt, BOS included.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub reason: StopReason,
}

impl Llama {
    /// The ids of `prompt` as this model reads it: with BOS where its tokenizer adds one, never with EOS.
    ///
    /// # Errors
    /// If the model has no tokenizer.
    pub fn prompt_ids(&self, prompt: &str) -> Result<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        Ok(prompt_ids(tokenizer, tokenizer.encode(prompt)?))
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// If its files had none.
    pub fn tokenizer(&self) -> Result<&crate::engine::tokenizer::Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::config_help(
                "this model has no tokenizer",
                "load it from files that include one, or work with token ids",
            )
        })
    }

    /// Gives a model made from a configuration its tokenizer.
    ///
    /// # Errors
    /// If the tokenizer knows more tokens than the model has embeddings.
    pub fn set_tokenizer(&mut self, tokenizer: crate::engine::tokenizer::Tokenizer) -> Result<()> {
        let (tokens, rows) = (tokenizer.vocab_size(), self.config.vocab_size);
        if tokens > rows {
            return Err(Error::config(format!(
                "the tokenizer has {tokens} tokens, the model's vocabulary only {rows}"
            )));
        }
        self.tokenizer = Some(tokenizer);
        Ok(())
    }

    /// Continues `prompt` (token ids, at least one), calling `on_text` with each piece of text as it becomes certain.
    /// Dropout is off. An answer that reaches the model's last position ends there.
    ///
    /// # Errors
    /// If the prompt is empty or too long, the logits are not finite, or on Ctrl-C.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        config: &GenerateConfig,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        self.inference(|model| model.decode(prompt, config, on_text))
    }

    fn decode(
        &self,
        prompt: &[u32],
        config: &GenerateConfig,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        let mut answer = Answer::to(prompt, self, config)?;
        let mut cache = KvCache::new(self.blocks.len());
        let mut next = prompt.to_vec();
        loop {
            interrupt::poll_any()?;
            let count = next.len();
            let ids = Value::from_vec(next, (1, count), &self.device)?;
            let logits = self.next_logits(&ids, &mut cache)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            if answer.grow(&logits, on_text)? {
                return Ok(answer.made());
            }
            next = vec![answer.last()];
        }
    }
}
