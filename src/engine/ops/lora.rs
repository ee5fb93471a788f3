//! LoRA linear: `y = x W^T + b + scale * dropout(x) A^T B^T`, one op with one node.
//!
//! Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; `peft.tuners.lora.Linear`. Kept for
//! backward: `x` (shared with its other users) and `h = dropout(x) A^T` `[rows, rank]`; the dropped input and its mask
//! are made again from the random stream. With `dh = scale * dy B`:
//! `dB = scale * dy^T h`, `dA = dh^T dropout(x)`, `dx = dy W + dropout'(dh A)`.

use super::convert::convert;
use super::dropout_mask;
use super::linear::{affine, check, compute_dtype};
use super::products::{add_product, input_grad, product, rows, weight_grad};
use super::weight::Weight;
use crate::engine::autograd::{Tensor, add::add_in_place, mode, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use crate::engine::rng;
use candle_core::Tensor as Value;

/// What an adapter adds to a linear map.
#[derive(Debug, Clone)]
pub struct LoraWeights<'a> {
    /// `[rank, in]`.
    pub a: &'a Tensor,
    /// `[out, rank]`.
    pub b: &'a Tensor,
    /// `alpha / rank`, or `alpha / sqrt(rank)` for rsLoRA.
    pub scale: f64,
    /// Dropout probability on the adapter's input; 0 outside training.
    pub dropout: f64,
}

/// `x` `[.., in]` through a frozen or trainable `weight` `[out, in]` and an adapter: `[.., out]`. As PEFT, the adapter's
/// path is computed in autocast's dtype or else in the adapter's own, and added in the result's dtype.
///
/// # Errors
/// If the shapes do not fit.
pub fn lora_linear<'a>(
    x: &Tensor,
    weight: impl Into<Weight<'a>>,
    bias: Option<&Tensor>,
    lora: &LoraWeights<'_>,
) -> Result<Tensor> {
    let _span = profile::span("lora_linear");
    let weight = weight.into();
    check("lora_linear", x, weight)?;
    let (out, inner) = (weight.dims()[0], weight.dims()[1]);
    let rank = lora.a.dims().first().copied().unwrap_or(0);
    if lora.a.dims() != [rank, inner] || lora.b.dims() != [out, rank] {
        return Err(Error::shape(
            "lora_linear",
            format!(
                "A {:?} and B {:?} do not fit a weight of shape {:?}: they must be [rank, {inner}] and [{out}, rank]",
                lora.a.dims(),
                lora.b.dims(),
                weight.dims()
            ),
        )
        .about("a", lora.a.dims())
        .about("b", lora.b.dims())
        .about("weight", weight.dims()));
    }
    dropout_mask::check(lora.dropout)?;
    let dtype = compute_dtype(x);
    let low = mode::autocast().dtype().unwrap_or(lora.a.dtype());
    let (scale, p) = (lora.scale, lora.dropout);
    let stream = rng::take(if p > 0.0 { x.len() } else { 0 });

    let value = affine(x.value(), &weight, bias, dtype)?;
    let h = product(&dropout_mask::apply(x.value(), stream, p)?, lora.a.value(), low)?;
    if mode::values_wanted() {
        add_product(&value, &h, lora.b.value(), low, scale)?;
    }

    let mut inputs = vec![x, weight.leaf(), lora.a, lora.b];
    inputs.extend(bias);
    Ok(record("lora_linear", value, &inputs, |needs| {
        let needs = needs.to_vec();
        let bias_dtype = bias.map(Tensor::dtype);
        let (x, w) = (x.value().clone(), weight.held());
        let (a, b) = (lora.a.value().clone(), lora.b.value().clone());
        move |dy: Value| {
            let dh = input_grad(&dy, &b, low, scale)?; // [.., rank]
            let db = if needs[3] { Some(convert(&weight_grad(&dy, &h, low, scale)?, b.dtype())?) } else { None };
            let da = if needs[2] {
                let dropped = dropout_mask::apply(&x, stream, p)?;
                Some(convert(&weight_grad(&dh, &dropped, low, 1.0)?, a.dtype())?)
            } else {
                None
            };
            let dx = if needs[0] {
                let dx = convert(&w.input_grad(&dy, dtype, 1.0)?, x.dtype())?;
                let through = convert(&input_grad(&dh, &a, low, 1.0)?, x.dtype())?;
                let through = dropout_mask::apply(&through, stream, p)?;
                if dx.elem_count() > 0 {
                    add_in_place(&dx, &through)?;
                }
                Some(dx)
            } else {
                None
            };
            let dw = if needs[1] { Some(convert(&weight_grad(&dy, &x, dtype, 1.0)?, w.dtype())?) } else { None };
            let mut grads = vec![dx, dw, da, db];
            if let Some(bias_dtype) = bias_dtype {
                grads.push(if needs[4] { Some(rows(&dy)?.sum(0)?.to_dtype(bias_dtype)?) } else { None });
            }
            Ok(grads)
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check as gradcheck, sample};

    /// Protects the adapter's gradients, with dropout on: the finite differences see the same mask.
    #[test]
    fn gradients() {
        for (p, dims) in [(0.0, vec![2, 3, 4]), (0.4, vec![2, 3, 4]), (0.4, vec![0, 4]), (1.0, vec![3, 4])] {
            let inputs =
                [sample(&dims, 1), sample(&[5, 4], 2), sample(&[2, 4], 3), sample(&[5, 2], 4), sample(&[5], 5)];
            gradcheck(&inputs, |t| {
                rng::seed(11);
                let lora = LoraWeights { a: &t[2], b: &t[3], scale: 2.0, dropout: p };
                lora_linear(&t[0], &t[1], Some(&t[4]), &lora)
            });
        }
        let strided =
            [sample(&[4, 3], 1).t().unwrap(), sample(&[4, 5], 2).t().unwrap(), sample(&[2, 4], 3), sample(&[5, 2], 4)];
        gradcheck(&strided, |t| {
            lora_linear(&t[0], &t[1], None, &LoraWeights { a: &t[2], b: &t[3], scale: 0.5, dropout: 0.0 })
        });
    }

    /// Protects the definition: only the adapter's path is scaled, and B = 0 changes nothing.
    #[test]
    fn definition() -> Result<()> {
        let (x, w) = (Tensor::new(sample(&[3, 4], 1)), Tensor::new(sample(&[5, 4], 2)));
        let (a, b) = (Tensor::new(sample(&[2, 4], 3)), Tensor::new(sample(&[5, 2], 4)));
        let base = super::super::linear::linear(&x, &w, None)?;
        let zero = Tensor::new(b.value().zeros_like()?);
        let off = lora_linear(&x, &w, None, &LoraWeights { a: &a, b: &zero, scale: 2.0, dropout: 0.0 })?;
        let on = lora_linear(&x, &w, None, &LoraWeights { a: &a, b: &b, scale: 2.0, dropout: 0.0 })?;
        let want = (base.value() + (x.value().matmul(&a.value().t()?)?.matmul(&b.value().t()?)? * 2.0)?)?;
        let max = |x: Value| x.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        assert_eq!(max((off.value() - base.value())?), 0.0);
        assert!(max((on.value() - want)?) < 1e-12);
        Ok(())
    }
}
