//! Cells on any processor: integer products in plain Rust, and weights as f32.

use super::activations::Activations;
use super::blocks::{BLOCK, Cell, GROUP, Kind};

/// The products of all rows of `x`, at most eight, with the sixteen rows of a group: `out[row]`.
#[inline(always)]
pub(super) fn products(kind: Kind, cells: &[u8], x: &Activations, out: &mut [[f32; GROUP]; super::ROWS]) {
    let blocks = x.cols / BLOCK;
    *out = [[0.0; GROUP]; super::ROWS];
    for (block, cell) in cells.chunks_exact(kind.cell_bytes()).enumerate() {
        let cell = Cell::new(kind, cell);
        let (d, m) = (cell.scales(), cell.offsets());
        let codes: [[u8; 64]; 8] = std::array::from_fn(|v| cell.codes(v));
        for (row, out) in out.iter_mut().enumerate().take(x.rows) {
            let at = row * blocks + block;
            let (high, low) = x.codes[2 * at * BLOCK..][..2 * BLOCK].split_at(BLOCK);
            let (scale, sum) = (x.scales[at], x.sums[at]);
            let mut dots = [-kind.zero() * sum; GROUP];
            for (q, (high, low)) in codes.iter().zip(high.as_chunks::<4>().0.iter().zip(low.as_chunks::<4>().0)) {
                let a: [i32; 4] = std::array::from_fn(|i| 256 * i32::from(high[i]) + i32::from(low[i]));
                for (dot, q) in dots.iter_mut().zip(q.as_chunks::<4>().0) {
                    *dot += (0..4).map(|i| i32::from(q[i]) * a[i]).sum::<i32>();
                }
            }
            for lane in 0..GROUP {
                out[lane] += dots[lane] as f32 * (d[lane] * scale);
                if let Some(m) = &m {
                    out[lane] += m[lane] * (scale * sum as f32);
                }
            }
        }
    }
}
