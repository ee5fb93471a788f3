//! What a product of attention is cut into on AVX-512: documents, pieces of them, packed keys and values, and the room for it.

use super::super::super::documents::Block;
use super::super::super::gemm::avx512::strip::{self, PANEL, ROWS};
use super::super::Geometry;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// The keys of one document in a batch row, and the blocks that ask for them.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) keys: Range<usize>,
    pub(super) blocks: Range<usize>,
    /// Where its panels begin, in keys.
    pub(super) panels: usize,
}

/// Some blocks of a span, and the keys that they see.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) span: usize,
    pub(super) blocks: Range<usize>,
    pub(super) keys: Range<usize>,
}

/// Elements that several threads write, each its own.
pub(super) struct Shared<'a> {
    data: *mut f32,
    len: usize,
    lives: PhantomData<&'a mut [f32]>,
}

// SAFETY: the slice is borrowed mutably for 'a; who takes a part of it has it alone (`part`'s contract).
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(data: &'a mut [f32]) -> Self {
        Shared { data: data.as_mut_ptr(), len: data.len(), lives: PhantomData }
    }

    /// # Safety
    /// No two parts that overlap may be in use at once.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint: the contract")]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of a tensor");
        // SAFETY: inside the slice, and the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}

/// What a thread needs; kept for its next task.
#[derive(Default)]
pub(super) struct Room {
    pub(super) queries: Vec<f32>,
    pub(super) grads: Vec<f32>,
    pub(super) scores: Vec<f32>,
    pub(super) slopes: Vec<f32>,
    pub(super) strip: Vec<f32>,
}

pub(super) fn resized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Geometry {
    /// Bytes beside operands and results, forward and backward, on `threads` threads.
    pub(in super::super) fn scratch_avx512(&self, threads: usize) -> [usize; 2] {
        let (d, spans) = (self.head_dim, self.spans());
        let pieces = self.pieces(&spans);
        let of_all = |f: &dyn Fn(usize) -> usize| (0..self.batch).map(|b| f(b.min(spans.len() - 1))).sum::<usize>();
        let padded = |s: &Span| s.keys.len().next_multiple_of(PANEL);
        let panels = self.kv_heads * d * of_all(&|b| spans[b].iter().map(padded).sum());
        let apart = self.batch * self.kv_heads * self.keys * d;
        let sums = 2 * self.heads * d * of_all(&|b| pieces[b].iter().map(|p| p.keys.len()).sum());
        let (rows, width) = self.blocks.iter().flatten().fold((0, 0), |(rows, width), block| {
            (block.rows.len().max(rows), block.keys.len().next_multiple_of(PANEL).max(width))
        });
        let forward = rows * d + ROWS * (width + d);
        let backward = 2 * rows * d + 2 * rows * width + ROWS * d;
        [panels + apart + threads * forward, 2 * panels + apart + sums + threads * backward].map(|n| 4 * n)
    }

    /// The documents of each kind of batch row.
    pub(super) fn spans(&self) -> Vec<Vec<Span>> {
        let of = |blocks: &Vec<Block>| {
            let mut spans: Vec<Span> = Vec::new();
            for (i, block) in blocks.iter().enumerate() {
                match spans.last_mut() {
                    Some(span) if span.keys.start == block.keys.start => {
                        (span.keys.end, span.blocks.end) = (span.keys.end.max(block.keys.end), i + 1);
                    }
                    last => {
                        let panels = last.map_or(0, |s| s.panels + s.keys.len().next_multiple_of(PANEL));
                        spans.push(Span { keys: block.keys.clone(), blocks: i..i + 1, panels });
                    }
                }
            }
            spans
        };
        self.blocks.iter().map(of).collect()
    }

    pub(super) fn spans_of<'a>(&self, spans: &'a [Vec<Span>], b: usize) -> &'a [Span] {
        &spans[b.min(spans.len() - 1)]
    }

    /// Where row `i` of head `h` begins in `[batch, seq, heads, head_dim]`.
    pub(super) fn at(&self, seq: usize, heads: usize, b: usize, h: usize, i: usize) -> usize {
        ((b * seq + i) * heads + h) * self.head_dim
    }

    /// Rows of one head, one after another.
    pub(super) fn gather(
        &self,
        x: &[f32],
        [seq, heads]: [usize; 2],
        [b, h]: [usize; 2],
        rows: Range<usize>,
        out: &mut [f32],
    ) {
        let d = self.head_dim;
        for (out, i) in out.chunks_exact_mut(d).zip(rows) {
            let at = self.at(seq, heads, b, h, i);
            out.copy_from_slice(&x[at..at + d]);
        }
    }

    /// Keys or values of each (batch row, key/value head) as panels of columns, document by document.
    pub(super) fn panels(&self, x: &[f32], spans: &[Vec<Span>]) -> Vec<Vec<f32>> {
        let (d, heads) = (self.head_dim, self.kv_heads);
        let pack = |task: usize| {
            let (b, h) = (task / heads, task % heads);
            let spans = self.spans_of(spans, b);
            let size = spans.last().map_or(0, |s| (s.panels + s.keys.len().next_multiple_of(PANEL)) * d);
            let mut out = vec![0.0; size];
            for span in spans {
                let x = &x[self.at(self.keys, heads, b, h, span.keys.start)..];
                strip::pack(x, span.keys.len(), heads * d, d, &mut out[span.panels * d..]);
            }
            out
        };
        (0..self.batch * heads).into_par_iter().map(pack).collect()
    }

    /// Keys or values of each (batch row, key/value head), one after another.
    pub(super) fn apart(&self, x: &[f32]) -> Vec<Vec<f32>> {
        let gather = |task: usize| {
            let mut out = vec![0.0; self.keys * self.head_dim];
            let (b, h) = (task / self.kv_heads, task % self.kv_heads);
            self.gather(x, [self.keys, self.kv_heads], [b, h], 0..self.keys, &mut out);
            out
        };
        (0..self.batch * self.kv_heads).into_par_iter().map(gather).collect()
    }

    /// The number among [`Geometry::panels`] of what head `h` looks at.
    pub(super) fn side(&self, b: usize, h: usize) -> usize {
        b * self.kv_heads + h / (self.heads / self.kv_heads)
    }

    /// Pieces of each kind of batch row: a long document's blocks in two parts with about as many scores.
    pub(super) fn pieces(&self, spans: &[Vec<Span>]) -> Vec<Vec<Piece>> {
        let of = |(blocks, spans): (&Vec<Block>, &Vec<Span>)| {
            let cells = |i: usize| blocks[i].rows.len() * blocks[i].keys.len();
            let mut pieces = Vec::new();
            for (number, span) in spans.iter().enumerate() {
                let half = span.blocks.clone().map(cells).sum::<usize>() / 2;
                let mut sum = 0;
                let cut = span.blocks.clone().find(|i| {
                    sum += cells(*i);
                    sum > half
                });
                let cut = cut.unwrap_or(span.blocks.end).max(span.blocks.start);
                for part in [span.blocks.start..cut, cut..span.blocks.end] {
                    if let Some(end) = blocks[part.clone()].iter().map(|b| b.keys.end).max() {
                        pieces.push(Piece { span: number, blocks: part, keys: span.keys.start..end });
                    }
                }
            }
            pieces
        };
        self.blocks.iter().zip(spans).map(of).collect()
    }
}
