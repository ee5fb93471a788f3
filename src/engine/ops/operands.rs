//! What operations settle about their operands first: dimensions, broadcasting, dtypes, devices. All as PyTorch does it.

use super::{budget, cast, reduce};
use crate::engine::autograd::Tensor;
use crate::engine::device;
use crate::engine::error::{Error, Result};
use candle_core::{DType, Tensor as Value};

/// A plain number beside a tensor. It never widens a floating-point tensor; a [`Number::Float`] makes an integer
/// tensor f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        Number::Int(n)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        Number::Float(x)
    }
}

impl Number {
    /// As f64.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }

    /// The dtype in which the number meets a tensor of `dtype`.
    pub fn meets(self, dtype: DType) -> DType {
        match self {
            Number::Float(_) if dtype.is_int() => DType::F32,
            _ => dtype,
        }
    }

    /// A constant without dimensions, `dtype`, where `like` is.
    ///
    /// # Errors
    /// If an integer does not fit the integer `dtype`.
    pub fn constant(self, op: &'static str, dtype: DType, like: &Tensor) -> Result<Tensor> {
        let value = match (self, dtype) {
            (Number::Int(n), DType::U8 | DType::U32) => {
                let max = if dtype == DType::U8 { i64::from(u8::MAX) } else { i64::from(u32::MAX) };
                if !(0..=max).contains(&n) {
                    let message = format!("{n} does not fit a {} tensor (0 to {max})", dtype.as_str());
                    return Err(Error::dtype(op, message).advise("convert it first, e.g. with to(\"i64\")"));
                }
                Value::new(n, like.device())?
            }
            (Number::Int(n), _) => Value::new(n, like.device())?,
            (Number::Float(x), _) => Value::new(x, like.device())?,
        };
        Ok(Tensor::new(value.to_dtype(dtype)?))
    }
}

/// Index of dimension `dim` of a tensor of shape `dims`; negative ones count from the end.
pub fn dim(op: &'static str, dims: &[usize], dim: i64) -> Result<usize> {
    let rank = dims.len() as i64;
    let at = if dim < 0 { dim.saturating_add(rank) } else { dim };
    if (0..rank).contains(&at) {
        return Ok(at as usize);
    }
    let message = if rank == 0 {
        format!("dimension {dim} of a tensor that has none (shape [])")
    } else {
        format!("dimension {dim} is out of range for shape {dims:?} ({} to {})", -rank, rank - 1)
    };
    Err(Error::shape(op, message).about("dim", dim).about("shape", dims))
}

/// Indices of several dimensions, ascending; none given means all of them.
pub fn dims(op: &'static str, shape: &[usize], wanted: &[i64]) -> Result<Vec<usize>> {
    if wanted.is_empty() {
        return Ok((0..shape.len()).collect());
    }
    let mut found = wanted.iter().map(|d| dim(op, shape, *d)).collect::<Result<Vec<_>>>()?;
    found.sort_unstable();
    if let Some(pair) = found.windows(2).find(|w| w[0] == w[1]) {
        let message = format!("dimension {} is named twice in {wanted:?}", pair[0]);
        return Err(Error::shape(op, message).about("shape", shape).about("dim", pair[0]));
    }
    Ok(found)
}

/// The shape that `a` and `b` broadcast to: aligned at the end, sizes equal or one of them 1.
pub fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => Err(differing(op, a, b, rank - i, (x, y))),
        })
        .collect()
}

/// Dimension `-back` is `left` in `a` and `right` in `b`.
fn differing(op: &'static str, a: &[usize], b: &[usize], back: usize, (left, right): (usize, usize)) -> Error {
    let fit = |a: &[usize], b: &[usize]| {
        let pairs = a.iter().rev().zip(b.iter().rev());
        pairs.into_iter().all(|(x, y)| x == y || *x == 1 || *y == 1)
    };
    let column = |dims: &[usize]| [dims, &[1]].concat();
    let help = match (a, b) {
        _ if a.len() < b.len() && fit(&column(a), b) => "one for each row of the right side? a.unsqueeze(-1)",
        _ if b.len() < a.len() && fit(a, &column(b)) => "one for each row of the left side? b.unsqueeze(-1)",
        ([rest @ .., x, y], _) if fit(&[rest, &[*y, *x]].concat(), b) => "transpose the left side? a.transpose(-2, -1)",
        (_, [rest @ .., x, y]) if fit(a, &[rest, &[*y, *x]].concat()) => {
            "transpose the right side? b.transpose(-2, -1)"
        }
        _ => "sizes are compared from the last dimension on, and must be equal or 1",
    };
    let message =
        format!("{a:?} and {b:?} do not broadcast: dimension -{back} is {left} on the left, {right} on the right");
    Error::shape_help(op, message, help).about("left", a).about("right", b).about("dim", -(back as i64))
}

/// `value` seen as `dims`, to which it broadcasts.
pub fn expand(value: &Value, dims: &[usize]) -> Result<Value> {
    if value.dims() == dims { Ok(value.clone()) } else { Ok(value.broadcast_as(dims)?) }
}

/// The gradient of an input of shape `dims` that was broadcast to `grad`'s shape: summed over what was repeated.
pub fn sum_to(grad: &Value, dims: &[usize]) -> Result<Value> {
    if grad.dims() == dims {
        return Ok(grad.clone());
    }
    let added = grad.rank() - dims.len();
    let repeated: Vec<usize> =
        (0..grad.rank()).filter(|&i| i < added || (dims[i - added] == 1 && grad.dims()[i] != 1)).collect();
    Ok(reduce::sum_value(grad, &repeated)?.reshape(dims)?)
}

/// Both tensors must be on one device.
pub fn same_device(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.device().same_device(b.device()) {
        return Ok(());
    }
    let (left, right) = (device::name(a.device()), device::name(b.device()));
    Err(Error::device(format!("{op}: one tensor is on {left}, the other on {right}"))
        .advise(format!("move one with to(\"{left}\")")))
}

/// Order of dtypes within their kind.
fn width(dtype: DType) -> u8 {
    match dtype {
        DType::U8 => 0,
        DType::I16 => 1,
        DType::I32 => 2,
        DType::U32 => 3,
        DType::I64 => 4,
        DType::BF16 | DType::F16 => 5,
        DType::F32 => 6,
        DType::F64 => 7,
        _ => 4,
    }
}

/// The dtype that `a` and `b` meet in. A floating-point one wins over an integer one, the wider over the narrower,
/// f16 and bf16 meet in f32; a tensor without dimensions does not widen one that has some of the same kind.
pub fn promote(a: &Tensor, b: &Tensor) -> DType {
    let (x, y) = (a.dtype(), b.dtype());
    if x == y {
        return x;
    }
    if x.is_float() != y.is_float() {
        return if x.is_float() { x } else { y };
    }
    match (a.rank(), b.rank()) {
        (0, 1..) => y,
        (1.., 0) => x,
        _ if width(x) == width(y) => DType::F32,
        _ if x.is_int() && (x == DType::U32 || y == DType::U32) && x != DType::U8 && y != DType::U8 => DType::I64,
        _ if width(x) > width(y) => x,
        _ => y,
    }
}

/// Both tensors in the dtype they meet in, and the shape they broadcast to.
pub fn meet(op: &'static str, a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor, Vec<usize>)> {
    same_device(op, a, b)?;
    let dims = broadcast(op, a.dims(), b.dims())?;
    let dtype = promote(a, b);
    budget::elements(op, &dims, dtype)?;
    Ok((cast::to_dtype(a, dtype)?, cast::to_dtype(b, dtype)?, dims))
}

/// `x`, or for an integer tensor its f32 copy: what PyTorch does for exp, mean, division.
pub fn floating(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_int() { cast::to_dtype(x, DType::F32) } else { Ok(x.clone()) }
}

/// The dtype that intermediate results of a composition of candle ops are kept in: f32 for bf16 and f16.
pub fn wide(dtype: DType) -> DType {
    match dtype {
        DType::BF16 | DType::F16 => DType::F32,
        other => other,
    }
}

/// Zeros of `dims` like `value`.
pub fn zeros(dims: &[usize], value: &Value) -> Result<Value> {
    Ok(Value::zeros(dims, value.dtype(), value.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Protects shapes: PyTorch's broadcasting rules and our words when they do not hold.
    #[test]
    fn broadcasting() {
        assert_eq!(broadcast("add", &[4, 1, 3], &[2, 1]).unwrap(), [4, 2, 3]);
        assert_eq!(broadcast("add", &[], &[2]).unwrap(), [2]);
        assert_eq!(broadcast("add", &[0, 3], &[1, 3]).unwrap(), [0, 3]);
        let help = |a: &[usize], b: &[usize]| broadcast("add", a, b).unwrap_err().help().unwrap().to_string();
        assert!(help(&[4, 5], &[4]).contains("b.unsqueeze(-1)"));
        assert!(help(&[4], &[4, 5]).contains("a.unsqueeze(-1)"));
        assert!(help(&[4, 5], &[5, 4]).contains("a.transpose(-2, -1)"));
        assert!(help(&[4, 5], &[4, 3]).contains("must be equal or 1"));
        let e = broadcast("add", &[4, 5], &[4, 3]).unwrap_err().to_string();
        assert_eq!(e, "add: [4, 5] and [4, 3] do not broadcast: dimension -1 is 5 on the left, 3 on the right");
    }

    /// Protects dimension arguments: negative ones, and the ones that do not exist.
    #[test]
    fn dimensions() {
        assert_eq!(dim("sum", &[2, 3], -1).unwrap(), 1);
        assert_eq!(dims("sum", &[2, 3, 4], &[-1, 0]).unwrap(), [0, 2]);
        for wrong in [2, -3, i64::MIN, i64::MAX] {
            assert!(dim("sum", &[2, 3], wrong).is_err());
        }
        assert!(dims("sum", &[2, 3], &[1, -1]).unwrap_err().to_string().contains("twice"));
    }

    /// Protects precision: which dtype two tensors meet in, as `torch.promote_types` and `torch.result_type` say.
    #[test]
    fn promotion() {
        let t = |dtype, dims: &[usize]| Tensor::new(Value::zeros(dims, dtype, &Device::Cpu).unwrap());
        let (v, s): (&[usize], &[usize]) = (&[2], &[]);
        for (a, b, want) in [
            (t(DType::BF16, v), t(DType::F16, v), DType::F32),
            (t(DType::BF16, v), t(DType::F32, v), DType::F32),
            (t(DType::BF16, v), t(DType::F32, s), DType::BF16),
            (t(DType::F16, v), t(DType::I64, v), DType::F16),
            (t(DType::U8, v), t(DType::I64, v), DType::I64),
            (t(DType::I64, v), t(DType::F64, s), DType::F64),
        ] {
            assert_eq!(promote(&a, &b), want, "{a:?} {b:?}");
            assert_eq!(promote(&b, &a), want, "{b:?} {a:?}");
        }
    }
}
