//! Vocabulary projection and cross-entropy in one op, chunk by chunk: `[tokens, vocab]` never exists whole.
//!
//! `loss = sum over rows of weight * cross_entropy(h W^T, label)`. Each chunk of rows has its logits computed, turned in
//! place into their gradient, and multiplied back into `dh` before the next chunk begins, as in Liger-Kernel's
//! `fused_linear_cross_entropy` (Hsu et al., 2024); so backward only scales what forward found. Logits and loss are
//! f32 (f64 for f64); the two products are matmul class.

use super::convert::convert;
use super::cpu::accumulator;
use super::cross_entropy::{check_labels, losses_to_slopes};
use super::linear::compute_dtype;
use super::products::{input_grad, product, weight_grad};
use super::weight::Weight;
use crate::engine::autograd::{Tensor, add::add_in_place, grad_enabled, record};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::profile;
use candle_core::Tensor as Value;

/// About as many logits exist at once: 24 MiB of f32, which the allocator keeps for the next chunk.
const LOGITS: usize = 6 << 20;

/// Rows whose logits exist at once: all chunks of about one size, since a small last one would read the whole projection
/// for few rows.
pub(in crate::engine) fn chunk_rows(vocab: usize, rows: usize) -> usize {
    let most = (LOGITS / vocab.max(1)).max(1);
    rows.div_ceil(((rows + most / 2) / most).max(1)).max(1)
}

/// What [`head_loss`] computes.
#[derive(Debug)]
pub struct HeadLoss {
    /// Sum of the rows' losses divided by `divisor`: a scalar.
    pub loss: Tensor,
    /// Each row's own loss.
    pub rows: Vec<f64>,
}

/// Cross-entropy of `hidden` `[rows, n]` projected by `weight` `[vocab, n]`, for `labels` (one per row; none ignored),
/// summed and divided by `divisor`.
///
/// # Errors
/// If shapes do not fit or a label is outside the vocabulary.
pub fn head_loss<'a>(hidden: &Tensor, weight: impl Into<Weight<'a>>, labels: &[i64], divisor: f64) -> Result<HeadLoss> {
    let _span = profile::span("head_loss");
    let weight = weight.into();
    let (&[rows, n], &[vocab, m]) = (hidden.dims(), weight.dims()) else {
        return Err(Error::shape("head_loss", format!("hidden {:?} and weight {:?}", hidden.dims(), weight.dims())));
    };
    if n != m {
        return Err(Error::shape(
            "head_loss",
            format!("hidden {:?} does not fit weight {:?}", hidden.dims(), weight.dims()),
        ));
    }
    check_labels("head_loss", labels, rows, vocab, i64::MIN)?;
    let (dtype, acc) = (compute_dtype(hidden), accumulator(hidden.dtype()));
    let needs = [hidden, weight.leaf()].map(|t| grad_enabled() && t.requires_grad());
    let chunk = chunk_rows(vocab, rows);
    let projection = weight.dense(dtype)?; // once, not for every chunk
    let mut losses = Vec::with_capacity(rows);
    let mut d_hidden = Vec::new();
    let mut d_weight: Option<Value> = None;
    for start in (0..rows).step_by(chunk) {
        interrupt::poll()?;
        let count = chunk.min(rows - start);
        let h = hidden.value().narrow(0, start, count)?;
        let logits = convert(&product(&h, &projection, dtype)?, acc)?;
        losses.extend(losses_to_slopes(&logits, &labels[start..start + count], i64::MIN)?);
        if needs[0] {
            d_hidden.push(convert(&input_grad(&logits, &projection, dtype, 1.0)?, acc)?);
        }
        if needs[1] {
            let part = convert(&weight_grad(&logits, &h, dtype, 1.0)?, acc)?;
            match &d_weight {
                Some(sum) => add_in_place(sum, &part)?,
                None => d_weight = Some(part),
            }
        }
    }
    drop(projection);
    let d_hidden = match d_hidden.len() {
        0 => None,
        1 => d_hidden.pop(),
        _ => Some(Value::cat(&d_hidden, 0)?),
    };
    let total = losses.iter().sum::<f64>() / divisor;
    let value = Value::new(total, hidden.device())?.to_dtype(acc)?;
    let loss = record("head_loss", value, &[hidden, weight.leaf()], |needs| {
        let (h_dtype, w_dtype, needs) = (hidden.dtype(), weight.dtype(), [needs[0], needs[1]]);
        let dims = [hidden.dims().to_vec(), weight.dims().to_vec()];
        let device = hidden.device().clone();
        move |dy: Value| {
            let factor = (dy / divisor)?;
            let scaled = |grad: Option<Value>, dtype, dims: &[usize]| -> Result<Value> {
                match grad {
                    Some(grad) => Ok(grad.broadcast_mul(&factor)?.to_dtype(dtype)?),
                    None => Ok(Value::zeros(dims, dtype, &device)?), // no rows at all
                }
            };
            Ok(vec![
                if needs[0] { Some(scaled(d_hidden, h_dtype, &dims[0])?) } else { None },
                if needs[1] { Some(scaled(d_weight, w_dtype, &dims[1])?) } else { None },
            ])
        }
    });
    Ok(HeadLoss { loss, rows: losses })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::{
        cross_entropy::{Reduction, cross_entropy},
        linear::linear,
    };

    /// Protects the loss of every training step: both gradients, no rows, and equality with the unfused pair.
    #[test]
    fn gradients_and_value() -> Result<()> {
        let labels = [1, 0, 6, 6];
        check(&[sample(&[4, 3], 1), sample(&[7, 3], 2)], |t| Ok(head_loss(&t[0], &t[1], &labels, 4.0)?.loss));
        check(&[sample(&[0, 3], 1), sample(&[7, 3], 2)], |t| Ok(head_loss(&t[0], &t[1], &[], 1.0)?.loss));
        let (h, w) = (Tensor::new(sample(&[4, 3], 1)), Tensor::new(sample(&[7, 3], 2)));
        let fused = head_loss(&h, &w, &labels, 4.0)?.loss.item()?;
        let plain = cross_entropy(&linear(&h, &w, None)?, &labels, -100, Reduction::Mean)?.item()?;
        assert!((fused - plain).abs() < 1e-12);
        Ok(())
    }

    /// Protects chunking: a vocabulary so large that every row is a chunk of its own gives the same gradients.
    #[test]
    fn chunks_add_up() -> Result<()> {
        let vocab = LOGITS / 2;
        let w = Tensor::parameter(Value::zeros((vocab, 1), candle_core::DType::F32, &candle_core::Device::Cpu)?)?;
        let h = Tensor::parameter(Value::ones((5, 1), candle_core::DType::F32, &candle_core::Device::Cpu)?)?;
        head_loss(&h, &w, &[7, 7, 7, 7, 9], 5.0)?.loss.backward()?;
        let dw = w.grad().unwrap().flatten_all()?.narrow(0, 6, 4)?.to_vec1::<f32>()?;
        assert!((dw[1] + 0.8).abs() < 1e-4 && (dw[3] + 0.2).abs() < 1e-4, "{dw:?}");
        assert_eq!(h.grad().unwrap().dims(), [5, 1]);
        Ok(())
    }
}
