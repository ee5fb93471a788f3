//! Gradients that arrive in odd layouts accumulate all the same.

use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::autograd::Tensor;
use lora_host::engine::ops::{arith, reduce};

/// Protects accumulation over losses: the first gradient may be a broadcast view, which has no room to add into.
#[test]
fn a_broadcast_gradient_is_added_to() -> Result<()> {
    let w = Tensor::parameter(Value::ones((2, 3), DType::F32, &Device::Cpu)?)?;
    reduce::sum(&w, &[], false)?.backward()?;
    reduce::sum(&arith::mul_number(&w, 2.0)?, &[], false)?.backward()?;
    reduce::sum(&w, &[], false)?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec2::<f32>()?, [[4.0; 3]; 2]);
    Ok(())
}
