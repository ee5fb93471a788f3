//! BPE over bytes, GPT-2's way: bytes are written as printable characters, text is cut into words by a regular
//! expression, and merges are ranked.
//!
//! Sources: openai/gpt-2, `encoder.py` (`bytes_to_unicode`); llama.cpp, `src/llama-vocab.cpp` (the expressions per
//! `tokenizer.ggml.pre`).

use super::{Parts, SpecialIds, Tokenizer, add_special, guarded};
use crate::engine::{Error, Result};
use std::collections::HashSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut before merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Applied one after the other, each to the pieces that the one before left.
    expressions: &'static [&'static str],
    /// A word that is a token is that token, whatever its merges say.
    pub whole_words: bool,
    /// BOS goes before a text where the file does not say.
    pub add_bos: bool,
}

const fn cut(expressions: &'static [&'static str], whole_words: bool, add_bos: bool) -> PreTokenizer {
    PreTokenizer { expressions, whole_words, add_bos }
}

impl PreTokenizer {
    /// Llama 3's.
    pub(super) const LLAMA3: PreTokenizer = cut(&[LLAMA3], true, true);

    /// By the name that GGUF keeps under `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "llama-bpe" | "llama3" | "llama-v3" => Self::LLAMA3,
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => cut(&[r"\p{N}", GPT2], false, false),
            "gpt-2" | "phi-2" | "olmo" | "jais" | "roberta-bpe" => cut(&[GPT2], false, false),
            "qwen2" | "stablelm2" | "deepseek-r1-qwen" => cut(&[QWEN2], false, false),
            "tekken" => cut(&[TEKKEN], true, false),
            "default" => cut(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], false, false),
            _ => return None,
        })
    }
}

/// A vocabulary in GPT-2's byte spelling; a token's id is its place.
pub(super) struct ByteLevelVocab {
    pub tokens: Vec<String>,
    /// Best first.
    pub merges: Vec<(String, String)>,
    /// Tokens that are recognised in raw text and left out when decoding.
    pub special: Vec<String>,
    /// Tokens that are recognised in raw text.
    pub added: Vec<String>,
    pub pre: PreTokenizer,
    pub ids: SpecialIds,
    pub add_bos: bool,
    pub chat_template: Option<String>,
}

impl ByteLevelVocab {
    /// The tokenizer. `path` is named in errors.
    pub(super) fn build(self, path: &Path) -> Result<Tokenizer> {
        let known: HashSet<&str> = self.tokens.iter().map(String::as_str).collect();
        for (left, right) in &self.merges {
            let whole = format!("{left}{right}");
            if let Some(missing) = [left, right, &whole].into_iter().find(|t| !known.contains(t.as_str())) {
                let message = format!("the merge `{left} {right}` needs the token `{missing}`, which does not exist");
                return Err(Error::format(path, message));
            }
        }
        let ByteLevelVocab { tokens, merges, special, added, pre, ids, add_bos, chat_template } = self;
        let pipeline = guarded("building the tokenizer", || pipeline(tokens, merges, &special, &added, pre));
        let pipeline = pipeline.map_err(|e| Error::format(path, e.to_string()))?;
        Ok(Tokenizer::new(Parts { pipeline, ids, add_bos, chat_template }))
    }
}

fn pipeline(
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
    special: &[String],
    added: &[String],
    pre: PreTokenizer,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let vocab: Vocab = tokens.into_iter().enumerate().map(|(i, t)| (t, i as u32)).collect();
    let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(pre.whole_words).build()?;
    let mut pipeline = tokenizers::Tokenizer::new(model);
    let mut cuts = vec![];
    for expression in pre.expressions {
        let pattern = SplitPattern::Regex((*expression).into());
        cuts.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
    }
    cuts.push(ByteLevel::new(false, true, false).into());
    pipeline.with_pre_tokenizer(Some(Sequence::new(cuts)));
    pipeline.with_decoder(Some(ByteLevel::default()));
    add_special(&mut pipeline, special)?;
    pipeline.add_tokens(added.iter().map(|t| AddedToken::from(t.clone(), false).normalized(false)))?;
    Ok(pipeline)
}

/// GPT-2's spelling of `bytes`: printable bytes of Latin-1 as themselves, the other 68 as U+0100 and up.
pub(super) fn spell(bytes: &[u8]) -> String {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    bytes
        .iter()
        .map(|b| match printable(*b) {
            true => char::from(*b),
            false => {
                let nth = (0..*b).filter(|other| !printable(*other)).count() as u32;
                char::from_u32(0x100 + nth).unwrap_or('\u{fffd}')
            }
        })
        .collect()
}
