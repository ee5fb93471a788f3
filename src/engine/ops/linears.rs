//! Several linear maps of one input: `y_i = x W_i^T + b_i`, as q, k and v, or gate and up.
//!
//! Where quantized weights are multiplied in fewer bits the input is converted once, and to decode the threads are called
//! once for all of them. Elsewhere they are [`linear`] one by one.

use super::convert::convert;
use super::linear::{check, compute_dtype, linear};
use super::quant::Matrix;
use super::quantized::quick;
use super::weight::Weight;
use crate::engine::autograd::{Tensor, grad_enabled, record};
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::Tensor as Value;

/// `x` `[.., in]` by each weight `[out, in]` and its optional bias `[out]`: `[.., out]` each.
///
/// # Errors
/// If the shapes do not fit.
pub fn linears(x: &Tensor, layers: &[(Weight<'_>, Option<&Tensor>)]) -> Result<Vec<Tensor>> {
    let one = |(weight, bias): &(Weight<'_>, Option<&Tensor>)| linear(x, *weight, *bias);
    let wanted = layers.iter().any(|(_, bias)| bias.is_some_and(Tensor::requires_grad)) || x.requires_grad();
    let together = !(wanted && grad_enabled());
    let weights: Option<Vec<&Matrix>> = layers.iter().map(|(weight, _)| weight.quick()).collect();
    let Some(weights) = weights.filter(|_| together) else { return layers.iter().map(one).collect() };
    let _span = profile::span("linear");
    layers.iter().try_for_each(|(weight, _)| check("linear", x, *weight))?;
    let dtype = compute_dtype(x);
    let with_bias = |(value, (weight, bias)): (Value, &(Weight<'_>, Option<&Tensor>))| {
        let Some(bias) = bias else {
            // Without gradients, or without an input that wants one: nothing is kept.
            return Ok(record("linear", value, &[x, weight.leaf()], |_| |_| Ok(Vec::new())));
        };
        let value = value.broadcast_add(&convert(bias.value(), dtype)?)?;
        Ok(record("linear", value, &[x, weight.leaf(), bias], |_| |_| Ok(Vec::new())))
    };
    quick(x.value(), &weights, dtype)?.into_iter().zip(layers).map(with_bias).collect()
}
