//! Products with quantized matrices: in integers for a few rows of activations, from a dequantized copy for many.
//!
//! A copy is made for [`PANEL`] bytes of the weight at a time, in memory that the thread keeps for the next product, so that
//! it lies in the cache when it is multiplied. Each element of the result is one sum in any case: how a weight is cut
//! changes no bit of it.

use super::convert::convert;
use super::cpu::{self, Elem, prepared, slices};
use super::gemm::dense::{Element, Form, Size, Update};
use super::quant::{self, Activations, Matrix, Product};
use super::{gemm, products, products::with_last};
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::{DType, Tensor as Value, WithDType};
use half::bf16;
use rayon::prelude::*;
use std::cell::RefCell;
use std::thread::LocalKey;

/// Bytes of a dequantized copy, about.
const PANEL: usize = 4 << 20;

/// `x W^T` in `dtype`, as of the dequantized matrix.
pub(super) fn product(x: &Value, matrix: &Matrix, dtype: DType) -> Result<Value> {
    let [n, k] = matrix.dims();
    let m = x.elem_count() / k.max(1);
    if m * n == 0 || !matches!(dtype, DType::F32 | DType::BF16) {
        return products::product(x, &dense(matrix, dtype)?, dtype);
    }
    count(matrix, m);
    let x = prepared(x, dtype)?;
    let dims = with_last(&x, n);
    if dtype == DType::BF16 {
        let out = slices!([xs: bf16 = x] => many::<bf16, bf16>(xs, matrix, m, &BF16));
        return cpu::tensor(out, &dims);
    }
    let out = slices!([xs: f32 = x] => many::<f32, f32>(xs, matrix, m, &F32));
    cpu::tensor(out, &dims)
}

/// `x W^T` in `dtype` for several matrices of as many columns, in fewer bits: up to [`quant::ROWS`] rows in integers, more in
/// bf16 where the processor has kernels for it. `x` is converted once.
pub(super) fn quick(x: &Value, matrices: &[&Matrix], dtype: DType) -> Result<Vec<Value>> {
    let k = x.dims().last().copied().unwrap_or(0);
    let m = x.elem_count() / k.max(1);
    if (1..=quant::ROWS).contains(&m) {
        return few(x, matrices, m, dtype);
    }
    if m == 0 || dtype != DType::F32 || !gemm::bf16_supported() {
        return matrices.iter().map(|matrix| product(x, matrix, dtype)).collect();
    }
    let low = prepared(x, DType::BF16)?;
    let one = |matrix: &&Matrix| {
        count(matrix, m);
        let out = slices!([xs: bf16 = low] => many::<bf16, f32>(xs, matrix, m, &BF16));
        cpu::tensor(out, &with_last(x, matrix.dims()[0]))
    };
    matrices.iter().map(one).collect()
}

fn few(x: &Value, matrices: &[&Matrix], m: usize, dtype: DType) -> Result<Vec<Value>> {
    let k = x.dims().last().copied().unwrap_or(0);
    let wide = prepared(x, DType::F32)?;
    let quantized = slices!([xs: f32 = wide] => Activations::new(xs, k));
    let mut outs: Vec<Vec<f32>> = matrices.iter().map(|matrix| vec![0.0; m * matrix.dims()[0]]).collect();
    let mut all: Vec<Product<'_>> =
        matrices.iter().zip(&mut outs).map(|(matrix, out)| Product { matrix, out }).collect();
    quant::multiply(&quantized, &mut all);
    let value = |(matrix, out): (&&Matrix, Vec<f32>)| {
        count(matrix, m);
        convert(&cpu::tensor(out, &with_last(x, matrix.dims()[0]))?, dtype)
    };
    matrices.iter().zip(outs).map(value).collect()
}

/// The numbers of `matrix` in `dtype`.
pub(in crate::engine) fn dense(matrix: &Matrix, dtype: DType) -> Result<Value> {
    match dtype {
        DType::BF16 => cpu::tensor(bf16::all(matrix), &matrix.dims()),
        _ => convert(&cpu::tensor(f32::all(matrix), &matrix.dims())?, dtype),
    }
}

/// For profiles.
fn count(matrix: &Matrix, m: usize) {
    let [n, k] = matrix.dims();
    profile::work(2.0 * m as f64 * n as f64 * k as f64, matrix.bytes());
}

/// Element types that a matrix is dequantized to.
trait Dequantized: Element + Elem<Acc = f32> + WithDType {
    fn rows(matrix: &Matrix, first: usize, out: &mut [Self]);

    fn all(matrix: &Matrix) -> Vec<Self> {
        let mut out = vec![Self::zero(); matrix.dims().iter().product()];
        Self::rows(matrix, 0, &mut out);
        out
    }
}

impl Dequantized for f32 {
    fn rows(matrix: &Matrix, first: usize, out: &mut [f32]) {
        matrix.rows_f32(first, out);
    }
}

impl Dequantized for bf16 {
    fn rows(matrix: &Matrix, first: usize, out: &mut [bf16]) {
        matrix.rows_bf16(first, out);
    }
}

/// A panel's copy, and its products where they are not the result's rows.
struct Room<T> {
    weight: Vec<T>,
    product: Vec<T>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Room { weight: Vec::new(), product: Vec::new() }
    }
}

thread_local! {
    static F32: RefCell<Room<f32>> = RefCell::default();
    static BF16: RefCell<Room<bf16>> = RefCell::default();
}

/// The first `len` elements of `buffer`, whatever they are.
fn part<T: Copy + WithDType>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zero());
    }
    &mut buffer[..len]
}

/// `x W^T` of `m` rows, sums rounded to `T` and widened to `O`. The room is taken, not borrowed: whatever else this thread is
/// given to do while it waits for others finds none, and makes its own.
fn many<T: Dequantized, O: Elem<Acc = f32>>(
    x: &[T],
    matrix: &Matrix,
    m: usize,
    kept: &'static LocalKey<RefCell<Room<T>>>,
) -> Vec<O> {
    let [n, k] = matrix.dims();
    let mut room = kept.take();
    let panel = (PANEL / (k * size_of::<T>()).max(1)).next_multiple_of(quant::GROUP).min(n);
    let mut out = vec![O::zero(); m * n];
    for first in (0..n).step_by(panel) {
        let size = Size { m, n: panel.min(n - first), k };
        let weight = part(&mut room.weight, size.n * k);
        T::rows(matrix, first, weight);
        let product = part(&mut room.product, m * size.n);
        T::product(Form::Nt, size, x, weight, product, Update::SET);
        out.par_chunks_mut(n * cpu::rows_per_task(n)).zip(product.par_chunks(size.n * cpu::rows_per_task(n))).for_each(
            |(out, product)| {
                cpu::vectorised(|| {
                    for (out, product) in out.chunks_exact_mut(n).zip(product.chunks_exact(size.n)) {
                        out[first..first + size.n].iter_mut().zip(product).for_each(|(o, x)| *o = O::down(x.up()));
                    }
                });
            },
        );
    }
    kept.set(room);
    out
}

#[cfg(test)]
mod tests {
    use super::super::linear::linear;
    use super::super::lora::{LoraWeights, lora_linear};
    use super::super::quant::tests::{activations, matrix};
    use super::super::testing::f64s;
    use super::super::weight::{Precision, Quantized, Weight};
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::autograd::{Tensor, backward, stats};
    use crate::engine::ops::quant::Kind;
    use candle_core::Device;

    fn x(m: usize, k: usize) -> Value {
        Value::from_vec(activations(m * k, 3), (m, k), &Device::Cpu).unwrap()
    }

    /// Largest distance, in parts of the root mean square.
    fn distance(got: &Value, want: &Value) -> f64 {
        let (got, want) = (f64s(got), f64s(want));
        let size = (want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64).sqrt();
        got.iter().zip(&want).map(|(g, w)| (g - w).abs() / size).fold(0.0, f64::max)
    }

    /// Protects training on a quantized base, and prompts: exact products are the dense weight's bit for bit, in every dtype,
    /// for few rows and many, in one panel or several; quick ones are near.
    #[test]
    fn products_are_the_dense_weights() -> Result<()> {
        for kind in Kind::ALL {
            for (m, n, k) in [(1, 17, 64), (8, 40, 96), (9, 33, 64), (70, 300, 576), (20, 2100, 576), (0, 16, 32)] {
                let (matrix, x) = (matrix(kind, n, k), x(m, k));
                for dtype in [DType::F32, DType::BF16, DType::F64] {
                    let (got, w) = (product(&x, &matrix, dtype)?, dense(&matrix, dtype)?);
                    assert_eq!((got.dtype(), got.dims()), (dtype, &[m, n][..]));
                    assert!(f64s(&got) == f64s(&products::product(&x, &w, dtype)?), "{kind:?} {m} {n} {k} {dtype:?}");
                }
                if m > 0 {
                    let want = products::product(&x, &dense(&matrix, DType::F64)?, DType::F64)?;
                    let error = distance(&quick(&x, &[&matrix], DType::F32)?[0], &want);
                    let bound = if m <= quant::ROWS { 1e-3 } else { 4e-2 };
                    assert!(error < bound, "{kind:?} {m} {n} {k}: {error}");
                }
            }
        }
        Ok(())
    }

    /// Protects training on a quantized base: gradients of input and adapter, by finite differences.
    #[test]
    fn gradients() -> Result<()> {
        for kind in Kind::ALL {
            let q = Quantized::new(matrix(kind, 5, 32))?;
            let weight = Weight::Quantized(&q, Precision::Exact);
            check(&[sample(&[2, 3, 32], 1)], |t| linear(&t[0], weight, None));
            check(&[sample(&[9, 32], 1), sample(&[5], 2)], |t| linear(&t[0], weight, Some(&t[1])));
            check(&[sample(&[3, 32], 1), sample(&[2, 32], 3), sample(&[5, 2], 4)], |t| {
                lora_linear(&t[0], weight, None, &LoraWeights { a: &t[1], b: &t[2], scale: 0.5, dropout: 0.0 })
            });
        }
        Ok(())
    }

    /// Protects the point of it: nothing of the weight is differentiated, and the input's gradient is the dense weight's.
    #[test]
    fn the_weight_gets_no_gradient() -> Result<()> {
        let q = Quantized::new(matrix(Kind::Q4_1, 40, 64))?;
        let wide = Tensor::new(dense(q.matrix(), DType::F32)?);
        let run = |weight: Weight<'_>| -> Result<Vec<f64>> {
            let x = Tensor::parameter(x(12, 64))?;
            stats::reset();
            let y = linear(&x, weight, None)?;
            backward(&[(y.clone(), y.value().affine(0.5, 1.0)?)])?;
            assert_eq!(stats::by_op()["linear"].input_grads, 1);
            Ok(f64s(&x.grad().unwrap()))
        };
        assert!(run(Weight::Quantized(&q, Precision::Exact))? == run(Weight::Dense(&wide))?);
        Ok(())
    }
}
