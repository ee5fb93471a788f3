//! Choosing elements: index_select (whole slices by index), gather (an index per element), where (by a mask).
//!
//! Gradients: index_select and gather add dy back at the indices, in f32 for bf16 and f16, so that an index that occurs
//! often keeps its sum; where gives dy to the side that was chosen. Indices are i64, u32 or u8 and are checked before
//! anything is read.

use super::operands::{broadcast, dim as dimension, expand, meet, same_device, sum_to, wide, zeros};
use super::{budget, shape};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

/// Slices of `x` along dimension `dim`, in the order of the indices (one dimension, or one number).
///
/// # Errors
/// If an index is negative or out of range.
pub fn index_select(x: &Tensor, dim: i64, indices: &Tensor) -> Result<Tensor> {
    let _span = profile::span("index_select");
    let dim = dimension("index_select", x.dims(), dim)?;
    if indices.rank() > 1 {
        return Err(Error::shape("index_select", format!("indices must have one dimension, not {:?}", indices.dims()))
            .advise("flatten() them, or index with x[ids], which takes any shape")
            .about("indices", indices.dims()));
    }
    let ids = checked("index_select", x, dim, indices)?.flatten_all()?;
    let mut dims = x.dims().to_vec();
    dims[dim] = ids.elem_count();
    let value = match budget::elements("index_select", &dims, x.dtype())? {
        0 => zeros(&dims, x.value())?,
        _ => x.value().contiguous()?.index_select(&ids, dim)?,
    };
    let (from, dtype) = (x.dims().to_vec(), x.dtype());
    Ok(record("index_select", value, &[x], |_| {
        move |dy: Value| {
            let dx = Value::zeros(from, wide(dtype), dy.device())?;
            if dy.elem_count() == 0 {
                return Ok(vec![Some(dx.to_dtype(dtype)?)]);
            }
            let dy = dy.to_dtype(wide(dtype))?.contiguous()?;
            Ok(vec![Some(dx.index_add(&ids, &dy, dim)?.to_dtype(dtype)?)])
        }
    }))
}

/// `y[i][j][k] = x[i][index[i][j][k]][k]` for `dim` = 1: the shape of `indices`, which is nowhere larger than `x` except
/// along `dim`.
///
/// # Errors
/// If an index is negative or out of range, or the shapes do not fit.
pub fn gather(x: &Tensor, dim: i64, indices: &Tensor) -> Result<Tensor> {
    let _span = profile::span("gather");
    let dim = dimension("gather", x.dims(), dim)?;
    let fits = indices.rank() == x.rank()
        && indices.dims().iter().zip(x.dims()).enumerate().all(|(d, (i, size))| d == dim || i <= size);
    if !fits {
        return Err(Error::shape(
            "gather",
            format!(
                "indices {:?} do not fit {:?} along dimension {dim}: the ranks must agree, and no other size may be larger",
                indices.dims(),
                x.dims()
            ),
        ));
    }
    // candle's kernels assume that the other sizes are equal.
    let mut x = x.clone();
    for d in 0..x.rank() {
        if d != dim && indices.dims()[d] < x.dims()[d] {
            x = shape::narrow(&x, d as i64, 0, indices.dims()[d] as i64)?;
        }
    }
    let ids = checked("gather", &x, dim, indices)?.contiguous()?;
    let value = match budget::elements("gather", indices.dims(), x.dtype())? {
        0 => zeros(indices.dims(), x.value())?,
        _ => x.value().contiguous()?.gather(&ids, dim)?,
    };
    let (from, dtype) = (x.dims().to_vec(), x.dtype());
    Ok(record("gather", value, &[&x], |_| {
        move |dy: Value| {
            let dx = Value::zeros(from, wide(dtype), dy.device())?;
            if dy.elem_count() == 0 {
                return Ok(vec![Some(dx.to_dtype(dtype)?)]);
            }
            let dy = dy.to_dtype(wide(dtype))?.contiguous()?;
            Ok(vec![Some(dx.scatter_add(&ids, &dy, dim)?.to_dtype(dtype)?)])
        }
    }))
}

/// `a` where `condition` is not 0, else `b`; all three broadcast, the two promote.
///
/// # Errors
/// If the condition is not an integer tensor (comparisons give u8), or shapes do not broadcast.
pub fn where_cond(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = profile::span("where");
    if !condition.dtype().is_int() {
        return Err(Error::dtype(
            "where",
            format!("the condition must be a mask (u8, as from a comparison), not {}", condition.dtype().as_str()),
        )
        .advise("compare to make one: where(x > 0, a, b)")
        .about("dtype", condition.dtype()));
    }
    same_device("where", condition, a)?;
    let (a, b, dims) = meet("where", a, b)?;
    let dims = broadcast("where", &dims, condition.dims())?;
    budget::elements("where", &dims, a.dtype())?;
    if dims.contains(&0) {
        let value = zeros(&dims, a.value())?;
        let shapes = [a.dims().to_vec(), b.dims().to_vec()];
        return Ok(record("where", value, &[&a, &b], |_| {
            move |dy: Value| shapes.iter().map(|s| zeros(s, &dy).map(Some)).collect()
        }));
    }
    let mask = expand(condition.value(), &dims)?.ne(0f64)?;
    let value = mask.where_cond(&expand(a.value(), &dims)?, &expand(b.value(), &dims)?)?;
    Ok(record("where", value, &[&a, &b], |needs| {
        let needs = [needs[0], needs[1]];
        let shapes = [a.dims().to_vec(), b.dims().to_vec()];
        move |dy: Value| {
            let nothing = dy.zeros_like()?;
            let da = needs[0].then(|| sum_to(&mask.where_cond(&dy, &nothing)?, &shapes[0])).transpose()?;
            let db = needs[1].then(|| sum_to(&mask.where_cond(&nothing, &dy)?, &shapes[1])).transpose()?;
            Ok(vec![da, db])
        }
    }))
}

/// The indices as u32, after looking at each: every one must be in dimension `dim` of `x`.
fn checked(op: &'static str, x: &Tensor, dim: usize, indices: &Tensor) -> Result<Value> {
    same_device(op, x, indices)?;
    if !indices.dtype().is_int() {
        return Err(Error::dtype(op, format!("indices must be integers, not {}", indices.dtype().as_str()))
            .advise("convert them with to(\"i64\")")
            .about("dtype", indices.dtype()));
    }
    let size = x.dims()[dim];
    let wrong = |index: i64| {
        let err = shape::out_of_range(op, index, dim, x.dims());
        match size {
            0 => err,
            _ => err.advise(format!("indices go from 0 to {}; in an index tensor none count from the end", size - 1)),
        }
    };
    if !indices.is_empty() {
        let ids = indices.value().flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        if let Some(index) = ids.iter().find(|i| **i < 0 || **i >= size as i64) {
            return Err(wrong(*index));
        }
    }
    // As u32, of which candle reads only the greatest as "no index": out of range for any tensor that fits in memory.
    if size > u32::MAX as usize {
        return Err(Error::shape(op, format!("dimension {dim} of {:?} is too large to index", x.dims())));
    }
    Ok(indices.value().to_dtype(DType::U32)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::f64s;
    use candle_core::Device;

    fn ids(v: &[i64]) -> Tensor {
        Tensor::new(Value::new(v, &Device::Cpu).unwrap())
    }

    /// Protects the gradients: repeated indices add up; strided inputs; nothing selected, nothing to select from.
    #[test]
    fn gradients() {
        for x in [sample(&[3, 4], 1), sample(&[4, 3], 2).t().unwrap()] {
            let one = std::slice::from_ref(&x);
            check(one, |t| index_select(&t[0], 0, &ids(&[2, 0, 2, 1])));
            check(one, |t| index_select(&t[0], -1, &ids(&[3, 3])));
            check(one, |t| index_select(&t[0], 1, &ids(&[])));
            let i = Tensor::new(Value::new(&[[0i64, 2, 2, 1], [1, 1, 0, 2]], &Device::Cpu).unwrap());
            check(one, |t| gather(&t[0], 0, &i));
            let i = Tensor::new(Value::new(&[[3u32, 3], [0, 1]], &Device::Cpu).unwrap());
            check(one, |t| gather(&t[0], 1, &i));
            let mask = Tensor::new(Value::new(&[1u8, 0, 0, 1], &Device::Cpu).unwrap());
            check(&[x.clone(), sample(&[3, 1], 3)], |t| where_cond(&mask, &t[0], &t[1]));
        }
        check(&[sample(&[0, 3], 1)], |t| index_select(&t[0], 1, &ids(&[0])));
        let none = Tensor::new(Value::zeros((0, 3), DType::U8, &Device::Cpu).unwrap());
        check(&[sample(&[1, 3], 1), sample(&[3], 2)], |t| where_cond(&none, &t[0], &t[1]));
    }

    /// Protects the values, where candle's own gather would read the wrong rows; u8's 255 is an index like any other.
    #[test]
    fn values() -> Result<()> {
        let x = Tensor::new(Value::arange(0f32, 24.0, &Device::Cpu)?.reshape((2, 3, 4))?);
        let i = Tensor::new(Value::new(&[[[2i64, 0]]], &Device::Cpu)?);
        assert_eq!(f64s(gather(&x, 1, &i)?.value()), [8.0, 1.0]);
        let x = Tensor::new(Value::arange(0f32, 300.0, &Device::Cpu)?);
        let i = Tensor::new(Value::new(&[255u8], &Device::Cpu)?);
        assert_eq!(f64s(index_select(&x, 0, &i)?.value()), [255.0]);
        Ok(())
    }

    /// Protects the person with a wrong index: which one, of what.
    #[test]
    fn errors() -> Result<()> {
        let x = Tensor::new(sample(&[3, 4], 1));
        let said = |r: Result<Tensor>| r.map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            said(index_select(&x, 0, &ids(&[1, 3]))),
            "index_select: index 3 is out of range for dimension 0 of [3, 4], which has 3"
        );
        assert!(said(index_select(&x, 0, &ids(&[-1]))).contains("-1"));
        assert!(said(index_select(&x, 0, &x)).contains("one dimension"));
        assert!(said(gather(&x, 0, &ids(&[1]))).contains("ranks"));
        assert!(said(where_cond(&x, &x, &x)).contains("mask"));
        Ok(())
    }
}
