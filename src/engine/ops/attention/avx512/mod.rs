//! Attention in f32 on AVX-512.
//!
//! A block's rows go through all of it fourteen at a time, which are the rows of a [`strip`]: scores, softmax, result. The last
//! of them says how many keys the strip needs, so that under a causal mask little is computed in vain. Keys, and for the
//! backward pass values, are packed once for all heads that share them.
//!
//! Backward, a task is a piece of a document's blocks for one head. It sums the gradients of the keys and values that it sees;
//! those sums are added in the order of heads and pieces, so that neither threads nor other documents change a bit.

mod parts;

use super::super::cpu::{self, Exp, vectorised};
use super::super::documents::Block;
use super::super::gemm::avx512::strip::{self, Left, PANEL, ROWS, Right};
use super::super::gemm::dense::Update;
use super::Geometry;
use parts::{Piece, Room, Shared, resized};
use rayon::prelude::*;

/// Fewer queries than this behind other keys, as in decoding, are taken one by one: packing the keys would cost more than
/// their products.
const FEW: usize = 8;

/// Multiplications below which threads are not woken.
const SMALL: usize = 1 << 17;

/// Turns scores into `exp(score - max)`; returns the maximum and their sum.
fn exponentials(scores: &mut [f32]) -> (f32, f32) {
    vectorised(|| {
        let max = cpu::max(scores);
        scores.iter_mut().for_each(|x| *x = (*x - max).fast_exp());
        (max, cpu::sum(scores.len(), |i| scores[i]))
    })
}

impl Geometry {
    /// Whether the kernels here take these sizes.
    pub(super) fn suits_avx512(&self) -> bool {
        strip::supported() && self.head_dim > 0 && self.head_dim.is_multiple_of(16)
    }

    /// The result and the log-sum-exp of each row.
    pub(super) fn forward_avx512(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut out = vec![0.0; q.len()];
        let mut lse = vec![f32::INFINITY; self.batch * self.heads * self.queries];
        let (shared, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
        if self.queries < FEW && self.queries < self.keys {
            let one = |task: usize| self.few(q, k, v, [task / self.heads, task % self.heads], &shared, &shared_lse);
            if self.batch * self.heads * self.queries * self.keys * self.head_dim < SMALL {
                (0..self.batch * self.heads).for_each(one);
            } else {
                super::super::team::each(self.batch * self.heads, &one);
            }
            return (out, lse);
        }
        let spans = self.spans();
        let (keys, values) = (self.panels(k, &spans), self.apart(v));
        let most = self.blocks.iter().map(Vec::len).max().unwrap_or(0);
        (0..self.batch * self.heads * most).into_par_iter().for_each_init(Room::default, |room, task| {
            // The last blocks of all heads come first: under a causal mask they are the longest.
            let (block, b, h) =
                (most - 1 - task / (self.batch * self.heads), task / self.heads % self.batch, task % self.heads);
            let spans = self.spans_of(&spans, b);
            if let Some(span) = spans.iter().find(|s| s.blocks.contains(&block)) {
                let side = self.side(b, h);
                let (keys, values) = (&keys[side][span.panels * self.head_dim..], &values[side]);
                let block = &self.blocks(b)[block];
                self.forward_block(q, keys, values, [b, h], block, room, &shared, &shared_lse);
            }
        });
        (out, lse)
    }

    #[allow(clippy::too_many_arguments, reason = "both sides, the place, the room and two results")]
    fn forward_block(
        &self,
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        [b, h]: [usize; 2],
        block: &Block,
        room: &mut Room,
        out: &Shared<'_>,
        lse: &Shared<'_>,
    ) {
        let (d, n) = (self.head_dim, block.rows.len());
        let stride = block.keys.len().next_multiple_of(PANEL);
        let queries = resized(&mut room.queries, n * d);
        self.gather(q, [self.queries, self.heads], [b, h], block.rows.clone(), queries);
        let (scores, result) = (resized(&mut room.scores, ROWS * stride), resized(&mut room.strip, ROWS * d));
        for first in (0..n).step_by(ROWS) {
            let count = ROWS.min(n - first);
            let seen = self.visible(block, block.rows.start + first + count - 1);
            let left = Left { data: &queries[first * d..], by_row: d, by_term: 1 };
            let scale = Update { factor: self.scale as f32, add: false };
            strip::multiply(left, count, Right::Packed(keys), [seen, d], scores, stride, scale);
            let mut inverse = [0.0; ROWS];
            for (r, inverse) in inverse.iter_mut().enumerate().take(count) {
                let i = block.rows.start + first + r;
                let row = &mut scores[r * stride..r * stride + seen];
                let (mine, rest) = row.split_at_mut(self.visible(block, i));
                rest.fill(0.0);
                let (max, sum) = exponentials(mine);
                *inverse = sum.recip();
                let at = (b * self.heads + h) * self.queries + i;
                // SAFETY: this task alone has the block's rows of this head.
                unsafe { lse.part(at..at + 1)[0] = max + sum.ln() }
            }
            let left = Left { data: scores, by_row: stride, by_term: 1 };
            let right = Right::Rows(&values[block.keys.start * d..], d);
            strip::multiply(left, count, right, [d, seen], result, d, Update::SET);
            for (r, row) in result.chunks_exact(d).enumerate().take(count) {
                let at = self.at(self.queries, self.heads, b, h, block.rows.start + first + r);
                // SAFETY: as above.
                let out = unsafe { out.part(at..at + d) };
                out.iter_mut().zip(row).for_each(|(o, x)| *o = x * inverse[r]);
            }
        }
    }

    /// Queries one by one, keys and values where they lie: decoding.
    fn few(&self, q: &[f32], k: &[f32], v: &[f32], [b, h]: [usize; 2], out: &Shared<'_>, lse: &Shared<'_>) {
        let (d, kv) = (self.head_dim, h / (self.heads / self.kv_heads));
        let mut scores = Vec::new();
        for (block, i) in self.blocks(b).iter().flat_map(|block| block.rows.clone().map(move |i| (block, i))) {
            let at = self.at(self.queries, self.heads, b, h, i);
            let query = &q[at..at + d];
            let row = |x: &'_ [f32], key: usize| self.at(self.keys, self.kv_heads, b, kv, key)..x.len();
            // SAFETY: this task alone has the rows of this head.
            let (out, lse) = unsafe {
                let at_lse = (b * self.heads + h) * self.queries + i;
                (out.part(at..at + d), lse.part(at_lse..at_lse + 1))
            };
            let keys = block.keys.start..block.keys.start + self.visible(block, i);
            scores.clear();
            vectorised(|| {
                for key in keys.clone() {
                    let key = &k[row(k, key)][..d];
                    scores.push(self.scale as f32 * cpu::sum(d, |c| query[c] * key[c]));
                }
            });
            let (max, sum) = exponentials(&mut scores);
            lse[0] = max + sum.ln();
            vectorised(|| {
                for (p, key) in scores.iter().zip(keys.clone()) {
                    let (p, value) = (p / sum, &v[row(v, key)][..d]);
                    out.iter_mut().zip(value).for_each(|(o, x)| *o += p * x);
                }
            });
        }
    }

    /// Gradients of q, k and v, from these, the result and its gradient.
    pub(super) fn backward_avx512(&self, [q, k, v, o, dy]: [&[f32]; 5], lse: &[f32]) -> [Vec<f32>; 3] {
        let spans = self.spans();
        let pieces = self.pieces(&spans);
        let (key_panels, value_panels, keys) = (self.panels(k, &spans), self.panels(v, &spans), self.apart(k));
        let mut dq = vec![0.0; q.len()];
        let shared = Shared::new(&mut dq);
        let tasks: Vec<(usize, usize, &Piece)> = (0..self.batch)
            .flat_map(|b| (0..self.heads).map(move |h| (b, h)))
            .flat_map(|(b, h)| pieces[b.min(pieces.len() - 1)].iter().map(move |piece| (b, h, piece)))
            .collect();
        let sums: Vec<[Vec<f32>; 2]> = tasks
            .par_iter()
            .map_init(Room::default, |room, (b, h, piece)| {
                let side = self.side(*b, *h);
                let panels = self.spans_of(&spans, *b)[piece.span].panels * self.head_dim;
                let sides = [&key_panels[side][panels..], &value_panels[side][panels..], &keys[side]];
                self.backward_piece([q, o, dy], lse, sides, [*b, *h], piece, room, &shared)
            })
            .collect();
        let [dk, dv] = [0, 1].map(|which| {
            let mut sum = vec![0.0; k.len()];
            let row = self.kv_heads * self.head_dim;
            sum.par_chunks_mut(row).enumerate().for_each(|(at, out)| {
                let (b, key) = (at / self.keys, at % self.keys);
                let begin = tasks.partition_point(|t| t.0 < b);
                let own = tasks[begin..].iter().zip(&sums[begin..]).take_while(|(t, _)| t.0 == b);
                for ((_, h, piece), sums) in own.filter(|(t, _)| t.2.keys.contains(&key)) {
                    let kv = h / (self.heads / self.kv_heads) * self.head_dim;
                    let from = (key - piece.keys.start) * self.head_dim;
                    let (out, part) = (&mut out[kv..kv + self.head_dim], &sums[which][from..from + self.head_dim]);
                    out.iter_mut().zip(part).for_each(|(s, x)| *s += x);
                }
            });
            sum
        });
        [dq, dk, dv]
    }

    #[allow(clippy::too_many_arguments, reason = "operands, the place, the room and the result")]
    fn backward_piece(
        &self,
        [q, o, dy]: [&[f32]; 3],
        lse: &[f32],
        [key_panels, value_panels, keys]: [&[f32]; 3],
        [b, h]: [usize; 2],
        piece: &Piece,
        room: &mut Room,
        dq: &Shared<'_>,
    ) -> [Vec<f32>; 2] {
        let (d, scale) = (self.head_dim, self.scale as f32);
        let mut dk = vec![0.0; piece.keys.len() * d];
        let mut dv = vec![0.0; piece.keys.len() * d];
        for block in &self.blocks(b)[piece.blocks.clone()] {
            let (n, width) = (block.rows.len(), block.keys.len());
            let stride = width.next_multiple_of(PANEL);
            let queries = resized(&mut room.queries, n * d);
            self.gather(q, [self.queries, self.heads], [b, h], block.rows.clone(), queries);
            let grads = resized(&mut room.grads, n * d);
            self.gather(dy, [self.queries, self.heads], [b, h], block.rows.clone(), grads);
            let (p, ds) = (resized(&mut room.scores, n * stride), resized(&mut room.slopes, n * stride));
            let result = resized(&mut room.strip, ROWS * d);
            for first in (0..n).step_by(ROWS) {
                let count = ROWS.min(n - first);
                let seen = self.visible(block, block.rows.start + first + count - 1);
                let (p, ds) = (&mut p[first * stride..], &mut ds[first * stride..]);
                let left = |x| Left { data: x, by_row: d, by_term: 1 };
                let scaled = Update { factor: scale, add: false };
                let sides = [Right::Packed(key_panels), Right::Packed(value_panels)];
                strip::multiply(left(&queries[first * d..]), count, sides[0], [seen, d], p, stride, scaled);
                strip::multiply(left(&grads[first * d..]), count, sides[1], [seen, d], ds, stride, Update::SET);
                for r in 0..count {
                    let i = block.rows.start + first + r;
                    let visible = self.visible(block, i);
                    let at = self.at(self.queries, self.heads, b, h, i);
                    let (o, g) = (&o[at..at + d], &grads[(first + r) * d..(first + r + 1) * d]);
                    let lse = lse[(b * self.heads + h) * self.queries + i];
                    let (p, ds) = (&mut p[r * stride..r * stride + width], &mut ds[r * stride..r * stride + width]);
                    p[visible..].fill(0.0);
                    ds[visible..].fill(0.0);
                    vectorised(|| {
                        let delta = cpu::sum(d, |c| o[c] * g[c]);
                        for (p, ds) in p[..visible].iter_mut().zip(&mut ds[..visible]) {
                            *p = (*p - lse).fast_exp();
                            *ds = *p * (*ds - delta);
                        }
                    });
                }
                let left = Left { data: ds, by_row: stride, by_term: 1 };
                let right = Right::Rows(&keys[block.keys.start * d..], d);
                strip::multiply(left, count, right, [d, seen], result, d, scaled);
                for (r, row) in result.chunks_exact(d).enumerate().take(count) {
                    let at = self.at(self.queries, self.heads, b, h, block.rows.start + first + r);
                    // SAFETY: this task alone has the piece's rows of this head.
                    unsafe { dq.part(at..at + d) }.copy_from_slice(row);
                }
            }
            // Keys by rows: a strip of keys has its terms from the first row on that sees any of them.
            let sees_first = self.visible(block, block.rows.start);
            for key in (0..width).step_by(ROWS) {
                let count = ROWS.min(width - key);
                let from = if self.causal { (key + 1).saturating_sub(sees_first) } else { 0 };
                let at = from * stride + key;
                let columns = |x| Left { data: x, by_row: 1, by_term: stride };
                let out = key * d..(key + count) * d;
                let sizes = [d, n - from];
                let rows = |x| Right::Rows(x, d);
                strip::multiply(
                    columns(&ds[at..]),
                    count,
                    rows(&queries[from * d..]),
                    sizes,
                    &mut dk[out.clone()],
                    d,
                    Update::add(scale),
                );
                strip::multiply(
                    columns(&p[at..]),
                    count,
                    rows(&grads[from * d..]),
                    sizes,
                    &mut dv[out],
                    d,
                    Update::add(1.0),
                );
            }
        }
        [dk, dv]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AttentionConfig, Geometry};
    use crate::engine::autograd::Tensor;
    use crate::engine::autograd::gradcheck::sample;
    use crate::engine::ops::documents::Documents;
    use candle_core::{DType, Tensor as Value};

    /// Result and gradients in `dtype`, as f64: f64 goes through the generic kernel.
    fn all(inputs: &[Value; 4], config: &AttentionConfig, dtype: DType) -> Vec<Vec<f64>> {
        let [q, k, v, dy] = inputs.each_ref().map(|x| x.to_dtype(dtype).unwrap());
        let [tq, tk, tv] = [&q, &k, &v].map(|x| Tensor::new(x.clone()));
        let g = Geometry::new(&tq, &tk, &tv, config).unwrap();
        assert!(dtype == DType::F64 || g.suits_avx512() || !super::strip::supported());
        let (out, lse) = g.forward(&q, &k, &v).unwrap();
        let grads = g.backward(&q, &k, &v, &out, &lse, &dy).unwrap();
        let wide = |x: &Value| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        [&out, &lse].into_iter().chain(&grads).map(wide).collect()
    }

    fn inputs(batch: usize, queries: usize, keys: usize, [heads, kv_heads, d]: [usize; 3]) -> [Value; 4] {
        [(queries, heads, 1), (keys, kv_heads, 2), (keys, kv_heads, 3), (queries, heads, 4)]
            .map(|(seq, heads, salt)| sample(&[batch, seq, heads, d], salt))
    }

    /// Protects training in f32: the strips' result, log-sum-exp and gradients are those of the generic kernel in f64, with
    /// blocks and strips that end in the middle, shared and packed heads, fewer queries than keys, one by one and in strips.
    #[test]
    fn strips_agree_with_the_generic_kernel() {
        let causal = AttentionConfig { causal: true, ..Default::default() };
        let with = |documents| AttentionConfig { documents: Some(documents), ..causal.clone() };
        let cases = [
            (2, 150, 150, [4, 2, 16], causal.clone()),
            (2, 150, 150, [3, 3, 48], AttentionConfig { scale: Some(0.3), ..Default::default() }),
            (1, 20, 150, [4, 1, 32], causal.clone()),
            (1, 70, 33, [2, 1, 16], AttentionConfig::default()),
            (2, 1, 150, [4, 2, 16], causal.clone()),
            (1, 5, 7, [4, 2, 16], causal.clone()),
            (2, 150, 150, [4, 2, 16], with(Documents::one_each(&[150, 70]))),
            (2, 150, 150, [4, 2, 16], with(Documents::packed([vec![70, 1, 60], vec![150]]))),
            (2, 4, 4, [4, 2, 16], with(Documents::packed([vec![1, 2], vec![4]]))),
        ];
        for (batch, queries, keys, heads, config) in cases {
            let inputs = inputs(batch, queries, keys, heads);
            let (ours, generic) = (all(&inputs, &config, DType::F32), all(&inputs, &config, DType::F64));
            for (which, (a, b)) in ours.iter().zip(&generic).enumerate() {
                for (at, (a, b)) in a.iter().zip(b).enumerate() {
                    let near = (a - b).abs() < 1e-5 * (1.0 + b.abs()) || a == b;
                    assert!(near, "{queries} queries, {keys} keys, {heads:?}: tensor {which} at {at}: {a} and {b}");
                }
            }
        }
    }

    /// Protects packing, and what is said of threads: a document's bits do not depend on what else is in its row, nor on how
    /// many threads there are.
    #[test]
    fn neither_neighbours_nor_threads_change_a_bit() {
        let lengths = [70, 1, 129, 20, 300];
        let total: usize = lengths.iter().sum();
        let whole = inputs(1, total, total, [4, 2, 16]);
        let config = |documents| AttentionConfig { causal: true, documents: Some(documents), ..Default::default() };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| all(&whole, &config(Documents::packed([lengths])), DType::F32))
        };
        let together = run(3);
        assert!(together == run(1));
        let mut from = 0;
        for n in lengths {
            let part = whole.each_ref().map(|x| x.narrow(1, from, n).unwrap());
            let alone = all(&part, &config(Documents::one_each(&[n])), DType::F32);
            // The log-sum-exp has another order of dimensions.
            for which in [0, 2, 3, 4] {
                let row = alone[which].len() / n;
                assert!(together[which][from * row..(from + n) * row] == *alone[which], "tensor {which}, from {from}");
            }
            from += n;
        }
    }
}
