//! `x W^T` for a few rows of activations, in integers: each byte of the weights is read once.

use super::activations::Activations;
use super::blocks::{GROUP, Kind};
use super::matrix::Matrix;
use crate::engine::ops::team;

/// Most rows of activations.
pub(in crate::engine::ops) const ROWS: usize = 8;
/// Bytes of weights that are one task's, about: enough for a task to be more than the taking of it.
const TASK: usize = 24 << 10;

/// A product that is to be made: `out` is `[rows of x, rows of matrix]`.
#[derive(Debug)]
pub(in crate::engine::ops) struct Product<'a> {
    pub(in crate::engine::ops) matrix: &'a Matrix,
    pub(in crate::engine::ops) out: &'a mut [f32],
}

/// Where the tasks of a product write.
struct Target<'a> {
    matrix: &'a Matrix,
    out: *mut f32,
    /// Groups of a task.
    groups: usize,
    /// Number of its first task.
    first: usize,
}

// SAFETY: no two tasks write the same columns of `out`.
unsafe impl Sync for Target<'_> {}

/// Multiplies one to [`ROWS`] rows with several matrices of as many columns.
///
/// # Panics
/// If the sizes do not fit: callers have checked shapes.
pub(in crate::engine::ops) fn multiply(x: &Activations, products: &mut [Product<'_>]) {
    assert!((1..=ROWS).contains(&x.rows), "{} rows", x.rows);
    let mut tasks = 0;
    let mut targets = Vec::with_capacity(products.len());
    for product in products {
        let [n, k] = product.matrix.dims();
        assert!(k == x.cols && product.out.len() == x.rows * n, "operands of a quantized product");
        let groups = (TASK / product.matrix.group(0).len().max(1)).max(1);
        targets.push(Target { matrix: product.matrix, out: product.out.as_mut_ptr(), groups, first: tasks });
        tasks += product.matrix.groups().div_ceil(groups);
    }
    let targets = targets.as_slice();
    team::each(tasks, &|task| {
        let target = targets.iter().rfind(|t| t.first <= task).expect("the first task of the first target is 0");
        let (matrix, n) = (target.matrix, target.matrix.dims()[0]);
        let first = (task - target.first) * target.groups;
        let mut sums = [[0.0; GROUP]; ROWS];
        for g in first..(first + target.groups).min(matrix.groups()) {
            kernel(matrix.kind(), matrix.group(g), x, &mut sums);
            let count = GROUP.min(n - g * GROUP);
            for (row, sums) in sums.iter().enumerate().take(x.rows) {
                // SAFETY: `out` has `n` columns for each row, and this task alone those of its groups.
                let out = unsafe { std::slice::from_raw_parts_mut(target.out.add(row * n + g * GROUP), count) };
                out.copy_from_slice(&sums[..count]);
            }
        }
    });
}

fn kernel(kind: Kind, cells: &[u8], x: &Activations, out: &mut [[f32; GROUP]; ROWS]) {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::products_supported() {
        // SAFETY: just asked.
        return unsafe { super::avx512::products(kind, cells, x, out) };
    }
    super::vectorised(|| super::portable::products(kind, cells, x, out));
}
