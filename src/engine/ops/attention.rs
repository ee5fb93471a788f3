//! Scaled dot-product attention with grouped-query heads: `softmax(scale * Q K^T + mask) V`.
//!
//! On the CPU the scores of one block of query rows exist at a time, forward and backward: memory is linear in the
//! sequence length. A block lies within one document and is multiplied with the keys that its rows see, and no others:
//! a row of several documents costs what they cost apart, and gives the same bits. Kept for backward: q, k, v, the result, and the log-sum-exp of each row; the probabilities are
//! computed again. With `P = exp(S - lse)` and `delta = rowsum(dO * O)`:
//! `dV = P^T dO`, `dS = P * (dO V^T - delta)`, `dQ = scale * dS K`, `dK = scale * dS^T Q`.
//!
//! Source: Vaswani et al. 2017; Ainslie et al., "GQA", 2023; the backward as in Dao et al., "FlashAttention", 2022.

use super::cpu::{self, Exp, acc, accumulator, dispatch_acc, prepared, slices};
use super::documents::{Block, Documents, blocks};
use super::gemm::{Mat, gemm};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{D, DType, Device, Tensor as Value};
use num_traits::Float;
use rayon::prelude::*;
use std::ops::Range;

/// What attends to what.
#[derive(Debug, Clone, Default)]
pub struct AttentionConfig {
    /// Query `i` sees keys up to `i + (keys - queries)`: the queries are the last positions of the keys.
    pub causal: bool,
    /// Factor on the scores; `1 / sqrt(head_dim)` if `None`.
    pub scale: Option<f64>,
    /// Keys of each batch row that are not padding, and the documents they belong to; all keys are of one if `None`.
    /// Attention never crosses from one document to another, for which queries and keys must be as many. With `causal`,
    /// padding queries give zeros.
    pub documents: Option<Documents>,
}

/// Attention of `q` `[batch, queries, heads, head_dim]` over `k` and `v` `[batch, keys, kv_heads, head_dim]`; `heads` is
/// a multiple of `kv_heads`. The result has the shape and dtype of `q`.
///
/// # Errors
/// If shapes or dtypes do not fit, or causal queries outnumber the keys.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, config: &AttentionConfig) -> Result<Tensor> {
    let _span = profile::span("attention");
    let g = Geometry::new(q, k, v, config)?;
    let (out, lse) = g.forward(q.value(), k.value(), v.value())?;
    g.count(2);
    let saved = out.clone();
    Ok(record("attention", out, &[q, k, v], |_| {
        let (q, k, v) = (q.value().clone(), k.value().clone(), v.value().clone());
        move |dy| {
            g.count(5);
            g.backward(&q, &k, &v, &saved, &lse, &dy).map(|grads| grads.into_iter().map(Some).collect())
        }
    }))
}

struct Geometry {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    scale: f64,
    /// What batch row `b` computes; rows that follow have what the last of these has.
    blocks: Vec<Vec<Block>>,
    /// Whether there may be queries that see nothing.
    padded: bool,
}

impl Geometry {
    fn new(q: &Tensor, k: &Tensor, v: &Tensor, config: &AttentionConfig) -> Result<Self> {
        let (qd, kd, vd) = (q.dims(), k.dims(), v.dims());
        let wrong = |why: String| {
            Error::shape("attention", format!("q {qd:?}, k {kd:?}, v {vd:?}: {why}"))
                .about("q", qd)
                .about("k", kd)
                .about("v", vd)
        };
        let (&[batch, queries, heads, head_dim], &[kb, keys, kv_heads, kh]) = (qd, kd) else {
            return Err(wrong("each must be [batch, seq, heads, head_dim]".into()));
        };
        if kd != vd || kb != batch || kh != head_dim {
            return Err(wrong(match () {
                () if kd != vd => "k and v must have one shape".into(),
                () if kb != batch => format!("q has {batch} batch rows, k and v have {kb}"),
                () => format!("q's head_dim is {head_dim}, that of k and v is {kh}"),
            }));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(wrong(format!("{heads} query heads are not a multiple of {kv_heads} key/value heads"))
                .advise("the order is [batch, seq, heads, head_dim]: are seq and heads exchanged? transpose(1, 2)"));
        }
        if config.causal && queries > keys {
            return Err(wrong(format!("{queries} causal queries cannot be the last positions of {keys} keys"))
                .advise("for attention to another sequence, pass #{ causal: false }"));
        }
        if q.dtype() != k.dtype() || q.dtype() != v.dtype() {
            return Err(Error::dtype(
                "attention",
                format!("q is {}, k {}, v {}", q.dtype().as_str(), k.dtype().as_str(), v.dtype().as_str()),
            )
            .advise(format!("all three must be one: convert with to(\"{}\")", q.dtype().as_str()))
            .about("q", q.dtype())
            .about("k", k.dtype())
            .about("v", v.dtype()));
        }
        if let Some(documents) = &config.documents {
            documents.check("attention", batch, keys)?;
            if documents.is_packed() && queries != keys {
                return Err(wrong(format!("with several documents in a row, {queries} queries need as many keys")));
            }
        }
        let bounds: Vec<&[usize]> = match &config.documents {
            Some(documents) => (0..batch).map(|b| documents.bounds(b)).collect(),
            None => vec![&[][..]],
        };
        let shift = if config.causal { keys - queries } else { 0 };
        let blocks = bounds.into_iter().map(|bounds| blocks(bounds, queries, keys, shift, config.causal)).collect();
        Ok(Geometry {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            head_dim,
            causal: config.causal,
            scale: config.scale.unwrap_or(1.0 / (head_dim as f64).sqrt()),
            blocks,
            padded: config.documents.is_some(),
        })
    }

    /// For profiles: `products` of every block's queries and keys.
    fn count(&self, products: usize) {
        let scores = |b| self.blocks(b).iter().map(|block| block.rows.len() * block.keys.len()).sum::<usize>();
        let all: usize = (0..self.batch).map(scores).sum();
        profile::work(2.0 * products as f64 * all as f64 * (self.heads * self.head_dim) as f64, 0);
    }

    fn blocks(&self, b: usize) -> &[Block] {
        &self.blocks[b.min(self.blocks.len() - 1)]
    }

    /// How many of its block's keys query `i` sees: the first so many.
    fn visible(&self, block: &Block, i: usize) -> usize {
        if self.causal { i + 1 + self.keys - self.queries - block.keys.start } else { block.keys.len() }
    }

    fn forward(&self, q: &Value, k: &Value, v: &Value) -> Result<(Value, Value)> {
        if !q.device().is_cpu() {
            return self.forward_composed(q, k, v);
        }
        let dtype = accumulator(q.dtype());
        let (qs, ks, vs) = (prepared(q, dtype)?, prepared(k, dtype)?, prepared(v, dtype)?);
        let dims = [self.batch, self.queries, self.heads, self.head_dim];
        dispatch_acc!("attention", dtype, A => slices!([qs: A = qs, ks: A = ks, vs: A = vs] => {
            let tasks: Vec<(Vec<A>, Vec<A>)> = (0..self.batch * self.heads)
                .into_par_iter()
                .map(|task| self.forward_head::<A>(qs, ks, vs, task / self.heads, task % self.heads))
                .collect();
            let mut out = vec![A::default(); qs.len()];
            self.scatter(&mut out, self.heads, tasks.iter().map(|(o, _)| o.as_slice()));
            let lse: Vec<A> = tasks.into_iter().flat_map(|(_, l)| l).collect();
            let lse = cpu::tensor(lse, &[self.batch, self.heads, self.queries])?;
            Ok((cpu::tensor(out, &dims)?.to_dtype(q.dtype())?, lse))
        }))
    }

    /// Puts `[seq, head_dim]` results, one per (batch row, head), into `[batch, seq, heads, head_dim]`.
    fn scatter<'a, A: Copy + Send + Sync + 'a>(
        &self,
        out: &mut [A],
        heads: usize,
        parts: impl Iterator<Item = &'a [A]>,
    ) {
        let d = self.head_dim;
        for (task, part) in parts.enumerate() {
            let (b, h) = (task / heads, task % heads);
            let seq = part.len() / d.max(1);
            for (i, row) in part.chunks(d.max(1)).enumerate() {
                let at = ((b * seq + i) * heads + h) * d;
                out[at..at + d].copy_from_slice(row);
            }
        }
    }

    /// Rows of one head inside `[batch, seq, heads, head_dim]`.
    fn head<'a, A>(&self, x: &'a [A], seq: usize, heads: usize, b: usize, h: usize, rows: Range<usize>) -> Mat<'a, A> {
        let (d, n) = (self.head_dim, rows.len());
        if n == 0 || d == 0 {
            return Mat::new(&[], n, 0, d);
        }
        let start = ((b * seq + rows.start) * heads + h) * d;
        Mat::new(&x[start..start + (n - 1) * heads * d + d], n, d, heads * d)
    }

    fn forward_head<A: Exp>(&self, q: &[A], k: &[A], v: &[A], b: usize, h: usize) -> (Vec<A>, Vec<A>) {
        let (d, kv) = (self.head_dim, h / (self.heads / self.kv_heads));
        let mut out = vec![A::zero(); self.queries * d];
        let mut lse = vec![A::infinity(); self.queries];
        let mut scores = Vec::new();
        for block in self.blocks(b) {
            let (rows, width) = (block.rows.clone(), block.keys.len());
            scores.clear();
            scores.resize(rows.len() * width, A::zero());
            let keys = self.head(k, self.keys, self.kv_heads, b, kv, block.keys.clone());
            let values = self.head(v, self.keys, self.kv_heads, b, kv, block.keys.clone());
            let queries = self.head(q, self.queries, self.heads, b, h, rows.clone());
            gemm(&mut scores, width, queries, keys.t(), acc(self.scale), false);
            for (i, row) in rows.clone().zip(scores.chunks_mut(width)) {
                let visible = self.visible(block, i);
                row[visible..].fill(A::zero());
                let row = &mut row[..visible];
                let max = row.iter().fold(A::neg_infinity(), |m, x| Float::max(m, *x));
                let mut sum = A::zero();
                for x in row.iter_mut() {
                    *x = (*x - max).fast_exp();
                    sum += *x;
                }
                let inverse = sum.recip();
                row.iter_mut().for_each(|x| *x *= inverse);
                lse[i] = max + sum.ln();
            }
            gemm(
                &mut out[rows.start * d..rows.end * d],
                d,
                Mat::new(&scores, rows.len(), width, width),
                values,
                A::one(),
                false,
            );
        }
        (out, lse)
    }

    fn backward(&self, q: &Value, k: &Value, v: &Value, out: &Value, lse: &Value, dy: &Value) -> Result<Vec<Value>> {
        if !q.device().is_cpu() {
            return self.backward_composed(q, k, v, out, lse, dy);
        }
        let dtype = accumulator(q.dtype());
        let (qs, ks, vs) = (prepared(q, dtype)?, prepared(k, dtype)?, prepared(v, dtype)?);
        let (os, ys, ls) = (prepared(out, dtype)?, prepared(dy, dtype)?, prepared(lse, dtype)?);
        dispatch_acc!("attention", dtype, A => slices!([qs: A = qs, ks: A = ks, vs: A = vs, os: A = os, ys: A = ys, ls: A = ls] => {
            let tasks: Vec<[Vec<A>; 3]> = (0..self.batch * self.heads)
                .into_par_iter()
                .map(|task| {
                    let (b, h) = (task / self.heads, task % self.heads);
                    let lse = &ls[task * self.queries..(task + 1) * self.queries];
                    self.backward_head::<A>([qs, ks, vs, os, ys], lse, b, h)
                })
                .collect();
            let mut dq = vec![A::default(); qs.len()];
            self.scatter(&mut dq, self.heads, tasks.iter().map(|t| t[0].as_slice()));
            let mut result = vec![cpu::tensor(dq, q.dims())?.to_dtype(q.dtype())?];
            // The heads of a group add up, in their order: the result does not depend on the thread count.
            let group = self.heads / self.kv_heads;
            for which in [1, 2] {
                let sums: Vec<Vec<A>> = tasks
                    .chunks(group)
                    .map(|heads| {
                        let mut sum = heads[0][which].clone();
                        for head in &heads[1..] {
                            sum.iter_mut().zip(&head[which]).for_each(|(s, x)| *s += *x);
                        }
                        sum
                    })
                    .collect();
                let mut dkv = vec![A::default(); ks.len()];
                self.scatter(&mut dkv, self.kv_heads, sums.iter().map(Vec::as_slice));
                result.push(cpu::tensor(dkv, k.dims())?.to_dtype(k.dtype())?);
            }
            Ok(result)
        }))
    }

    fn backward_head<A: Exp>(&self, [q, k, v, o, dy]: [&[A]; 5], lse: &[A], b: usize, h: usize) -> [Vec<A>; 3] {
        let (d, kv) = (self.head_dim, h / (self.heads / self.kv_heads));
        let mut dq = vec![A::zero(); self.queries * d];
        let (mut dk, mut dv) = (vec![A::zero(); self.keys * d], vec![A::zero(); self.keys * d]);
        let (mut p, mut ds) = (Vec::new(), Vec::new());
        for block in self.blocks(b) {
            let (rows, width) = (block.rows.clone(), block.keys.len());
            let n = rows.len();
            for buffer in [&mut p, &mut ds] {
                buffer.clear();
                buffer.resize(n * width, A::zero());
            }
            let keys = self.head(k, self.keys, self.kv_heads, b, kv, block.keys.clone());
            let values = self.head(v, self.keys, self.kv_heads, b, kv, block.keys.clone());
            let queries = self.head(q, self.queries, self.heads, b, h, rows.clone());
            let grads = self.head(dy, self.queries, self.heads, b, h, rows.clone());
            gemm(&mut p, width, queries, keys.t(), acc(self.scale), false);
            gemm(&mut ds, width, grads, values.t(), A::one(), false);
            for (r, i) in rows.clone().enumerate() {
                let visible = self.visible(block, i);
                let at = ((b * self.queries + i) * self.heads + h) * d;
                let delta = o[at..at + d].iter().zip(&dy[at..at + d]).fold(A::zero(), |s, (o, g)| s + *o * *g);
                let (p, ds) = (&mut p[r * width..(r + 1) * width], &mut ds[r * width..(r + 1) * width]);
                p[visible..].fill(A::zero());
                ds[visible..].fill(A::zero());
                for (p, ds) in p[..visible].iter_mut().zip(&mut ds[..visible]) {
                    *p = (*p - lse[i]).fast_exp();
                    *ds = *p * (*ds - delta);
                }
            }
            let (p, ds) = (Mat::new(&p, n, width, width), Mat::new(&ds, n, width, width));
            gemm(&mut dq[rows.start * d..rows.end * d], d, ds, keys, acc(self.scale), false);
            let seen = block.keys.start * d..block.keys.end * d;
            gemm(&mut dk[seen.clone()], d, ds.t(), queries, acc(self.scale), true);
            gemm(&mut dv[seen], d, p.t(), grads, A::one(), true);
        }
        [dq, dk, dv]
    }

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

    // On CUDA, until it has its kernel: the same mathematics as candle ops, [queries, keys] scores included.
    fn forward_composed(&self, q: &Value, k: &Value, v: &Value) -> Result<(Value, Value)> {
        let p = self.probabilities(q, k)?.to_dtype(q.dtype())?;
        let out = p.matmul(&self.expanded(v)?)?.transpose(1, 2)?.contiguous()?;
        Ok((out, Value::zeros(1, DType::F32, q.device())?))
    }

    fn backward_composed(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check_tol, sample};

    fn f64s(v: &Value) -> Vec<f64> {
        v.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Protects training through attention: grouped heads, more keys than queries, padding, strided and empty inputs.
    #[test]
    fn gradients() {
        let qkv = |tq, tk| [sample(&[2, tq, 4, 3], 1), sample(&[2, tk, 2, 3], 2), sample(&[2, tk, 2, 3], 3)];
        let causal = AttentionConfig { causal: true, ..Default::default() };
        let padded = AttentionConfig { documents: Some(Documents::one_each(&[5, 2])), ..causal.clone() };
        for config in [causal, padded, AttentionConfig::default()] {
            check_tol(&qkv(5, 5), 1e-6, |t| attention(&t[0], &t[1], &t[2], &config));
            check_tol(&qkv(2, 5), 1e-6, |t| attention(&t[0], &t[1], &t[2], &config));
        }
        let strided = [1, 2, 3].map(|salt| sample(&[1, 2, 4, 3], salt).transpose(1, 2).unwrap());
        check_tol(&strided, 1e-6, |t| attention(&t[0], &t[1], &t[2], &AttentionConfig::default()));
        let empty = [1, 2, 3].map(|salt| sample(&[0, 4, 2, 3], salt));
        check_tol(&empty, 1e-6, |t| attention(&t[0], &t[1], &t[2], &AttentionConfig::default()));
    }

    /// Protects training on packed rows: documents of every size, padding behind them, causal and not.
    #[test]
    fn gradients_of_documents() {
        let qkv = [sample(&[2, 7, 4, 3], 1), sample(&[2, 7, 2, 3], 2), sample(&[2, 7, 2, 3], 3)];
        for causal in [true, false] {
            let documents = Some(Documents::packed([vec![3, 1, 2], vec![2, 5]]));
            let config = AttentionConfig { causal, documents, ..Default::default() };
            check_tol(&qkv, 1e-6, |t| attention(&t[0], &t[1], &t[2], &config));
        }
    }

    /// Protects the promise of packing: a document in a row of several gives the bits it gives alone, forward and
    /// backward, and what stands in the padding gives nothing.
    #[test]
    fn documents_are_as_alone() -> Result<()> {
        let lengths = [70, 1, 129, 20];
        let total: usize = lengths.iter().sum();
        let [q, k, v, dy] =
            [(4, 1), (2, 2), (2, 3), (4, 4)].map(|(heads, salt)| sample(&[1, total + 9, heads, 8], salt));
        let config = |documents| AttentionConfig { causal: true, documents: Some(documents), ..Default::default() };
        let run = |from: usize, n: usize, config: &AttentionConfig| -> Result<Vec<Vec<f64>>> {
            let part = |x: &Value| x.narrow(1, from, n).unwrap();
            let [qp, kp, vp] = [&q, &k, &v].map(part);
            let t = |x: &Value| Tensor::new(x.clone());
            let g = Geometry::new(&t(&qp), &t(&kp), &t(&vp), config)?;
            let (out, lse) = g.forward(&qp, &kp, &vp)?;
            let grads = g.backward(&qp, &kp, &vp, &out, &lse, &part(&dy))?;
            Ok(std::iter::once(&out).chain(&grads).map(f64s).collect())
        };
        let together = run(0, total + 9, &config(Documents::packed([lengths])))?;
        let mut from = 0;
        for n in lengths {
            let alone = run(from, n, &config(Documents::one_each(&[n])))?;
            for (which, (whole, alone)) in together.iter().zip(&alone).enumerate() {
                let row = alone.len() / n;
                assert!(whole[from * row..(from + n) * row] == **alone, "tensor {which}, document at {from}");
            }
            from += n;
        }
        assert!(together.iter().all(|x| x[total * x.len() / (total + 9)..].iter().all(|x| *x == 0.0)));
        Ok(())
    }

    /// Protects the CUDA path and blocks that end in the middle: the composition agrees with the blockwise kernel.
    #[test]
    fn composition_agrees() -> Result<()> {
        let (q, k, v) = (sample(&[2, 150, 4, 8], 1), sample(&[2, 150, 2, 8], 2), sample(&[2, 150, 2, 8], 3));
        let dy = sample(&[2, 150, 4, 8], 4);
        let t = |x: &Value| Tensor::new(x.clone());
        let packed = Documents::packed([vec![70, 1, 60], vec![150]]);
        for documents in [None, Some(Documents::one_each(&[150, 70])), Some(packed)] {
            let config = AttentionConfig { causal: true, documents, ..Default::default() };
            let g = Geometry::new(&t(&q), &t(&k), &t(&v), &config)?;
            let (out, lse) = g.forward(&q, &k, &v)?;
            let (out2, lse2) = g.forward_composed(&q, &k, &v)?;
            let ours = g.backward(&q, &k, &v, &out, &lse, &dy)?;
            let theirs = g.backward_composed(&q, &k, &v, &out2, &lse2, &dy)?;
            for (a, b) in std::iter::once((&out, &out2)).chain(ours.iter().zip(&theirs)) {
                assert!(f64s(a).iter().zip(f64s(b)).all(|(a, b)| (a - b).abs() < 1e-9));
            }
        }
        Ok(())
    }

    /// Protects the answers of padded batches: what stands in the padding changes nothing.
    #[test]
    fn padding_is_not_seen() -> Result<()> {
        let (q, k, v) = (sample(&[1, 6, 2, 4], 1), sample(&[1, 6, 2, 4], 2), sample(&[1, 6, 2, 4], 3));
        let t = |x: Value| Tensor::new(x);
        let causal = AttentionConfig { causal: true, ..Default::default() };
        let short = |x: &Value| x.narrow(1, 0, 4).unwrap();
        let alone = attention(&t(short(&q)), &t(short(&k)), &t(short(&v)), &causal)?;
        let padded = AttentionConfig { documents: Some(Documents::one_each(&[4])), ..causal };
        let whole = attention(&t(q.clone()), &t(k), &t(v), &padded)?;
        assert_eq!(f64s(alone.value()), f64s(&short(whole.value())));
        assert!(f64s(&whole.value().narrow(1, 4, 2)?).iter().all(|x| *x == 0.0));
        Ok(())
    }
}
