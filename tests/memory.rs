//! Peak heap bytes of a training step, by technique. One test: the counters are the whole process's.

use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::llama::{Llama, LlamaConfig, init::Init};
use lora_host::engine::lora::LoraConfig;
use lora_host::engine::{memory, rng};

const SEQ: usize = 256;

fn config() -> LlamaConfig {
    LlamaConfig::from_options(&serde_json::json!({
        "vocab_size": 1000, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 12,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": SEQ, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    }))
    .unwrap()
}

/// Bytes above what is in use before a forward and backward pass: at the peak, and left behind (the gradients).
fn step(model: &Llama) -> Result<(usize, usize)> {
    let ids: Vec<u32> = (0..SEQ as u32).map(|i| i * 13 % 1000).collect();
    let labels: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let ids = Value::from_vec(ids, (1, SEQ), &Device::Cpu)?;
    let once = || -> Result<()> { model.loss(&ids, &labels, None)?.mean.backward() };
    once()?; // thread pools and tables are made by the first
    model.parameters().iter().for_each(|(_, p)| p.tensor().map_or((), |t| t.zero_grad()));
    let before = memory::current();
    memory::reset_peak();
    once()?;
    Ok((memory::peak() - before, memory::current().saturating_sub(before)))
}

/// Bytes that forward leaves for backward.
fn activations(model: &Llama) -> Result<usize> {
    let ids = Value::from_vec((0..SEQ as u32).collect::<Vec<_>>(), (1, SEQ), &Device::Cpu)?;
    let before = memory::current();
    let loss = model.loss(&ids, &[5; SEQ], None)?;
    let left = memory::current() - before;
    drop(loss);
    Ok(left)
}

/// Protects the memory claims: frozen weights get no gradient buffers, checkpointing drops what is between, a budget keeps
/// as much of it as it says, and freezing the lower half keeps nothing of it.
#[test]
fn techniques_save_what_they_promise() -> Result<()> {
    rng::seed(1);
    let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
    let mut model = Llama::from_config(config(), Init::Random, DType::F32, &Device::Cpu)?;
    let weights: usize = model.base_parameters().iter().map(|(_, p)| p.bytes()).sum();
    let (full, full_left) = step(&model)?;
    model.freeze()?;
    model.inject_lora(LoraConfig { rank: 8, ..Default::default() })?;
    let adapters: usize = model.adapter_parameters().iter().map(|(_, p)| p.bytes()).sum();
    let (lora, lora_left) = step(&model)?;
    model.checkpoint_every = 1;
    let (every, _) = step(&model)?;
    model.checkpoint_every = 2;
    let (every_two, _) = step(&model)?;
    // Nothing of four segments is computed again where there is room for four.
    model.checkpoint_every = 1;
    let unkept = activations(&model)?;
    model.checkpoint_every = 0;
    let each = (activations(&model)? - unkept) / 12;
    model.checkpoint_every = 1;
    model.activation_budget = 4 * each + each / 2;
    let selective = activations(&model)? - unkept;
    let (budgeted, _) = step(&model)?;
    model.checkpoint_every = 0;
    for (name, p) in model.adapter_parameters() {
        let layer: usize = name.split('.').nth(2).unwrap().parse().unwrap();
        p.set_requires_grad(layer >= 6)?;
    }
    let (upper_half, _) = step(&model)?;
    eprintln!(
        "weights {:.1} MiB; a step's peak above them: full {:.1}, LoRA {:.1}, checkpointing every block {:.1}, every 2 \
         {:.1}, every block but four {:.1}, adapters in the upper half only {:.1}",
        mib(weights),
        mib(full),
        mib(lora),
        mib(every),
        mib(every_two),
        mib(budgeted),
        mib(upper_half)
    );
    assert!(full_left >= weights, "full training holds a gradient for every weight: {full_left} of {weights}");
    assert!(
        lora_left >= adapters && lora_left < adapters + adapters / 4,
        "LoRA holds {lora_left}, adapters {adapters}"
    );
    assert!(lora < full, "{lora} and {full}");
    assert!(every * 3 < lora, "checkpointing every block: {every} against {lora}");
    assert!(every < every_two && every_two < lora, "every 2 blocks: {every_two}");
    let off = selective as f64 / (4 * each) as f64 - 1.0;
    assert!(off.abs() < 0.03, "a budget of 4.5 blocks of {each} bytes keeps {selective}");
    assert!(
        budgeted <= every + model.activation_budget,
        "{budgeted}: {every} and a budget of {}",
        model.activation_budget
    );
    assert!(upper_half * 10 < lora * 6, "half the adapters: {upper_half} against {lora}");
    Ok(())
}
