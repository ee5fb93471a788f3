//! Keys and values of the tokens read so far, so that each new token is computed once.
//!
//! A cache is used in one of two ways: all rows are equally long and grow together ([`Llama::next_logits`]), or each row
//! has a length of its own ([`Llama::prefill`], [`Llama::step`]): then a row that has ended makes room for another.
//!
//! [`Llama::next_logits`]: super::Llama::next_logits
//! [`Llama::prefill`]: super::Llama::prefill
//! [`Llama::step`]: super::Llama::step

use crate::engine::error::{Error, Result};
use candle_core::Tensor as Value;

/// Positions by which a buffer of rows grows.
const GROW: usize = 64;

/// One block's keys and values, `[rows, capacity, kv_heads, head_dim]`.
#[derive(Debug, Default)]
pub struct BlockCache {
    kv: Option<(Value, Value)>,
    len: usize,
}

impl BlockCache {
    /// Appends `k` and `v` to all rows at one place and returns all keys and values so far.
    pub fn append(&mut self, k: &Value, v: &Value) -> Result<(Value, Value)> {
        let (b, t, h, d) = k.dims4()?;
        let need = self.len + t;
        let buffers = match self.kv.take() {
            Some((ks, vs)) if ks.dim(1)? >= need => (ks, vs),
            old => {
                let capacity = need.next_power_of_two().max(64);
                let grow = |old: Option<&Value>, like: &Value| -> Result<Value> {
                    let new = Value::zeros((b, capacity, h, d), like.dtype(), like.device())?;
                    if let Some(old) = old {
                        new.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                    }
                    Ok(new)
                };
                (grow(old.as_ref().map(|o| &o.0), k)?, grow(old.as_ref().map(|o| &o.1), v)?)
            }
        };
        buffers.0.slice_set(&k.contiguous()?, 1, self.len)?;
        buffers.1.slice_set(&v.contiguous()?, 1, self.len)?;
        self.len = need;
        let all = (buffers.0.narrow(1, 0, need)?, buffers.1.narrow(1, 0, need)?);
        self.kv = Some(buffers);
        Ok(all)
    }

    /// Puts one token of each row behind that row's `lens` tokens. Returns the rows' whole buffers: what lies behind a
    /// row's end is for the attention's lengths to hide.
    pub fn append_each(&mut self, k: &Value, v: &Value, lens: &[usize]) -> Result<(Value, Value)> {
        let rows = lens.len();
        self.reserve(lens, rows, lens.iter().max().map_or(0, |n| n + 1), k)?;
        let Some((ks, vs)) = &self.kv else { return Err(empty()) };
        for (buffer, new) in [(ks, k), (vs, v)] {
            let new = new.contiguous()?;
            for (row, len) in lens.iter().enumerate() {
                buffer.narrow(0, row, 1)?.slice_set(&new.narrow(0, row, 1)?, 1, *len)?;
            }
        }
        Ok((ks.narrow(0, 0, rows)?, vs.narrow(0, 0, rows)?))
    }

    /// Room for `rows` rows of `need` tokens, keeping the first rows, of `kept` tokens each. `like` says dtype, device
    /// and heads. With more rows than before there is no more than that room: the row that a wider one was for is gone.
    fn reserve(&mut self, kept: &[usize], rows: usize, need: usize, like: &Value) -> Result<()> {
        let (_, _, h, d) = like.dims4()?;
        let (slots, capacity) = match &self.kv {
            Some((ks, _)) => (ks.dim(0)?, ks.dim(1)?),
            None => (0, 0),
        };
        if rows <= slots && need <= capacity {
            return Ok(());
        }
        let dims = (rows.max(slots), need.next_multiple_of(GROW), h, d);
        let grow = |old: Option<&Value>| -> Result<Value> {
            let new = Value::zeros(dims, like.dtype(), like.device())?;
            if let Some(old) = old {
                copy_rows(old, kept, &new, 0)?;
            }
            Ok(new)
        };
        let old = self.kv.take();
        self.kv = Some((grow(old.as_ref().map(|o| &o.0))?, grow(old.as_ref().map(|o| &o.1))?));
        Ok(())
    }

    /// Copies the rows of `other`, `lens` tokens each, behind the first rows, of `kept` tokens each.
    fn admit(&mut self, kept: &[usize], other: &BlockCache, lens: &[usize]) -> Result<()> {
        let Some((ks, vs)) = &other.kv else { return Err(empty()) };
        let need = kept.iter().chain(lens).max().copied().unwrap_or(0);
        self.reserve(kept, kept.len() + lens.len(), need, ks)?;
        let Some(mine) = &self.kv else { return Err(empty()) };
        copy_rows(ks, lens, &mine.0, kept.len())?;
        copy_rows(vs, lens, &mine.1, kept.len())
    }

    /// Copies row `from`, `len` tokens, over row `to`.
    fn move_row(&self, from: usize, to: usize, len: usize) -> Result<()> {
        let Some((ks, vs)) = &self.kv else { return Err(empty()) };
        for buffer in [ks, vs] {
            // A copy, because candle does not write into a tensor what is read from its own storage.
            let tokens = buffer.narrow(0, from, 1)?.narrow(1, 0, len)?.copy()?;
            buffer.narrow(0, to, 1)?.slice_set(&tokens, 1, 0)?;
        }
        Ok(())
    }
}

/// Copies the first rows of `from`, `lens` tokens each, to the rows of `to` from `at` on.
fn copy_rows(from: &Value, lens: &[usize], to: &Value, at: usize) -> Result<()> {
    for (row, len) in lens.iter().enumerate() {
        let tokens = from.narrow(0, row, 1)?.narrow(1, 0, *len)?;
        to.narrow(0, at + row, 1)?.slice_set(&tokens, 1, 0)?;
    }
    Ok(())
}

fn empty() -> Error {
    Error::config("this cache holds nothing yet: read a prompt with it first")
}

/// The whole model's cache.
#[derive(Debug, Default)]
pub struct KvCache {
    blocks: Vec<BlockCache>,
    len: usize,
    /// Tokens of each row, where rows have lengths of their own.
    rows: Vec<usize>,
}

impl KvCache {
    /// An empty cache for `blocks` blocks.
    pub fn new(blocks: usize) -> Self {
        KvCache { blocks: (0..blocks).map(|_| BlockCache::default()).collect(), len: 0, rows: Vec::new() }
    }

    /// Positions held, of rows that are equally long.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0 && self.rows.is_empty()
    }

    /// Tokens held of each row, of rows with lengths of their own.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Adds the rows of `other` behind those held.
    ///
    /// # Errors
    /// If the two are not of one model.
    pub fn admit(&mut self, other: KvCache) -> Result<()> {
        if self.rows.is_empty() {
            // The buffers that are left from rows before are given up: `other` has its own.
            *self = other;
            return Ok(());
        }
        if self.blocks.len() != other.blocks.len() {
            let (ours, theirs) = (self.blocks.len(), other.blocks.len());
            return Err(Error::config(format!("a cache of {theirs} blocks cannot join one of {ours}")));
        }
        for (mine, theirs) in self.blocks.iter_mut().zip(other.blocks) {
            mine.admit(&self.rows, &theirs, &other.rows)?;
        }
        self.rows.extend(other.rows);
        Ok(())
    }

    /// Forgets row `row`; the last row takes its place.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) -> Result<()> {
        let Some(last) = self.rows.len().checked_sub(1).filter(|last| row <= *last) else {
            return Err(Error::config(format!("this cache has no row {row}")));
        };
        if row != last {
            for block in &self.blocks {
                block.move_row(last, row, self.rows[last])?;
            }
        }
        self.rows.swap_remove(row);
        Ok(())
    }

    /// Block `i`'s part.
    pub(super) fn block(&mut self, i: usize) -> Result<&mut BlockCache> {
        self.blocks
            .get_mut(i)
            .ok_or_else(|| Error::config(format!("this cache has no block {i}: it was made for another model")))
    }

    /// Notes that every block has appended `count` positions.
    pub(super) fn advance(&mut self, count: usize) {
        self.len += count;
    }

    /// Notes that every block holds rows of these lengths.
    pub(super) fn set_rows(&mut self, lens: &[usize]) {
        self.len = 0;
        self.rows = lens.to_vec();
    }

    /// Notes that every block has appended a token to each row.
    pub(super) fn advance_rows(&mut self) {
        self.rows.iter_mut().for_each(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// A cache of one block whose rows hold these numbers, one a token.
    fn cache(rows: &[&[f32]]) -> KvCache {
        let lens: Vec<usize> = rows.iter().map(|r| r.len()).collect();
        let width = lens.iter().max().copied().unwrap();
        let padded: Vec<f32> = rows.iter().flat_map(|r| [*r, &vec![-1.0; width - r.len()]].concat()).collect();
        let values = Value::from_vec(padded, (rows.len(), width, 1, 1), &Device::Cpu).unwrap();
        let mut cache = KvCache::new(1);
        cache.blocks[0].append(&values, &values).unwrap();
        cache.set_rows(&lens);
        cache
    }

    fn values(cache: &KvCache) -> &Value {
        &cache.blocks[0].kv.as_ref().unwrap().1
    }

    fn rows(cache: &KvCache) -> Vec<Vec<f32>> {
        let row = |(i, len): (usize, &usize)| {
            values(cache).narrow(0, i, 1).unwrap().narrow(1, 0, *len).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        cache.rows().iter().enumerate().map(row).collect()
    }

    /// Protects answers from each other, and memory: rows keep their own tokens as others come and go, and what a long row
    /// needed is given up when others take its place.
    #[test]
    fn rows_come_and_go() {
        let long: Vec<f32> = (0..300u16).map(f32::from).collect();
        let mut held = cache(&[&long, &[1.0, 2.0]]);
        held.swap_remove(0).unwrap();
        assert_eq!(rows(&held), [[1.0, 2.0]]);
        held.admit(cache(&[&[3.0], &[4.0, 5.0, 6.0]])).unwrap();
        assert_eq!(rows(&held), [vec![1.0, 2.0], vec![3.0], vec![4.0, 5.0, 6.0]]);
        assert_eq!(values(&held).dims(), [3, GROW, 1, 1]);
        held.admit(cache(&[&long])).unwrap();
        assert_eq!(rows(&held)[1..], [vec![3.0], vec![4.0, 5.0, 6.0], long]);
        assert!(held.swap_remove(4).is_err());
    }
}
