//! A quantized matrix: packed once, then read by products, or as floats.

use super::blocks::{BLOCK, GROUP, Kind, pack_group, unpack_row};
use super::pages::{LINE, Pages};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// `[rows, cols]` in blocks along the columns. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Matrix {
    kind: Kind,
    rows: usize,
    cols: usize,
    pages: Arc<Pages>,
    /// Its cells in `pages`, group by group.
    place: Range<usize>,
}

/// Where a matrix comes from.
pub struct Source<'a> {
    /// Its format.
    pub kind: Kind,
    /// Its rows.
    pub rows: usize,
    /// Its columns, a multiple of 32.
    pub cols: usize,
    /// The blocks of row `i`, as a GGUF file has them.
    pub row: Box<dyn Fn(usize) -> &'a [u8] + Sync + 'a>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} {} x {})", self.kind.name(), self.rows, self.cols)
    }
}

impl Source<'_> {
    /// Bytes that it takes in memory; `None` if that is no number.
    pub fn bytes(&self) -> Option<usize> {
        self.kind.bytes(self.rows, self.cols)?.checked_next_multiple_of(LINE)
    }
}

impl Matrix {
    /// Packs all of `sources` into one piece of memory. `packed(i)` hears of each as it is done, and may stop it all.
    ///
    /// # Errors
    /// What `packed` says.
    ///
    /// # Panics
    /// If the bytes are no number: the caller has checked that they fit into memory.
    pub fn pack<E>(
        sources: &[Source<'_>],
        mut packed: impl FnMut(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<Matrix>, E> {
        let mut places: Vec<Range<usize>> = Vec::with_capacity(sources.len());
        for source in sources {
            let start = places.last().map_or(0, |p| p.end.next_multiple_of(LINE));
            let bytes = source.kind.bytes(source.rows, source.cols).expect("the caller has checked Source::bytes");
            places.push(start..start + bytes);
        }
        let mut pages = Pages::new(places.last().map_or(0, |p| p.end));
        for (i, (source, place)) in sources.iter().zip(&places).enumerate() {
            let cells = &mut pages.bytes_mut()[place.clone()];
            let group = source.cols / BLOCK * source.kind.cell_bytes();
            if group > 0 {
                cells.par_chunks_exact_mut(group).enumerate().for_each(|(g, cells)| {
                    let rows = g * GROUP..((g + 1) * GROUP).min(source.rows);
                    let rows: Vec<&[u8]> = rows.map(|row| (source.row)(row)).collect();
                    pack_group(source.kind, &rows, cells);
                });
            }
            packed(i)?;
        }
        let pages = Arc::new(pages);
        let matrix = |(source, place): (&Source<'_>, Range<usize>)| {
            let (kind, rows, cols) = (source.kind, source.rows, source.cols);
            Matrix { kind, rows, cols, pages: pages.clone(), place }
        };
        Ok(sources.iter().zip(places).map(matrix).collect())
    }

    /// Format of its blocks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `[rows, cols]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.place.len()
    }

    /// Groups of rows, the last one perhaps not full.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// The cells of group `g`.
    pub(super) fn group(&self, g: usize) -> &[u8] {
        let size = self.cols / BLOCK * self.kind.cell_bytes();
        &self.pages.bytes()[self.place.clone()][g * size..][..size]
    }

    /// Row `row` in f32.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        unpack_row(self.kind, self.group(row / GROUP), row % GROUP, out);
    }

    /// As many rows from `first` on, which begins a group, as `out` has, in f32: the numbers that ggml and candle make of the
    /// blocks.
    pub fn rows_f32(&self, first: usize, out: &mut [f32]) {
        self.unpack(first, out, |g, out| {
            #[cfg(target_arch = "x86_64")]
            if super::avx512::unpack_supported() {
                // SAFETY: just asked.
                return unsafe { super::avx512::unpack_f32(self.kind, self.group(g), out, self.cols) };
            }
            self.unpack_plain(g, out);
        });
    }

    /// As [`Matrix::rows_f32`], rounded to nearest even.
    pub fn rows_bf16(&self, first: usize, out: &mut [bf16]) {
        self.unpack(first, out, |g, out| {
            #[cfg(target_arch = "x86_64")]
            if super::avx512::unpack_supported() {
                // SAFETY: just asked.
                return unsafe { super::avx512::unpack_bf16(self.kind, self.group(g), out, self.cols) };
            }
            let mut wide = vec![0.0; out.len()];
            self.unpack_plain(g, &mut wide);
            out.iter_mut().zip(&wide).for_each(|(o, x)| *o = bf16::from_f32(*x));
        });
    }

    /// Group by group, `one(group, its rows)`.
    fn unpack<T: Send>(&self, first: usize, out: &mut [T], one: impl Fn(usize, &mut [T]) + Sync) {
        /// Groups of a task.
        const TASK: usize = 4;
        assert!(first.is_multiple_of(GROUP), "rows from {first} on");
        out.par_chunks_mut((TASK * GROUP * self.cols).max(1)).enumerate().for_each(|(task, out)| {
            for (g, out) in out.chunks_mut(GROUP * self.cols).enumerate() {
                one(first / GROUP + task * TASK + g, out);
            }
        });
    }

    fn unpack_plain(&self, g: usize, out: &mut [f32]) {
        super::vectorised(|| {
            for (lane, out) in out.chunks_exact_mut(self.cols).enumerate() {
                unpack_row(self.kind, self.group(g), lane, out);
            }
        });
    }
}
