//! SentencePiece's `.model` files: one protobuf message.
//!
//! Source: <https://github.com/google/sentencepiece>, `src/sentencepiece_model.proto`; the numbers below are its fields'.

use super::pieces::{Algorithm, Kind, Piece, Pieces};
use super::{SpecialIds, Tokenizer};
use crate::engine::files::protobuf::Fields;
use crate::engine::{Error, Result};
use std::path::Path;

/// Reads a `.model` file's bytes.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Tokenizer> {
    let pieces =
        message(bytes).map_err(|e| Error::format(path, format!("not a SentencePiece model, or a damaged one: {e}")))?;
    pieces.build(path)
}

type Parse<T> = std::result::Result<T, String>;

fn message(bytes: &[u8]) -> Parse<Pieces> {
    // The defaults are those of the .proto file.
    let mut model = Pieces {
        pieces: vec![],
        algorithm: Algorithm::Unigram,
        add_dummy_prefix: true,
        remove_extra_whitespaces: true,
        charsmap: vec![],
        ids: SpecialIds::default(),
        add_bos: true,
        chat_template: None,
    };
    let mut ids = Ids { bos: 1, eos: 2, pad: -1 };
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => model.pieces.push(piece(field.bytes())?),
            (2, field) => model.algorithm = trainer_spec(field.bytes(), &mut ids)?,
            (3, field) => normalizer_spec(field.bytes(), &mut model)?,
            _ => {}
        }
    }
    if model.pieces.is_empty() {
        return Err("it holds no pieces".into());
    }
    let known = |id: i32| u32::try_from(id).ok().filter(|id| (*id as usize) < model.pieces.len());
    model.ids = SpecialIds { bos: known(ids.bos), eos: known(ids.eos).into_iter().collect(), pad: known(ids.pad) };
    Ok(model)
}

fn piece(bytes: &[u8]) -> Parse<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => {
                piece.text = String::from_utf8(field.bytes().to_vec()).map_err(|_| "a piece is not UTF-8")?;
            }
            (2, field) => piece.score = field.float(),
            (3, field) => {
                let number = field.int();
                piece.kind = Kind::from_number(i64::from(number))
                    .ok_or_else(|| format!("a piece of the unknown type {number}"))?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

struct Ids {
    bos: i32,
    eos: i32,
    pad: i32,
}

fn trainer_spec(bytes: &[u8], ids: &mut Ids) -> Parse<Algorithm> {
    let mut algorithm = Algorithm::Unigram;
    for field in Fields::new(bytes) {
        match field? {
            (3, field) => {
                algorithm = match field.int() {
                    1 => Algorithm::Unigram,
                    2 => Algorithm::Bpe,
                    3 => return Err("the model type WORD is not supported; BPE and UNIGRAM are".into()),
                    4 => return Err("the model type CHAR is not supported; BPE and UNIGRAM are".into()),
                    other => return Err(format!("the unknown model type {other}")),
                }
            }
            (24, field) if field.flag() => return Err("spaces as suffixes are not supported".into()),
            (41, field) => ids.bos = field.int(),
            (42, field) => ids.eos = field.int(),
            (43, field) => ids.pad = field.int(),
            _ => {}
        }
    }
    Ok(algorithm)
}

fn normalizer_spec(bytes: &[u8], model: &mut Pieces) -> Parse<()> {
    for field in Fields::new(bytes) {
        match field? {
            (2, field) => model.charsmap = field.bytes().to_vec(),
            (3, field) => model.add_dummy_prefix = field.flag(),
            (4, field) => model.remove_extra_whitespaces = field.flag(),
            (5, field) if !field.flag() => return Err("unescaped spaces are not supported".into()),
            _ => {}
        }
    }
    Ok(())
}
