//! The model's parameters by name: counting, freezing, adapters, saving.

use super::model::Llama;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::lora::{Linear, LoraConfig, file};
use crate::engine::param::Param;
use candle_core::Device;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

impl Llama {
    /// Every linear layer with its full name, in the order of the blocks.
    pub fn linears(&self) -> Vec<(String, &Linear)> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(i, b)| b.linears().map(|(n, l)| (format!("model.layers.{i}.{n}"), l))).collect()
    }

    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let blocks = self.blocks.iter_mut().enumerate();
        blocks
            .flat_map(|(i, b)| Arc::make_mut(b).linears_mut().map(|(n, l)| (format!("model.layers.{i}.{n}"), l)))
            .collect()
    }

    /// The base's parameters by Hugging Face name. A tied output projection is not listed twice.
    pub fn base_parameters(&self) -> Vec<(String, Param)> {
        let mut all = vec![("model.embed_tokens.weight".to_string(), self.embed.clone())];
        for (i, block) in self.blocks.iter().enumerate() {
            for (name, linear) in block.linears() {
                all.push((format!("model.layers.{i}.{name}.weight"), linear.weight.clone()));
                if let Some(bias) = &linear.bias {
                    all.push((format!("model.layers.{i}.{name}.bias"), bias.clone()));
                }
            }
            all.push((format!("model.layers.{i}.input_layernorm.weight"), block.input_layernorm.clone()));
            all.push((
                format!("model.layers.{i}.post_attention_layernorm.weight"),
                block.post_attention_layernorm.clone(),
            ));
        }
        all.push(("model.norm.weight".to_string(), self.norm.clone()));
        all.extend(self.head.iter().map(|h| ("lm_head.weight".to_string(), h.clone())));
        all
    }

    /// The adapters' factors: `<module>.lora_A.weight`, `<module>.lora_B.weight`.
    pub fn adapter_parameters(&self) -> Vec<(String, Param)> {
        let mut all = Vec::new();
        for (name, linear) in self.linears() {
            if let Some(adapter) = &linear.adapter {
                all.push((format!("{name}.lora_A.weight"), adapter.a.clone()));
                all.push((format!("{name}.lora_B.weight"), adapter.b.clone()));
            }
        }
        all
    }

    /// Base and adapter parameters.
    pub fn parameters(&self) -> Vec<(String, Param)> {
        let mut all = self.base_parameters();
        all.extend(self.adapter_parameters());
        all
    }

    /// Number of parameters of the base, adapters not counted.
    pub fn num_params(&self) -> usize {
        self.base_parameters().iter().map(|(_, p)| p.len()).sum()
    }

    /// Number of trainable parameters.
    pub fn num_trainable(&self) -> usize {
        self.parameters().iter().filter(|(_, p)| p.requires_grad()).map(|(_, p)| p.len()).sum()
    }

    /// The trainable parameters by name, for an optimizer.
    ///
    /// # Errors
    /// If nothing is trainable, or the model has shapes only.
    pub fn trainable(&self) -> Result<Vec<(String, Tensor)>> {
        let chosen: Vec<(String, Tensor)> = self
            .parameters()
            .into_iter()
            .filter(|(_, p)| p.requires_grad())
            .map(|(n, p)| Ok((n, p.tensor()?.clone())))
            .collect::<Result<_>>()?;
        if chosen.is_empty() {
            return Err(Error::config_help(
                "the model has no trainable parameter",
                "call inject_lora, or unfreeze some",
            ));
        }
        Ok(chosen)
    }

    /// Freezes every parameter.
    pub fn freeze(&self) -> Result<()> {
        self.parameters().iter().try_for_each(|(_, p)| p.set_requires_grad(false))
    }

    /// Unfreezes the parameters whose name contains `pattern` (all of them for `"*"`) and says how many those are.
    ///
    /// # Errors
    /// If no name contains it, or one of them is kept quantized.
    pub fn unfreeze(&self, pattern: &str) -> Result<usize> {
        let all = self.parameters();
        let chosen: Vec<_> = all.iter().filter(|(n, _)| pattern == "*" || n.contains(pattern)).collect();
        if chosen.is_empty() {
            return Err(Error::config_help(
                format!("unfreeze: no parameter's name contains `{pattern}`"),
                format!("names look like `{}`", all.last().map_or("", |(n, _)| n)),
            ));
        }
        // Before any is changed.
        if let Some((name, p)) = chosen.iter().find(|(_, p)| p.quantized().is_some()) {
            return Err(Error::config_help(
                format!("unfreeze: `{name}` is kept as {} and cannot be trained", p.dtype_name()),
                "load the model with dtype: \"f32\", or train an adapter: inject_lora(#{ .. })",
            ));
        }
        chosen.iter().try_for_each(|(_, p)| p.set_requires_grad(true))?;
        Ok(chosen.len())
    }

    /// Puts a fresh adapter on every target module. Returns how many modules that are.
    ///
    /// # Errors
    /// If the model already carries an adapter, a target matches nothing, or a setting makes no sense.
    pub fn inject_lora(&mut self, config: LoraConfig) -> Result<usize> {
        config.validate()?;
        if self.lora.is_some() {
            return Err(Error::config_help(
                "the model already carries an adapter",
                "merge_adapter() or remove_adapter() first",
            ));
        }
        let names: Vec<String> = self.linears().into_iter().map(|(n, _)| n).collect();
        let chosen = config.targets.select(&names)?;
        let device = self.device.clone();
        let mut linears = self.linears_mut();
        for i in &chosen {
            linears[*i].1.inject(&config, &device)?;
        }
        self.lora = Some(config);
        Ok(chosen.len())
    }

    /// Writes the adapter in PEFT's layout into `dir`.
    pub fn save_adapter(&self, dir: &Path) -> Result<()> {
        let Some(config) = &self.lora else {
            return Err(Error::config_help("the model carries no adapter to save", "call inject_lora first"));
        };
        file::save(dir, &self.linears(), config, &self.name)
    }

    /// Puts the adapter in `dir` onto the model, trainable. Strict: see [`file::load`].
    pub fn load_adapter(&mut self, dir: &Path) -> Result<usize> {
        if self.lora.is_some() {
            return Err(Error::config_help(
                "the model already carries an adapter",
                "merge_adapter() or remove_adapter() first",
            ));
        }
        let mut loaded = file::load(dir, &self.linears(), &self.device)?;
        let count = loaded.adapters.len();
        for (name, linear) in self.linears_mut() {
            linear.adapter = loaded.adapters.remove(&name);
        }
        self.lora = Some(loaded.config);
        Ok(count)
    }

    /// Adds the adapter into the base's weights and removes it.
    ///
    /// # Errors
    /// If there is none, or a weight that it belongs to is kept quantized; then nothing is changed.
    pub fn merge_adapter(&mut self) -> Result<()> {
        if self.lora.is_none() {
            return Err(Error::config("the model carries no adapter to merge"));
        }
        let carries = |(name, linear): (String, &Linear)| {
            (linear.adapter.is_some() && linear.weight.quantized().is_some())
                .then(|| (name, linear.weight.dtype_name()))
        };
        if let Some((name, kind)) = self.linears().into_iter().find_map(carries) {
            return Err(Error::config_help(
                format!("merge_adapter: `{name}` is kept as {kind}, which would round the adapter away"),
                "save_adapter(dir), load the model with dtype: \"f32\" or \"bf16\", then load_adapter(dir) and merge_adapter()",
            ));
        }
        self.lora = None;
        self.linears_mut().into_iter().try_for_each(|(_, l)| l.merge())
    }

    /// Takes the adapter off, leaving the base as it was.
    pub fn remove_adapter(&mut self) {
        self.lora = None;
        for (_, linear) in self.linears_mut() {
            linear.adapter = None;
        }
    }

    /// Writes the base as a Hugging Face directory: `config.json`, `model.safetensors`, and the tokenizer if there is one.
    ///
    /// # Errors
    /// If an adapter is still separate (it would be lost), a weight is kept quantized, or the directory cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        if self.lora.is_some() {
            return Err(Error::config_help(
                "save writes the base's weights, and the adapter would be lost",
                "merge_adapter() first, or save_adapter(dir)",
            ));
        }
        if let Some((name, p)) = self.base_parameters().iter().find(|(_, p)| p.quantized().is_some()) {
            return Err(Error::config_help(
                format!("save writes tensors of f32 and bf16, and `{name}` is kept as {}", p.dtype_name()),
                "load the model with dtype: \"f32\" or \"bf16\" and save that",
            ));
        }
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mut tensors = Vec::new();
        for (name, param) in self.base_parameters() {
            tensors.push((name, param.tensor()?.value().to_device(&Device::Cpu)?.contiguous()?));
        }
        let path = dir.join("model.safetensors");
        let metadata = Some(HashMap::from([("format".to_string(), "pt".to_string())]));
        safetensors::serialize_to_file(tensors.iter().map(|(n, t)| (n.as_str(), t)), metadata, &path)
            .map_err(|e| Error::format(&path, e.to_string()))?;
        let path = dir.join("config.json");
        let mut json = self.config.to_hf_json();
        json["torch_dtype"] = torch_dtype(self.dtype).into();
        let text = serde_json::to_vec_pretty(&json).map_err(|e| Error::format(&path, e.to_string()))?;
        std::fs::write(&path, text).map_err(Error::io(&path))?;
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.save(dir),
            None => Ok(()),
        }
    }
}

fn torch_dtype(dtype: candle_core::DType) -> &'static str {
    match dtype {
        candle_core::DType::F64 => "float64",
        candle_core::DType::BF16 => "bfloat16",
        candle_core::DType::F16 => "float16",
        _ => "float32",
    }
}
