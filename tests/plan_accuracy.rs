//! Predicted against measured peaks of training steps. One test: the allocator's counters are the whole process's.

use candle_core::{DType, Device};
use lora_host::engine::Result;
use lora_host::engine::autograd::Autocast;
use lora_host::engine::data::batch::Batch;
use lora_host::engine::llama::{Llama, LlamaConfig, init::Init};
use lora_host::engine::lora::{LoraConfig, Targets};
use lora_host::engine::ops::documents::Documents;
use lora_host::engine::optim::{AdamW, AdamWConfig};
use lora_host::engine::plan::{BatchShape, StepOptions, StepShape, foretell, measure_step};
use lora_host::engine::rng;

/// Hidden and intermediate width, blocks, heads, key/value heads, tied.
type Size = (usize, usize, usize, usize, usize, bool);

const TINY: Size = (128, 344, 4, 4, 2, true);
const SMALL: Size = (192, 512, 3, 6, 3, false);

fn model(size: Size, dtype: DType) -> Result<Llama> {
    let (hidden, inner, layers, heads, kv_heads, tied) = size;
    let config = LlamaConfig::from_options(&serde_json::json!({
        "vocab_size": 2000, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
    }))?;
    rng::seed(1);
    Llama::from_config(config, Init::Random, dtype, &Device::Cpu)
}

/// A micro-batch without padding, every second half learned.
fn batch(rows: usize, width: usize) -> Batch {
    let ids: Vec<u32> = (0..(rows * width) as u32).map(|i| i * 13 % 2000).collect();
    let learned = |i: usize| i % width >= width / 2;
    let labels = ids.iter().enumerate().map(|(i, id)| if learned(i) { i64::from(*id) } else { -100 }).collect();
    Batch {
        rows,
        width,
        labels,
        input_ids: ids,
        documents: Documents::one_each(&vec![width; rows]),
        lengths: vec![width; rows],
        tokens: rows * width,
        label_tokens: rows * (width - width / 2),
        weight: 1.0,
        indices: vec![0; rows],
    }
}

struct Case {
    name: &'static str,
    size: Size,
    dtype: DType,
    lora: Option<LoraConfig>,
    amp: Autocast,
    every: usize,
    /// Bytes of activations that checkpointed segments may keep.
    budget: usize,
    rows: usize,
    width: usize,
    micro_batches: usize,
}

const CASE: Case = Case {
    name: "",
    size: TINY,
    dtype: DType::F32,
    lora: None,
    amp: Autocast::Off,
    every: 0,
    budget: 0,
    rows: 2,
    width: 128,
    micro_batches: 1,
};

fn lora(rank: usize, targets: Targets, dropout: f64) -> Option<LoraConfig> {
    Some(LoraConfig { rank, targets, dropout, ..LoraConfig::default() })
}

fn qv(rank: usize) -> Option<LoraConfig> {
    lora(rank, LoraConfig::default().targets, 0.05)
}

fn cases() -> Vec<Case> {
    let all = || Targets::AllLinear;
    vec![
        Case { name: "full", ..CASE },
        Case { name: "full, accumulated", micro_batches: 2, ..CASE },
        Case { name: "full, untied, checkpoints", size: SMALL, every: 1, ..CASE },
        Case { name: "full, bf16 weights", dtype: DType::BF16, ..CASE },
        Case { name: "lora q,v", lora: qv(8), ..CASE },
        Case { name: "lora q,v, untied, accumulated", size: SMALL, lora: qv(16), micro_batches: 3, ..CASE },
        Case { name: "lora q,v, long", lora: qv(16), rows: 1, width: 384, ..CASE },
        Case { name: "lora all, no dropout", lora: lora(4, all(), 0.0), rows: 4, width: 64, ..CASE },
        Case { name: "lora, bf16 autocast", lora: qv(8), amp: Autocast::Bf16, ..CASE },
        Case { name: "lora, f16 autocast", lora: qv(8), amp: Autocast::F16, size: SMALL, ..CASE },
        Case { name: "lora, bf16 autocast, all", lora: lora(8, all(), 0.05), amp: Autocast::Bf16, size: SMALL, ..CASE },
        Case { name: "lora, bf16 weights and autocast", lora: qv(8), amp: Autocast::Bf16, dtype: DType::BF16, ..CASE },
        Case { name: "lora, checkpoints", lora: qv(8), every: 1, width: 192, ..CASE },
        Case {
            name: "lora, checkpoints of 2, autocast",
            lora: qv(8),
            every: 2,
            amp: Autocast::F16,
            width: 192,
            ..CASE
        },
        Case { name: "lora, checkpoints of 1, budget", lora: qv(8), every: 1, budget: 2 << 20, width: 192, ..CASE },
        Case { name: "lora all, checkpoints of 3", lora: lora(8, all(), 0.05), every: 3, width: 192, ..CASE },
    ]
}

fn run(case: &Case) -> Result<(usize, usize)> {
    let mut model = model(case.size, case.dtype)?;
    if let Some(config) = &case.lora {
        model.freeze()?;
        model.inject_lora(config.clone())?;
    }
    model.checkpoint_every = case.every;
    model.activation_budget = case.budget;
    let mut optimizer = AdamW::new(model.trainable()?, AdamWConfig::default())?;
    let batch = batch(case.rows, case.width);
    let window = vec![&batch; case.micro_batches];
    let options = StepOptions { amp: case.amp, ..Default::default() };
    let measured = measure_step(&model, &mut optimizer, &window, &options)?;
    let shape = BatchShape { rows: case.rows, width: case.width, labels: batch.label_tokens };
    let foretold = foretell(
        &model,
        &StepShape {
            window: vec![shape; case.micro_batches],
            amp: case.amp,
            checkpoint_every: case.every,
            activation_budget: case.budget,
            slots: 2,
        },
    )?;
    if std::env::var_os("PLAN_DETAILS").is_some() {
        eprintln!("{}\n  measured {:?}\n  foretold {:?}", case.name, measured.phases, foretold.phases);
    }
    Ok((foretold.peak, measured.peak))
}

/// Protects predictions, and through them every op's memory: one that begins to save or copy more than `plan/ops.rs` says
/// moves the peak.
#[test]
fn predictions_hold() -> Result<()> {
    // One thread: with more, how many of them pack at the moment of the peak is up to the scheduler.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut failures = Vec::new();
    for case in cases() {
        let (foretold, measured) = pool.install(|| run(&case))?;
        let off = foretold as f64 / measured as f64 - 1.0;
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        let line = format!("{:34} {:8.2} {:8.2} {:+6.2} %", case.name, mib(foretold), mib(measured), 100.0 * off);
        eprintln!("{line}");
        if off.abs() > 0.03 {
            failures.push(line);
        }
    }
    assert!(
        failures.is_empty(),
        "predicted and measured peaks (MiB) differ by more than 3 %:\n{}",
        failures.join("\n")
    );
    Ok(())
}
