//! The model as a whole: counts, gradients where and only where they belong, checkpointing, cache, adapters.

use super::config::LlamaConfig;
use super::init::Init;
use super::model::Llama;
use crate::engine::autograd::{Autocast, autocast_guard, stats};
use crate::engine::error::Result;
use crate::engine::lora::{LoraConfig, Targets};
use crate::engine::ops::documents::Documents;
use crate::engine::{memory, rng};
use candle_core::{DType, Device, Tensor as Value};

fn tiny() -> LlamaConfig {
    LlamaConfig::from_options(&serde_json::json!({
        "vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }))
    .unwrap()
}

fn random(dtype: DType) -> Llama {
    rng::seed(3);
    Llama::from_config(tiny(), Init::Random, dtype, &Device::Cpu).unwrap()
}

fn adapted(config: LoraConfig) -> Llama {
    let mut model = random(DType::F32);
    model.freeze().unwrap();
    model.inject_lora(config).unwrap();
    for (_, t) in model.trainable().unwrap() {
        // B = 0 would hide A's gradient.
        let noise = crate::engine::autograd::gradcheck::sample(t.dims(), 5).to_dtype(DType::F32).unwrap();
        t.assign(&(noise * 0.1).unwrap()).unwrap();
    }
    model
}

fn batch() -> (Value, Vec<i64>) {
    let ids: Vec<u32> = (0..24).map(|i| (i * 7 + 3) % 50).collect();
    let labels = ids.iter().enumerate().map(|(i, id)| if i % 12 < 4 { -100 } else { i64::from(*id) }).collect();
    (Value::from_vec(ids, (2, 12), &Device::Cpu).unwrap(), labels)
}

fn grads(model: &Llama) -> Vec<(String, Vec<f32>)> {
    let take = |t: &crate::engine::autograd::Tensor| t.take_grad().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    model.trainable().unwrap().into_iter().map(|(n, t)| (n, take(&t))).collect()
}

/// Protects the headline figures: Llama-2-7B's counts, without its memory.
#[test]
fn llama_2_7b_is_counted_without_being_allocated() {
    let before = memory::current();
    let config = LlamaConfig::preset("llama-2-7b").unwrap();
    let mut model = Llama::from_config(config, Init::Shapes, DType::F32, &Device::Cpu).unwrap();
    model.freeze().unwrap();
    let targets = Targets::Names(vec!["wq".into(), "wv".into()]);
    model.inject_lora(LoraConfig { rank: 16, alpha: 32.0, targets, ..Default::default() }).unwrap();
    assert_eq!((model.num_params(), model.num_trainable()), (6_738_415_616, 8_388_608));
    assert!(memory::current() < before + (4 << 30));
    let ids = Value::zeros((1, 2), DType::U32, &Device::Cpu).unwrap();
    assert!(model.forward(&ids, None).unwrap_err().to_string().contains("shapes but no weights"));
}

/// Protects the cost of LoRA: only adapters get gradients, the embedding and everything below the first adapter are not
/// differentiated at all, and block 0's first projections compute no input gradient.
#[test]
fn nothing_needless_is_differentiated() -> Result<()> {
    let targets = Targets::Names(["layers.2.self_attn.q_proj", "layers.2.self_attn.v_proj"].map(String::from).to_vec());
    let model = adapted(LoraConfig { rank: 2, targets, ..Default::default() });
    let (ids, labels) = batch();
    stats::reset();
    model.loss(&ids, &labels, None)?.mean.backward()?;
    let by_op = stats::by_op();
    assert!(!by_op.contains_key("embedding"));
    // Blocks 0 and 1 leave no node. Block 2 records q and v (adapters) but not k, whose input is frozen too.
    assert_eq!(by_op["lora_linear"], stats::OpStats { recorded: 2, executed: 2, input_grads: 4 });
    assert_eq!(by_op["linear"].recorded, 4 + 7, "block 2: o, gate, up, down; block 3: all seven");
    assert_eq!(by_op["linear"].input_grads, 11, "one input gradient each, no weight gradient");
    for (name, p) in model.base_parameters() {
        assert!(p.tensor()?.grad().is_none(), "{name} is frozen and has a gradient");
    }
    Ok(())
}

/// Protects checkpointing: the same bits with dropout on, whatever the segment length.
#[test]
fn checkpointing_changes_no_bit() -> Result<()> {
    let run = |every: usize, budget: usize| -> Result<_> {
        let mut model = adapted(LoraConfig { rank: 4, dropout: 0.3, ..Default::default() });
        (model.checkpoint_every, model.activation_budget) = (every, budget);
        let (ids, labels) = batch();
        rng::seed(17);
        let loss = model.loss(&ids, &labels, Some(&Documents::one_each(&[12, 12])))?.mean;
        loss.backward()?;
        let after = rng::state();
        Ok((loss.item()?.to_bits(), grads(&model), after))
    };
    let plain = run(0, 0)?;
    for every in [1, 2, 3, 9] {
        for budget in [0, 40_000, usize::MAX] {
            assert!(run(every, budget)? == plain, "checkpoint_every({every}), {budget} bytes kept");
        }
    }
    Ok(())
}

/// Protects padded batches: a row's loss and gradient do not depend on what it is padded with or to.
#[test]
fn padding_changes_nothing() -> Result<()> {
    let run = |pad: u32, width: usize| -> Result<_> {
        let model = adapted(LoraConfig { rank: 4, ..Default::default() });
        let (ids, labels) = batch();
        let mut padded: Vec<u32> = ids.narrow(0, 0, 1)?.flatten_all()?.to_vec1()?;
        padded.resize(width, pad);
        let mut labels = labels[..12].to_vec();
        labels.resize(width, -100);
        let ids = Value::from_vec(padded, (1, width), &Device::Cpu)?;
        let loss = model.loss(&ids, &labels, Some(&Documents::one_each(&[12])))?.mean;
        loss.backward()?;
        Ok((loss.item()?, grads(&model)))
    };
    let (loss, want) = run(0, 12)?;
    for (other, got) in [run(1, 20)?, run(49, 33)?] {
        assert!((loss - other).abs() < 1e-6);
        for ((name, a), (_, b)) in want.iter().zip(&got) {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
        }
    }
    Ok(())
}

/// Protects generation: token by token through the cache gives the logits of the whole sequence at once.
#[test]
fn cache_agrees_with_forward() -> Result<()> {
    let model = random(DType::F64);
    let ids = batch().0.narrow(0, 0, 1)?;
    let whole = model.forward(&ids, None)?;
    let mut cache = super::cache::KvCache::new(model.blocks.len());
    let mut last = model.next_logits(&ids.narrow(1, 0, 5)?, &mut cache)?;
    for t in 5..12 {
        let want = whole.value().narrow(1, t - 1, 1)?.squeeze(1)?;
        assert!((last - want)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-10, "position {t}");
        last = model.next_logits(&ids.narrow(1, t, 1)?, &mut cache)?;
    }
    Ok(())
}

/// Protects shipping: merged and separate adapters agree, and a saved adapter loads back with the same result.
#[test]
fn adapter_round_trip_and_merge() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (ids, _) = batch();
    let mut model =
        adapted(LoraConfig { rank: 4, alpha: 8.0, dropout: 0.1, targets: Targets::AllLinear, rslora: true });
    model.training = false;
    let want = model.forward(&ids, None)?;
    model.save_adapter(dir.path())?;
    let distance = |m: &Llama| -> Result<f32> {
        Ok((m.forward(&ids, None)?.value() - want.value())?.abs()?.max_all()?.to_scalar::<f32>()?)
    };
    let mut fresh = random(DType::F32);
    assert!(distance(&fresh)? > 1e-3);
    fresh.training = false;
    assert_eq!(fresh.load_adapter(dir.path())?, 28);
    assert_eq!(distance(&fresh)?, 0.0);
    fresh.merge_adapter()?;
    assert!(distance(&fresh)? < 1e-5 && fresh.adapter_parameters().is_empty());
    Ok(())
}

/// Protects the person who loads the wrong adapter: every misfit is named.
#[test]
fn adapters_that_do_not_fit() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let model = adapted(LoraConfig { rank: 4, ..Default::default() });
    model.save_adapter(dir.path())?;
    let load = |change: fn(&mut LlamaConfig)| {
        let mut config = tiny();
        change(&mut config);
        let mut other = Llama::from_config(config, Init::Shapes, DType::F32, &Device::Cpu).unwrap();
        other.load_adapter(dir.path()).unwrap_err().to_string()
    };
    assert!(load(|c| c.num_hidden_layers = 2).contains("has no linear layer `model.layers."));
    assert!(load(|c| c.hidden_size = 32).contains("does not fit the base's"));
    std::fs::write(dir.path().join("adapter_config.json"), r#"{"r": 4, "lora_alpha": 8, "use_dora": true}"#).unwrap();
    assert!(load(|_| ()).contains("use_dora"));
    std::fs::write(dir.path().join("adapter_config.json"), r#"{"r": 8, "lora_alpha": 8}"#).unwrap();
    assert!(load(|_| ()).contains("has rank 4"));
    Ok(())
}

/// Protects mixed precision: bf16 autocast computes the f32 loss to within its rounding, with f32 gradients.
#[test]
fn autocast_is_close() -> Result<()> {
    let model = adapted(LoraConfig { rank: 4, ..Default::default() });
    let (ids, labels) = batch();
    let exact = model.loss(&ids, &labels, None)?.mean.item()?;
    for policy in [Autocast::Bf16, Autocast::F16] {
        let _mode = autocast_guard(policy);
        let loss = model.loss(&ids, &labels, None)?.mean;
        assert!((loss.item()? - exact).abs() < 0.01 * exact, "{policy:?}");
        loss.backward()?;
    }
    for (name, t) in model.trainable()? {
        assert_eq!(t.grad().unwrap().dtype(), DType::F32, "{name}");
    }
    Ok(())
}

/// Protects full fine-tuning and pre-training: every parameter's gradient against finite differences, tied embedding
/// included.
#[test]
fn every_parameter_has_the_right_gradient() -> Result<()> {
    let model = random(DType::F64);
    let (ids, labels) = batch();
    model.loss(&ids, &labels, None)?.mean.backward()?;
    for (name, t) in model.trainable()? {
        let grad = t.take_grad().unwrap().flatten_all()?.to_vec1::<f64>()?;
        let (at, largest) = grad
            .iter()
            .enumerate()
            .fold((0, 0.0), |m: (usize, f64), (i, g)| if g.abs() > m.1.abs() { (i, *g) } else { m });
        let values = t.value().copy()?;
        let side = |delta: f64| -> Result<f64> {
            let mut v = values.flatten_all()?.to_vec1::<f64>()?;
            v[at] += delta;
            t.assign(&Value::from_vec(v, t.dims(), &Device::Cpu)?)?;
            model.loss(&ids, &labels, None)?.mean.item()
        };
        let numeric = (side(1e-5)? - side(-1e-5)?) / 2e-5;
        t.assign(&values)?;
        assert!((numeric - largest).abs() < 1e-6 * largest.abs().max(1e-2), "{name}: {largest} and {numeric}");
    }
    Ok(())
}
