//! f32 products of one thread on matrices that are in its cache: a strip of up to 14 rows of the result at a time.
//!
//! Attention is made of these: with a strip its first rows know how many columns, or terms, they need.

use super::super::dense::Update;
use super::f32::F32;
use super::tile::Tile;
use super::{Kernel, Target};

/// Most rows of a strip.
pub const ROWS: usize = super::R;

/// Columns of a panel.
pub const PANEL: usize = 16 * super::Z;

/// The right side of a product `[terms, columns]`.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// Panels of [`PANEL`] columns one after another, each `[terms, PANEL]`: what [`pack`] writes.
    Packed(&'a [f32]),
    /// Rows of so many elements. The columns are a multiple of 16.
    Rows(&'a [f32], usize),
}

/// The left side: element (row, term) at `row * by_row + term * by_term`.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// From one row to the next.
    pub by_row: usize,
    /// From one term to the next.
    pub by_term: usize,
}

/// Whether strips can be had here.
pub fn supported() -> bool {
    super::f32_supported()
}

/// Elements that [`pack`] writes for so many vectors.
pub fn packed(vectors: usize, terms: usize) -> usize {
    vectors.next_multiple_of(PANEL) * terms
}

/// Packs `vectors` of `terms` elements each, `apart` elements apart, as panels of columns; columns behind the last vector are
/// zeros.
///
/// # Panics
/// If a slice does not hold that much.
pub fn pack(x: &[f32], vectors: usize, apart: usize, terms: usize, out: &mut [f32]) {
    assert!(supported(), "AVX-512 was asked for first");
    assert!(out.len() >= packed(vectors, terms), "panels of a product");
    for (panel, out) in out.chunks_exact_mut(PANEL * terms).enumerate().take(vectors.div_ceil(PANEL)) {
        let first = panel * PANEL;
        let count = PANEL.min(vectors - first);
        assert!((first + count - 1) * apart + terms <= x.len(), "vectors of a product");
        let (x, out) = (x[first * apart..].as_ptr(), out.as_mut_ptr());
        // SAFETY: the processor has AVX-512; the assertions say that the vectors and the panel are there.
        unsafe { F32::pack_rows(x, apart, count, super::Z, terms, out) }
    }
}

/// `out = update(left right)` for `rows <= 14` rows, `columns` columns and `terms` terms; rows of `out` are `stride` apart.
///
/// # Panics
/// If a slice does not hold that much.
#[inline]
pub fn multiply(
    left: Left<'_>,
    rows: usize,
    right: Right<'_>,
    [columns, terms]: [usize; 2],
    out: &mut [f32],
    stride: usize,
    update: Update,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(supported() && rows <= ROWS && terms > 0, "a strip of a product");
    assert!((rows - 1) * left.by_row + (terms - 1) * left.by_term < left.data.len(), "left side of a product");
    assert!((rows - 1) * stride + columns <= out.len(), "result of a product");
    let right_size = match right {
        Right::Packed(data) => data.len() >= packed(columns, terms),
        Right::Rows(data, row) => columns.is_multiple_of(16) && (terms - 1) * row + columns <= data.len(),
    };
    assert!(right_size, "right side of a product");
    for first in (0..columns).step_by(PANEL) {
        let count = PANEL.min(columns - first);
        let zs = count.div_ceil(16);
        let (lanes, lane_step) = match right {
            Right::Packed(data) => (data[first * terms..].as_ptr(), PANEL),
            Right::Rows(data, row) => (data[first..].as_ptr(), row),
        };
        let tile = Tile::<F32> {
            units: terms,
            ahead: lanes.cast(),
            ahead_step: 0,
            scalars: left.data.as_ptr().cast(),
            row: left.by_row * size_of::<f32>(),
            step: left.by_term * size_of::<f32>(),
            lanes,
            lane_step,
            lane_count: count,
            first: true,
            last: true,
            sums: std::ptr::null_mut(),
            target: Target { data: out.as_mut_ptr(), lane_stride: 1, scalar_stride: stride },
            at: first,
            update,
        };
        // SAFETY: the assertions above say that operands and result are there and that the processor has AVX-512; a target
        // whose `scalar_stride` is 1 has one column, and is written all the same.
        unsafe { tile.dispatch(rows, zs) }
    }
}
