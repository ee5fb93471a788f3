//! Views: reshape, transpose, permute, narrow, squeeze, unsqueeze, flatten, broadcast_to, contiguous. Nothing is copied
//! unless the layout forces it (reshaping a strided view). Each gradient is the inverse view of dy; narrow's is dy inside
//! zeros, broadcast_to's is dy summed over what was repeated.

use super::budget;
use super::operands::{broadcast, dim as dimension, expand, sum_to, zeros};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::Tensor as Value;

/// The same elements in another shape; one size may be -1: whatever fits.
///
/// # Errors
/// If the number of elements would change, or more than one size is -1.
pub fn reshape(x: &Tensor, sizes: &[i64]) -> Result<Tensor> {
    let dims = resolve(x.dims(), sizes)?;
    view("reshape", x, dims)
}

fn resolve(from: &[usize], sizes: &[i64]) -> Result<Vec<usize>> {
    let wrong = |why: String| {
        let err = Error::shape("reshape", format!("{from:?} cannot become {sizes:?}: {why}")).about("shape", from);
        let total: usize = from.iter().product();
        // Which single size, left to -1, would do?
        let fits = (0..sizes.len()).find(|&hole| {
            let mut rest = sizes.iter().enumerate().filter(|(i, _)| *i != hole).map(|(_, s)| usize::try_from(*s).ok());
            let known = rest.try_fold(1usize, |n, s| n.checked_mul(s?));
            known.is_some_and(|n| n > 0 && total.is_multiple_of(n)) && !sizes.contains(&-1) && sizes.len() > 1
        });
        let Some(hole) = fits else { return Err(err) };
        let free: Vec<String> =
            sizes.iter().enumerate().map(|(i, s)| if i == hole { "-1".into() } else { s.to_string() }).collect();
        Err(err.advise(format!("let one size follow from the others: reshape([{}])", free.join(", "))))
    };
    let total: usize = from.iter().product();
    if let Some(size) = sizes.iter().find(|s| **s < -1) {
        return wrong(format!("{size} is not a size"));
    }
    if sizes.iter().filter(|s| **s == -1).count() > 1 {
        return wrong("only one size can be -1".into());
    }
    let known = sizes.iter().filter(|s| **s >= 0).try_fold(1usize, |n, s| n.checked_mul(*s as usize));
    let Some(known) = known else { return wrong("it has more elements than can be counted".into()) };
    let hole = match sizes.contains(&-1) {
        false if known == total => 0,
        false => return wrong(format!("{total} elements into {known}")),
        true if known == 0 => return wrong("-1 beside a size of 0 could be anything".into()),
        true if total.is_multiple_of(known) => total / known,
        true => return wrong(format!("{total} elements do not divide by {known}")),
    };
    Ok(sizes.iter().map(|s| if *s == -1 { hole } else { *s as usize }).collect())
}

/// `x` as `dims`, which have as many elements.
fn view(op: &'static str, x: &Tensor, dims: Vec<usize>) -> Result<Tensor> {
    budget::elements(op, &dims, x.dtype())?;
    let from = x.dims().to_vec();
    let value = x.value().reshape(dims)?;
    Ok(record(op, value, &[x], |_| move |dy: Value| Ok(vec![Some(dy.reshape(from)?)])))
}

/// Dimensions `a` and `b` exchanged.
pub fn transpose(x: &Tensor, a: i64, b: i64) -> Result<Tensor> {
    let (a, b) = (dimension("transpose", x.dims(), a)?, dimension("transpose", x.dims(), b)?);
    let value = x.value().transpose(a, b)?;
    Ok(record("transpose", value, &[x], |_| move |dy: Value| Ok(vec![Some(dy.transpose(a, b)?)])))
}

/// A matrix transposed; a vector or a number as it is.
///
/// # Errors
/// With more than two dimensions.
pub fn t(x: &Tensor) -> Result<Tensor> {
    match x.rank() {
        0 | 1 => Ok(x.clone()),
        2 => transpose(x, 0, 1),
        _ => Err(Error::shape_help(
            "t",
            format!("shape {:?} has more than two dimensions", x.dims()),
            "name the two dimensions: transpose(-2, -1)",
        )),
    }
}

/// Dimensions in another order: dimension `order[i]` becomes dimension i.
pub fn permute(x: &Tensor, order: &[i64]) -> Result<Tensor> {
    let wrong = || {
        let message = format!("{order:?} is not an order of the {} dimensions of {:?}", x.rank(), x.dims());
        let all: Vec<usize> = (0..x.rank()).collect();
        Error::shape_help("permute", message, format!("name each of {all:?} once")).about("shape", x.dims())
    };
    let order = order.iter().map(|d| dimension("permute", x.dims(), *d)).collect::<Result<Vec<_>>>()?;
    let mut back = vec![usize::MAX; x.rank()];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    if order.len() != x.rank() || back.contains(&usize::MAX) {
        return Err(wrong());
    }
    let value = x.value().permute(order)?;
    Ok(record("permute", value, &[x], |_| move |dy: Value| Ok(vec![Some(dy.permute(back)?)])))
}

/// Elements `start .. start + len` along dimension `dim`; a negative `start` counts from the end.
pub fn narrow(x: &Tensor, dim: i64, start: i64, len: i64) -> Result<Tensor> {
    let dim = dimension("narrow", x.dims(), dim)?;
    let size = x.dims()[dim];
    let from = if start < 0 { start.saturating_add(size as i64) } else { start };
    if from < 0 || len < 0 || from.saturating_add(len) > size as i64 {
        let message =
            format!("{len} elements from {start} are not in dimension {dim} of {:?}, which has {size}", x.dims());
        return Err(Error::shape("narrow", message)
            .about("shape", x.dims())
            .about("dim", dim)
            .about("start", start)
            .about("length", len)
            .about("size", size));
    }
    let (start, len) = (from as usize, len as usize);
    let dims = x.dims().to_vec();
    let value = x.value().narrow(dim, start, len)?;
    Ok(record("narrow", value, &[x], |_| {
        move |dy: Value| {
            let dx = zeros(&dims, &dy)?;
            if dy.elem_count() > 0 {
                dx.slice_set(&dy.contiguous()?, dim, start)?;
            }
            Ok(vec![Some(dx)])
        }
    }))
}

/// Element `index` along dimension `dim`, which goes away; a negative one counts from the end.
pub fn select(x: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
    let at = dimension("select", x.dims(), dim)?;
    let size = x.dims()[at] as i64;
    if index >= size || index < -size {
        return Err(out_of_range("index", index, at, x.dims()).advise(match size {
            0 => format!("dimension {at} is empty"),
            _ => format!("indices go from 0 to {}, or from -{size} to -1 counted from the end", size - 1),
        }));
    }
    squeeze(&narrow(x, at as i64, index, 1)?, Some(at as i64))
}

/// That `index` is not one of dimension `dim` of a tensor of shape `dims`.
pub(super) fn out_of_range(op: &'static str, index: i64, dim: usize, dims: &[usize]) -> Error {
    let size = dims[dim];
    Error::shape(op, format!("index {index} is out of range for dimension {dim} of {dims:?}, which has {size}"))
        .about("index", index)
        .about("dim", dim)
        .about("size", size)
        .about("shape", dims)
}

/// Without dimension `dim` if its size is 1; with none given, without every dimension of size 1.
pub fn squeeze(x: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    let dims = match dim {
        None => x.dims().iter().copied().filter(|d| *d != 1).collect(),
        Some(dim) => {
            let dim = dimension("squeeze", x.dims(), dim)?;
            let mut dims = x.dims().to_vec();
            if dims[dim] == 1 {
                dims.remove(dim);
            }
            dims
        }
    };
    if dims.len() == x.rank() { Ok(x.clone()) } else { view("squeeze", x, dims) }
}

/// With a dimension of size 1 inserted at `dim`; -1 is after the last.
pub fn unsqueeze(x: &Tensor, dim: i64) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    // One more place to insert at than there are dimensions.
    let places: Vec<usize> = dims.iter().copied().chain([1]).collect();
    dims.insert(dimension("unsqueeze", &places, dim)?, 1);
    view("unsqueeze", x, dims)
}

/// Dimensions `first ..= last` made one.
pub fn flatten(x: &Tensor, first: i64, last: i64) -> Result<Tensor> {
    if x.rank() == 0 {
        return view("flatten", x, vec![1]);
    }
    let (first, last) = (dimension("flatten", x.dims(), first)?, dimension("flatten", x.dims(), last)?);
    if first > last {
        return Err(Error::shape("flatten", format!("dimension {first} comes after {last}")));
    }
    let mut dims = x.dims().to_vec();
    let size = dims[first..=last].iter().product();
    dims.splice(first..=last, [size]);
    view("flatten", x, dims)
}

/// Repeated, without copying, to `sizes`; -1 keeps the size of an existing dimension.
///
/// # Errors
/// If `x` does not broadcast to that shape.
pub fn broadcast_to(x: &Tensor, sizes: &[i64]) -> Result<Tensor> {
    let from = x.dims();
    let wrong = || {
        let message = format!("{from:?} does not broadcast to {sizes:?}");
        Error::shape_help(
            "broadcast_to",
            message,
            "sizes are compared from the last dimension on; only a 1 is repeated",
        )
        .about("shape", from)
    };
    let added = sizes.len().checked_sub(from.len()).ok_or_else(wrong)?;
    let dims = sizes
        .iter()
        .enumerate()
        .map(|(i, s)| match usize::try_from(*s) {
            Ok(size) => Ok(size),
            Err(_) if *s == -1 && i >= added => Ok(from[i - added]),
            Err(_) => Err(wrong()),
        })
        .collect::<Result<Vec<_>>>()?;
    budget::elements("broadcast_to", &dims, x.dtype())?;
    if broadcast("broadcast_to", from, &dims).map_err(|_| wrong())? != dims {
        return Err(wrong());
    }
    let value = expand(x.value(), &dims)?;
    let from = from.to_vec();
    Ok(record("broadcast_to", value, &[x], |_| move |dy: Value| Ok(vec![Some(sum_to(&dy, &from)?)])))
}

/// The same tensor with its elements in row-major order; copies only if they are not.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    let _span = profile::span("contiguous");
    if x.value().is_contiguous() {
        return Ok(x.clone());
    }
    Ok(record("contiguous", x.value().contiguous()?, &[x], |_| |dy: Value| Ok(vec![Some(dy)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use candle_core::{DType, Device};

    /// Protects every view's gradient: plain, strided, empty.
    #[test]
    fn gradients() {
        for x in [sample(&[2, 3, 4], 1), sample(&[4, 3, 2], 2).permute((2, 1, 0)).unwrap(), sample(&[2, 3, 0], 3)] {
            let one = std::slice::from_ref(&x);
            let last = x.dims()[2] as i64;
            check(one, |x| reshape(&x[0], &[3, 2, last]));
            check(one, |x| transpose(&x[0], 0, -1));
            check(one, |x| permute(&x[0], &[1, -1, 0]));
            check(one, |x| narrow(&x[0], 1, -2, 1));
            check(one, |x| narrow(&x[0], -1, 0, last / 2));
            check(one, |x| select(&x[0], 1, -1));
            check(one, |x| squeeze(&unsqueeze(&x[0], -1)?, None));
            check(one, |x| unsqueeze(&x[0], 1));
            check(one, |x| flatten(&x[0], 0, 1));
            check(one, |x| broadcast_to(&x[0], &[2, -1, 3, last]));
            check(one, |x| contiguous(&transpose(&x[0], 0, 1)?));
        }
        check(&[sample(&[3, 1], 1)], |x| broadcast_to(&x[0], &[3, 2]));
        check(&[sample(&[3, 2], 1)], |x| t(&x[0]));
    }

    /// Protects the messages: what was asked, what there is.
    #[test]
    fn errors_name_the_shapes() -> Result<()> {
        let x = Tensor::new(Value::zeros((2, 3), DType::F32, &Device::Cpu)?);
        let said = |r: Result<Tensor>| r.map(|t| t.dims().to_vec()).unwrap_err().to_string();
        assert_eq!(said(reshape(&x, &[4, -1])), "reshape: [2, 3] cannot become [4, -1]: 6 elements do not divide by 4");
        assert_eq!(said(reshape(&x, &[7])), "reshape: [2, 3] cannot become [7]: 6 elements into 7");
        assert!(said(reshape(&x, &[-1, -1])).contains("only one"));
        assert!(said(reshape(&x, &[i64::MAX, i64::MAX])).contains("counted"));
        assert!(said(permute(&x, &[0, 0])).contains("not an order"));
        assert!(said(permute(&x, &[0])).contains("not an order"));
        assert!(said(narrow(&x, 1, 2, 2)).contains("which has 3"));
        assert!(said(narrow(&x, 1, i64::MAX, i64::MAX)).contains("which has 3"));
        assert!(said(select(&x, 0, 2)).contains("out of range"));
        assert!(said(transpose(&x, 0, 2)).contains("out of range for shape [2, 3] (-2 to 1)"));
        assert!(said(broadcast_to(&x, &[3])).contains("does not broadcast"));
        assert!(said(broadcast_to(&x, &[i64::MAX, 2, 3])).contains("needs"));
        Ok(())
    }

    /// Protects memory: views share their storage.
    #[test]
    fn empty_and_unchanged() -> Result<()> {
        let x = Tensor::new(Value::zeros((2, 0, 1), DType::F32, &Device::Cpu)?);
        assert_eq!(reshape(&x, &[0, 5])?.dims(), [0, 5]);
        assert!(reshape(&x, &[0, -1]).is_err());
        assert_eq!(squeeze(&x, Some(-1))?.dims(), [2, 0]);
        assert!(squeeze(&x, Some(0))?.same(&x));
        Ok(())
    }
}
