//! The parameters' values by name: copied out, and put back.

use super::model::Llama;
use crate::engine::error::{Error, Result, unknown_name};
use candle_core::Tensor as Value;

impl Llama {
    /// Copies of the trainable parameters by name, or of `all`. Training goes on without changing them.
    ///
    /// # Errors
    /// If the model has shapes only.
    pub fn state(&self, all: bool) -> Result<Vec<(String, Value)>> {
        let chosen = self.parameters().into_iter().filter(|(_, p)| all || p.requires_grad());
        chosen.map(|(name, p)| Ok((name, p.tensor()?.value().copy()?))).collect()
    }

    /// Puts `state` into the parameters of these names, in place, rounded to their dtype, and says how many those are.
    /// Parameters that it does not name stay.
    ///
    /// # Errors
    /// A name that the model has not, or a shape that does not fit; then nothing is changed.
    pub fn load_state(&self, state: &[(String, Value)]) -> Result<usize> {
        let parameters = self.parameters();
        let mut pairs = Vec::new();
        for (name, value) in state {
            let Some((_, p)) = parameters.iter().find(|(n, _)| n == name) else {
                return Err(unknown_name("parameter", name, parameters.iter().map(|(n, _)| n.as_str())));
            };
            if p.dims() != value.dims() {
                let (given, own) = (value.dims(), p.dims());
                return Err(Error::shape("load_state", format!("`{name}` is {given:?}, the model's is {own:?}")));
            }
            pairs.push((p.tensor()?, value));
        }
        for (t, value) in &pairs {
            t.assign(&value.to_device(t.device())?.to_dtype(t.dtype())?)?;
        }
        Ok(pairs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LlamaConfig, init::Init};
    use super::*;
    use candle_core::{DType, Device};

    fn model() -> Result<Llama> {
        let config = LlamaConfig::from_options(&serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 8, "rms_norm_eps": 1e-5,
        }))?;
        Llama::from_config(config, Init::Random, DType::F32, &Device::Cpu)
    }

    /// Protects a kept state from training that goes on, and its way back; what does not fit changes nothing.
    #[test]
    fn states_are_copies() -> Result<()> {
        let model = model()?;
        model.freeze()?;
        model.unfreeze("norm")?;
        let before = model.state(false)?;
        assert_eq!(before.len(), 3);
        let sum = |m: &Llama| -> Result<f32> { Ok(m.norm.tensor()?.value().sum_all()?.to_scalar()?) };
        let kept = sum(&model)?;
        model.norm.tensor()?.assign(&Value::zeros(8, DType::F32, &Device::Cpu)?)?;
        assert_eq!(sum(&model)?, 0.0);
        assert_eq!(model.load_state(&before)?, 3);
        assert_eq!(sum(&model)?, kept);
        assert!(model.state(true)?.len() > 3);

        let zero = |name: &str, n: usize| (name.to_string(), Value::zeros(n, DType::F32, &Device::Cpu).unwrap());
        let e = model.load_state(&[zero("model.norm.weight", 8), zero("model.norm.weigth", 8)]).unwrap_err();
        assert_eq!(e.help(), Some("did you mean `model.norm.weight`?"));
        let e = model.load_state(&[zero("model.norm.weight", 8), zero("model.norm.weight", 9)]).unwrap_err();
        assert!(e.to_string().contains("is [9], the model's is [8]"), "{e}");
        assert_eq!(sum(&model)?, kept);
        Ok(())
    }
}
