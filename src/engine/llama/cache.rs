//! Keys and values of the tokens generated from so far, so that each new token is computed once.

use crate::engine::error::{Error, Result};
use candle_core::Tensor as Value;

/// One block's keys and values, `[batch, seq, kv_heads, head_dim]`, in buffers that double when full.
#[derive(Debug, Default)]
pub struct BlockCache {
    kv: Option<(Value, Value)>,
    len: usize,
}

impl BlockCache {
    /// Appends `k` and `v` and returns all keys and values so far.
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
}

/// The whole model's cache.
#[derive(Debug, Default)]
pub struct KvCache {
    blocks: Vec<BlockCache>,
    len: usize,
}

impl KvCache {
    /// An empty cache for `blocks` blocks.
    pub fn new(blocks: usize) -> Self {
        KvCache { blocks: (0..blocks).map(|_| BlockCache::default()).collect(), len: 0 }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
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
}
