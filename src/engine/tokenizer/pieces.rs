//! SentencePiece vocabularies, whatever file they came from, as a pipeline of the `tokenizers` crate.
//!
//! A BPE vocabulary stores a score per piece and no merges. They follow from the scores: two neighbours may merge when
//! their concatenation is a piece, the best score first. Pieces write a space as `▁`; characters without a piece become
//! bytes `<0xNN>`.
//!
//! Source: transformers, `convert_slow_tokenizer.py` (`generate_merges`, `LlamaConverter`, `SpmConverter`).

use super::{Parts, SpecialIds, Tokenizer, add_special, guarded};
use crate::engine::{Error, Result};
use std::path::Path;
use tokenizers::AddedToken;
use tokenizers::decoders::{DecoderWrapper, byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence, strip::Strip};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::{ModelWrapper, unigram::Unigram};
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{self, NormalizerWrapper, Precompiled, Prepend};

/// SentencePiece's space.
pub(super) const SPACE: &str = "▁";

/// What a piece is for; numbered as in `sentencepiece_model.proto` and in GGUF's `token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    pub(super) fn from_number(n: i64) -> Option<Self> {
        Some(match n {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }
}

/// One entry of the vocabulary; its id is its place.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// How pieces are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Merging the best-scored neighbours.
    Bpe,
    /// The likeliest segmentation.
    Unigram,
}

/// A SentencePiece vocabulary and its settings.
#[derive(Debug)]
pub(super) struct Pieces {
    pub pieces: Vec<Piece>,
    pub algorithm: Algorithm,
    /// A space is put before every text.
    pub add_dummy_prefix: bool,
    /// Runs of spaces become one, and spaces at the ends go.
    pub remove_extra_whitespaces: bool,
    /// Unicode normalisation, in SentencePiece's compiled form; empty for none.
    pub charsmap: Vec<u8>,
    pub ids: SpecialIds,
    pub add_bos: bool,
    pub chat_template: Option<String>,
}

impl Pieces {
    /// The tokenizer. `path` is named in errors.
    pub(super) fn build(self, path: &Path) -> Result<Tokenizer> {
        if self.pieces.is_empty() {
            return Err(Error::format(path, "the vocabulary is empty"));
        }
        let pipeline =
            guarded("building the tokenizer", || self.pipeline()).map_err(|e| Error::format(path, e.to_string()))?;
        let Pieces { ids, add_bos, chat_template, .. } = self;
        Ok(Tokenizer::new(Parts { pipeline, ids, add_bos, chat_template }))
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |p| p.kind == kind)
    }

    fn pipeline(&self) -> tokenizers::Result<tokenizers::Tokenizer> {
        let byte_fallback = self.of_kind(Kind::Byte).next().is_some();
        let unknown = self.of_kind(Kind::Unknown).next();
        let model: ModelWrapper = match self.algorithm {
            Algorithm::Bpe => {
                let vocab: Vocab = self.pieces.iter().enumerate().map(|(i, p)| (p.text.clone(), i as u32)).collect();
                let merges = self.merges(&vocab);
                let mut bpe =
                    BPE::builder().vocab_and_merges(vocab, merges).fuse_unk(true).byte_fallback(byte_fallback);
                if let Some(unknown) = unknown {
                    bpe = bpe.unk_token(unknown.text.clone());
                }
                bpe.build()?.into()
            }
            Algorithm::Unigram => {
                let vocab = self.pieces.iter().map(|p| (p.text.clone(), f64::from(p.score))).collect();
                let unknown = self.pieces.iter().position(|p| p.kind == Kind::Unknown);
                Unigram::from(vocab, unknown, byte_fallback)?.into()
            }
        };
        let mut pipeline = tokenizers::Tokenizer::new(model);
        pipeline.with_normalizer(Some(self.normalizer()?))?;
        let mut decoders: Vec<DecoderWrapper> =
            vec![Replace::new(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
        if self.add_dummy_prefix {
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        pipeline.with_decoder(Some(Sequence::new(decoders)));
        let special: Vec<String> = self
            .pieces
            .iter()
            .filter(|p| matches!(p.kind, Kind::Control | Kind::Unknown))
            .map(|p| p.text.clone())
            .collect();
        add_special(&mut pipeline, &special)?;
        pipeline.add_tokens(
            self.of_kind(Kind::UserDefined).map(|p| AddedToken::from(p.text.clone(), false).normalized(false)),
        )?;
        Ok(pipeline)
    }

    fn normalizer(&self) -> tokenizers::Result<NormalizerWrapper> {
        let regex = |pattern: &str, to: &str| Replace::new(ReplacePattern::Regex(pattern.into()), to);
        let mut steps: Vec<NormalizerWrapper> = vec![];
        if !self.charsmap.is_empty() {
            steps.push(Precompiled::from(&self.charsmap)?.into());
        }
        if self.remove_extra_whitespaces {
            steps.push(regex("^ +| +$", "")?.into());
            steps.push(regex(" {2,}", " ")?.into());
        }
        if self.add_dummy_prefix {
            steps.push(Prepend::new(SPACE.into()).into());
        }
        steps.push(Replace::new(" ", SPACE)?.into());
        Ok(normalizers::Sequence::new(steps).into())
    }

    /// Every split of a piece into two pieces, best score first; among equals the longer left part first.
    fn merges(&self, vocab: &Vocab) -> Vec<(String, String)> {
        let mut merges: Vec<(f32, usize, usize, (&str, &str))> = vec![];
        for piece in self.pieces.iter().filter(|p| matches!(p.kind, Kind::Normal | Kind::UserDefined)) {
            let (text, chars) = (piece.text.as_str(), piece.text.chars().count());
            let mut splits: Vec<_> = text
                .char_indices()
                .skip(1)
                .enumerate()
                .filter_map(|(n, (at, _))| {
                    let (left, right) = text.split_at(at);
                    let ids = (*vocab.get(left)?, *vocab.get(right)?);
                    Some((ids, (piece.score, n + 1, chars - n - 1, (left, right))))
                })
                .collect();
            splits.sort_by_key(|(ids, _)| *ids);
            merges.extend(splits.into_iter().map(|(_, merge)| merge));
        }
        // Stable, as Python's sort is: what compares equal stays in the order of the vocabulary.
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        merges.into_iter().map(|(.., (left, right))| (left.to_string(), right.to_string())).collect()
    }
}
