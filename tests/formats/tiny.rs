//! A tiny LLaMA model with known values, and writers that put it on disk in each format, written from the formats'
//! documentation and independent of the readers under test.

use candle_core::{DType, Device};
use half::{bf16, f16};
use lora_host::engine::Error;
use lora_host::engine::llama::config::LlamaConfig;
use lora_host::engine::llama::weights::Checkpoint;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::Path;

/// A tensor in Hugging Face's naming and layout.
#[derive(Clone)]
pub struct Named {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub fn config() -> LlamaConfig {
    LlamaConfig::from_json(&json!({
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1,
        "eos_token_id": 2,
    }))
    .unwrap()
}

/// Every tensor of `config`, each value different from its neighbours and exact in no 16-bit format.
pub fn tensors(config: &LlamaConfig) -> Vec<Named> {
    let mut seed = 1u32;
    let all = config.parameter_shapes().into_iter();
    all.map(|(name, shape)| {
        let n = shape.iter().product();
        let next = |_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let values = (0..n).map(next).collect();
        Named { name, shape, values }
    })
    .collect()
}

/// Asserts that every tensor loads in f32 as `round(value)`.
pub fn assert_loads(checkpoint: &Checkpoint, expected: &[Named], round: fn(f32) -> f32) {
    for t in expected {
        let loaded = checkpoint.load(&t.name, &t.shape, DType::F32, &Device::Cpu).unwrap();
        let loaded = loaded.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let rounded: Vec<f32> = t.values.iter().map(|x| round(*x)).collect();
        assert_eq!(loaded, rounded, "{}", t.name);
    }
    assert_eq!(checkpoint.names().len(), expected.len());
}

/// Asserts that opening fails with a [`Error::Format`] that says each of `needles`.
#[track_caller]
pub fn assert_refused(path: &Path, needles: &[&str]) {
    let error = match Checkpoint::open(path.to_str().unwrap()) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    for needle in needles {
        assert!(error.to_string().contains(needle), "expected `{needle}` in: {error}");
    }
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// One safetensors file.
pub fn write_safetensors(path: &Path, tensors: &[Named], dtype: Dtype) {
    let encode = |t: &Named| match dtype {
        Dtype::F32 => f32_bytes(&t.values),
        Dtype::F16 => t.values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::BF16 => t.values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    };
    let data: Vec<Vec<u8>> = tensors.iter().map(encode).collect();
    let views = tensors.iter().zip(&data).map(|(t, d)| (&t.name, TensorView::new(dtype, t.shape.clone(), d).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A whole Hugging Face directory without a tokenizer.
pub fn write_hf(dir: &Path, config: &LlamaConfig, tensors: &[Named], dtype: Dtype) {
    std::fs::write(dir.join("config.json"), config.to_hf_json().to_string()).unwrap();
    write_safetensors(&dir.join("model.safetensors"), tensors, dtype);
}

/// Hugging Face's `permute`: rows of q and k from halves to interleaved pairs,
/// `w.view(heads, 2, head_dim / 2, cols).transpose(1, 2)`.
pub fn interleave(t: &Named, head_dim: usize) -> Named {
    if !t.name.contains("q_proj") && !t.name.contains("k_proj") {
        return t.clone();
    }
    let (rows, half) = (t.shape[0], head_dim / 2);
    let cols = t.values.len() / rows;
    let mut values = vec![];
    for head in 0..rows / head_dim {
        for pair in 0..half {
            for side in 0..2 {
                let row = head * head_dim + side * half + pair;
                values.extend(&t.values[row * cols..(row + 1) * cols]);
            }
        }
    }
    Named { values, ..t.clone() }
}
