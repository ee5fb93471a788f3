//! A tensor as text, laid out as PyTorch does: `tensor([[1.0000, 2.0000], ...], f32, [512, 2], cpu, requires_grad, 3 nan)`.
//!
//! Of a large tensor only the edges of each dimension are fetched and shown; NaN and inf are counted everywhere.

use crate::engine::autograd::Tensor;
use crate::engine::error::Result;
use crate::engine::{device, ops::inspect};
use candle_core::{DType, Tensor as Value};

/// Tensors of at most so many elements are shown whole.
const WHOLE: usize = 64;
/// Columns of a line of elements.
const WIDTH: usize = 80;

/// Elements shown at each end of a dimension of a tensor of shape `dims`.
fn edge(dims: &[usize]) -> usize {
    if dims.iter().product::<usize>() <= WHOLE {
        return WHOLE;
    }
    match dims.len() {
        0..=2 => 3,
        3 => 2,
        _ => 1,
    }
}

/// The text.
pub(super) fn render(t: &Tensor) -> Result<String> {
    let mut facts = vec![t.dtype().as_str().to_string(), format!("{:?}", t.dims()), device::name(t.device())];
    if t.requires_grad() {
        facts.push("requires_grad".into());
    }
    let (nan, inf) = inspect::nonfinite(t.value())?;
    facts.extend([(nan, "nan"), (inf, "inf")].iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
    Ok(format!("tensor({}, {})", values(t.value())?, facts.join(", ")))
}

fn values(value: &Value) -> Result<String> {
    if value.elem_count() == 0 {
        return Ok("[]".into());
    }
    let edge = edge(value.dims());
    let mut small = value.clone();
    for dim in 0..value.rank() {
        let n = value.dims()[dim];
        if n > 2 * edge {
            small = Value::cat(&[small.narrow(dim, 0, edge)?, small.narrow(dim, n - edge, edge)?], dim)?;
        }
    }
    let flat = small.flatten_all()?;
    let texts: Vec<String> = if value.dtype().is_int() {
        flat.to_dtype(DType::I64)?.to_vec1::<i64>()?.iter().map(i64::to_string).collect()
    } else {
        numbers(&flat.to_dtype(DType::F64)?.to_vec1::<f64>()?)
    };
    let width = texts.iter().map(String::len).max().unwrap_or(0);
    Ok(nested(value.dims(), &texts, edge, width, 0))
}

/// Four decimals, or four significant ones with an exponent if some number is very large or very small.
fn numbers(values: &[f64]) -> Vec<String> {
    let mut sizes = values.iter().map(|v| v.abs()).filter(|v| v.is_finite() && *v > 0.0);
    let scientific = sizes.any(|v| !(1e-4..1e5).contains(&v));
    let one = |v: &f64| match v {
        v if v.is_nan() => "nan".into(),
        v if v.is_infinite() => if *v > 0.0 { "inf" } else { "-inf" }.into(),
        v if scientific => format!("{v:.4e}"),
        v => format!("{v:.4}"),
    };
    values.iter().map(one).collect()
}

/// Brackets around the shown elements `texts` of a tensor of shape `dims`: rows below one another, matrices with a blank
/// line between them.
fn nested(dims: &[usize], texts: &[String], edge: usize, width: usize, depth: usize) -> String {
    let [n, rest @ ..] = dims else { return texts.concat() };
    let shown = (*n).min(2 * edge);
    let indent = " ".repeat("tensor([".len() + depth);
    let part = |part: &[String]| match rest {
        [] => format!("{:>width$}", part[0]),
        _ => nested(rest, part, edge, width, depth + 1),
    };
    let mut parts: Vec<String> = texts.chunks(texts.len() / shown).map(part).collect();
    if *n > shown {
        parts.insert(edge, "...".into());
    }
    let rows = if rest.is_empty() {
        let in_row = ((WIDTH - indent.len()) / (width + 2)).max(1);
        parts.chunks(in_row).map(|row| row.join(", ")).collect()
    } else {
        parts
    };
    let breaks = "\n".repeat(rest.len().max(1));
    format!("[{}]", rows.join(&format!(",{breaks}{indent}")))
}

#[cfg(test)]
mod tests {
    use super::super::tensor::tests::run;

    /// Protects what people look at first: values, dtype, shape, device, and the counts that explain a broken loss.
    #[test]
    fn texts() {
        assert_eq!(run("tensor([1.0, -2.5]).to_string()"), "tensor([ 1.0000, -2.5000], f32, [2], cpu)");
        assert_eq!(
            run("tensor([[1, 20], [3, 4]]).to_string()"),
            "tensor([[ 1, 20],\n        [ 3,  4]], i64, [2, 2], cpu)"
        );
        assert_eq!(run("tensor(1e-9).to_string()"), "tensor(1.0000e-9, f32, [], cpu)");
        assert_eq!(run("zeros([0, 3]).to_string()"), "tensor([], f32, [0, 3], cpu)");
        assert_eq!(
            run("(tensor([1.0, 0.0], #{ requires_grad: true }) / 0.0).to_string()"),
            "tensor([inf, nan], f32, [2], cpu, requires_grad, 1 nan, 1 inf)"
        );
        assert_eq!(run("arange(100).to_string()"), "tensor([ 0,  1,  2, ..., 97, 98, 99], i64, [100], cpu)");
        assert_eq!(
            run("arange(20).to_string()"),
            "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n        18, 19], i64, [20], cpu)"
        );
        assert_eq!(
            run("zeros([2, 1, 2], #{ dtype: \"i64\" }).to_string()"),
            "tensor([[[0, 0]],\n\n        [[0, 0]]], i64, [2, 1, 2], cpu)"
        );
        let big = run("ones([50, 50, 50]).to_debug()");
        assert!(big.len() < 1500 && big.ends_with("f32, [50, 50, 50], cpu)"), "{big}");
    }
}
