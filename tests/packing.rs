//! Packed rows train as padded ones do: loss and gradients of real models, on records that went the whole way from a file.

mod common;

use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::autograd::{Autocast, autocast_guard};
use lora_host::engine::data::loader::{LoaderOptions, Windows};
use lora_host::engine::data::source::{self, ReadOptions};
use lora_host::engine::data::split::Subset;
use lora_host::engine::data::template::Template;
use lora_host::engine::data::tokenize::{TokenizeOptions, Tokenized, tokenize};
use lora_host::engine::data::wording::Layout;
use lora_host::engine::llama::Llama;
use lora_host::engine::lora::{LoraConfig, Targets};
use lora_host::engine::ops::arith;
use lora_host::engine::rng;
use std::sync::Arc;

fn load(path: &str) -> Llama {
    rng::seed(7);
    let mut model = Llama::load(path, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    model.freeze().unwrap();
    let config = LoraConfig { rank: 4, dropout: 0.0, targets: Targets::AllLinear, ..LoraConfig::default() };
    model.inject_lora(config).unwrap();
    for (i, (_, t)) in model.trainable().unwrap().iter().enumerate() {
        // B = 0 would hide A's gradient.
        let noise = rng::Stream::new(i as u64);
        let values: Vec<f32> =
            (0..t.value().elem_count()).map(|e| noise.uniform(e as u64) as f32 * 0.1 - 0.05).collect();
        t.assign(&Value::from_vec(values, t.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    model
}

fn tasks(model: &Llama, count: usize, max_seq_len: usize) -> Tokenized {
    let template = Layout::Prompt(Template::single("{instruction}\n{output}").unwrap());
    let options = TokenizeOptions { template, max_seq_len, ..TokenizeOptions::default() };
    let records = source::load("builtin:seed-tasks", &ReadOptions::default()).unwrap().take(count);
    tokenize(&records, Arc::new(model.tokenizer().unwrap().clone()), &options).unwrap()
}

/// The mean loss of one window over the whole set, its label tokens, and every gradient.
fn window(model: &Llama, data: &Tokenized, pack: Option<usize>) -> Result<(f64, usize, Vec<Vec<f32>>)> {
    let options = LoaderOptions { size: 3, accumulate: usize::MAX, pack, seed: 5, ..LoaderOptions::default() };
    let mut windows = Windows::new(data, options)?;
    let (mut loss, mut labels, mut packed) = (0.0, 0, false);
    for batch in windows.next().unwrap() {
        packed |= batch.documents.is_packed();
        let one = model.loss(&batch.input_tensor(&Device::Cpu)?, &batch.labels, Some(&batch.documents))?;
        assert_eq!(one.count, batch.label_tokens);
        loss += one.mean.item()? * batch.weight;
        labels += one.count;
        arith::mul_number(&one.mean, batch.weight)?.backward()?;
    }
    assert!(windows.next().is_none());
    assert_eq!(packed, pack.is_some());
    let take =
        |t: &lora_host::engine::autograd::Tensor| t.take_grad().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    Ok((loss, labels, model.trainable()?.iter().map(|(_, t)| take(t)).collect()))
}

/// The largest difference of two tensors in relation to the largest value in them.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest.max(f32::MIN_POSITIVE)
}

/// Protects training itself: packed or padded, the window's loss and every adapter's gradient are the same.
#[test]
fn packed_and_padded_train_alike() -> Result<()> {
    let model = load("builtin:stories260K");
    let data = tasks(&model, 14, 100);
    let (padded, labels, grads) = window(&model, &data, None)?;
    let (packed, same_labels, packed_grads) = window(&model, &data, Some(150))?;
    assert_eq!(labels, same_labels);
    assert!((padded - packed).abs() <= 1e-5 * padded, "loss {padded} and {packed}");
    assert!(grads.iter().all(|g| g.iter().any(|x| *x != 0.0)));
    for ((name, _), (a, b)) in model.trainable()?.iter().zip(grads.iter().zip(&packed_grads)) {
        assert!(apart(a, b) <= 1e-5, "{name}: {}", apart(a, b));
    }
    Ok(())
}

/// Protects packing under checkpointing: a block that is computed again sees the same documents, to the bit.
#[test]
fn checkpointing_changes_no_bit() -> Result<()> {
    let mut model = load("builtin:stories260K");
    let data = tasks(&model, 12, 100);
    let kept = window(&model, &data, Some(200))?;
    for every in [1, 2] {
        model.checkpoint_every = every;
        assert!(kept == window(&model, &data, Some(200))?, "every {every}");
    }
    Ok(())
}

/// Protects rows that are longer than the model's positions: it is the document that must fit.
#[test]
fn rows_may_be_longer_than_the_model() -> Result<()> {
    let model = load("builtin:stories260K");
    let positions = model.config.max_position_embeddings;
    let data = tasks(&model, 4, positions);
    let (padded, ..) = window(&model, &data, None)?;
    let (packed, ..) = window(&model, &data, Some(3 * positions))?;
    assert!((padded - packed).abs() <= 1e-5 * padded, "loss {padded} and {packed}");
    let long = tasks(&model, 20, 4 * positions);
    let said = window(&model, &long, Some(4 * positions)).unwrap_err().to_string();
    assert!(said.contains(&format!("longer than the model's {positions} positions")), "{said}");
    Ok(())
}

/// Protects the real small model: SmolLM2's loss on packed records is that on padded ones, in f32 and under autocast.
#[test]
fn the_real_model_agrees() -> Result<()> {
    let Some(path) = common::smollm2() else { return Ok(()) };
    let model = load(path.to_str().unwrap());
    let data = tasks(&model, 4, 48);
    let (padded, _, grads) = window(&model, &data, None)?;
    let (packed, _, packed_grads) = window(&model, &data, Some(96))?;
    assert!((padded - packed).abs() <= 1e-5 * padded, "loss {padded} and {packed}");
    let worst = grads.iter().zip(&packed_grads).map(|(a, b)| apart(a, b)).fold(0f32, f32::max);
    eprintln!("SmolLM2: loss padded {padded}, packed {packed}; gradients at most {worst:.1e} apart");
    assert!(worst <= 1e-5, "{worst}");
    let _mode = autocast_guard(Autocast::Bf16);
    let (padded, packed) = (window(&model, &data, None)?.0, window(&model, &data, Some(96))?.0);
    assert!((padded - packed).abs() <= 2e-3 * padded, "bf16: loss {padded} and {packed}");
    Ok(())
}
