//! Linear map: `y = x W^T + b`.
//!
//! `dx = dy W`, `dW = dy^T x`, `db = rows of dy summed`; for a frozen weight neither `dW` is computed nor `x` kept.
//! Matmul class: computes in autocast's dtype, and so is its result.

use super::convert::convert;
use super::products::{rows, weight_grad, with_last};
use super::weight::Weight;
use crate::engine::autograd::{Tensor, mode, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

/// `x` `[.., in]` by `weight` `[out, in]` and an optional `bias` `[out]`: `[.., out]`, in autocast's dtype or, without
/// autocast, in the dtype of `x`. A quantized weight is frozen.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear<'a>(x: &Tensor, weight: impl Into<Weight<'a>>, bias: Option<&Tensor>) -> Result<Tensor> {
    let _span = profile::span("linear");
    let weight = weight.into();
    check("linear", x, weight)?;
    if let Some(b) = bias
        && b.dims() != [weight.dims()[0]]
    {
        return Err(Error::shape(
            "linear",
            format!(
                "bias {:?} does not fit a weight of shape {:?}: it must be [{}]",
                b.dims(),
                weight.dims(),
                weight.dims()[0]
            ),
        )
        .about("bias", b.dims())
        .about("weight", weight.dims()));
    }
    let dtype = compute_dtype(x);
    let value = affine(x.value(), &weight, bias, dtype)?;
    let mut inputs = vec![x, weight.leaf()];
    inputs.extend(bias);
    Ok(record("linear", value, &inputs, |needs| {
        let (x_dtype, w, needs) = (x.dtype(), weight.held(), needs.to_vec());
        let x = needs[1].then(|| x.value().clone());
        let b_dtype = bias.map(Tensor::dtype);
        move |dy| {
            let dx = if needs[0] { Some(convert(&w.input_grad(&dy, dtype, 1.0)?, x_dtype)?) } else { None };
            let dw = x.map(|x| convert(&weight_grad(&dy, &x, dtype, 1.0)?, w.dtype())).transpose()?;
            let mut grads = vec![dx, dw];
            if let Some(b_dtype) = b_dtype {
                grads.push(if needs[2] { Some(rows(&dy)?.sum(0)?.to_dtype(b_dtype)?) } else { None });
            }
            Ok(grads)
        }
    }))
}

/// `x W^T + b` in `dtype`; a placeholder where only the history is wanted.
pub(super) fn affine(x: &Value, weight: &Weight<'_>, bias: Option<&Tensor>, dtype: DType) -> Result<Value> {
    if let Some(placeholder) = mode::placeholder(&with_last(x, weight.dims()[0]), dtype, x.device())? {
        return Ok(placeholder);
    }
    let value = weight.product(x, dtype)?;
    match bias {
        None => Ok(value),
        Some(b) => Ok(value.broadcast_add(&convert(b.value(), dtype)?)?),
    }
}

/// The dtype that a matmul-class operation on `x` computes in.
pub(super) fn compute_dtype(x: &Tensor) -> DType {
    mode::autocast().dtype().unwrap_or(x.dtype())
}

pub(super) fn check(op: &'static str, x: &Tensor, weight: Weight<'_>) -> Result<()> {
    match (x.dims().last(), weight.dims()) {
        (Some(n), [_, inner]) if n == inner => Ok(()),
        (last, dims) => {
            let message = format!("x {:?} does not fit a weight [out, in] of shape {:?}", x.dims(), weight.dims());
            let err = Error::shape(op, message).about("x", x.dims()).about("weight", dims);
            Err(match (last, dims) {
                (Some(n), [outer, _]) if n == outer => err.advise("transpose the weight? weight.t()"),
                (Some(n), [_, inner]) => {
                    err.advise(format!("the last dimension of x is {n}; this weight takes {inner}"))
                }
                (None, _) => err.advise("x must have at least one dimension"),
                _ => err.advise("a weight has two dimensions"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check as gradcheck, sample};
    use crate::engine::autograd::{Autocast, autocast_guard, stats};

    /// Protects every projection: plain, strided, empty, with and without bias.
    #[test]
    fn gradients() {
        for dims in [vec![2, 3, 4], vec![3, 4], vec![0, 4], vec![4]] {
            let x = sample(&dims, 1);
            gradcheck(&[x.clone(), sample(&[5, 4], 2)], |t| linear(&t[0], &t[1], None));
            gradcheck(&[x, sample(&[5, 4], 2), sample(&[5], 3)], |t| linear(&t[0], &t[1], Some(&t[2])));
        }
        let strided = sample(&[4, 3], 1).t().unwrap();
        gradcheck(&[strided, sample(&[4, 5], 2).t().unwrap()], |t| linear(&t[0], &t[1], None));
    }

    /// Protects the point of LoRA: a frozen weight gets no gradient, and none is computed.
    #[test]
    fn frozen_weight_costs_nothing() -> Result<()> {
        let (x, w) = (Tensor::parameter(sample(&[2, 4], 1))?, Tensor::new(sample(&[3, 4], 2)));
        stats::reset();
        let y = linear(&x, &w, None)?;
        crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like()?)])?;
        assert_eq!(stats::by_op()["linear"].input_grads, 1);
        assert!(w.grad().is_none() && x.grad().is_some());
        Ok(())
    }

    /// Protects mixed precision: low dtype out, gradients in the inputs' own dtype.
    #[test]
    fn autocast_computes_low() -> Result<()> {
        let (x, w) =
            (Tensor::parameter(sample(&[2, 4], 1).to_dtype(DType::F32)?)?, Tensor::parameter(sample(&[3, 4], 2))?);
        for (policy, dtype) in [(Autocast::Bf16, DType::BF16), (Autocast::F16, DType::F16)] {
            let _mode = autocast_guard(policy);
            let y = linear(&x, &w, None)?;
            assert_eq!(y.dtype(), dtype);
            crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like()?)])?;
        }
        assert_eq!((x.grad().unwrap().dtype(), w.grad().unwrap().dtype()), (DType::F32, DType::F64));
        Ok(())
    }
}
