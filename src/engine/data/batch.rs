//! One micro-batch: examples padded on the right to one rectangle, with the weight of its loss. A row holds one example
//! or, packed, several, one behind the other.
//!
//! Causal language model convention of transformers: `labels` line up with `input_ids` and the model shifts inside, so
//! the first position of an example is never predicted. Padding is never labelled and never attended to.

use super::IGNORE_INDEX;
use super::tokenize::{Example, TextTokenizer, segments};
use crate::engine::Result;
use crate::engine::ops::documents::Documents;
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// `rows` sequences padded to `width` tokens. Row-major: token `t` of row `b` is at `b * width + t`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Sequences.
    pub rows: usize,
    /// Tokens of each row, padding included.
    pub width: usize,
    /// `[rows, width]` token ids.
    pub input_ids: Vec<u32>,
    /// `[rows, width]` labels, [`IGNORE_INDEX`] on padding and on what is only read.
    pub labels: Vec<i64>,
    /// Tokens of each row that are not padding.
    pub lengths: Vec<usize>,
    /// Tokens that are not padding.
    pub tokens: usize,
    /// The examples of each row, by their lengths: what keeps attention from crossing between them.
    pub documents: Documents,
    /// Labels that are predicted: those after an example's first that are not [`IGNORE_INDEX`].
    pub label_tokens: usize,
    /// This batch's share of its optimizer window: the loss to differentiate is `mean loss * weight`. 1 on its own.
    pub weight: f64,
    /// The [`Example::source`] of each example, row by row.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Pads `examples`, a row each, to the longest of them, rounded up to a multiple of `multiple` (at least 1).
    pub fn collate(examples: &[Arc<Example>], pad_id: u32, multiple: usize) -> Self {
        Self::packed(examples.iter().map(std::slice::from_ref), pad_id, multiple)
    }

    /// As [`Batch::collate`] for rows of several examples.
    pub fn packed<R: AsRef<[Arc<Example>]>>(rows: impl IntoIterator<Item = R>, pad_id: u32, multiple: usize) -> Self {
        let rows: Vec<R> = rows.into_iter().collect();
        let examples = || rows.iter().flat_map(|row| row.as_ref());
        let documents =
            Documents::packed(rows.iter().map(|r| r.as_ref().iter().map(|e| e.ids.len()).collect::<Vec<_>>()));
        let lengths: Vec<usize> = (0..rows.len()).map(|row| documents.tokens(row)).collect();
        let width = lengths.iter().copied().max().unwrap_or(0).next_multiple_of(multiple.max(1));
        let mut input_ids = Vec::with_capacity(rows.len() * width);
        let mut labels = Vec::with_capacity(rows.len() * width);
        for (row, packed) in rows.iter().enumerate() {
            for (i, example) in packed.as_ref().iter().enumerate() {
                input_ids.extend_from_slice(&example.ids);
                let begin = labels.len();
                labels.extend_from_slice(&example.labels);
                // What stands before it is another's end.
                if let Some(first) = labels.get_mut(begin).filter(|_| i > 0) {
                    *first = IGNORE_INDEX;
                }
            }
            input_ids.resize((row + 1) * width, pad_id);
            labels.resize((row + 1) * width, IGNORE_INDEX);
        }
        Batch {
            rows: rows.len(),
            width,
            input_ids,
            labels,
            tokens: lengths.iter().sum(),
            lengths,
            documents,
            label_tokens: examples().map(|e| e.label_tokens()).sum(),
            weight: 1.0,
            indices: examples().map(|e| e.source).collect(),
        }
    }

    /// Share of the rectangle's places that hold tokens, 0..1; the others are padding.
    pub fn useful_share(&self) -> f64 {
        self.tokens as f64 / (self.rows * self.width).max(1) as f64
    }

    /// `[rows, width]`: 1 on tokens, 0 on padding.
    pub fn attention_mask(&self) -> Vec<u8> {
        let row = |&length: &usize| (0..self.width).map(move |t| u8::from(t < length));
        self.lengths.iter().flat_map(row).collect()
    }

    /// Row `row` (below [`Batch::rows`]) as text without its padding, in runs of tokens that are all learned (`true`) or
    /// all only read.
    pub fn show(&self, row: usize, tokenizer: &dyn TextTokenizer) -> Result<Vec<(String, bool)>> {
        let start = row * self.width;
        let trained = |i: usize| i > 0 && self.labels[start + i] != IGNORE_INDEX;
        segments(tokenizer, &self.input_ids[start..start + self.lengths[row]], trained)
    }

    /// `input_ids` as a U32 tensor `[rows, width]`.
    pub fn input_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.input_ids, (self.rows, self.width), device)?)
    }

    /// `labels` as an I64 tensor `[rows, width]`.
    pub fn labels_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.labels, (self.rows, self.width), device)?)
    }

    /// [`Batch::attention_mask`] as a U8 tensor `[rows, width]`.
    pub fn mask_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.attention_mask(), (self.rows, self.width), device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example<T: Copy + Into<u32>>(ids: &[T], masked: usize, source: usize) -> Arc<Example> {
        let ids: Vec<u32> = ids.iter().map(|&id| id.into()).collect();
        let labels = ids.iter().enumerate().map(|(i, &id)| if i < masked { -100 } else { i64::from(id) }).collect();
        Arc::new(Example { ids, labels, source, lost: 0 })
    }

    /// Protects the rectangle: right padding, no label on padding, lengths and counts; EOS that equals padding stays
    /// labelled where it is a token.
    #[test]
    fn pads_on_the_right() {
        let batch = Batch::collate(&[example(&[5u32, 6, 9], 1, 3), example(&[7u32, 9], 0, 8)], 9, 1);
        assert_eq!((batch.rows, batch.width), (2, 3));
        assert_eq!(batch.input_ids, [5, 6, 9, 7, 9, 9]);
        assert_eq!(batch.labels, [-100, 6, 9, 7, 9, -100]);
        assert_eq!(batch.attention_mask(), [1, 1, 1, 1, 1, 0]);
        assert_eq!((batch.tokens, batch.label_tokens), (5, 2 + 1));
        assert_eq!((batch.lengths.as_slice(), batch.indices.as_slice()), (&[3, 2][..], &[3, 8][..]));
    }

    /// Protects packed rows: examples one behind the other, the label of each one's first token taken away, bounds kept.
    #[test]
    fn packs_several_into_a_row() {
        let rows = [vec![example(&[5u32, 6, 9], 0, 3), example(&[7u32, 9], 0, 8)], vec![example(&[4u32, 9], 1, 1)]];
        let batch = Batch::packed(&rows, 0, 4);
        assert_eq!((batch.rows, batch.width, batch.documents.count()), (2, 8, 3));
        assert_eq!(batch.input_ids, [5, 6, 9, 7, 9, 0, 0, 0, 4, 9, 0, 0, 0, 0, 0, 0]);
        assert_eq!(batch.labels[..6], [5, 6, 9, -100, 9, -100]);
        assert_eq!((batch.lengths.as_slice(), batch.indices.as_slice()), (&[5, 2][..], &[3, 8, 1][..]));
        assert_eq!((batch.tokens, batch.label_tokens, batch.useful_share()), (7, 2 + 1 + 1, 7.0 / 16.0));
        assert_eq!(batch.documents, Documents::packed([vec![3, 2], vec![2]]));
    }

    /// Protects the view of a batch at a pause: what is learned is marked, padding is left out, row by row.
    #[test]
    fn rows_are_shown_with_what_is_learned() {
        let batch = Batch::collate(&[example(b"abc", 2, 0), example(b"de", 1, 1)], u32::from(b'_'), 1);
        let toy = crate::engine::data::tokenize::toy::Toy::shared();
        let plain = |s: &str| (s.to_string(), false);
        let learned = |s: &str| (s.to_string(), true);
        assert_eq!(batch.show(0, &*toy).unwrap(), [plain("ab"), learned("c")]);
        assert_eq!(batch.show(1, &*toy).unwrap(), [plain("d"), learned("e")]);
    }

    /// Protects padding to a multiple, and the tensors' shapes and dtypes.
    #[test]
    fn tensors_have_the_shape() {
        let batch = Batch::collate(&[example(&[5u32, 6, 9], 1, 0)], 2, 8);
        assert_eq!(batch.width, 8);
        let ids = batch.input_tensor(&Device::Cpu).unwrap();
        let labels = batch.labels_tensor(&Device::Cpu).unwrap();
        assert_eq!((ids.dims(), ids.dtype()), (&[1, 8][..], candle_core::DType::U32));
        assert_eq!(labels.to_vec2::<i64>().unwrap(), [[-100, 6, 9, -100, -100, -100, -100, -100]]);
        assert_eq!(batch.mask_tensor(&Device::Cpu).unwrap().to_vec2::<u8>().unwrap(), [[1, 1, 1, 0, 0, 0, 0, 0]]);
    }
}
