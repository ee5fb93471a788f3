//! Products of matrices inside plain slices: a safe, bounds-checked face on the `gemm` crate, which picks AVX2, AVX-512 or
//! NEON code at run time. One thread each: the crate's own division of labour is worse than cutting the result into tasks.

use gemm::Parallelism;
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix in somebody's slice: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A `rows x cols` matrix whose rows begin `row_stride` elements apart.
    pub fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let m = Mat { data, rows, cols, row_stride, col_stride: 1 };
        m.check();
        m
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Mat { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "matrix view reaches past its slice");
        }
    }
}

/// Types `gemm` multiplies.
pub trait Scalar: num_traits::Float + Send + Sync + 'static {}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// `dst = factor * lhs @ rhs`, or `dst += ..` with `accumulate`. `dst` is row-major with rows `dst_stride` apart.
///
/// # Panics
/// If the shapes do not fit: callers have checked them.
pub fn gemm<T: Scalar>(
    dst: &mut [T],
    dst_stride: usize,
    lhs: Mat<'_, T>,
    rhs: Mat<'_, T>,
    factor: T,
    accumulate: bool,
) {
    let (m, n) = (lhs.rows, rhs.cols);
    assert_eq!(lhs.cols, rhs.rows, "inner dimensions");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_stride + n <= dst.len(), "result reaches past its slice");
    // SAFETY: the assertion above; `dst` is borrowed mutably, so it overlaps neither operand.
    unsafe { run(dst.as_mut_ptr(), dst_stride, lhs, rhs, factor, accumulate) }
}

/// # Safety
/// Every element of the result, `lhs.rows` rows of `rhs.cols` elements `stride` apart from `dst`, may be written, and
/// overlaps neither operand.
unsafe fn run<T: Scalar>(dst: *mut T, stride: usize, lhs: Mat<'_, T>, rhs: Mat<'_, T>, factor: T, accumulate: bool) {
    // SAFETY: `Mat::new` checked that every element of the operands lies inside its slice; the caller answers for `dst`.
    // `T` is f32 or f64.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.cols,
            lhs.cols,
            dst,
            1,
            stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            T::one(),
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A row-major matrix whose columns several threads fill, each its own.
pub(super) struct Columns<'a, T> {
    data: *mut T,
    rows: usize,
    cols: usize,
    lives: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is to a slice borrowed mutably for 'a; who writes through it writes columns nobody else has.
unsafe impl<T: Send> Sync for Columns<'_, T> {}

impl<'a, T: Scalar> Columns<'a, T> {
    pub(super) fn new(data: &'a mut [T], cols: usize) -> Self {
        Columns { rows: data.len() / cols.max(1), cols, data: data.as_mut_ptr(), lives: PhantomData }
    }

    /// As [`gemm`], into these `columns`. Calls at one time must have disjoint `columns`: the one caller cuts them so.
    pub(super) fn gemm(&self, columns: Range<usize>, lhs: Mat<'_, T>, rhs: Mat<'_, T>, factor: T, accumulate: bool) {
        assert!(columns.end <= self.cols && columns.len() == rhs.cols && lhs.rows == self.rows && lhs.cols == rhs.rows);
        // SAFETY: the columns lie inside the matrix, which is borrowed for as long as this value lives.
        unsafe { run(self.data.add(columns.start), self.cols, lhs, rhs, factor, accumulate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the strides: transposed operands, a wider destination, accumulation and the factor.
    #[test]
    fn strides_and_accumulation() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // [2, 3], used as its transpose [3, 2]
        let mut c = [10.0; 6]; // [2, 2] in rows of 3
        gemm(&mut c, 3, Mat::new(&a, 2, 3, 3), Mat::new(&b, 2, 3, 3).t(), 2.0, true);
        assert_eq!(c, [24.0, 30.0, 10.0, 42.0, 54.0, 10.0]);
    }
}
