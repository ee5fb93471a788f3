//! Text to token ids and back.
//!
//! Whatever a vocabulary is stored in (Hugging Face's `tokenizer.json`, SentencePiece's `.model`, llama2.c's `.bin`,
//! GGUF metadata, Meta's tiktoken file), it becomes one pipeline of the `tokenizers` crate, as Hugging Face's own
//! converters build it.

mod byte_level;
mod chat;
mod gguf;
mod hf;
mod llama2c;
mod pieces;
mod sentencepiece;
mod stream;
mod tiktoken;

pub use chat::{ChatTemplate, Message};
pub use stream::DecodeStream;

use crate::engine::{Error, Result, memory};
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tokenizers::AddedToken;

/// Tokens that end a turn: chat models are often trained to end it with another than their configuration names.
const TURN_ENDS: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>"];

/// Ids of the tokens with a meaning, as far as a file names them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Each ends a text; the main one first.
    pub eos: Vec<u32>,
    /// Fills a batch up.
    pub pad: Option<u32>,
}

/// A tokenizer. Cloning shares it.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    pipeline: tokenizers::Tokenizer,
    vocab_size: usize,
    ids: SpecialIds,
    /// Ids of [`TURN_ENDS`], in no order; asked for every token of a set.
    turn_ends: Vec<u32>,
    add_bos: bool,
    chat_template: Option<String>,
}

/// What the readers hand over; see the methods of [`Tokenizer`] for the meaning of each part.
struct Parts {
    pipeline: tokenizers::Tokenizer,
    ids: SpecialIds,
    add_bos: bool,
    chat_template: Option<String>,
}

impl Tokenizer {
    fn new(parts: Parts) -> Self {
        let largest = parts.pipeline.get_vocab(true).into_values().max();
        let vocab_size = largest.map_or(0, |id| id as usize + 1);
        let mut ids = parts.ids;
        let mut seen = std::collections::HashSet::new();
        ids.eos.retain(|id| (*id as usize) < vocab_size && seen.insert(*id));
        ids.bos = ids.bos.filter(|id| (*id as usize) < vocab_size);
        ids.pad = ids.pad.filter(|id| (*id as usize) < vocab_size);
        let turn_ends = TURN_ENDS.iter().filter_map(|piece| parts.pipeline.token_to_id(piece)).collect();
        Tokenizer(Arc::new(Inner {
            pipeline: parts.pipeline,
            vocab_size,
            ids,
            turn_ends,
            add_bos: parts.add_bos,
            chat_template: parts.chat_template,
        }))
    }

    /// From one file: `tokenizer.json`, a SentencePiece or tiktoken `.model`, or llama2.c's `tok*.bin`. Which one it is
    /// shows in its contents.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text_start = bytes.iter().find(|b| !b.is_ascii_whitespace());
        if text_start == Some(&b'{') {
            return hf::from_files(path, &bytes, &SpecialIds::default());
        }
        if tiktoken::is(&bytes) {
            return tiktoken::parse(path, &bytes);
        }
        if path.extension().is_some_and(|e| e == "bin") {
            return Self::from_llama2c(path, &bytes);
        }
        sentencepiece::parse(path, &bytes)
    }

    /// From a file, as [`Tokenizer::from_file`], or a directory that holds one.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`], and [`Error::Config`] for a directory without a tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::from_file(path);
        }
        Self::from_dir(path, &SpecialIds::default())?
            .ok_or_else(|| Error::config(format!("{}: no tokenizer.json and no tokenizer.model in it", path.display())))
    }

    /// From a model's directory: `tokenizer.json` with its companions, else `tokenizer.model`, else none. `ids` are the
    /// special tokens that the model's configuration names.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`].
    pub fn from_dir(dir: &Path, ids: &SpecialIds) -> Result<Option<Self>> {
        let json = dir.join("tokenizer.json");
        if json.is_file() {
            let bytes = std::fs::read(&json).map_err(Error::io(&json))?;
            return hf::from_files(&json, &bytes, ids).map(Some);
        }
        let model = dir.join("tokenizer.model");
        if !model.is_file() {
            return Ok(None);
        }
        let tokenizer = Self::from_file(&model)?;
        hf::with_companions(dir, tokenizer, ids).map(Some)
    }

    /// Token ids of `text`. No BOS or EOS is added; special tokens spelled out in the text are recognised.
    ///
    /// # Errors
    /// [`Error::Config`] if the tokenizer's own data is inconsistent, [`Error::OutOfMemory`] for a text that is too long.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        // About what the library has in hand at once, where most characters become a token of their own.
        let bytes = text.len().checked_mul(64);
        memory::check(|| format!("encoding a text of {} bytes", text.len()), bytes)?;
        let encoding = guarded("encoding", || self.0.pipeline.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`Tokenizer::encode`] with BOS before and EOS after, as asked.
    ///
    /// # Errors
    /// Also if one is asked for that this tokenizer does not have.
    pub fn encode_with(&self, text: &str, bos: bool, eos: bool) -> Result<Vec<u32>> {
        let need = |id: Option<u32>, name: &str| {
            id.ok_or_else(|| Error::config(format!("{name} was asked for, but this tokenizer has no {name} token")))
        };
        let mut ids = Vec::new();
        if bos {
            ids.push(need(self.bos_id(), "BOS")?);
        }
        ids.extend(self.encode(text)?);
        if eos {
            ids.push(need(self.eos_id(), "EOS")?);
        }
        Ok(ids)
    }

    /// The text of `ids`, special tokens left out. An id that no token has gives nothing.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guarded("decoding", || self.0.pipeline.decode(ids, true))
    }

    /// The text of `ids`, special tokens spelled out.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn decode_raw(&self, ids: &[u32]) -> Result<String> {
        guarded("decoding", || self.0.pipeline.decode(ids, false))
    }

    /// Decodes one id after another, from the start of a text.
    pub fn stream(&self) -> DecodeStream {
        DecodeStream::after(self.clone(), &[])
    }

    /// Decodes one id after another, continuing the text of `prompt`: a first word keeps the space before it.
    pub fn stream_after(&self, prompt: &[u32]) -> DecodeStream {
        DecodeStream::after(self.clone(), prompt)
    }

    /// One more than the largest id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.0.ids.bos
    }

    /// The token that ends a text in training.
    pub fn eos_id(&self) -> Option<u32> {
        self.0.ids.eos.first().copied()
    }

    /// The token that fills a batch up.
    pub fn pad_id(&self) -> Option<u32> {
        self.0.ids.pad
    }

    /// Every token that ends a generation.
    pub fn stop_ids(&self) -> &[u32] {
        &self.0.ids.eos
    }

    /// Whether the model was trained with BOS before a text.
    pub fn add_bos(&self) -> bool {
        self.0.add_bos
    }

    /// The chat template's Jinja source, where there is one.
    pub fn chat_template(&self) -> Option<&str> {
        self.0.chat_template.as_deref()
    }

    /// The token with this id, as the vocabulary spells it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.0.pipeline.id_to_token(id)
    }

    /// The id of the token that the vocabulary spells like this.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.0.pipeline.token_to_id(piece)
    }

    /// The conversation as the model was trained to see it; its special tokens are spelled out, BOS included where the
    /// template writes it, so [`Tokenizer::encode`] is what it should be given to.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no template, or with the template's own complaint about the messages.
    pub fn apply_chat_template(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.chat(None)?.render(messages, add_generation_prompt)
    }

    /// The chat template `given`, or the tokenizer's own, compiled with the tokens that this tokenizer spells.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none, or it is no Jinja.
    pub fn chat(&self, given: Option<&str>) -> Result<ChatTemplate> {
        let Some(template) = given.or(self.chat_template()) else {
            return Err(Error::config_help(
                "this tokenizer has no chat template",
                "give one as Jinja text, write the prompt's text yourself, or use a model that was trained for chat",
            ));
        };
        let spelled = |id: Option<u32>| id.and_then(|id| self.piece(id)).unwrap_or_default();
        ChatTemplate::new(template, &spelled(self.bos_id()), &spelled(self.eos_id()))
    }

    /// Whether this token ends what one side of a conversation says.
    pub fn ends_turn(&self, id: u32) -> bool {
        self.stop_ids().contains(&id) || self.0.turn_ends.contains(&id)
    }

    /// A hash of everything that ids and chat templates depend on: two tokenizers with one fingerprint encode alike.
    ///
    /// # Errors
    /// [`Error::Config`] if the vocabulary cannot be written down.
    pub fn fingerprint(&self) -> Result<[u8; 32]> {
        let Inner { pipeline, vocab_size: _, ids, turn_ends: _, add_bos, chat_template } = &*self.0;
        let pipeline = guarded("saving the tokenizer", || pipeline.to_string(false))?;
        let rest = format!("{ids:?} {add_bos} {chat_template:?} ");
        Ok(Sha256::new().chain_update(rest).chain_update(pipeline).finalize().into())
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `dir`, as transformers reads them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, dir: &Path) -> Result<()> {
        let json = guarded("saving the tokenizer", || self.0.pipeline.to_string(true))?;
        let spelled = |id: Option<u32>| id.and_then(|id| self.piece(id));
        let config = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "add_bos_token": self.add_bos(),
            "bos_token": spelled(self.bos_id()),
            "eos_token": spelled(self.eos_id()),
            "pad_token": spelled(self.pad_id()),
            "chat_template": self.chat_template(),
        });
        for (name, text) in [("tokenizer.json", json), ("tokenizer_config.json", format!("{config:#}\n"))] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(Error::io(&path))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_size())
    }
}

/// Runs `work` in the tokenizers crate, which indexes without checking into some of the tables it reads from files: its
/// panics become errors like any other.
fn guarded<T>(doing: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(Error::config(format!("{doing} failed: {e}"))),
        Err(_) => Err(Error::config(format!("{doing} failed: the tokenizer's data is inconsistent"))),
    }
}

/// Registers `tokens` as special: found in raw text, left out by [`Tokenizer::decode`].
fn add_special(pipeline: &mut tokenizers::Tokenizer, tokens: &[String]) -> tokenizers::Result<()> {
    pipeline.add_special_tokens(tokens.iter().map(|t| AddedToken::from(t.clone(), true).normalized(false)))?;
    Ok(())
}
