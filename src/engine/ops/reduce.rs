//! Reductions over none (all), one or several dimensions: sum, mean, max, min, var, argmax, argmin.
//!
//! On the CPU one threaded pass per run of adjacent dimensions; sums accumulate in f64, whatever the dtype. Gradients:
//! sum: dy repeated. mean: dy / n. max and min: dy shared evenly among the elements that attain it (as PyTorch's `amax`
//! and `max()`). var: `2 (x - mean) dy / (n - correction)`.

use super::cpu;
use super::operands::{dim as dimension, dims as dimensions, expand, floating, wide};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value, WithDType};
use rayon::prelude::*;

/// Sum over `dims` (none: all). Integers and masks sum to i64.
pub fn sum(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let _span = profile::span("sum");
    let over = dimensions("sum", x.dims(), dims)?;
    let value = without(sum_value(x.value(), &over)?, &over, keepdim)?;
    let shape = x.dims().to_vec();
    Ok(record("sum", value, &[x], |_| move |dy: Value| Ok(vec![Some(repeat(&dy, &shape, &over)?)])))
}

/// Mean over `dims` (none: all); f32 for integers. Of nothing: NaN.
pub fn mean(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let _span = profile::span("mean");
    let x = floating(x)?;
    let over = dimensions("mean", x.dims(), dims)?;
    let n = count(x.dims(), &over) as f64;
    let dtype = x.dtype();
    let total = sum_as(x.value(), &over, wide(dtype))?;
    let value = without((total / n)?.to_dtype(dtype)?, &over, keepdim)?;
    let shape = x.dims().to_vec();
    Ok(record("mean", value, &[&x], |_| {
        move |dy: Value| {
            let share = (dy.to_dtype(wide(dtype))? / n)?.to_dtype(dtype)?;
            Ok(vec![Some(repeat(&share, &shape, &over)?)])
        }
    }))
}

/// Variance over `dims` (none: all), divided by n - `correction` (1: unbiased, PyTorch's default; 0: of the population).
/// NaN where that is not positive.
pub fn var(x: &Tensor, dims: &[i64], keepdim: bool, correction: u32) -> Result<Tensor> {
    let _span = profile::span("var");
    let x = floating(x)?;
    let over = dimensions("var", x.dims(), dims)?;
    let n = count(x.dims(), &over) as f64;
    let divisor = (n - f64::from(correction)).max(0.0);
    let (dtype, up) = (x.dtype(), wide(x.dtype()));
    let centred = |x: &Value| -> Result<Value> {
        let mean = (sum_as(x, &over, up)? / n)?;
        Ok(x.to_dtype(up)?.broadcast_sub(&mean)?)
    };
    let squares = sum_as(&centred(x.value())?.sqr()?, &over, up)?;
    // 0/0 is NaN on every device; candle's division by a zero constant is not the same everywhere.
    let value = if divisor > 0.0 { (squares / divisor)? } else { ((squares * 0.0)? + f64::NAN)? };
    let value = without(value.to_dtype(dtype)?, &over, keepdim)?;
    Ok(record("var", value, &[&x], |_| {
        let x = x.value().clone();
        let over = over.clone();
        move |dy: Value| {
            let centred = {
                let mean = (sum_as(&x, &over, up)? / n)?;
                x.to_dtype(up)?.broadcast_sub(&mean)?
            };
            let dy = (repeat(&dy.to_dtype(up)?, x.dims(), &over)? * (2.0 / divisor))?;
            Ok(vec![Some((centred * dy)?.to_dtype(dtype)?)])
        }
    }))
}

/// Greatest element over `dims` (none: all); NaN if one is there.
///
/// # Errors
/// If there is no element to choose from.
pub fn max(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    extreme("max", x, dims, keepdim, true)
}

/// Least element over `dims` (none: all); NaN if one is there.
///
/// # Errors
/// If there is no element to choose from.
pub fn min(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    extreme("min", x, dims, keepdim, false)
}

fn extreme(op: &'static str, x: &Tensor, dims: &[i64], keepdim: bool, greatest: bool) -> Result<Tensor> {
    let _span = profile::span(op);
    let over = dimensions(op, x.dims(), dims)?;
    nonempty(op, x.dims(), &over)?;
    let kept = extreme_value(x.value(), &over, greatest)?;
    let value = without(kept.clone(), &over, keepdim)?;
    Ok(record(op, value, &[x], |_| {
        let x = x.value().clone();
        move |dy: Value| {
            if x.elem_count() == 0 {
                return Ok(vec![Some(x)]);
            }
            let attained = x.eq(&expand(&kept, x.dims())?)?.to_dtype(x.dtype())?;
            let share = sum_value(&attained, &over)?.recip()?;
            let dy = (dy.reshape(kept.dims())? * share)?;
            Ok(vec![Some((attained * expand(&dy, x.dims())?)?)])
        }
    }))
}

/// Index (i64) of the greatest element along `dim`, the first of equals; with no `dim`, in the flattened tensor.
///
/// # Errors
/// If there is no element to choose from.
pub fn argmax(x: &Tensor, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
    arg("argmax", x, dim, keepdim, true)
}

/// Index (i64) of the least element, as [`argmax`].
///
/// # Errors
/// If there is no element to choose from.
pub fn argmin(x: &Tensor, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
    arg("argmin", x, dim, keepdim, false)
}

fn arg(op: &'static str, x: &Tensor, dim: Option<i64>, keepdim: bool, greatest: bool) -> Result<Tensor> {
    let _span = profile::span(op);
    let (value, over) = match dim {
        Some(d) => (x.value().clone(), vec![dimension(op, x.dims(), d)?]),
        None => (x.value().clone(), (0..x.rank()).collect()),
    };
    nonempty(op, x.dims(), &over)?;
    let kept = kept_dims(x.dims(), &over);
    let (outer, n, inner) = match over[..] {
        [d] => split(x.dims(), d, d),
        _ => (1, x.len(), 1),
    };
    if kept.contains(&0) {
        return Ok(Tensor::new(without(Value::zeros(kept, DType::I64, x.device())?, &over, keepdim)?));
    }
    let index = if x.device().is_cpu() {
        let value = value.contiguous()?;
        macro_rules! indices {
            ($t:ty) => {
                cpu::slices!([data: $t = value] => each_column(data, n, inner, |column| {
                    let mut best = (0, column[0]);
                    for i in 1..n {
                        let x = column[i * inner];
                        // NaN is greatest and least at once, as in PyTorch.
                        let better = if greatest { x > best.1 } else { x < best.1 };
                        #[allow(clippy::eq_op)]
                        if better || (x != x && best.1 == best.1) {
                            best = (i, x);
                        }
                    }
                    best.0 as i64
                }))
            };
        }
        let indices: Vec<i64> = match value.dtype() {
            DType::F64 => indices!(f64),
            DType::F32 => indices!(f32),
            DType::BF16 => indices!(half::bf16),
            DType::F16 => indices!(half::f16),
            DType::I64 => indices!(i64),
            DType::U32 => indices!(u32),
            DType::U8 => indices!(u8),
            other => return Err(Error::dtype(op, format!("takes no {} tensors", other.as_str()))),
        };
        cpu::tensor(indices, &kept)?
    } else {
        let value = value.reshape((outer, n, inner))?.transpose(1, 2)?.contiguous()?;
        let index = if greatest { value.argmax(2)? } else { value.argmin(2)? };
        index.to_dtype(DType::I64)?.reshape(kept)?
    };
    Ok(Tensor::new(without(index, &over, keepdim)?))
}

/// Sum of `value` over the dimensions `over` (ascending), which stay with size 1. Integers sum to i64.
pub(super) fn sum_value(value: &Value, over: &[usize]) -> Result<Value> {
    let dtype = if value.dtype().is_int() { DType::I64 } else { value.dtype() };
    sum_as(value, over, dtype)
}

/// As [`sum_value`], the result in `dtype`.
fn sum_as(value: &Value, over: &[usize], dtype: DType) -> Result<Value> {
    let kept = kept_dims(value.dims(), over);
    if over.iter().all(|&d| value.dims()[d] == 1) {
        return Ok(value.to_dtype(dtype)?);
    }
    if value.elem_count() == 0 {
        return Ok(Value::zeros(kept, dtype, value.device())?);
    }
    if !value.device().is_cpu() {
        return Ok(value.to_dtype(wide(dtype))?.contiguous()?.sum_keepdim(over)?.to_dtype(dtype)?);
    }
    let value = value.contiguous()?;
    macro_rules! totals {
        ($t:ty, $acc:ty, $up:expr, $add:expr) => {
            cpu::slices!([data: $t = value] => runs(data, value.dims(), over, <$acc>::default(), $up, $add))
        };
    }
    let float = |total: Vec<f64>| -> Result<Value> { Ok(cpu::tensor(total, &kept)?.to_dtype(dtype)?) };
    let int = |total: Vec<i64>| -> Result<Value> { Ok(cpu::tensor(total, &kept)?.to_dtype(dtype)?) };
    match value.dtype() {
        DType::F64 => float(totals!(f64, f64, |x| x, |a, b| a + b)),
        DType::F32 => float(totals!(f32, f64, f64::from, |a, b| a + b)),
        DType::BF16 => float(totals!(half::bf16, f64, f64::from, |a, b| a + b)),
        DType::F16 => float(totals!(half::f16, f64, f64::from, |a, b| a + b)),
        DType::I64 => int(totals!(i64, i64, |x| x, i64::wrapping_add)),
        DType::U32 => int(totals!(u32, i64, i64::from, i64::wrapping_add)),
        DType::U8 => int(totals!(u8, i64, i64::from, i64::wrapping_add)),
        other => Err(Error::dtype("sum", format!("takes no {} tensors", other.as_str()))),
    }
}

fn extreme_value(value: &Value, over: &[usize], greatest: bool) -> Result<Value> {
    let kept = kept_dims(value.dims(), over);
    if value.elem_count() == 0 {
        return Ok(Value::zeros(kept, value.dtype(), value.device())?);
    }
    if !value.device().is_cpu() {
        let mut value = value.contiguous()?;
        for &d in over {
            value = if greatest { value.max_keepdim(d)? } else { value.min_keepdim(d)? };
        }
        return Ok(value);
    }
    let value = value.contiguous()?;
    // What starts each column is its own first element: `None` until one is seen.
    fn pick<T: PartialOrd + Copy>(greatest: bool) -> impl Fn(Option<T>, Option<T>) -> Option<T> + Sync {
        #[allow(clippy::eq_op)]
        move |a, b| match (a, b) {
            (Some(x), Some(y)) if x != x || (y == y && if greatest { x >= y } else { x <= y }) => Some(x),
            (a, None) => a,
            (_, b) => b,
        }
    }
    fn run<T: WithDType>(data: &[T], dims: &[usize], over: &[usize], kept: &[usize], greatest: bool) -> Result<Value> {
        let best = runs(data, dims, over, None, Some, pick::<T>(greatest));
        cpu::tensor(best.into_iter().map(|x| x.unwrap_or_else(T::zero)).collect(), kept)
    }
    macro_rules! best {
        ($t:ty) => {
            cpu::slices!([data: $t = value] => run(data, value.dims(), over, &kept, greatest))
        };
    }
    match value.dtype() {
        DType::F64 => best!(f64),
        DType::F32 => best!(f32),
        DType::BF16 => best!(half::bf16),
        DType::F16 => best!(half::f16),
        DType::I64 => best!(i64),
        DType::U32 => best!(u32),
        DType::U8 => best!(u8),
        other => {
            Err(Error::dtype(if greatest { "max" } else { "min" }, format!("takes no {} tensors", other.as_str())))
        }
    }
}

/// Folds contiguous `data` of shape `dims` over the dimensions `over`, one run of adjacent ones after another.
fn runs<T: Copy + Send + Sync, A: Copy + Send + Sync>(
    data: &[T],
    dims: &[usize],
    over: &[usize],
    init: A,
    up: impl Fn(T) -> A + Sync,
    merge: impl Fn(A, A) -> A + Sync,
) -> Vec<A> {
    let mut dims = dims.to_vec();
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for &d in over {
        match groups.last_mut() {
            Some((_, last)) if *last + 1 == d => *last = d,
            _ => groups.push((d, d)),
        }
    }
    let Some(&(first, last)) = groups.first() else { return data.iter().map(|x| up(*x)).collect() };
    let (_, n, inner) = split(&dims, first, last);
    let mut folded = fold(data, n, inner, init, &up, &merge);
    dims[first..=last].fill(1);
    for &(first, last) in &groups[1..] {
        let (_, n, inner) = split(&dims, first, last);
        folded = fold(&folded, n, inner, init, &|a| a, &merge);
        dims[first..=last].fill(1);
    }
    folded
}

/// Folds `[outer, n, inner]` to `[outer, inner]`.
fn fold<T: Copy + Send + Sync, A: Copy + Send + Sync>(
    data: &[T],
    n: usize,
    inner: usize,
    init: A,
    up: &(impl Fn(T) -> A + Sync),
    merge: &(impl Fn(A, A) -> A + Sync),
) -> Vec<A> {
    /// Independent accumulators per row: they let the compiler use vector registers.
    const LANES: usize = 8;
    /// Elements per task when one long row is shared among threads.
    const SPAN: usize = 1 << 16;
    let row = |row: &[T]| -> A {
        let mut lanes = [init; LANES];
        let chunks = row.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = merge(*lane, up(*x));
            }
        }
        let all = lanes.into_iter().fold(init, merge);
        rest.iter().fold(all, |a, x| merge(a, up(*x)))
    };
    if inner == 1 {
        if data.len() == n && n > SPAN {
            let parts: Vec<A> = data.par_chunks(SPAN).map(row).collect();
            return vec![parts.into_iter().fold(init, merge)];
        }
        return data.par_chunks(n).with_min_len(cpu::rows_per_task(n)).map(row).collect();
    }
    let mut out = vec![init; data.len() / n];
    let block = |(out, data): (&mut [A], &[T])| {
        for row in data.chunks(inner) {
            for (o, x) in out.iter_mut().zip(row) {
                *o = merge(*o, up(*x));
            }
        }
    };
    out.par_chunks_mut(inner)
        .zip(data.par_chunks(n * inner))
        .with_min_len(cpu::rows_per_task(n * inner))
        .for_each(block);
    out
}

/// `f` of every column of `[outer, n, inner]`: a slice that starts at the column, whose elements are `inner` apart.
fn each_column<T: Copy + Send + Sync, A: Send>(
    data: &[T],
    n: usize,
    inner: usize,
    f: impl Fn(&[T]) -> A + Sync,
) -> Vec<A> {
    let columns = data.len() / n;
    (0..columns)
        .into_par_iter()
        .with_min_len(cpu::rows_per_task(n))
        .map(|c| f(&data[c / inner * n * inner + c % inner..]))
        .collect()
}

/// Sizes before, of, and after the dimensions `first..=last`.
fn split(dims: &[usize], first: usize, last: usize) -> (usize, usize, usize) {
    let size = |d: &[usize]| d.iter().product();
    (size(&dims[..first]), size(&dims[first..=last]), size(&dims[last + 1..]))
}

/// `dims` with those of `over` set to 1.
fn kept_dims(dims: &[usize], over: &[usize]) -> Vec<usize> {
    dims.iter().enumerate().map(|(i, d)| if over.contains(&i) { 1 } else { *d }).collect()
}

/// `value` without the dimensions `over`, unless they are to be kept.
fn without(value: Value, over: &[usize], keepdim: bool) -> Result<Value> {
    if keepdim {
        return Ok(value);
    }
    let dims: Vec<usize> =
        value.dims().iter().enumerate().filter(|(i, _)| !over.contains(i)).map(|(_, d)| *d).collect();
    Ok(value.reshape(dims)?)
}

/// `dy`, the gradient of a reduction, repeated to the input's `shape`.
fn repeat(dy: &Value, shape: &[usize], over: &[usize]) -> Result<Value> {
    expand(&dy.reshape(kept_dims(shape, over))?, shape)
}

/// How many elements each result is made of.
fn count(dims: &[usize], over: &[usize]) -> usize {
    over.iter().map(|&d| dims[d]).product()
}

fn nonempty(op: &'static str, dims: &[usize], over: &[usize]) -> Result<()> {
    if count(dims, over) > 0 {
        return Ok(());
    }
    Err(Error::shape(op, format!("shape {dims:?} has no elements to choose from")).about("shape", dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::{close_in_low_precision, f64s};
    use candle_core::Device;

    /// Protects every gradient: all, one, several and separated dimensions, kept or not, strided, empty.
    #[test]
    fn gradients() {
        let strided = sample(&[4, 3, 2], 2).permute((2, 0, 1)).unwrap();
        for x in [sample(&[2, 4, 3], 1), strided] {
            let one = std::slice::from_ref(&x);
            for dims in [&[][..], &[1], &[-1], &[0], &[0, 2], &[1, 2], &[0, 1]] {
                for keepdim in [false, true] {
                    check(one, |t| sum(&t[0], dims, keepdim));
                    check(one, |t| mean(&t[0], dims, keepdim));
                    check(one, |t| var(&t[0], dims, keepdim, 1));
                    check(one, |t| max(&t[0], dims, keepdim));
                    check(one, |t| min(&t[0], dims, keepdim));
                }
            }
        }
        check(&[sample(&[0, 3], 1)], |t| sum(&t[0], &[0], false));
        check(&[sample(&[0, 3], 1)], |t| mean(&t[0], &[1], false));
        check(&[sample(&[0, 3], 1)], |t| max(&t[0], &[1], false));
        check(&[sample(&[], 1)], |t| sum(&t[0], &[], false));
    }

    /// Protects precision: a long bf16 sum is accumulated wide, and matches f64 within a rounding.
    #[test]
    fn low_precision() -> Result<()> {
        let ones = Tensor::new(Value::ones(100_000, DType::BF16, &Device::Cpu)?);
        assert_eq!(sum(&ones, &[], false)?.item()?, 99_840.0); // the bf16 nearest to 100,000
        assert_eq!(mean(&ones, &[], false)?.item()?, 1.0);
        for dims in [&[][..], &[0], &[1]] {
            close_in_low_precision(&[sample(&[20, 30], 1)], |t| mean(&t[0], dims, false));
            close_in_low_precision(&[sample(&[20, 30], 1)], |t| var(&t[0], dims, false, 1));
        }
        Ok(())
    }

    /// Protects PyTorch's conventions: ties, NaN, integers, indices, nothing to choose from.
    #[test]
    fn conventions() -> Result<()> {
        let cpu = &Device::Cpu;
        let x = Tensor::parameter(Value::new(&[[3f32, 1.0, 3.0], [0.0, 0.0, -1.0]], cpu)?)?;
        sum(&max(&x, &[1], false)?, &[], false)?.backward()?;
        assert_eq!(f64s(&x.grad().unwrap()), [0.5, 0.0, 0.5, 0.5, 0.5, 0.0]);
        assert_eq!(argmax(&x, Some(1), false)?.value().to_vec1::<i64>()?, [0, 0]);
        assert_eq!(argmax(&x, Some(0), true)?.value().to_vec2::<i64>()?, [[0, 0, 0]]);
        assert_eq!(argmin(&x, None, false)?.item()?, 5.0);
        let nan = Tensor::new(Value::new(&[1f32, f32::NAN, 2.0], cpu)?);
        assert!(max(&nan, &[], false)?.item()?.is_nan() && min(&nan, &[], false)?.item()?.is_nan());
        assert_eq!(argmax(&nan, None, false)?.item()?, 1.0);
        let int = Tensor::new(Value::new(&[200u8, 100], cpu)?);
        assert_eq!(sum(&int, &[], false)?.value().to_scalar::<i64>()?, 300);
        assert_eq!(mean(&int, &[], false)?.item()?, 150.0);
        let one = Tensor::new(Value::new(&[1f32], cpu)?);
        assert!(var(&one, &[], false, 1)?.item()?.is_nan());
        assert_eq!(var(&one, &[], false, 0)?.item()?, 0.0);
        let empty = Tensor::new(Value::zeros((0, 3), DType::F32, cpu)?);
        assert_eq!(sum(&empty, &[], false)?.item()?, 0.0);
        assert!(mean(&empty, &[], false)?.item()?.is_nan());
        assert!(max(&empty, &[0], false).unwrap_err().to_string().contains("no elements"));
        assert_eq!(argmax(&empty, Some(1), false)?.dims(), [0]);
        Ok(())
    }
}
