//! Parity with PyTorch + PEFT on SmolLM2-135M-Instruct: logits, greedy text, a training run. Files and bounds:
//! `tests/golden/smollm2/README.md`.

mod common;

use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::autograd::no_grad_guard;
use lora_host::engine::generate::{BatchLimits, GenerateConfig};
use lora_host::engine::llama::{Llama, cache::KvCache, init::WeightDtype};
use lora_host::engine::ops::documents::Documents;
use lora_host::engine::optim::{AdamW, AdamWConfig, Optimizer, clip_grad_norm};
use serde_json::Value as Json;
use std::path::PathBuf;

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/smollm2").join(file)
}

fn json(file: &str) -> Json {
    serde_json::from_slice(&std::fs::read(golden(file)).unwrap()).unwrap()
}

fn model() -> Option<Llama> {
    let path = common::smollm2()?;
    Some(Llama::load(path.to_str().unwrap(), DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap())
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn row(ids: &[u32]) -> Value {
    Value::from_slice(ids, (1, ids.len()), &Device::Cpu).unwrap()
}

/// The largest distance between the stored top-10 logits and ours at the same ids.
fn top10_error(logits: &Value, stored: &Json, ids_key: &str, logits_key: &str) -> f64 {
    let ours: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
    let pairs = ids(&stored[ids_key]).into_iter().zip(floats(&stored[logits_key]));
    pairs.map(|(id, want)| (f64::from(ours[id as usize]) - want).abs()).fold(0.0, f64::max)
}

/// Protects the forward pass: logits within 1e-3, mean NLL within 1e-4, and the tokenizer's ids.
#[test]
fn logits_and_nll() -> Result<()> {
    let Some(model) = model() else { return Ok(()) };
    let _mode = no_grad_guard();
    for prompt in json("logits.json")["prompts"].as_array().unwrap() {
        let ids = ids(&prompt["input_ids"]);
        assert_eq!(model.prompt_ids(prompt["prompt"].as_str().unwrap())?, ids, "{}", prompt["name"]);
        let mut cache = KvCache::new(model.blocks.len());
        let err = top10_error(&model.next_logits(&row(&ids), &mut cache)?, prompt, "top10_ids", "top10_logits");
        assert!(err < 1e-3, "{}: a logit is off by {err}", prompt["name"]);
        let labels: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let loss = model.loss(&row(&ids), &labels, None)?;
        let want = prompt["mean_nll"].as_f64().unwrap();
        assert!((loss.mean.item()? - want).abs() < 1e-4, "{}: NLL {} and {want}", prompt["name"], loss.mean.item()?);
        for (i, (ours, want)) in loss.each.iter().zip(floats(&prompt["token_nll"])).enumerate() {
            assert!((ours - want).abs() < 1e-3, "{}, token {i}: NLL {ours} and {want}", prompt["name"]);
        }
    }
    Ok(())
}

/// Protects generation: the 32 greedy tokens of every prompt, through the cache.
#[test]
fn greedy_tokens() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    for prompt in json("greedy.json")["prompts"].as_array().unwrap() {
        let config = GenerateConfig { max_new_tokens: 32, stop_at_eos: false, ..Default::default() };
        let answer = model.generate(&ids(&prompt["input_ids"]), &config, &mut |_| Ok(()))?;
        assert_eq!(answer.ids, ids(&prompt["new_ids"]), "{}", prompt["name"]);
    }
    Ok(())
}

/// Protects batches on the real model: the same tokens from all prompts at once, of different lengths, and through
/// places that are freed and taken again.
#[test]
fn greedy_tokens_in_batches() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    let golden = json("greedy.json");
    let golden = golden["prompts"].as_array().unwrap();
    let prompts: Vec<Vec<u32>> = golden.iter().map(|p| ids(&p["input_ids"])).collect();
    let config = GenerateConfig { max_new_tokens: 32, stop_at_eos: false, ..Default::default() };
    for rows in [prompts.len(), 2] {
        let limits = BatchLimits { rows, ..Default::default() };
        let answers = model.generate_all(&prompts, &config, limits, &mut |_, _| Ok(()))?;
        for (prompt, answer) in golden.iter().zip(answers) {
            assert_eq!(answer.ids, ids(&prompt["new_ids"]), "{} in batches of {rows}", prompt["name"]);
        }
    }
    Ok(())
}

/// Protects training: ten steps from a given adapter follow PyTorch's losses and gradient norms, and end at its adapter.
#[test]
fn training_run() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    let golden_run = json("train/train.json");
    model.freeze()?;
    model.load_adapter(&golden("train/adapter_init"))?;
    let start: Vec<Value> = model.trainable()?.iter().map(|(_, t)| t.value().copy().unwrap()).collect();
    let config = AdamWConfig { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 };
    let mut opt = AdamW::new(model.trainable()?, config)?;

    let rows: Vec<Vec<u32>> = golden_run["input_ids"].as_array().unwrap().iter().map(ids).collect();
    let masks: Vec<Vec<u32>> = golden_run["attention_mask"].as_array().unwrap().iter().map(ids).collect();
    let lengths: Vec<usize> = masks.iter().map(|m| m.iter().sum::<u32>() as usize).collect();
    let labels: Vec<Vec<i64>> = golden_run["labels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect())
        .collect();
    let width = rows[0].len();
    for step in golden_run["steps"].as_array().unwrap() {
        let number = step["step"].as_u64().unwrap();
        for (k, micro) in step["micro"].as_array().unwrap().iter().enumerate() {
            let part = 2 * k..2 * k + 2;
            let ids = Value::from_vec(rows[part.clone()].concat(), (2, width), &Device::Cpu)?;
            let loss = model.loss(&ids, &labels[part.clone()].concat(), Some(&Documents::one_each(&lengths[part])))?;
            assert_eq!(loss.count as u64, micro["target_tokens"].as_u64().unwrap());
            let (ours, want) = (loss.mean.item()?, micro["loss"].as_f64().unwrap());
            assert!((ours - want).abs() < 1e-3, "step {number}.{k}: loss {ours} and {want}");
            // The golden run takes the plain mean over its two micro-batches.
            lora_host::engine::autograd::backward(&[(loss.mean.clone(), (loss.mean.value().ones_like()? * 0.5)?)])?;
        }
        if number == 1 {
            for (name, t) in model.trainable()? {
                let want = golden_run["grad_norms_first_step"][format!("base_model.model.{name}")].as_f64().unwrap();
                let ours = norm(&t.grad().unwrap());
                assert!((ours - want).abs() < 1e-3 * want.max(1e-4), "{name}: gradient norm {ours} and {want}");
            }
        }
        let (ours, want) = (clip_grad_norm(opt.params(), 0.1)?, step["grad_norm_before_clip"].as_f64().unwrap());
        let bound = if number <= 8 { 1e-3 } else { 2e-2 };
        assert!((ours - want).abs() < bound * want, "step {number}: gradient norm {ours} and {want}");
        opt.step()?;
        opt.zero_grad();
    }

    // Relative L2 distance of the whole update from PyTorch's.
    let trained: Vec<(String, Value)> =
        model.trainable()?.iter().map(|(n, t)| (n.clone(), t.value().clone())).collect();
    model.remove_adapter();
    model.load_adapter(&golden("train/adapter_final"))?;
    let theirs: Vec<Value> = model.trainable()?.iter().map(|(_, t)| t.value().clone()).collect();
    let (mut error, mut total) = (0.0, 0.0);
    for (((_, ours), theirs), start) in trained.iter().zip(&theirs).zip(&start) {
        error += norm(&(ours - theirs)?).powi(2);
        total += norm(&(theirs - start)?).powi(2);
    }
    let relative = (error / total).sqrt();
    assert!(relative < 1e-2, "the adapter's update is off by {relative}");

    for ((_, ours), (_, t)) in trained.iter().zip(model.trainable()?) {
        t.assign(ours)?;
    }
    model.training = false;
    let mut cache = KvCache::new(model.blocks.len());
    let logits = model.next_logits(&row(&rows[0][..lengths[0]]), &mut cache)?;
    let err = top10_error(&logits, &golden_run["final_top10"], "ids", "logits");
    assert!(err < 2e-2, "a logit of the trained model is off by {err}");
    eprintln!("update off by {relative:.2e} relative, trained logits by {err:.2e}");
    Ok(())
}

fn norm(t: &Value) -> f64 {
    t.sqr().unwrap().sum_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap().sqrt()
}

/// Protects the embedded model and its tokenizer: the 464 bytes that llama2.c prints for 200 greedy steps.
#[test]
fn stories260k_prints_the_expected_bytes() -> Result<()> {
    let mut model = Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ())?;
    let bos = model.tokenizer()?.bos_id().unwrap();
    // llama2.c counts the BOS as the first of its 200 steps.
    let config = GenerateConfig { max_new_tokens: 200, stop_at_eos: false, ..Default::default() };
    let answer = model.generate(&[bos], &config, &mut |_| Ok(()))?;
    let want = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stories260K/expected_greedy_200_steps.txt"),
    )
    .unwrap();
    assert_eq!(answer.text.trim_end(), want.trim_end());
    Ok(())
}

/// Protects answers of a quantized file: token by token the logits of `auto` are those of its f32 numbers to three digits, a
/// prompt's to bf16's, and greedy answers begin alike.
#[test]
fn quantized_weights_answer_as_their_f32_numbers() -> Result<()> {
    let Some(mut wide) = model() else { return Ok(()) };
    let path = common::smollm2().expect("the model was just loaded from it");
    let mut auto = Llama::load(path.to_str().unwrap(), WeightDtype::Auto, &Device::Cpu, &mut |_, _| ())?;
    assert_eq!(auto.dtype_name(), "q4_1");
    let text = "The capital of France is Paris. The United States has a population of approximately 311 million.";
    let ids = wide.prompt_ids(text)?;
    let distance = |got: &Value, want: &Value| -> Result<f32> {
        let square = |x: &Value| Ok::<_, candle_core::Error>(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt());
        Ok(square(&(got - want)?)? / square(want)?)
    };
    let (mut a, mut b) = (KvCache::new(auto.blocks.len()), KvCache::new(auto.blocks.len()));
    for id in &ids {
        let got = auto.inference(|m| m.next_logits(&row(&[*id]), &mut a))?;
        let error = distance(&got, &wide.inference(|m| m.next_logits(&row(&[*id]), &mut b))?)?;
        assert!(error < 2e-3, "a token's logits are off by {error}");
    }
    let prompt = |m: &mut Llama| m.inference(|m| m.next_logits(&row(&ids), &mut KvCache::new(m.blocks.len())));
    let error = distance(&prompt(&mut auto)?, &prompt(&mut wide)?)?;
    assert!(error < 6e-2, "a prompt's logits are off by {error}");
    let how = GenerateConfig { max_new_tokens: 32, ..GenerateConfig::default() };
    let short = wide.prompt_ids("The capital of France is")?;
    let answer = |m: &mut Llama| m.generate(&short, &how, &mut |_| Ok(())).map(|g| g.text);
    assert_eq!(answer(&mut auto)?, answer(&mut wide)?);
    Ok(())
}
