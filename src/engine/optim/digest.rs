//! A fingerprint of gradients: two backward passes gave the same bits if theirs are equal.

use super::NamedParam;
use crate::engine::error::Result;
use candle_core::Device;
use safetensors::tensor::View;
use sha2::{Digest, Sha256};

/// SHA-256 over name, dtype, shape and bits of every gradient, in the order of `params`; a parameter without one counts
/// by its name. As hexadecimal digits.
pub fn grad_digest(params: &[NamedParam]) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, param) in params {
        hash.update(name.len().to_le_bytes());
        hash.update(name);
        let Some(grad) = param.grad() else { continue };
        hash.update(format!("{:?}{:?}", grad.dtype(), grad.dims()));
        let grad = grad.to_device(&Device::Cpu)?.contiguous()?;
        hash.update(View::data(&grad));
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::Tensor;
    use candle_core::Tensor as Value;

    fn of(values: &[f32]) -> String {
        let x = Value::new(values, &Device::Cpu).unwrap();
        let p = Tensor::parameter(x.ones_like().unwrap()).unwrap();
        p.set_grad(Some(x));
        grad_digest(&[("p".into(), p)]).unwrap()
    }

    /// Protects the claim of equal bits: one last bit, and the sign of a zero, make another fingerprint.
    #[test]
    fn one_bit_is_another_digest() {
        assert_eq!(of(&[1.0, 2.0]), of(&[1.0, 2.0]));
        assert_ne!(of(&[1.0, 2.0]), of(&[1.0, f32::from_bits(2f32.to_bits() + 1)]));
        assert_ne!(of(&[0.0]), of(&[-0.0]));
        assert_eq!(of(&[1.0]).len(), 64);
    }
}
