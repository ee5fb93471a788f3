//! How close two tensors are: `|actual - expected| <= atol + rtol |expected|` for each element, with the default
//! tolerances of `torch.testing.assert_close`. There is no gradient.

use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use candle_core::{DType, Device};

/// What difference is let pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Relative to the expected value.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Tolerance {
    /// PyTorch's default for values of `dtype`; integers must be equal.
    pub fn of(dtype: DType) -> Self {
        let (rtol, atol) = match dtype {
            DType::F16 => (1e-3, 1e-5),
            DType::BF16 => (1.6e-2, 1e-5),
            DType::F32 => (1.3e-6, 1e-5),
            DType::F64 => (1e-7, 1e-7),
            _ => (0.0, 0.0),
        };
        Tolerance { rtol, atol }
    }
}

/// An element that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Differing {
    /// By how much.
    pub by: f64,
    /// Where: one index per dimension.
    pub index: Vec<usize>,
    /// The value there.
    pub actual: f64,
    /// The value expected there.
    pub expected: f64,
}

/// How two tensors of the same shape differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Closeness {
    /// Elements compared.
    pub elements: usize,
    /// Elements that differ by more than is let pass.
    pub mismatched: usize,
    /// The first of those.
    pub first: Option<Differing>,
    /// The one of those with the greatest absolute difference.
    pub absolute: Option<Differing>,
    /// The one of those with the greatest difference relative to the expected value.
    pub relative: Option<Differing>,
}

/// Compares each element of `actual` with that of `expected`. NaN differs from everything, unless `equal_nan` says that
/// it equals NaN; an infinity equals itself.
///
/// # Errors
/// If the shapes differ.
pub fn compare(actual: &Tensor, expected: &Tensor, tolerance: Tolerance, equal_nan: bool) -> Result<Closeness> {
    let dims = actual.dims();
    if dims != expected.dims() {
        return Err(Error::shape("assert_close", format!("shape {dims:?}, expected {:?}", expected.dims())));
    }
    if actual.dtype().is_int() && expected.dtype().is_int() {
        // Not through f64, which would round large integers.
        let pairs = whole(actual)?.into_iter().zip(whole(expected)?);
        let pairs = pairs.map(|(a, b)| (a as f64, b as f64, (i128::from(a) - i128::from(b)).unsigned_abs() as f64));
        return Ok(tally(pairs, dims, tolerance, equal_nan));
    }
    let pairs = real(actual)?.into_iter().zip(real(expected)?);
    Ok(tally(pairs.map(|(a, b)| (a, b, if a == b { 0.0 } else { (a - b).abs() })), dims, tolerance, equal_nan))
}

fn whole(t: &Tensor) -> Result<Vec<i64>> {
    if t.is_empty() {
        return Ok(Vec::new());
    }
    Ok(t.value().to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::I64)?.to_vec1()?)
}

fn real(t: &Tensor) -> Result<Vec<f64>> {
    if t.is_empty() {
        return Ok(Vec::new());
    }
    Ok(t.value().to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// Goes through (actual, expected, absolute difference).
fn tally(
    triples: impl Iterator<Item = (f64, f64, f64)>,
    dims: &[usize],
    tolerance: Tolerance,
    equal_nan: bool,
) -> Closeness {
    let mut found = Closeness { elements: 0, mismatched: 0, first: None, absolute: None, relative: None };
    for (at, (actual, expected, by)) in triples.enumerate() {
        found.elements += 1;
        let nan = actual.is_nan() && expected.is_nan();
        let close = by <= tolerance.atol + tolerance.rtol * expected.abs() && (by.is_finite() || actual == expected);
        if close || (nan && equal_nan) {
            continue;
        }
        found.mismatched += 1;
        let differing = |by| Differing { by, index: unravel(at, dims), actual, expected };
        found.first.get_or_insert_with(|| differing(by));
        greater(&mut found.absolute, by, &differing);
        greater(&mut found.relative, by / expected.abs(), &differing);
    }
    found
}

/// Keeps the greater difference; NaN counts as the greatest, the first of equals stays.
fn greater(kept: &mut Option<Differing>, by: f64, differing: &impl Fn(f64) -> Differing) {
    let more = kept.as_ref().is_none_or(|k| !k.by.is_nan() && (by.is_nan() || by > k.by));
    if more {
        *kept = Some(differing(by));
    }
}

/// The indices of element `at` in row-major order.
fn unravel(at: usize, dims: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&n| {
            let i = rest % n;
            rest /= n;
            i
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Tensor as Value;

    fn tensor(values: &[f64], dims: &[usize]) -> Tensor {
        Tensor::new(Value::from_slice(values, dims, &Device::Cpu).unwrap())
    }

    /// Protects the formula: the tolerance is relative to the expected value, and the bound itself is let pass.
    #[test]
    fn tolerance_is_relative_to_the_expected() -> Result<()> {
        let t = Tolerance { rtol: 0.5, atol: 0.0 };
        let one = |a, b| Ok::<_, Error>(compare(&tensor(&[a], &[]), &tensor(&[b], &[]), t, false)?.mismatched);
        assert_eq!((one(1.0, 2.0)?, one(2.0, 1.0)?), (0, 1));
        let atol = Tolerance { rtol: 0.0, atol: 0.25 };
        assert_eq!(compare(&tensor(&[0.25, 0.26], &[2]), &tensor(&[0.0, 0.0], &[2]), atol, false)?.mismatched, 1);
        Ok(())
    }

    /// Protects the report: count, the greatest differences and where they are, which need not be the same place.
    #[test]
    fn names_the_greatest_differences() -> Result<()> {
        let a = tensor(&[1.0, 110.0, 0.5, 4.0, 5.0, 6.0], &[2, 3]);
        let b = tensor(&[1.0, 100.0, 0.1, 4.0, 5.0, 6.5], &[2, 3]);
        let found = compare(&a, &b, Tolerance::of(DType::F64), false)?;
        assert_eq!((found.elements, found.mismatched), (6, 3));
        let (absolute, relative) = (found.absolute.unwrap(), found.relative.unwrap());
        assert_eq!((absolute.by, absolute.index), (10.0, vec![0, 1]));
        assert_eq!((relative.index, relative.actual, relative.expected), (vec![0, 2], 0.5, 0.1));
        assert_eq!(found.first.unwrap().index, [0, 1]);
        Ok(())
    }

    /// Protects NaN, infinities, large integers, empties and shapes.
    #[test]
    fn special_values() -> Result<()> {
        let t = Tolerance::of(DType::F64);
        let special = tensor(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY], &[3]);
        let found = compare(&special, &special, t, false)?;
        assert_eq!(found.mismatched, 1);
        assert!(found.absolute.unwrap().by.is_nan());
        assert_eq!(compare(&special, &special, t, true)?.mismatched, 0);
        let inf = tensor(&[f64::INFINITY], &[1]);
        assert_eq!(compare(&tensor(&[1.0], &[1]), &inf, t, true)?.mismatched, 1);
        assert_eq!(compare(&tensor(&[f64::NEG_INFINITY], &[1]), &inf, t, true)?.mismatched, 1);
        assert_eq!(compare(&tensor(&[1e-9], &[1]), &tensor(&[0.0], &[1]), t, true)?.mismatched, 0);
        let int = |n: i64| Tensor::new(Value::new(&[n], &Device::Cpu).unwrap());
        let found =
            compare(&int(9_007_199_254_740_993), &int(9_007_199_254_740_992), Tolerance::of(DType::I64), false)?;
        assert_eq!(found.absolute.unwrap().by, 1.0);
        let empty = Tensor::new(Value::zeros((0, 3), DType::F32, &Device::Cpu)?);
        assert_eq!(compare(&empty, &empty, t, false)?.elements, 0);
        assert!(compare(&empty, &inf, t, false).unwrap_err().to_string().contains("shape [0, 3], expected [1]"));
        Ok(())
    }
}
