//! llama2.c's `tok*.bin` and `tokenizer.bin`: the longest piece's length, then score, length and bytes of each piece.
//!
//! Source: <https://github.com/karpathy/llama2.c>, `tokenizer.py` (`export`), which writes `▁` as a space and BOS and EOS
//! (1 and 2) as text with newlines around it.

use super::pieces::{Algorithm, Kind, Piece, Pieces, SPACE};
use super::{SpecialIds, Tokenizer};
use crate::engine::files::bytes::Reader;
use crate::engine::{Error, Result};
use std::path::Path;

impl Tokenizer {
    /// From the bytes of a llama2.c tokenizer file; `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Format`] if they are cut short or no such file.
    pub fn from_llama2c(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(path, bytes);
        let longest = r.u32("the longest piece's length")?;
        let mut pieces = vec![];
        while r.remaining() > 0 {
            let score = r.f32("a piece's score")?;
            let len = r.u32("a piece's length")?;
            if len > longest {
                let message =
                    format!("not a llama2.c tokenizer: a piece of {len} bytes, where the longest has {longest}");
                return Err(r.error(message));
            }
            let text = std::str::from_utf8(r.take(len as usize, "a piece")?);
            let text = text.map_err(|_| Error::format(path, "not a llama2.c tokenizer: a piece is not UTF-8"))?;
            pieces.push(piece(pieces.len(), text, score));
        }
        if pieces.len() < 3 {
            return Err(r.error("not a llama2.c tokenizer: it has no room for <unk>, <s> and </s>"));
        }
        Pieces {
            pieces,
            algorithm: Algorithm::Bpe,
            add_dummy_prefix: true,
            // run.c keeps every space.
            remove_extra_whitespaces: false,
            charsmap: vec![],
            ids: SpecialIds { bos: Some(1), eos: vec![2], pad: None },
            add_bos: true,
            chat_template: None,
        }
        .build(path)
    }
}

fn piece(id: usize, text: &str, score: f32) -> Piece {
    let (text, kind) = match id {
        0 => ("<unk>".into(), Kind::Unknown),
        1 => ("<s>".into(), Kind::Control),
        2 => ("</s>".into(), Kind::Control),
        _ if is_byte(text) => (text.into(), Kind::Byte),
        _ => (text.replace(' ', SPACE), Kind::Normal),
    };
    Piece { text, score, kind }
}

/// `<0xNN>`
fn is_byte(text: &str) -> bool {
    let hex = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    hex.is_some_and(|h| h.len() == 2 && h.bytes().all(|b| b.is_ascii_hexdigit()))
}
