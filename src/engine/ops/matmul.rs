//! Matrix product: `y = a @ b`, batched, with PyTorch's rules for vectors and broadcast batch dimensions.
//!
//! `da = dy bᵀ`, `db = aᵀ dy`, each only if wanted, summed over broadcast batches. Transposed views are multiplied where
//! they lie. Under autocast the product, and its gradients, are computed in the low dtype; gradients come back in the
//! inputs' own.

use super::operands::{broadcast, expand, same_device, sum_to, zeros};
use super::{budget, cast, shape};
use crate::engine::autograd::{Tensor, autocast, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

/// `a @ b`: `[.., m, k] @ [.., k, n] = [.., m, n]`; a vector is a row on the left, a column on the right.
///
/// # Errors
/// If the inner dimensions differ, batch dimensions do not broadcast, a side has no dimensions, or dtypes differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_device("matmul", a, b)?;
    let ([.., k], [.., rows, _] | [rows]) = (a.dims(), b.dims()) else {
        return Err(Error::shape_help(
            "matmul",
            format!("{:?} @ {:?}: a number has no rows or columns", a.dims(), b.dims()),
            "use * for numbers",
        )
        .about("left", a.dims())
        .about("right", b.dims()));
    };
    let (k, rows) = (*k, *rows);
    if k != rows {
        let message = format!("{:?} @ {:?}: inner dimensions {k} and {rows} differ", a.dims(), b.dims());
        let err = Error::shape("matmul", message).about("left", a.dims()).about("right", b.dims());
        return Err(
            match (b.rank() >= 2 && b.dims().last() == Some(&k), a.rank() >= 2 && a.dims()[a.rank() - 2] == rows) {
                (true, _) => err.advise("transpose the right side? b.transpose(-2, -1)"),
                (_, true) => err.advise("transpose the left side? a.transpose(-2, -1)"),
                _ => err,
            },
        );
    }
    let (a, b) = low_precision(a, b)?;
    match (a.rank(), b.rank()) {
        (1, _) => shape::squeeze(&matmul(&shape::unsqueeze(&a, 0)?, &b)?, Some(if b.rank() == 1 { 0 } else { -2 })),
        (_, 1) => shape::squeeze(&matmul(&a, &shape::unsqueeze(&b, -1)?)?, Some(-1)),
        // One matrix for all batches: one product of many rows, and no copies of the matrix or of its gradient.
        (3.., 2) if k > 0 && !a.is_empty() => {
            let sizes: Vec<i64> = a.dims()[..a.rank() - 1].iter().chain(&b.dims()[1..]).map(|d| *d as i64).collect();
            shape::reshape(&matrices(&shape::reshape(&a, &[-1, k as i64])?, &b)?, &sizes)
        }
        _ => matrices(&a, &b),
    }
}

/// Both in the dtype that the product is computed in.
fn low_precision(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let castable = |t: &Tensor| matches!(t.dtype(), DType::F32 | DType::BF16 | DType::F16);
    if let Some(low) = autocast().dtype()
        && castable(a)
        && castable(b)
    {
        return Ok((cast::to_dtype(a, low)?, cast::to_dtype(b, low)?));
    }
    if a.dtype() != b.dtype() || !a.dtype().is_float() {
        let (left, right) = (a.dtype(), b.dtype());
        let message =
            format!("takes two floating-point tensors of one dtype, not {} @ {}", left.as_str(), right.as_str());
        let to = if left.is_float() {
            left
        } else if right.is_float() {
            right
        } else {
            DType::F32
        };
        return Err(Error::dtype("matmul", message)
            .advise(format!("convert with to(\"{}\")", to.as_str()))
            .about("left", left)
            .about("right", right));
    }
    Ok((a.clone(), b.clone()))
}

/// The product of two tensors with at least two dimensions each.
fn matrices(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = profile::span("matmul");
    let value = product(a.value(), b.value())?;
    Ok(record("matmul", value, &[a, b], |needs| {
        let (a_dims, b_dims) = (a.dims().to_vec(), b.dims().to_vec());
        let a = needs[1].then(|| a.value().clone());
        let b = needs[0].then(|| b.value().clone());
        move |dy: Value| {
            let da = b.map(|b| sum_to(&product(&dy, &transposed(&b)?)?, &a_dims)).transpose()?;
            let db = a.map(|a| sum_to(&product(&transposed(&a)?, &dy)?, &b_dims)).transpose()?;
            Ok(vec![da, db])
        }
    }))
}

fn transposed(x: &Value) -> Result<Value> {
    Ok(x.transpose(x.rank() - 2, x.rank() - 1)?)
}

/// `a @ b` over broadcast batch dimensions.
fn product(a: &Value, b: &Value) -> Result<Value> {
    let (a_batch, a_matrix) = a.dims().split_at(a.rank() - 2);
    let (b_batch, b_matrix) = b.dims().split_at(b.rank() - 2);
    let batch = broadcast("matmul", a_batch, b_batch).map_err(|_| {
        Error::shape(
            "matmul",
            format!("{:?} @ {:?}: batch dimensions {a_batch:?} and {b_batch:?} do not broadcast", a.dims(), b.dims()),
        )
        .about("left", a.dims())
        .about("right", b.dims())
    })?;
    let with_batch = |matrix: &[usize]| [&batch[..], matrix].concat();
    let dims = with_batch(&[a_matrix[0], b_matrix[1]]);
    profile::work(2.0 * a_matrix[1] as f64 * dims.iter().map(|d| *d as f64).product::<f64>(), 0);
    if budget::elements("matmul", &dims, a.dtype())? == 0 || a_matrix[1] == 0 {
        return zeros(&dims, a);
    }
    let (mut a, mut b) = (expand(a, &with_batch(a_matrix))?, expand(b, &with_batch(b_matrix))?);
    let one_b = batch.iter().zip(b.stride()).all(|(d, s)| *d == 1 || *s == 0);
    if !multipliable(&a) || (one_b && batch.iter().any(|d| *d > 1)) {
        // candle stacks the rows of `a` when every batch has the same `b`, and assumes that they are row-major.
        a = a.contiguous()?;
    }
    if !multipliable(&b) {
        b = b.contiguous()?;
    }
    if dims.len() > 4 {
        let flat = |x: &Value| x.contiguous()?.reshape(((), x.dims()[x.rank() - 2], x.dims()[x.rank() - 1]));
        return Ok(flat(&a)?.matmul(&flat(&b)?)?.reshape(dims)?);
    }
    Ok(a.matmul(&b)?)
}

/// Whether candle's matmul takes this layout: rows or columns adjacent, batches evenly spaced.
fn multipliable(x: &Value) -> bool {
    let (dims, stride) = (x.dims(), x.stride());
    let (rows, cols) = (dims[x.rank() - 2], dims[x.rank() - 1]);
    let (row, col) = (stride[x.rank() - 2], stride[x.rank() - 1]);
    let row_major = (col == 1 || cols == 1) && (row == cols || rows == 1 || (x.device().is_cpu() && row > cols));
    let col_major = (row == 1 || rows == 1) && (col == rows || cols == 1 || (x.device().is_cpu() && col > rows));
    let even = match (&dims[..x.rank() - 2], &stride[..x.rank() - 2]) {
        ([] | [_], _) => true,
        ([d0, d1], [s0, s1]) => *s0 == s1 * d1 || *d0 == 1 || *d1 == 1,
        _ => x.is_contiguous(),
    };
    even && (row_major || col_major)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::autograd::{Autocast, autocast_guard, stats};
    use crate::engine::ops::testing::{close_in_low_precision, f64s};
    use candle_core::Device;

    fn swapped(dims: &[usize], salt: u64) -> Value {
        transposed(&sample(dims, salt)).unwrap()
    }

    /// Protects the gradients: matrices, vectors, batches, broadcast batches, every kind of view, empty.
    #[test]
    fn gradients() {
        let s = sample;
        let wide = |dims: &[usize], salt| sample(dims, salt).narrow(dims.len() - 1, 1, 2).unwrap();
        for pair in [
            [s(&[2, 3], 1), s(&[3, 4], 2)],
            [swapped(&[3, 2], 1), swapped(&[4, 3], 2)],
            [wide(&[3, 4], 1), wide(&[2, 5], 2)],
            [s(&[3], 1), s(&[3], 2)],
            [s(&[2, 3], 1), s(&[3], 2)],
            [s(&[3], 1), s(&[3, 2], 2)],
            [s(&[2, 2, 3], 1), s(&[3], 2)],
            [s(&[3], 1), s(&[2, 3, 2], 2)],
            [s(&[2, 2, 3], 1), s(&[3, 4], 2)],
            [swapped(&[2, 3, 2], 1), s(&[3, 4], 2)],
            [swapped(&[2, 3, 2], 1), s(&[1, 3, 4], 2)],
            [s(&[2, 3], 1), s(&[2, 3, 2], 2)],
            [s(&[2, 1, 2, 3], 1), s(&[3, 3, 2], 2)],
            [s(&[2, 3, 2, 2], 1).transpose(1, 2).unwrap(), s(&[2, 2, 2, 3], 2).transpose(1, 2).unwrap()],
            [s(&[2, 1, 1, 2, 2], 1), s(&[2, 1, 2, 2], 2)],
            [s(&[0, 3], 1), s(&[3, 2], 2)],
            [s(&[2, 0], 1), s(&[0, 2], 2)],
            [s(&[0, 2, 3], 1), s(&[3, 2], 2)],
        ] {
            check(&pair, |t| matmul(&t[0], &t[1]));
        }
    }

    /// Protects the values: every layout against sums written out, so that no view is misread.
    #[test]
    fn values_of_views() -> Result<()> {
        let a = swapped(&[3, 4, 2], 1); // [3, 2, 4]
        let b = sample(&[1, 4, 5], 2);
        let y = f64s(matmul(&Tensor::new(a.clone()), &Tensor::new(b.clone()))?.value());
        let (a, b) = (a.contiguous()?.to_vec3::<f64>()?, b.to_vec3::<f64>()?);
        for (i, y) in y.iter().enumerate() {
            let (batch, row, col) = (i / 10, i / 5 % 2, i % 5);
            let want: f64 = (0..4).map(|k| a[batch][row][k] * b[0][k][col]).sum();
            assert!((y - want).abs() < 1e-12, "element {i}");
        }
        Ok(())
    }

    /// Protects mixed precision: low dtype out, gradients in the inputs' dtype, f64 left alone.
    #[test]
    fn autocast_policy() -> Result<()> {
        close_in_low_precision(&[sample(&[8, 16], 1), sample(&[16, 4], 2)], |t| matmul(&t[0], &t[1]));
        let a = Tensor::parameter(sample(&[2, 3], 1).to_dtype(DType::F32)?)?;
        let b = Tensor::new(sample(&[3, 2], 2).to_dtype(DType::F32)?);
        stats::reset();
        for (policy, low) in [(Autocast::Bf16, DType::BF16), (Autocast::F16, DType::F16)] {
            let _policy = autocast_guard(policy);
            let y = matmul(&a, &b)?;
            assert_eq!(y.dtype(), low);
            crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like()?)])?;
            assert_eq!(a.take_grad().unwrap().dtype(), DType::F32);
            let wide = Tensor::new(sample(&[3, 3], 1));
            assert_eq!(matmul(&wide, &wide)?.dtype(), DType::F64);
        }
        assert_eq!(stats::by_op()["matmul"].input_grads, 2, "the frozen side gets no gradient");
        Ok(())
    }

    /// Protects the messages: both shapes, the two numbers, and the likely cure.
    #[test]
    fn errors() -> Result<()> {
        let z = |dims: &[usize], dtype| Tensor::new(Value::zeros(dims, dtype, &Device::Cpu).unwrap());
        let e = matmul(&z(&[4, 512, 576], DType::F32), &z(&[192, 576], DType::F32)).unwrap_err();
        assert_eq!(e.to_string(), "matmul: [4, 512, 576] @ [192, 576]: inner dimensions 576 and 192 differ");
        assert!(e.help().unwrap().contains("transpose the right side?"));
        assert!(matmul(&z(&[], DType::F32), &z(&[2], DType::F32)).is_err());
        assert!(
            matmul(&z(&[2, 2, 2], DType::F32), &z(&[3, 2, 2], DType::F32)).unwrap_err().to_string().contains("batch")
        );
        assert!(matmul(&z(&[2, 2], DType::I64), &z(&[2, 2], DType::I64)).unwrap_err().to_string().contains("i64"));
        assert!(matmul(&z(&[2, 2], DType::F32), &z(&[2, 2], DType::BF16)).is_err());
        Ok(())
    }
}
