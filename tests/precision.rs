//! Mixed precision on a real model: bf16 follows f32, f16 survives an overflow.

use candle_core::{DType, Device};
use lora_host::engine::Result;
use lora_host::engine::autograd::{Autocast, autocast_guard};
use lora_host::engine::data::loader::LoaderOptions;
use lora_host::engine::data::source::ReadOptions;
use lora_host::engine::data::tokenize::{TokenizeOptions, Tokenized, tokenize};
use lora_host::engine::data::{source, split::Subset};
use lora_host::engine::llama::Llama;
use lora_host::engine::lora::LoraConfig;
use lora_host::engine::optim::{AdamW, AdamWConfig, GradScaler, GradScalerConfig, Optimizer, clip_grad_norm};
use lora_host::engine::rng;
use std::sync::Arc;

fn adapted() -> Result<Llama> {
    let mut model = Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ())?;
    model.freeze()?;
    rng::seed(5);
    model.inject_lora(LoraConfig { rank: 8, alpha: 16.0, ..Default::default() })?;
    Ok(model)
}

fn data(model: &Llama) -> Result<Tokenized> {
    let options = TokenizeOptions { mask_prompt: false, max_seq_len: 128, ..Default::default() };
    let records = source::load("builtin:seed-tasks", &ReadOptions::default())?.take(50);
    tokenize(&records, Arc::new(model.tokenizer()?.clone()), &options)
}

/// The losses of 50 steps on one record each, from the same start, under `policy`.
fn curve(policy: Autocast) -> Result<Vec<f64>> {
    let model = adapted()?;
    let mut opt = AdamW::new(model.trainable()?, AdamWConfig { lr: 2e-3, ..Default::default() })?;
    let mut losses = Vec::new();
    for window in data(&model)?.windows(LoaderOptions { size: 1, ..Default::default() })? {
        let batch = &window[0];
        let loss = {
            let _mode = autocast_guard(policy);
            model.loss(&batch.input_tensor(&Device::Cpu)?, &batch.labels, Some(&batch.documents))?.mean
        };
        loss.backward()?;
        losses.push(loss.item()?);
        clip_grad_norm(opt.params(), 1.0)?;
        opt.step()?;
        opt.zero_grad();
    }
    Ok(losses)
}

/// Protects `amp: "bf16"`: every one of 50 losses within 2 % of f32's, and not the same ones, or nothing was cast.
#[test]
fn bf16_follows_f32() -> Result<()> {
    let (exact, low) = (curve(Autocast::Off)?, curve(Autocast::Bf16)?);
    assert_eq!(exact.len(), 50);
    let worst = exact.iter().zip(&low).map(|(a, b)| ((a - b) / a).abs()).fold(0.0, f64::max);
    eprintln!("bf16 against f32 over 50 steps: largest relative difference of a loss {worst:.2e}");
    assert!(worst < 0.02, "{worst}");
    assert!(worst > 0.0, "bf16 autocast changed nothing");
    assert!(exact[40..].iter().sum::<f64>() < exact[..10].iter().sum::<f64>(), "nothing was learned: {exact:?}");
    Ok(())
}

/// Protects `amp: "f16"`: a scale that overflows skips the step and changes nothing, is halved until it fits, and then
/// training goes on.
#[test]
fn f16_survives_an_overflow() -> Result<()> {
    let model = adapted()?;
    let mut opt = AdamW::new(model.trainable()?, AdamWConfig { lr: 2e-3, ..Default::default() })?;
    let mut scaler = GradScaler::new(GradScalerConfig { init_scale: 2f64.powi(30), ..Default::default() })?;
    let batch = data(&model)?.batches(2)?.next().unwrap();
    let ids = batch.input_tensor(&Device::Cpu)?;
    let before: Vec<Vec<f32>> = values(&model)?;
    let (mut skipped, mut losses) = (0, Vec::new());
    for _ in 0..40 {
        let scale = scaler.scale_factor();
        let loss = {
            let _mode = autocast_guard(Autocast::F16);
            model.loss(&ids, &batch.labels, Some(&batch.documents))?.mean
        };
        scaler.scale(&loss)?.backward()?;
        scaler.unscale(opt.params())?;
        let taken = scaler.step(&mut opt)?;
        scaler.update()?;
        opt.zero_grad();
        if taken {
            losses.push(loss.item()?);
        } else {
            skipped += 1;
            assert_eq!(scaler.scale_factor(), scale / 2.0);
            assert!(losses.is_empty(), "an overflow after a good step");
            assert_eq!(values(&model)?, before, "a skipped step changed a parameter");
        }
    }
    assert!(skipped > 0 && losses.len() > 10, "{skipped} skipped, {} taken", losses.len());
    assert!(losses.iter().all(|l| l.is_finite()) && losses[losses.len() - 1] < losses[0], "{losses:?}");
    eprintln!(
        "f16: {skipped} steps skipped, scale {} then; loss {:.3} -> {:.3}",
        scaler.scale_factor(),
        losses[0],
        losses[losses.len() - 1]
    );
    Ok(())
}

fn values(model: &Llama) -> Result<Vec<Vec<f32>>> {
    model.trainable()?.iter().map(|(_, t)| Ok(t.value().flatten_all()?.to_vec1::<f32>()?)).collect()
}
