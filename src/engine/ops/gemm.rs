//! Matrix products of plain slices: a safe, bounds-checked face on the `gemm` crate, which picks AVX2 or AVX-512 code
//! at run time.

use gemm::Parallelism;

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
    parallel: bool,
) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    assert_eq!(k, rhs.rows, "inner dimensions");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_stride + n <= dst.len(), "result reaches past its slice");
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: `Mat::new` and the assertion above checked that every element addressed lies inside its slice, and `dst`
    // is borrowed mutably, so it overlaps neither operand. `T` is f32 or f64.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
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
            parallelism,
        );
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
        gemm(&mut c, 3, Mat::new(&a, 2, 3, 3), Mat::new(&b, 2, 3, 3).t(), 2.0, true, false);
        assert_eq!(c, [24.0, 30.0, 10.0, 42.0, 54.0, 10.0]);
    }
}
