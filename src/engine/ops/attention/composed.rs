//! On CUDA, until it has its kernel: the same mathematics as candle ops, `[queries, keys]` scores included.

use super::super::cpu::accumulator;
use super::Geometry;
use crate::engine::error::Result;
use candle_core::{D, DType, Device, Tensor as Value};

impl Geometry {
    /// Zeros where a key is seen, minus infinity where not: `[batch or 1, 1, queries, keys]`.
    fn mask(&self, dtype: DType, device: &Device) -> Result<Value> {
        let (queries, keys) = (self.queries, self.keys);
        let mut mask = vec![f32::NEG_INFINITY; self.blocks.len() * queries * keys];
        for (blocks, mask) in self.blocks.iter().zip(mask.chunks_mut((queries * keys).max(1))) {
            // A padding query sees the first key: a row of minus infinities would be NaN; it is zeroed below.
            mask.iter_mut().step_by(keys.max(1)).for_each(|first| *first = 0.0);
            for (block, i) in blocks.iter().flat_map(|block| block.rows.clone().map(move |i| (block, i))) {
                let row = &mut mask[i * keys..(i + 1) * keys];
                row[0] = f32::NEG_INFINITY;
                row[block.keys.start..block.keys.start + self.visible(block, i)].fill(0.0);
            }
        }
        Ok(Value::from_vec(mask, (self.blocks.len(), 1, queries, keys), device)?.to_dtype(dtype)?)
    }

    /// `[batch, seq, heads, head_dim]` to `[batch, heads, seq, head_dim]`, key/value heads repeated for their group.
    fn expanded(&self, x: &Value) -> Result<Value> {
        let (b, t, h, d) = x.dims4()?;
        let x = x.transpose(1, 2)?;
        let group = self.heads / h;
        if group == 1 {
            return Ok(x.contiguous()?);
        }
        Ok(x.unsqueeze(2)?.expand((b, h, group, t, d))?.contiguous()?.reshape((b, h * group, t, d))?)
    }

    /// Rows that see nothing, as zeros among ones: `[batch, 1, queries, 1]`.
    fn row_mask(&self, dtype: DType, device: &Device) -> Result<Option<Value>> {
        if !self.padded {
            return Ok(None);
        }
        let mut keep = vec![0f32; self.batch * self.queries];
        for (blocks, keep) in self.blocks.iter().zip(keep.chunks_mut(self.queries.max(1))) {
            blocks.iter().for_each(|block| keep[block.rows.clone()].fill(1.0));
        }
        Ok(Some(Value::from_vec(keep, (self.batch, 1, self.queries, 1), device)?.to_dtype(dtype)?))
    }

    fn probabilities(&self, q: &Value, k: &Value) -> Result<Value> {
        let dtype = accumulator(q.dtype());
        let scores = (self.expanded(q)?.matmul(&self.expanded(k)?.t()?)?.to_dtype(dtype)? * self.scale)?;
        let p = candle_nn::ops::softmax(&scores.broadcast_add(&self.mask(dtype, q.device())?)?, D::Minus1)?;
        match self.row_mask(dtype, q.device())? {
            Some(keep) => Ok(p.broadcast_mul(&keep)?),
            None => Ok(p),
        }
    }

    pub(super) fn forward_composed(&self, q: &Value, k: &Value, v: &Value) -> Result<(Value, Value)> {
        let p = self.probabilities(q, k)?.to_dtype(q.dtype())?;
        let out = p.matmul(&self.expanded(v)?)?.transpose(1, 2)?.contiguous()?;
        Ok((out, Value::zeros(1, DType::F32, q.device())?))
    }

    pub(super) fn backward_composed(
        &self,
        q: &Value,
        k: &Value,
        v: &Value,
        out: &Value,
        _lse: &Value,
        dy: &Value,
    ) -> Result<Vec<Value>> {
        let p = self.probabilities(q, k)?;
        let g = self.expanded(dy)?;
        let dv = p.to_dtype(q.dtype())?.t()?.matmul(&g)?;
        let delta = (&g * self.expanded(out)?)?.to_dtype(p.dtype())?.sum_keepdim(D::Minus1)?;
        let dp = g.matmul(&self.expanded(v)?.t()?)?.to_dtype(p.dtype())?;
        let ds = ((&p * dp.broadcast_sub(&delta)?)? * self.scale)?.to_dtype(q.dtype())?;
        let dq = ds.matmul(&self.expanded(k)?)?.transpose(1, 2)?.contiguous()?;
        let dk = ds.t()?.matmul(&self.expanded(q)?)?;
        let (t, group) = (self.keys, self.heads / self.kv_heads);
        let fold = |x: Value| -> Result<Value> {
            let x = x.reshape((self.batch, self.kv_heads, group, t, self.head_dim))?.sum(2)?;
            Ok(x.transpose(1, 2)?.contiguous()?)
        };
        Ok(vec![dq, fold(dk)?, fold(dv)?])
    }
}
