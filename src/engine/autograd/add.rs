//! Sums of gradients, and of the residual stream: `a + b` and `a += b`, over all threads on the CPU.

use crate::engine::error::Result;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, InplaceOp2, Layout, Shape, Tensor as Value};
use rayon::prelude::*;
use std::ops::Add;

/// Elements of a task.
const CHUNK: usize = 32_768;

/// The contiguous part of a storage that a layout describes.
fn part<'a, T>(data: &'a [T], layout: &Layout) -> &'a [T] {
    &data[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()]
}

/// `a + b`, in the dtype of `a`: tensors of one shape on one device.
pub(crate) fn added(a: &Value, b: &Value) -> Result<Value> {
    let b = b.to_dtype(a.dtype())?;
    if !a.device().is_cpu() {
        return Ok((a + b)?);
    }
    Ok(a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &Sum)?)
}

/// `sum += term`. `sum` is contiguous and nobody else looks at its storage.
pub(crate) fn add_in_place(sum: &Value, term: &Value) -> Result<()> {
    let term = term.contiguous()?;
    if sum.device().is_cpu() {
        sum.inplace_op2(&term, &Sum)?;
    } else if sum.elem_count() > 0 {
        let total = (sum + &term)?.flatten_all()?;
        sum.flatten_all()?.slice_set(&total, 0, 0)?;
    }
    Ok(())
}

struct Sum;

fn sums<T: Copy + Send + Sync + Add<Output = T>>(a: &[T], la: &Layout, b: &[T], lb: &Layout) -> Vec<T> {
    let (a, b) = (part(a, la), part(b, lb));
    let mut out = Vec::with_capacity(a.len());
    a.par_iter().with_min_len(CHUNK).zip(b).map(|(a, b)| *a + *b).collect_into_vec(&mut out);
    out
}

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let sum = match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => CpuStorage::F32(sums(a, l1, b, l2)),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => CpuStorage::F64(sums(a, l1, b, l2)),
            (CpuStorage::BF16(a), CpuStorage::BF16(b)) => CpuStorage::BF16(sums(a, l1, b, l2)),
            (CpuStorage::F16(a), CpuStorage::F16(b)) => CpuStorage::F16(sums(a, l1, b, l2)),
            (a, b) => candle_core::bail!("add: {:?} + {:?}", a.dtype(), b.dtype()),
        };
        Ok((sum, l1.shape().clone()))
    }
}

impl InplaceOp2 for Sum {
    fn name(&self) -> &'static str {
        "add_assign"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<()> {
        fn add<T: Copy + Send + Sync + Add<Output = T>>(sum: &mut [T], l1: &Layout, term: &[T], l2: &Layout) {
            let (start, count) = (l1.start_offset(), l1.shape().elem_count());
            let sum = &mut sum[start..start + count];
            sum.par_iter_mut().with_min_len(CHUNK).zip(part(term, l2)).for_each(|(s, t)| *s = *s + *t);
        }
        match (s1, s2) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => add(a, l1, b, l2),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => add(a, l1, b, l2),
            (CpuStorage::BF16(a), CpuStorage::BF16(b)) => add(a, l1, b, l2),
            (CpuStorage::F16(a), CpuStorage::F16(b)) => add(a, l1, b, l2),
            (a, b) => candle_core::bail!("add_assign: {:?} += {:?}", a.dtype(), b.dtype()),
        }
        Ok(())
    }
}
