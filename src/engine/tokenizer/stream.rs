//! Decoding token by token, for printing while generating.
//!
//! A token may hold part of a character, and the space before a word may belong to the word: text can only be given out
//! once it is whole, and must be decoded together with what came before it.

use super::Tokenizer;
use crate::engine::Result;

/// A character of UTF-8 has at most four bytes: after this many tokens an incomplete one will not be completed.
const LONGEST_WAIT: usize = 4;

/// See [`Tokenizer::stream`].
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    /// What was given out last, which ends with a whole character, then what was not given out yet.
    ids: Vec<u32>,
    /// How many of `ids` were given out.
    given: usize,
}

impl DecodeStream {
    pub(super) fn after(tokenizer: Tokenizer, prompt: &[u32]) -> Self {
        DecodeStream { tokenizer, given: prompt.len(), ids: prompt.to_vec() }
    }

    /// The text that `id` completes, if it completes any.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        self.give(self.ids.len() - self.given >= LONGEST_WAIT)
    }

    /// What is left at the end: a character that was never completed, as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<Option<String>> {
        if self.given == self.ids.len() { Ok(None) } else { self.give(true) }
    }

    fn give(&mut self, even_incomplete: bool) -> Result<Option<String>> {
        let (before, pending) = self.ids.split_at(self.given);
        let before = self.tokenizer.decode(before)?;
        let all = self.tokenizer.decode(&self.ids)?;
        let new = match all.strip_prefix(before.as_str()) {
            Some(new) if !new.ends_with('\u{fffd}') => new.to_string(),
            _ if !even_incomplete => return Ok(None),
            Some(new) => new.to_string(),
            // Broken bytes spoil the whole run of bytes that they stand in, what was given out included.
            None => self.tokenizer.decode(pending)?,
        };
        if !new.is_empty() {
            self.ids.drain(..self.given);
        }
        self.given = self.ids.len();
        Ok((!new.is_empty()).then_some(new))
    }
}
