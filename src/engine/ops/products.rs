//! The three products of a linear layer on tensors: `x W^T`, `dy W`, `dy^T x`, in a given dtype.
//!
//! f32, and bf16 where the processor has it, go to our kernels ([`super::gemm::dense`]); the rest, and other devices, to
//! candle.

use super::cpu::{prepared, slice};
use super::gemm::dense::{Element, Form, Size, Update};
use crate::engine::autograd::add::add_in_place;
use crate::engine::error::{Error, Result};
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
    let dims = with_last(x, w.dim(0)?);
    if x.elem_count() == 0 || w.elem_count() == 0 {
        return Ok(Value::zeros(dims, dtype, x.device())?);
    }
    let (x, w) = (rows(&x.to_dtype(dtype)?)?, w.to_dtype(dtype)?);
    let y = match ours(&x, &w, Form::Nt)? {
        Some(y) => y,
        None => x.matmul(&w.t()?)?,
    };
    Ok(y.reshape(dims)?)
}

/// `dy W` in `dtype`.
pub(super) fn input_grad(dy: &Value, w: &Value, dtype: DType) -> Result<Value> {
    let dims = with_last(dy, w.dim(1)?);
    if dy.elem_count() == 0 || w.elem_count() == 0 {
        return Ok(Value::zeros(dims, dtype, dy.device())?);
    }
    let (dy, w) = (rows(&dy.to_dtype(dtype)?)?, w.to_dtype(dtype)?);
    let dx = match ours(&dy, &w, Form::Nn)? {
        Some(dx) => dx,
        None => dy.matmul(&w)?,
    };
    Ok(dx.reshape(dims)?)
}

/// `dy^T x` in `dtype`.
pub(super) fn weight_grad(dy: &Value, x: &Value, dtype: DType) -> Result<Value> {
    let (dy, x) = (rows(&dy.to_dtype(dtype)?)?, rows(&x.to_dtype(dtype)?)?);
    if x.elem_count() == 0 || dy.elem_count() == 0 {
        return Ok(Value::zeros((dy.dim(1)?, x.dim(1)?), dtype, x.device())?);
    }
    match ours(&dy, &x, Form::Tn)? {
        Some(dw) => Ok(dw),
        None => Ok(dy.t()?.matmul(&x)?),
    }
}

/// `y += factor * x W^T`, the product in `dtype`. Nobody else looks at the storage of `y`, which is contiguous.
pub(super) fn add_product(y: &Value, x: &Value, w: &Value, dtype: DType, factor: f64) -> Result<()> {
    if y.elem_count() == 0 {
        return Ok(());
    }
    if y.device().is_cpu() && y.dtype() == dtype && kernel(dtype) && x.elem_count() > 0 {
        let (x, w) = (rows(&prepared(x, dtype)?)?, prepared(w, dtype)?);
        let flat = y.reshape((x.dim(0)?, w.dim(0)?))?;
        return Ok(flat.inplace_op3(&x, &w, &AddProduct(factor as f32))?);
    }
    add_in_place(y, &(product(x, w, dtype)? * factor)?.to_dtype(y.dtype())?)
}

fn with_last(x: &Value, n: usize) -> Vec<usize> {
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    dims
}

/// Whether products of `dtype` have a kernel of ours on this machine.
pub(in crate::engine) fn kernel(dtype: DType) -> bool {
    match dtype {
        DType::F32 => f32::supported(),
        DType::BF16 => bf16::supported(),
        _ => false,
    }
}

/// Bytes that a product of `dtype` takes beside operands and result, where [`kernel`] says that it is ours.
pub(in crate::engine) fn scratch(form: Form, size: Size, dtype: DType) -> usize {
    match dtype {
        DType::F32 => f32::scratch(form, size),
        DType::BF16 => bf16::scratch(form, size),
        _ => 0,
    }
}

/// The product of two matrices of one dtype; `None` where candle is to make it.
fn ours(a: &Value, b: &Value, form: Form) -> Result<Option<Value>> {
    if !a.device().is_cpu() || !kernel(a.dtype()) {
        return Ok(None);
    }
    match a.dtype() {
        DType::F32 => fresh::<f32>(a, b, form).map(Some),
        DType::BF16 => fresh::<bf16>(a, b, form).map(Some),
        _ => Ok(None),
    }
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

fn fresh<T: Element + WithDType>(a: &Value, b: &Value, form: Form) -> Result<Value> {
    let size = size(form, a.dims(), b.dims())?;
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let mut c = vec![T::zero(); size.m * size.n];
    {
        let (a, b) = (a.storage_and_layout(), b.storage_and_layout());
        T::product(form, size, slice(&a.0, a.1)?, slice(&b.0, b.1)?, &mut c, Update::SET);
    }
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
