//! Scaled dot-product attention with grouped-query heads: `softmax(scale * Q K^T + mask) V`.
//!
//! On the CPU the scores of one block of query rows exist at a time, forward and backward: memory is linear in the
//! sequence length. A block lies within one document and is multiplied with the keys that its rows see, and no others:
//! a row of several documents costs what they cost apart, and gives the same bits. [`avx512`] does it in f32 where the
//! processor has the kernels, [`generic`] elsewhere; [`composed`] is for other devices.
//!
//! Kept for backward: q, k, v, the result, and the log-sum-exp of each row; the probabilities are computed again. With `P = exp(S - lse)` and `delta = rowsum(dO * O)`:
//! `dV = P^T dO`, `dS = P * (dO V^T - delta)`, `dQ = scale * dS K`, `dK = scale * dS^T Q`.
//!
//! Source: Vaswani et al. 2017; Ainslie et al., "GQA", 2023; the backward as in Dao et al., "FlashAttention", 2022.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod composed;
mod generic;

use super::convert::convert;
use super::cpu::{self, accumulator, dispatch_acc, prepared, slices};
use super::documents::{Block, Documents, blocks};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

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

/// Bytes that causal attention of so many sequences takes in f32 beside operands and results, forward and backward, on `threads`
/// threads. `None`: the generic kernel does it.
pub(in crate::engine) fn scratch(
    [batch, seq]: [usize; 2],
    [heads, kv_heads, head_dim]: [usize; 3],
    threads: usize,
) -> Option<[usize; 2]> {
    let blocks = vec![blocks(&[], seq, seq, 0, true)];
    let (queries, keys, causal, scale, padded) = (seq, seq, true, 1.0, false);
    let g = Geometry { batch, queries, keys, heads, kv_heads, head_dim, causal, scale, blocks, padded };
    #[cfg(target_arch = "x86_64")]
    if g.suits_avx512() {
        return Some(g.scratch_avx512(threads));
    }
    let _ = (g, threads);
    None
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
        let lse_dims = [self.batch, self.heads, self.queries];
        #[cfg(target_arch = "x86_64")]
        if dtype == DType::F32 && self.suits_avx512() {
            let (out, lse) = slices!([qs: f32 = qs, ks: f32 = ks, vs: f32 = vs] => self.forward_avx512(qs, ks, vs));
            return Ok((convert(&cpu::tensor(out, &dims)?, q.dtype())?, cpu::tensor(lse, &lse_dims)?));
        }
        dispatch_acc!("attention", dtype, A => slices!([qs: A = qs, ks: A = ks, vs: A = vs] => {
            let (out, lse) = self.forward_blocks::<A>(qs, ks, vs);
            Ok((convert(&cpu::tensor(out, &dims)?, q.dtype())?, cpu::tensor(lse, &lse_dims)?))
        }))
    }

    fn backward(&self, q: &Value, k: &Value, v: &Value, out: &Value, lse: &Value, dy: &Value) -> Result<Vec<Value>> {
        if !q.device().is_cpu() {
            return self.backward_composed(q, k, v, out, lse, dy);
        }
        let dtype = accumulator(q.dtype());
        let (qs, ks, vs) = (prepared(q, dtype)?, prepared(k, dtype)?, prepared(v, dtype)?);
        let (os, ys, ls) = (prepared(out, dtype)?, prepared(dy, dtype)?, prepared(lse, dtype)?);
        let like = |grad: Value, x: &Value| convert(&grad.reshape(x.dims())?, x.dtype());
        #[cfg(target_arch = "x86_64")]
        if dtype == DType::F32 && self.suits_avx512() {
            let grads = slices!([qs: f32 = qs, ks: f32 = ks, vs: f32 = vs, os: f32 = os, ys: f32 = ys, ls: f32 = ls] => {
                self.backward_avx512([qs, ks, vs, os, ys], ls)
            });
            return grads.into_iter().zip([q, k, v]).map(|(g, x)| like(cpu::tensor(g, x.dims())?, x)).collect();
        }
        dispatch_acc!("attention", dtype, A => slices!([qs: A = qs, ks: A = ks, vs: A = vs, os: A = os, ys: A = ys, ls: A = ls] => {
            let grads = self.backward_blocks::<A>([qs, ks, vs, os, ys], ls);
            grads.into_iter().zip([q, k, v]).map(|(g, x)| like(cpu::tensor(g, x.dims())?, x)).collect()
        }))
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
        let headless = [sample(&[1, 2, 0, 3], 1), sample(&[1, 2, 1, 3], 2), sample(&[1, 2, 1, 3], 3)];
        check_tol(&headless, 1e-6, |t| attention(&t[0], &t[1], &t[2], &AttentionConfig::default()));
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
