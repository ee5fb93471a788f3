//! Parity with torchtune's own test vectors for LoRA: a linear layer, an attention layer, a whole Llama-2 model, each with
//! several sets of adapted modules. Where the numbers come from: `tests/golden/torchtune/README.md`.

use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::autograd::Tensor;
use lora_host::engine::llama::attention::Span;
use lora_host::engine::llama::weights::rope_layout::RowOrder;
use lora_host::engine::llama::{Llama, LlamaConfig, init::Init};
use lora_host::engine::lora::{Adapter, Linear, LoraConfig, Targets};
use lora_host::engine::ops::lora::{LoraWeights, lora_linear};
use lora_host::engine::param::Param;
use std::path::PathBuf;

const BATCH: usize = 2;
const SEQ: usize = 32;
const HIDDEN: usize = 64;
const HEADS: usize = 4;
const VOCAB: usize = 50;
const RANK: usize = 4;
const ALPHA: f64 = 1.0;

/// `torch.randn(2, 32, 64)` after `manual_seed(16)`.
fn inputs() -> Result<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torchtune/lora_inputs.safetensors");
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?.remove("inputs").unwrap())
}

/// `torch.randint(0, 50, (2, 32))` after `manual_seed(16)`.
const IDS: [u32; BATCH * SEQ] = [
    31, 18, 15, 13, 37, 3, 34, 7, 9, 36, 3, 30, 36, 14, 12, 14, 40, 8, 18, 24, 39, 5, 38, 22, 14, 30, 9, 43, 16, 5, 22,
    34, 42, 31, 34, 39, 22, 28, 15, 41, 26, 47, 38, 4, 29, 26, 34, 37, 11, 42, 21, 43, 11, 47, 17, 8, 24, 24, 46, 22,
    20, 4, 41, 2,
];

/// torchtune's `fixed_init_tensor`: from 0 in equal steps up to, not including, 1; rows of `dims[0]` put into `order`.
fn fixed(dims: &[usize], order: RowOrder) -> Value {
    let n: usize = dims.iter().product();
    let width = n / dims[0];
    let value = |i: usize| (order.source(i / width) * width + i % width) as f64 / n as f64;
    Value::from_vec((0..n).map(value).collect::<Vec<f64>>(), dims, &Device::Cpu).unwrap()
}

fn set(param: &Param, order: RowOrder) -> Result<()> {
    param.tensor()?.assign(&fixed(param.dims(), order))
}

/// torchtune's model of the tests, in f64: every parameter fixed, adapters on `targets`.
fn model(targets: &[&str]) -> Result<Llama> {
    let config = serde_json::json!({
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 3,
        "num_attention_heads": HEADS, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
    });
    let mut model = Llama::from_config(LlamaConfig::from_options(&config)?, Init::Random, DType::F64, &Device::Cpu)?;
    let targets = Targets::Names(targets.iter().map(ToString::to_string).collect());
    model.inject_lora(LoraConfig { rank: RANK, alpha: ALPHA, targets, ..LoraConfig::default() })?;
    for (name, param) in model.parameters() {
        // torchtune turns neighbouring pairs, this program halves: the rows of q and k, and of their B, are sorted.
        let turned = name.contains("q_proj") || name.contains("k_proj");
        let rows = turned && !name.contains("lora_A");
        set(&param, if rows { RowOrder::Interleaved { head_dim: HIDDEN / HEADS } } else { RowOrder::Same })?;
    }
    Ok(model)
}

fn mean(x: &Value) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
}

#[track_caller]
fn assert_near(what: &str, ours: f64, theirs: f64, relative: f64) {
    assert!((ours - theirs).abs() <= relative * theirs.abs(), "{what}: mean {ours}, torchtune's {theirs}");
}

/// Protects the scale of the adapter's path: `TestLoRALinear.test_forward`.
#[test]
fn a_linear_layer() -> Result<()> {
    let t = |dims: &[usize]| Tensor::new(fixed(dims, RowOrder::Same).to_dtype(DType::F32).unwrap());
    let (weight, bias, a, b) = (t(&[128, 64]), t(&[128]), t(&[RANK, 64]), t(&[128, RANK]));
    let lora = LoraWeights { a: &a, b: &b, scale: ALPHA / RANK as f64, dropout: 0.0 };
    let y = lora_linear(&Tensor::new(inputs()?), &weight, Some(&bias), &lora)?;
    assert_eq!(y.dims(), [BATCH, SEQ, 128]);
    let ours = mean(y.value())?;
    assert!((ours - 1.1252).abs() < 1e-4, "{ours}");
    Ok(())
}

/// Protects adapters inside attention, grouped heads and the order of rotary components:
/// `TestLoRALlamaSelfAttention.test_forward`.
#[test]
fn an_attention_layer() -> Result<()> {
    let cases: [(&[&str], f64); 3] = [
        (&["q_proj", "v_proj"], 51.3152),
        (&["q_proj", "k_proj", "v_proj", "o_proj"], 79.8887),
        (&["k_proj"], 45.9261),
    ];
    for (targets, theirs) in cases {
        let model = model(targets)?;
        let (cos, sin) =
            lora_host::engine::llama::positions::Positions::new(&model.config, &Device::Cpu).rows(0, SEQ)?;
        let span = Span { cos, sin, documents: None, rows: None, training: false };
        let x = Tensor::new(inputs()?.to_dtype(DType::F64)?);
        let y = model.blocks[0].self_attn.forward(&x, &span, None)?;
        assert_eq!(y.dims(), [BATCH, SEQ, HIDDEN]);
        assert_near(&targets.join(", "), mean(y.value())?, theirs, 1e-5);
    }
    Ok(())
}

/// Protects the whole forward pass with adapters on attention, MLP and output: `TestLoRALlama2.test_forward`. Its model
/// has no final norm, so the residual stream goes to the output projection as it is.
#[test]
fn a_whole_model() -> Result<()> {
    let mlp = ["gate_proj", "up_proj", "down_proj"];
    let cases: [(Vec<&str>, bool, f64); 3] = [
        (vec!["q_proj", "v_proj"], false, 5_638_859.0),
        ([&["q_proj", "k_proj", "v_proj", "o_proj"], &mlp[..]].concat(), false, 21_187_608.0),
        ([&["k_proj"], &mlp[..]].concat(), true, 32_438_764.0),
    ];
    for (targets, adapted_output, theirs) in cases {
        let model = model(&targets)?;
        let ids = Value::from_slice(&IDS, (BATCH, SEQ), &Device::Cpu)?;
        let hidden = model.hidden(&ids, None, None)?;
        let factor = |dims: &[usize]| Param::from(Tensor::new(fixed(dims, RowOrder::Same)));
        let output = Linear {
            weight: model.head().clone(),
            bias: None,
            adapter: adapted_output.then(|| Adapter {
                a: factor(&[RANK, HIDDEN]),
                b: factor(&[VOCAB, RANK]),
                scale: ALPHA / RANK as f64,
                dropout: 0.0,
            }),
        };
        let logits = output.forward(&hidden, false)?;
        assert_eq!(logits.dims(), [BATCH, SEQ, VOCAB]);
        assert_near(&targets.join(", "), mean(logits.value())?, theirs, 1e-6);
    }
    Ok(())
}
