//! Inverted dropout: `y = x * mask / (1 - p)`, each element kept with probability 1 - p; `dx = dy * mask / (1 - p)`.
//!
//! The mask is not stored: backward makes it again from the stretch of the random stream that forward took. On CUDA the
//! host makes the mask from the same stream and uploads it (see [`dropout_mask`]), so that every device drops the same
//! elements. Source: Srivastava et al., "Dropout", JMLR 2014.

use super::dropout_mask;
use super::operands::zeros;
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use crate::engine::rng;
use candle_core::Tensor as Value;

/// `x` with elements dropped with probability `p`: `x` itself at 0, zeros at 1.
///
/// # Errors
/// If `p` is not in 0..=1, or `x` is an integer tensor.
pub fn dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    let _span = profile::span("dropout");
    dropout_mask::check(p)?;
    if !x.dtype().is_float() {
        return Err(Error::dtype("dropout", format!("takes floating-point tensors, not {}", x.dtype().as_str())));
    }
    if p == 0.0 || x.is_empty() {
        return Ok(x.clone());
    }
    let stream = rng::take(x.len());
    let masked = move |value: &Value| match p {
        1.0 => zeros(value.dims(), value),
        _ => dropout_mask::apply(value, stream, p),
    };
    Ok(record("dropout", masked(x.value())?, &[x], |_| move |dy: Value| Ok(vec![Some(masked(&dy)?)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::{close_in_low_precision, f64s};
    use candle_core::{DType, Device};

    /// Protects the gradient: backward must see forward's mask, on plain, strided and empty tensors.
    #[test]
    fn gradients() {
        for x in [sample(&[5, 7], 1), sample(&[5, 7], 1).t().unwrap(), sample(&[0, 3], 1)] {
            for p in [0.0, 0.3, 1.0] {
                check(std::slice::from_ref(&x), |t| {
                    rng::seed(11);
                    dropout(&t[0], p)
                });
            }
        }
        close_in_low_precision(&[sample(&[8, 8], 1)], |t| {
            rng::seed(11);
            dropout(&t[0], 0.5)
        });
    }

    /// Protects the statistics and the memory: the share kept, the mean, two calls two masks, identity at p = 0.
    #[test]
    fn keeps_the_mean() -> Result<()> {
        rng::seed(5);
        let x = Tensor::new(Value::ones(40_000, DType::F32, &Device::Cpu)?);
        let (a, b) = (f64s(dropout(&x, 0.25)?.value()), f64s(dropout(&x, 0.25)?.value()));
        assert_ne!(a, b);
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let at = rng::state();
        assert!(dropout(&x, 0.0)?.same(&x));
        assert_eq!(rng::state(), at, "a dropout that does nothing takes no random numbers");
        assert!(f64s(dropout(&x, 1.0)?.value()).iter().all(|v| *v == 0.0));
        for wrong in [-0.1, 1.5, f64::NAN] {
            assert!(dropout(&x, wrong).is_err());
        }
        Ok(())
    }
}
