//! Attention of one head after the other in f32 or f64, on any processor: a block's scores as one product.

use super::super::cpu::{Exp, acc};
use super::super::gemm::{Mat, gemm};
use super::Geometry;
use num_traits::Float;
use rayon::prelude::*;
use std::ops::Range;

impl Geometry {
    /// The result and the log-sum-exp of each row.
    pub(super) fn forward_blocks<A: Exp>(&self, q: &[A], k: &[A], v: &[A]) -> (Vec<A>, Vec<A>) {
        let tasks: Vec<(Vec<A>, Vec<A>)> = (0..self.batch * self.heads)
            .into_par_iter()
            .map(|task| self.forward_head::<A>(q, k, v, task / self.heads, task % self.heads))
            .collect();
        let mut out = vec![A::zero(); q.len()];
        self.scatter(&mut out, self.heads, tasks.iter().map(|(o, _)| o.as_slice()));
        (out, tasks.into_iter().flat_map(|(_, l)| l).collect())
    }

    /// Gradients of q, k and v.
    pub(super) fn backward_blocks<A: Exp>(&self, all: [&[A]; 5], lse: &[A]) -> [Vec<A>; 3] {
        let [q, k, ..] = all;
        let tasks: Vec<[Vec<A>; 3]> = (0..self.batch * self.heads)
            .into_par_iter()
            .map(|task| {
                let lse = &lse[task * self.queries..(task + 1) * self.queries];
                self.backward_head::<A>(all, lse, task / self.heads, task % self.heads)
            })
            .collect();
        let mut dq = vec![A::zero(); q.len()];
        self.scatter(&mut dq, self.heads, tasks.iter().map(|t| t[0].as_slice()));
        // The heads of a group add up, in their order: the result does not depend on the thread count.
        let group = self.heads / self.kv_heads;
        let [dk, dv] = [1, 2].map(|which| {
            let sum = |heads: &[[Vec<A>; 3]]| {
                let mut sum = heads[0][which].clone();
                for head in &heads[1..] {
                    sum.iter_mut().zip(&head[which]).for_each(|(s, x)| *s += *x);
                }
                sum
            };
            let sums: Vec<Vec<A>> = tasks.chunks(group.max(1)).map(sum).collect();
            let mut dkv = vec![A::zero(); k.len()];
            self.scatter(&mut dkv, self.kv_heads, sums.iter().map(Vec::as_slice));
            dkv
        });
        [dq, dk, dv]
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
}
