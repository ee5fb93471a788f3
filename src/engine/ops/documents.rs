//! Where the documents of each row of a batch begin and end: what attention and positions need to know of packed rows.

use crate::engine::error::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// The documents of each row, by cumulative lengths as flash-attention's `cu_seqlens`: a row `[0, 5, 9]` holds one
/// document in tokens 0 to 4 and one in 5 to 8. What follows is padding. Cloning shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents(Arc<[Vec<usize>]>);

impl Documents {
    /// One document in each row, of so many tokens: a batch that is padded on the right.
    pub fn one_each(lengths: &[usize]) -> Self {
        Documents(lengths.iter().map(|n| vec![0, *n]).collect())
    }

    /// Several documents in each row, one directly behind the other, of so many tokens each.
    pub fn packed<R: AsRef<[usize]>>(rows: impl IntoIterator<Item = R>) -> Self {
        let bounds = |lengths: &[usize]| {
            let mut end = 0usize;
            std::iter::once(0)
                .chain(lengths.iter().map(|n| {
                    end = end.saturating_add(*n); // a sum that does not fit is refused by `check`
                    end
                }))
                .collect()
        };
        Documents(rows.into_iter().map(|r| bounds(r.as_ref())).collect())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// The bounds of row `b`'s documents: one more than there are documents, the first 0.
    pub fn bounds(&self, b: usize) -> &[usize] {
        &self.0[b]
    }

    /// The documents of row `b`, as ranges of its tokens.
    pub fn of_row(&self, b: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0[b].windows(2).map(|w| w[0]..w[1])
    }

    /// Tokens of row `b` that are not padding.
    pub fn tokens(&self, b: usize) -> usize {
        self.0[b].last().copied().unwrap_or(0)
    }

    /// Documents of all rows.
    pub fn count(&self) -> usize {
        self.0.iter().map(|bounds| bounds.len() - 1).sum()
    }

    /// Tokens of the longest document.
    pub fn longest(&self) -> usize {
        (0..self.rows()).flat_map(|b| self.of_row(b)).map(|d| d.len()).max().unwrap_or(0)
    }

    /// Whether a row holds more than one document.
    pub fn is_packed(&self) -> bool {
        self.0.iter().any(|bounds| bounds.len() > 2)
    }

    /// Whether a document other than the first begins at token `t` of row `b`: no token before it says anything about it.
    pub fn begins(&self, b: usize, t: usize) -> bool {
        let bounds = &self.0[b];
        t > 0 && bounds[..bounds.len() - 1].binary_search(&t).is_ok()
    }

    /// The place of each token in its document, row-major for rows of `width` tokens; 0 in padding.
    pub fn positions(&self, width: usize) -> Vec<usize> {
        let mut positions = vec![0; self.rows() * width];
        for b in 0..self.rows() {
            for document in self.of_row(b) {
                let row = &mut positions[b * width..(b + 1) * width];
                row[document].iter_mut().enumerate().for_each(|(i, p)| *p = i);
            }
        }
        positions
    }

    /// Refuses what does not describe `rows` rows of `width` tokens.
    ///
    /// # Errors
    /// [`Error::Shape`], for the operation `op`.
    pub fn check(&self, op: &'static str, rows: usize, width: usize) -> Result<()> {
        let lengths: Vec<usize> = (0..self.rows()).map(|b| self.tokens(b)).collect();
        if lengths.len() == rows && lengths.iter().all(|n| *n <= width) {
            return Ok(());
        }
        Err(Error::shape(op, format!("lengths {lengths:?} must be {rows} numbers up to {width}")))
    }
}

/// Query rows whose scores exist at once.
const BLOCK: usize = 64;

/// Query rows of one document, and the keys that the last of them sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub rows: Range<usize>,
    pub keys: Range<usize>,
}

/// The blocks of a batch row whose documents have these `bounds` (none: one document of every key). Query `i` is key
/// `i + shift` where attention is `causal`.
pub(super) fn blocks(bounds: &[usize], queries: usize, keys: usize, shift: usize, causal: bool) -> Vec<Block> {
    let whole = [0, keys];
    let bounds = if bounds.is_empty() { &whole } else { bounds };
    let several = bounds.len() > 2;
    let mut blocks = Vec::new();
    for document in bounds.windows(2).map(|w| w[0]..w[1]).filter(|d| !d.is_empty()) {
        let asking = if causal || several {
            document.start.saturating_sub(shift)..document.end.saturating_sub(shift)
        } else {
            0..queries
        };
        for start in asking.clone().step_by(BLOCK) {
            let rows = start..(start + BLOCK).min(asking.end);
            let end = if causal { rows.end + shift } else { document.end };
            blocks.push(Block { rows, keys: document.start..end });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects what each part of the model reads from one description: ranges, places, beginnings, sizes.
    #[test]
    fn packed_rows_are_described() {
        let d = Documents::packed([vec![3, 2], vec![4]]);
        assert_eq!((d.rows(), d.count(), d.longest(), d.is_packed()), (2, 3, 4, true));
        assert_eq!(d.of_row(0).collect::<Vec<_>>(), [0..3, 3..5]);
        assert_eq!(d.positions(6), [0, 1, 2, 0, 1, 0, 0, 1, 2, 3, 0, 0]);
        let begins: Vec<usize> = (0..6).filter(|t| d.begins(0, *t)).collect();
        assert_eq!((begins, d.begins(1, 4), d.tokens(1)), (vec![3], false, 4));
        assert!(!Documents::one_each(&[4, 0]).is_packed());
        assert_eq!(Documents::one_each(&[4, 2]), Documents::packed([[4], [2]]));
    }

    /// Protects the kernels from documents that lie outside the rows, sums that overflow included.
    #[test]
    fn what_does_not_fit_is_refused() {
        let d = Documents::packed([vec![3, 2], vec![4]]);
        assert!(d.check("t", 2, 5).is_ok());
        assert!(d.check("t", 2, 4).is_err() && d.check("t", 1, 5).is_err());
        assert!(Documents::packed([[usize::MAX, 5]]).check("t", 1, 5).is_err());
    }

    /// Protects the cost of packing: no block is multiplied with keys that none of its rows sees.
    #[test]
    fn blocks_stay_within_documents() {
        let cells =
            |bounds: &[usize], n| blocks(bounds, n, n, 0, true).iter().map(|b| b.rows.len() * b.keys.len()).sum();
        let (packed, whole): (usize, usize) = (cells(&[0, 64, 128, 192, 256], 256), cells(&[], 256));
        assert_eq!((packed, whole), (4 * 64 * 64, 64 * (64 + 128 + 192 + 256)));
        assert_eq!(blocks(&[0, 3], 1, 5, 4, true), [], "the one query is padding");
        assert_eq!(blocks(&[0, 3], 1, 5, 0, false), [Block { rows: 0..1, keys: 0..3 }]);
    }
}
