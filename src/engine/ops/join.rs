//! Joining: cat along a dimension, stack along a new one. The gradient of each part is its slice of dy.

use super::operands::{dim as dimension, promote, same_device, zeros};
use super::{budget, cast, shape};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::Tensor as Value;

/// `parts` one after another along dimension `dim`; they agree in every other.
///
/// # Errors
/// Without parts, or if their shapes differ elsewhere. The first one that does not fit is named.
pub fn cat(parts: &[Tensor], dim: i64) -> Result<Tensor> {
    let _span = profile::span("cat");
    let first = first("cat", parts)?;
    if first.rank() == 0 {
        return Err(Error::shape_help("cat", "numbers have no dimension to be joined along", "use stack()"));
    }
    let dim = dimension("cat", first.dims(), dim)?;
    let mut dims = first.dims().to_vec();
    dims[dim] = 0;
    let mut dtype = first.dtype();
    for (i, part) in parts.iter().enumerate() {
        same_device("cat", first, part)?;
        let fits = part.rank() == first.rank()
            && part.dims().iter().zip(first.dims()).enumerate().all(|(d, (a, b))| d == dim || a == b);
        if !fits {
            return Err(Error::shape(
                "cat",
                format!(
                    "part {i} is {:?}, part 0 is {:?}; they may differ in dimension {dim} only",
                    part.dims(),
                    first.dims()
                ),
            )
            .about("part", i)
            .about("left", first.dims())
            .about("right", part.dims())
            .about("dim", dim));
        }
        let sum = dims[dim].checked_add(part.dims()[dim]);
        dims[dim] = sum.ok_or_else(|| Error::shape("cat", "more elements than can be counted"))?;
        if part.dtype() != dtype {
            dtype = promote(&Tensor::new(zeros(&[0], first.value())?.to_dtype(dtype)?), &one_dimensional(part)?);
        }
    }
    let total = budget::elements("cat", &dims, dtype)?;
    let parts = parts.iter().map(|p| cast::to_dtype(p, dtype)).collect::<Result<Vec<_>>>()?;
    let value = if total == 0 {
        Value::zeros(dims, dtype, first.device())?
    } else {
        let values: Vec<&Value> = parts.iter().map(Tensor::value).filter(|v| v.elem_count() > 0).collect();
        Value::cat(&values, dim)?
    };
    let sizes: Vec<usize> = parts.iter().map(|p| p.dims()[dim]).collect();
    let inputs: Vec<&Tensor> = parts.iter().collect();
    Ok(record("cat", value, &inputs, |needs| {
        let needs = needs.to_vec();
        move |dy: Value| {
            let mut at = 0;
            let mut grads = Vec::with_capacity(sizes.len());
            for (size, need) in sizes.into_iter().zip(needs) {
                grads.push(need.then(|| dy.narrow(dim, at, size)).transpose()?);
                at += size;
            }
            Ok(grads)
        }
    }))
}

/// An empty vector of the part's dtype: what dtypes meet in does not depend on the shapes joined here.
fn one_dimensional(part: &Tensor) -> Result<Tensor> {
    Ok(Tensor::new(zeros(&[0], part.value())?))
}

/// `parts`, all of one shape, along a new dimension `dim`.
///
/// # Errors
/// Without parts, or if a shape differs from the first.
pub fn stack(parts: &[Tensor], dim: i64) -> Result<Tensor> {
    let first = first("stack", parts)?;
    if let Some((i, part)) = parts.iter().enumerate().find(|(_, p)| p.dims() != first.dims()) {
        return Err(Error::shape(
            "stack",
            format!("part {i} is {:?}, part 0 is {:?}; all must have one shape", part.dims(), first.dims()),
        )
        .advise("cat() joins tensors that differ in one dimension")
        .about("part", i)
        .about("left", first.dims())
        .about("right", part.dims()));
    }
    cat(&parts.iter().map(|p| shape::unsqueeze(p, dim)).collect::<Result<Vec<_>>>()?, dim)
}

fn first<'a>(op: &'static str, parts: &'a [Tensor]) -> Result<&'a Tensor> {
    parts.first().ok_or_else(|| Error::shape(op, "there is nothing to join: the list is empty"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::f64s;
    use candle_core::{DType, Device};

    /// Protects the gradients: every dimension, strided parts, empty parts, one part twice.
    #[test]
    fn gradients() {
        let parts = [sample(&[2, 3], 1), sample(&[3, 2], 2).t().unwrap(), sample(&[2, 4], 3).narrow(1, 1, 3).unwrap()];
        for dim in [0, 1, -1] {
            check(&parts, |t| cat(t, dim));
            check(&parts, |t| stack(t, dim));
        }
        check(&parts, |t| stack(t, 2));
        check(&[sample(&[2, 0], 1), sample(&[2, 2], 2), sample(&[2, 1], 3)], |t| cat(t, 1));
        check(&[sample(&[2, 0], 1), sample(&[2, 0], 2)], |t| cat(t, 0));
        check(&[sample(&[2, 2], 1)], |t| cat(&[t[0].clone(), t[0].clone()], 0));
        check(&[sample(&[], 1), sample(&[], 2)], |t| stack(t, 0));
    }

    /// Protects mixed parts and messages.
    #[test]
    fn dtypes_and_errors() -> Result<()> {
        let z = |dims: &[usize], dtype| Tensor::new(Value::zeros(dims, dtype, &Device::Cpu).unwrap());
        let y = cat(&[z(&[1], DType::BF16), z(&[2], DType::F32), z(&[1], DType::I64)], 0)?;
        assert_eq!((y.dtype(), y.dims()), (DType::F32, &[4][..]));
        let ids = cat(
            &[Tensor::new(Value::new(&[1u32], &Device::Cpu)?), Tensor::new(Value::new(&[2u32], &Device::Cpu)?)],
            0,
        )?;
        assert_eq!((ids.dtype(), f64s(ids.value())), (DType::U32, vec![1.0, 2.0]));
        let said = |r: Result<Tensor>| r.map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            said(cat(&[z(&[2, 3], DType::F32), z(&[2, 4], DType::F32)], 0)),
            "cat: part 1 is [2, 4], part 0 is [2, 3]; they may differ in dimension 0 only"
        );
        assert!(said(cat(&[], 0)).contains("empty"));
        assert!(said(stack(&[z(&[2], DType::F32), z(&[3], DType::F32)], 0)).contains("one shape"));
        assert!(said(cat(&[z(&[], DType::F32)], 0)).contains("numbers"));
        Ok(())
    }
}
