//! Agreement of likelihoods, choices and long texts with lm-eval and transformers on SmolLM2-135M-Instruct:
//! `tests/golden/evaluate/README.md`.

mod common;

use candle_core::{DType, Device};
use lora_host::engine::Result;
use lora_host::engine::evaluate::likelihood::Item;
use lora_host::engine::evaluate::strided::{Strided, Weighting};
use lora_host::engine::generate::BatchLimits;
use lora_host::engine::llama::Llama;
use serde_json::Value as Json;

fn golden() -> Json {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate/smollm2.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn model() -> Option<Llama> {
    let path = common::smollm2()?;
    Some(Llama::load(path.to_str().unwrap(), DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap())
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_string()
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap()
}

/// Protects log-likelihoods: the harness's tokens, sums and greedy flags, white space and empty contexts included.
#[test]
fn loglikelihoods_are_those_of_the_harness() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    let golden = golden();
    let pairs: Vec<(String, String)> =
        list(&golden["pairs"]).iter().map(|p| (text(&p["context"]), text(&p["continuation"]))).collect();
    let found = model.loglikelihoods(&pairs, BatchLimits::default(), &mut |_, _| ())?;
    for (pair, ours) in list(&golden["pairs"]).iter().zip(found) {
        let want = number(&pair["loglikelihood"]);
        assert!((ours.sum - want).abs() < 1e-3 * ours.tokens as f64, "{pair}: {}", ours.sum);
        assert_eq!(ours.greedy, pair["greedy"].as_bool().unwrap(), "{pair}");
        assert!(pair["tokens"].as_u64().is_none_or(|n| n == ours.tokens as u64), "{pair}: {} tokens", ours.tokens);
    }
    Ok(())
}

/// Protects multiple choice: each choice's log-likelihood, and what `acc`, `acc_norm` and `acc_bytes` count.
#[test]
fn choices_are_those_of_the_harness() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    let golden = golden();
    let item = |i: &Json| Item {
        context: text(&i["context"]),
        choices: list(&i["choices"]).iter().map(text).collect(),
        answer: i["answer"].as_u64().map(|a| a as usize),
    };
    let items: Vec<Item> = list(&golden["items"]).iter().map(item).collect();
    let chosen = model.choose(&items, " ", BatchLimits::default(), &mut |_, _| ())?;
    for (item, ours) in list(&golden["items"]).iter().zip(chosen) {
        for (likelihood, want) in ours.choices.iter().zip(list(&item["loglikelihoods"])) {
            let error = (likelihood.sum - number(want)).abs();
            assert!(error < 1e-3 * likelihood.tokens as f64, "{item}: off by {error}");
        }
        for (name, ours) in [("pick", ours.pick), ("pick_norm", ours.pick_norm), ("pick_bytes", ours.pick_bytes)] {
            assert_eq!(ours as u64, item[name].as_u64().unwrap(), "{name} of {item}");
        }
    }
    Ok(())
}

/// Protects perplexity with stride: the loop of transformers' documentation, weighted as it is and by token.
#[test]
fn long_texts_are_those_of_transformers() -> Result<()> {
    let Some(mut model) = model() else { return Ok(()) };
    let golden = golden();
    let ids = model.prompt_ids(golden["text"].as_str().unwrap())?;
    assert_eq!(ids.len() as u64, golden["text_tokens"].as_u64().unwrap());
    for case in list(&golden["strided"]) {
        let size = |key: &str| case[key].as_u64().map(|n| n as usize);
        for (weighting, key) in [(Weighting::Tokens, "tokens_loss"), (Weighting::Windows, "windows_loss")] {
            let how = Strided { window: size("window"), stride: size("stride"), weighting, ..Strided::default() };
            let ours = model.text_loss(&ids, &how, &mut |_, _| ())?;
            let want = number(&case[key]);
            assert!((ours.loss - want).abs() < 1e-3, "{case}: {weighting:?} gives {}", ours.loss);
            assert_eq!(ours.tokens, size("tokens").unwrap(), "{case}");
        }
    }
    Ok(())
}
