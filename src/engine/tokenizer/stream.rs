//! Decoding token by token, for printing while generating.
//!
//! A token may hold part of a character, and the space before a word may belong to the word: text can only be given out
//! once it is whole, and must be decoded together with what came before it.

use super::Tokenizer;
use crate::engine::Result;

/// Tokens of the text before that are decoded along with the new ones.
const CONTEXT: usize = 6;

/// A character of UTF-8 has at most four bytes: after this many tokens an incomplete one will not be completed.
const LONGEST_WAIT: usize = 4;

/// See [`Tokenizer::stream`].
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    /// The end of what was given out, then what was not.
    ids: Vec<u32>,
    /// How many of `ids` were given out.
    given: usize,
}

impl DecodeStream {
    pub(super) fn after(tokenizer: Tokenizer, prompt: &[u32]) -> Self {
        let ids = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
        DecodeStream { tokenizer, given: ids.len(), ids }
    }

    /// The text that `id` completes, if it completes any.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let waiting = self.ids.len() - self.given;
        self.give(waiting >= LONGEST_WAIT)
    }

    /// What is left at the end: a character that was never completed, as U+FFFD.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<Option<String>> {
        self.give(true)
    }

    fn give(&mut self, even_incomplete: bool) -> Result<Option<String>> {
        let before = self.tokenizer.decode(&self.ids[..self.given])?;
        let all = self.tokenizer.decode(&self.ids)?;
        if all.ends_with('\u{fffd}') && !even_incomplete {
            return Ok(None);
        }
        // The text before may itself end in a broken character, which the new tokens completed.
        let common = before.trim_end_matches('\u{fffd}');
        let new = all.strip_prefix(before.as_str()).or_else(|| all.strip_prefix(common)).unwrap_or("").to_string();
        self.ids.drain(..self.ids.len().saturating_sub(CONTEXT));
        self.given = self.ids.len();
        Ok((!new.is_empty()).then_some(new))
    }
}
