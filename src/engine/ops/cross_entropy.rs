//! Cross-entropy of logits: `loss_i = logsumexp(logits_i) - logits_i[label_i]`, ignored rows left out.
//!
//! `dlogits_i = weight_i * (softmax(logits_i) - onehot(label_i))`. Computed in f32 (f64 for f64) whatever the dtype.
//! As `torch.nn.functional.cross_entropy`, also in that the mean over no row at all is NaN.

use super::cpu::{self, Exp, acc, accumulator, prepared, vectorised};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::profile;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor as Value};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Labels of this value do not count.
pub const IGNORE_INDEX: i64 = -100;

/// What becomes of the rows' losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Mean over the rows that count.
    Mean,
    /// Their sum.
    Sum,
    /// One loss per row, 0 where ignored.
    None,
}

impl Reduction {
    /// `"mean"`, `"sum"` or `"none"`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            "none" => Ok(Reduction::None),
            _ => Err(unknown_name("reduction", name, ["mean", "sum", "none"])),
        }
    }
}

/// Cross-entropy of `logits` `[.., classes]` for `labels` (one per row, row-major).
///
/// The result is a scalar, or `[rows]` for [`Reduction::None`], in f32 (f64 for f64 logits).
///
/// # Errors
/// If the numbers of rows and labels differ, or a label is neither `ignore_index` nor a class.
pub fn cross_entropy(logits: &Tensor, labels: &[i64], ignore_index: i64, reduction: Reduction) -> Result<Tensor> {
    let _span = profile::span("cross_entropy");
    let classes = logits.dims().last().copied().unwrap_or(0);
    let rows = logits.len().checked_div(classes).unwrap_or(0);
    check_labels("cross_entropy", labels, rows, classes, ignore_index)?;
    let dtype = accumulator(logits.dtype());
    let counted = labels.iter().filter(|l| **l != ignore_index).count();
    // `softmax - onehot` of every row, made in place of a copy of the logits.
    let slope = prepared(&logits.value().reshape((rows, classes))?, dtype)?.copy()?;
    let losses = losses_to_slopes(&slope, labels, ignore_index)?;
    let device = logits.device();
    let value = match reduction {
        Reduction::None => Value::from_slice(&losses, rows, device)?,
        Reduction::Sum => Value::new(losses.iter().sum::<f64>(), device)?,
        Reduction::Mean => Value::new(losses.iter().sum::<f64>() / counted as f64, device)?,
    };
    Ok(record("cross_entropy", value.to_dtype(dtype)?, &[logits], |_| {
        let (dims, out) = (logits.dims().to_vec(), logits.dtype());
        move |dy| {
            let grad = match reduction {
                Reduction::None => slope.broadcast_mul(&dy.reshape((rows, 1))?)?,
                Reduction::Sum => slope.broadcast_mul(&dy)?,
                Reduction::Mean => slope.broadcast_mul(&(dy / counted as f64)?)?,
            };
            Ok(vec![Some(grad.to_dtype(out)?.reshape(dims)?)])
        }
    }))
}

/// `labels` must be one per row, and each a class or `ignore_index`.
pub fn check_labels(op: &'static str, labels: &[i64], rows: usize, classes: usize, ignore_index: i64) -> Result<()> {
    if labels.len() != rows {
        return Err(Error::shape(op, format!("{} labels for {rows} rows of logits", labels.len()))
            .advise("logits are [.., classes]: every position but the last dimension's takes one label")
            .about("labels", labels.len())
            .about("rows", rows)
            .about("classes", classes));
    }
    match labels.iter().position(|l| *l != ignore_index && !(0..classes as i64).contains(l)) {
        Some(i) => Err(Error::shape_help(
            op,
            format!("label {} (row {i}) is not one of {classes} classes", labels[i]),
            format!(
                "labels go from 0 to {}; those that do not count must be {ignore_index}",
                classes.saturating_sub(1)
            ),
        )
        .about("label", labels[i])
        .about("row", i)
        .about("classes", classes)),
        None => Ok(()),
    }
}

/// Turns contiguous `logits` `[rows, classes]` (f32 or f64), in place, into `softmax - onehot` (zeros where ignored), and
/// returns each row's loss.
pub(super) fn losses_to_slopes(logits: &Value, labels: &[i64], ignore_index: i64) -> Result<Vec<f64>> {
    if logits.elem_count() == 0 {
        return Ok(vec![0.0; labels.len()]);
    }
    if logits.device().is_cpu() {
        let op = InPlace { labels, ignore_index, losses: Mutex::new(Vec::new()) };
        logits.inplace_op1(&op)?;
        return Ok(op.losses.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    let (rows, classes) = logits.dims2()?;
    let (device, dtype) = (logits.device(), logits.dtype());
    let classes_of: Vec<u32> = labels.iter().map(|l| if *l == ignore_index { 0 } else { *l as u32 }).collect();
    let counts: Vec<f32> = labels.iter().map(|l| if *l == ignore_index { 0.0 } else { 1.0 }).collect();
    let index = Value::from_vec(classes_of, (rows, 1), device)?;
    let counts = Value::from_vec(counts, (rows, 1), device)?.to_dtype(dtype)?;
    let max = logits.max_keepdim(1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let exp = shifted.exp()?;
    let sum = exp.sum_keepdim(1)?;
    let loss = ((sum.log()? - shifted.gather(&index, 1)?)? * &counts)?;
    let slope = exp.broadcast_div(&sum)?.broadcast_mul(&counts)?;
    let slope = slope.scatter_add(&index, &counts.neg()?, 1)?;
    logits.slice_set(&slope.reshape((rows, classes))?, 0, 0)?;
    Ok(loss.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
}

struct InPlace<'a> {
    labels: &'a [i64],
    ignore_index: i64,
    losses: Mutex<Vec<f64>>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("cross_entropy needs contiguous logits");
        };
        let losses = match storage {
            CpuStorage::F32(v) => self.run(&mut v[start..end]),
            CpuStorage::F64(v) => self.run(&mut v[start..end]),
            other => candle_core::bail!("cross_entropy of {:?}", other.dtype()),
        };
        *self.losses.lock().unwrap_or_else(PoisonError::into_inner) = losses;
        Ok(())
    }
}

impl InPlace<'_> {
    fn run<A: Exp + Into<f64>>(&self, logits: &mut [A]) -> Vec<f64> {
        let classes = logits.len() / self.labels.len();
        logits
            .par_chunks_mut(classes)
            .zip(self.labels)
            .map(|(row, label)| {
                if *label == self.ignore_index {
                    row.fill(A::zero());
                    return 0.0;
                }
                vectorised(|| loss_to_slope(row, *label as usize))
            })
            .collect()
    }
}

#[inline(always)]
fn loss_to_slope<A: Exp + Into<f64>>(row: &mut [A], label: usize) -> f64 {
    let (max, target) = (cpu::max(row), row[label]);
    let mut sum = 0f64;
    for part in row.chunks_mut(256) {
        // Short partial sums in the working type, their total in f64: exact enough for 100,000 classes.
        part.iter_mut().for_each(|x| *x = (*x - max).fast_exp());
        sum += cpu::sum(part.len(), |i| part[i]).into();
    }
    let inverse: A = acc(1.0 / sum);
    row.iter_mut().for_each(|x| *x *= inverse);
    row[label] -= A::one();
    sum.ln() + max.into() - target.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects every reduction with ignored rows, strided and empty logits.
    #[test]
    fn gradients() {
        let labels = [2, -100, 0, 4];
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            check(&[sample(&[2, 2, 5], 1)], |t| cross_entropy(&t[0], &labels, -100, reduction));
            check(&[sample(&[5, 4], 1).t().unwrap()], |t| cross_entropy(&t[0], &labels, -100, reduction));
        }
        check(&[sample(&[0, 5], 1)], |t| cross_entropy(&t[0], &[], -100, Reduction::Sum));
    }

    /// Protects the value and its errors: uniform logits cost ln(classes); huge logits do not overflow.
    #[test]
    fn values() -> Result<()> {
        let flat = Tensor::new(Value::zeros((2, 8), DType::F32, &candle_core::Device::Cpu)?);
        assert!((cross_entropy(&flat, &[3, -100], -100, Reduction::Mean)?.item()? - 8f64.ln()).abs() < 1e-6);
        let huge = Tensor::new(Value::new(&[[1e4f32, -1e4]], &candle_core::Device::Cpu)?);
        assert_eq!(cross_entropy(&huge, &[1], -100, Reduction::Sum)?.item()?, 2e4);
        assert!(
            cross_entropy(&flat, &[8, 0], -100, Reduction::Mean).unwrap_err().to_string().contains("label 8 (row 0)")
        );
        assert!(cross_entropy(&flat, &[1], -100, Reduction::Mean).is_err());
        assert!(cross_entropy(&flat, &[-100, -100], -100, Reduction::Mean)?.item()?.is_nan());
        Ok(())
    }
}
