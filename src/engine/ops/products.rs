//! The three products of a linear layer on tensors: `x W^T`, `dy W`, `dy^T x`, in a given dtype.
//!
//! On the CPU f32 and bf16 go to our kernels ([`super::gemm::dense`]); the rest, and other devices, to candle.

use super::convert::convert;
use super::cpu::slice;
use super::gemm::dense::{Element, Form, Size, Update};
use crate::engine::autograd::add::add_in_place;
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, DType, InplaceOp3, Layout, Tensor as Value, WithDType};
use half::bf16;

/// `[.., n]` as `[rows, n]`.
pub(super) fn rows(x: &Value) -> Result<Value> {
    let n = x.dim(D::Minus1)?;
    let count = x.elem_count() / n.max(1);
    Ok(x.contiguous()?.reshape((count, n))?)
}

/// `x W^T` in `dtype`.
pub(super) fn product(x: &Value, w: &Value, dtype: DType) -> Result<Value> {
    Ok(multiply(Form::Nt, &rows(x)?, w, dtype, 1.0)?.reshape(with_last(x, w.dim(0)?))?)
}

/// `factor * dy W` in `dtype`.
pub(super) fn input_grad(dy: &Value, w: &Value, dtype: DType, factor: f64) -> Result<Value> {
    Ok(multiply(Form::Nn, &rows(dy)?, w, dtype, factor)?.reshape(with_last(dy, w.dim(1)?))?)
}

/// `factor * dy^T x` in `dtype`.
pub(super) fn weight_grad(dy: &Value, x: &Value, dtype: DType, factor: f64) -> Result<Value> {
    multiply(Form::Tn, &rows(dy)?, &rows(x)?, dtype, factor)
}

/// `y += factor * x W^T`, the product in `dtype`. Nobody else looks at the storage of `y`, which is contiguous.
pub(super) fn add_product(y: &Value, x: &Value, w: &Value, dtype: DType, factor: f64) -> Result<()> {
    if y.elem_count() == 0 {
        return Ok(());
    }
    if y.device().is_cpu() && y.dtype() == dtype && kernel(dtype) && x.elem_count() > 0 {
        let (x, w) = (rows(&convert(x, dtype)?)?, convert(w, dtype)?.contiguous()?);
        let flat = y.reshape((x.dim(0)?, w.dim(0)?))?;
        count(Size { m: x.dim(0)?, n: w.dim(0)?, k: x.dim(1)? });
        return Ok(flat.inplace_op3(&x, &w, &AddProduct(factor as f32))?);
    }
    add_in_place(y, &convert(&(product(x, w, dtype)? * factor)?, y.dtype())?)
}

pub(super) fn with_last(x: &Value, n: usize) -> Vec<usize> {
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    dims
}

/// Whether products of `dtype` are ours on the CPU.
pub(in crate::engine) fn kernel(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16)
}

/// Bytes that a product of `dtype` takes beside operands and result, where [`kernel`] says that it is ours.
pub(in crate::engine) fn scratch(form: Form, size: Size, dtype: DType) -> usize {
    match dtype {
        DType::F32 => f32::scratch(form, size),
        DType::BF16 => bf16::scratch(form, size),
        _ => 0,
    }
}

/// `factor` times the product of two matrices, in `dtype`.
fn multiply(form: Form, a: &Value, b: &Value, dtype: DType, factor: f64) -> Result<Value> {
    let size = size(form, a.dims(), b.dims())?;
    count(size);
    if size.m * size.n * size.k == 0 {
        return Ok(Value::zeros((size.m, size.n), dtype, a.device())?);
    }
    let (a, b) = (convert(a, dtype)?, convert(b, dtype)?);
    match dtype {
        DType::F32 if a.device().is_cpu() => ours::<f32>(form, size, &a, &b, factor),
        DType::BF16 if a.device().is_cpu() => ours::<bf16>(form, size, &a, &b, factor),
        _ => {
            let product = match form {
                Form::Nt => a.matmul(&b.t()?)?,
                Form::Nn => a.matmul(&b)?,
                Form::Tn => a.t()?.matmul(&b)?,
            };
            Ok(if factor == 1.0 { product } else { (product * factor)? })
        }
    }
}

/// For profiles.
fn count(Size { m, n, k }: Size) {
    profile::work(2.0 * m as f64 * n as f64 * k as f64, 0);
}

fn size(form: Form, a: &[usize], b: &[usize]) -> Result<Size> {
    let (&[a0, a1], &[b0, b1]) = (a, b) else {
        return Err(Error::shape("matmul", format!("{a:?} and {b:?} are not two matrices")));
    };
    let (size, inner) = match form {
        Form::Nt => (Size { m: a0, n: b0, k: a1 }, b1),
        Form::Nn => (Size { m: a0, n: b1, k: a1 }, b0),
        Form::Tn => (Size { m: a1, n: b1, k: a0 }, b0),
    };
    if inner == size.k {
        Ok(size)
    } else {
        Err(Error::shape("matmul", format!("{a:?} and {b:?}: inner dimensions {} and {inner} differ", size.k)))
    }
}

fn ours<T: Element + WithDType>(form: Form, size: Size, a: &Value, b: &Value, factor: f64) -> Result<Value> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (a, b) = (a.storage_and_layout(), b.storage_and_layout());
    let c = T::fresh(form, size, slice(&a.0, a.1)?, slice(&b.0, b.1)?, factor as f32);
    super::cpu::tensor(c, &[size.m, size.n])
}

struct AddProduct(f32);

impl InplaceOp3 for AddProduct {
    fn name(&self) -> &'static str {
        "add_product"
    }

    fn cpu_fwd(
        &self,
        c: &mut CpuStorage,
        lc: &Layout,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<()> {
        fn add<T: Element>(c: &mut [T], lc: &Layout, a: &[T], la: &Layout, b: &[T], lb: &Layout, factor: f32) {
            let part = |l: &Layout| l.start_offset()..l.start_offset() + l.shape().elem_count();
            let (m, n, k) = (la.dims()[0], lb.dims()[0], la.dims()[1]);
            T::product(Form::Nt, Size { m, n, k }, &a[part(la)], &b[part(lb)], &mut c[part(lc)], Update::add(factor));
        }
        match (c, a, b) {
            (CpuStorage::F32(c), CpuStorage::F32(a), CpuStorage::F32(b)) => add(c, lc, a, la, b, lb, self.0),
            (CpuStorage::BF16(c), CpuStorage::BF16(a), CpuStorage::BF16(b)) => add(c, lc, a, la, b, lb, self.0),
            (c, a, b) => candle_core::bail!("add_product: {:?} += {:?} {:?}", c.dtype(), a.dtype(), b.dtype()),
        }
        Ok(())
    }
}
