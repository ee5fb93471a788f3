//! The tokenizer inside a GGUF file's metadata.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer>; defaults from llama.cpp,
//! `src/llama-vocab.cpp`.

use super::byte_level::{ByteLevelVocab, PreTokenizer};
use super::pieces::{Algorithm, Kind, Piece, Pieces};
use super::{SpecialIds, Tokenizer};
use crate::engine::files::gguf::Gguf;
use crate::engine::{Error, Result};

/// Tokens that end a turn in the formats models are trained on; llama.cpp stops at them too.
const END_OF_TURN: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

impl Tokenizer {
    /// From the metadata; none if the file holds no vocabulary.
    ///
    /// # Errors
    /// [`Error::Format`] for an unsupported tokenizer or inconsistent metadata.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>> {
        let Some(model) = gguf.str("tokenizer.ggml.model")? else { return Ok(None) };
        match model {
            "none" | "no_vocab" => Ok(None),
            "gpt2" => byte_level(gguf).map(Some),
            "llama" => sentencepiece(gguf).map(Some),
            other => {
                let message = format!("the tokenizer model `{other}` is not supported; `llama` and `gpt2` are");
                Err(Error::format(&gguf.path, message))
            }
        }
    }
}

struct Vocab<'a> {
    tokens: &'a [String],
    kinds: Vec<Kind>,
}

fn vocab(gguf: &Gguf) -> Result<Vocab<'_>> {
    let fail = |message: String| Error::format(&gguf.path, message);
    let tokens = gguf
        .strs("tokenizer.ggml.tokens")?
        .ok_or_else(|| fail("metadata `tokenizer.ggml.tokens` is missing".into()))?;
    let kinds = match gguf.ints("tokenizer.ggml.token_type")? {
        None => vec![Kind::Normal; tokens.len()],
        Some(numbers) if numbers.len() == tokens.len() => numbers
            .iter()
            .map(|n| Kind::from_number(*n).ok_or_else(|| fail(format!("a token of the unknown type {n}"))))
            .collect::<Result<_>>()?,
        Some(numbers) => return Err(fail(format!("{} tokens, but {} token types", tokens.len(), numbers.len()))),
    };
    Ok(Vocab { tokens, kinds })
}

impl Vocab<'_> {
    fn of_kind(&self, kind: Kind) -> Vec<String> {
        self.tokens.iter().zip(&self.kinds).filter(|(_, k)| **k == kind).map(|(t, _)| t.clone()).collect()
    }

    fn ids(&self, gguf: &Gguf) -> Result<SpecialIds> {
        let id = |name: &str| gguf.id(&format!("tokenizer.ggml.{name}_token_id"));
        let mut eos: Vec<u32> = [id("eos")?, id("eot")?, id("eom")?].into_iter().flatten().collect();
        let ends_turn = |(i, t): (usize, &String)| {
            let special = matches!(self.kinds[i], Kind::Control | Kind::UserDefined);
            (special && END_OF_TURN.contains(&t.as_str())).then_some(i as u32)
        };
        eos.extend(self.tokens.iter().enumerate().filter_map(ends_turn));
        Ok(SpecialIds { bos: id("bos")?, eos, pad: id("padding")? })
    }
}

fn chat_template(gguf: &Gguf) -> Result<Option<String>> {
    Ok(gguf.str("tokenizer.chat_template")?.map(str::to_string))
}

fn byte_level(gguf: &Gguf) -> Result<Tokenizer> {
    let vocab = vocab(gguf)?;
    let fail = |message: String| Error::format(&gguf.path, message);
    let name = gguf.str("tokenizer.ggml.pre")?.unwrap_or("default");
    let pre = PreTokenizer::named(name)
        .ok_or_else(|| fail(format!("the pre-tokenizer `{name}` (metadata `tokenizer.ggml.pre`) is not supported")))?;
    let merges = gguf
        .strs("tokenizer.ggml.merges")?
        .ok_or_else(|| fail("metadata `tokenizer.ggml.merges` is missing".into()))?
        .iter()
        .map(|merge| {
            // A token may itself begin with a space in no spelling but GPT-2's, which has none: one space separates.
            let (left, right) = merge.split_once(' ').ok_or_else(|| fail(format!("`{merge}` is not a merge")))?;
            Ok((left.to_string(), right.to_string()))
        })
        .collect::<Result<_>>()?;
    ByteLevelVocab {
        special: vocab.of_kind(Kind::Control),
        added: vocab.of_kind(Kind::UserDefined),
        ids: vocab.ids(gguf)?,
        tokens: vocab.tokens.to_vec(),
        merges,
        pre,
        add_bos: gguf.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(pre.add_bos),
        chat_template: chat_template(gguf)?,
    }
    .build(&gguf.path)
}

fn sentencepiece(gguf: &Gguf) -> Result<Tokenizer> {
    let vocab = vocab(gguf)?;
    let scores = gguf.floats("tokenizer.ggml.scores")?.unwrap_or(&[]);
    if scores.len() != vocab.tokens.len() {
        let message = format!("{} tokens, but {} scores", vocab.tokens.len(), scores.len());
        return Err(Error::format(&gguf.path, message));
    }
    let parts = vocab.tokens.iter().zip(scores).zip(&vocab.kinds);
    Pieces {
        pieces: parts.map(|((text, score), kind)| Piece { text: text.clone(), score: *score, kind: *kind }).collect(),
        algorithm: Algorithm::Bpe,
        add_dummy_prefix: gguf.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
        remove_extra_whitespaces: gguf.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        charsmap: vec![],
        ids: vocab.ids(gguf)?,
        add_bos: gguf.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(true),
        chat_template: chat_template(gguf)?,
    }
    .build(&gguf.path)
}
