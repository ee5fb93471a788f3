//! Hugging Face directories.

use crate::tiny::{Named, assert_loads, assert_refused, config, tensors, write_hf, write_safetensors};
use candle_core::{DType, Device};
use half::{bf16, f16};
use lora_host::engine::llama::weights::{Checkpoint, Format};
use safetensors::tensor::Dtype;
use serde_json::json;
use std::path::Path;

fn open(dir: &Path) -> Checkpoint {
    Checkpoint::open(dir.to_str().unwrap()).unwrap()
}

/// Protects the values: each stored dtype loads exactly as rounded to it.
#[test]
fn every_dtype_loads() {
    for (dtype, name, round) in [
        (Dtype::F32, "f32", (|x| x) as fn(f32) -> f32),
        (Dtype::F16, "f16", |x| f16::from_f32(x).to_f32()),
        (Dtype::BF16, "bf16", |x| bf16::from_f32(x).to_f32()),
    ] {
        let (dir, config) = (tempfile::tempdir().unwrap(), config());
        write_hf(dir.path(), &config, &tensors(&config), dtype);
        let checkpoint = open(dir.path());
        assert_loads(&checkpoint, &tensors(&config), round);
        assert_eq!((checkpoint.stored_dtype().as_str(), checkpoint.format), (name, Format::HuggingFace));
        assert_eq!(checkpoint.config, config);
        assert!(checkpoint.tokenizer.is_none());
    }
}

/// Protects large models: shards are found through the index; one of the directory's files may be named too.
#[test]
fn shards_load() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    let all = tensors(&config);
    let (first, second) = all.split_at(7);
    std::fs::write(dir.path().join("config.json"), config.to_hf_json().to_string()).unwrap();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    write_safetensors(&dir.path().join(names[0]), first, Dtype::F32);
    write_safetensors(&dir.path().join(names[1]), second, Dtype::F32);
    let place = |(i, t): (usize, &Named)| (t.name.clone(), json!(names[usize::from(i >= 7)]));
    let map: serde_json::Map<_, _> = all.iter().enumerate().map(place).collect();
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    assert_loads(&open(dir.path()), &all, |x| x);
    assert_loads(&open(&index), &all, |x| x);

    std::fs::remove_file(dir.path().join(names[1])).unwrap();
    assert_refused(dir.path(), &["model.safetensors.index.json", names[1]]);
    std::fs::write(&index, json!({ "weight_map": { "a": "../outside.safetensors" } }).to_string()).unwrap();
    assert_refused(dir.path(), &["../outside.safetensors"]);
}

/// Protects conversion: a load into another dtype rounds from the stored value, and names no tensor that is absent.
#[test]
fn loads_into_the_asked_dtype() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    let all = tensors(&config);
    write_hf(dir.path(), &config, &all, Dtype::F32);
    let checkpoint = open(dir.path());
    let t = &all[0];
    let loaded = checkpoint.load(&t.name, &t.shape, DType::BF16, &Device::Cpu).unwrap();
    let expected: Vec<bf16> = t.values.iter().map(|x| bf16::from_f32(*x)).collect();
    assert_eq!(loaded.flatten_all().unwrap().to_vec1::<bf16>().unwrap(), expected);
    let error = checkpoint.load("model.nothing", &[1], DType::F32, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("`model.nothing` is missing"), "{error}");
    let error = checkpoint.load(&t.name, &[3, 4], DType::F32, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("[32, 16], expected [3, 4]"), "{error}");
}

/// Protects against weights that do not belong to the configuration: wrong shape, absent, too many, foreign dtype.
#[test]
fn tensors_that_do_not_fit_are_named() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    let good = tensors(&config);
    let write = |all: &[Named]| write_hf(dir.path(), &config, all, Dtype::F32);

    let mut wrong = good.clone();
    wrong[1].shape.reverse();
    wrong[3].shape = vec![16, 8];
    write(&wrong);
    assert_refused(dir.path(), &["`model.layers.0.self_attn.v_proj.weight`", "[16, 8]", "[8, 16]"]);

    let mut fewer = good.clone();
    let gone = fewer.remove(5);
    write(&fewer);
    assert_refused(dir.path(), &[&format!("`{}` is missing", gone.name)]);

    let mut more = good.clone();
    more.push(Named { name: "model.layers.0.self_attn.q_proj.bias".into(), shape: vec![16], values: vec![0.0; 16] });
    write(&more);
    assert_refused(dir.path(), &["`model.layers.0.self_attn.q_proj.bias` is not part"]);

    write(&good);
    let view = safetensors::tensor::TensorView::new(Dtype::I8, vec![1], &[1]).unwrap();
    let bytes = safetensors::serialize([("model.norm.weight", view)], None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    assert_refused(dir.path(), &["`model.norm.weight` is stored as I8"]);
}

/// Protects against damaged files: cut short anywhere, or with a header that lies.
#[test]
fn damaged_safetensors_are_refused() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    write_hf(dir.path(), &config, &tensors(&config), Dtype::F32);
    let file = dir.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 100]).unwrap();
    assert_refused(dir.path(), &["100 bytes are missing", "model.safetensors"]);
    for end in (0..whole.len()).step_by(97) {
        std::fs::write(&file, &whole[..end]).unwrap();
        assert_refused(dir.path(), &["missing"]);
    }
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&file, &huge).unwrap();
    assert_refused(dir.path(), &["header"]);
    std::fs::write(&file, [&5u64.to_le_bytes()[..], b"{\"a\":"].concat()).unwrap();
    assert_refused(dir.path(), &["header"]);
}

/// Protects against an incomplete directory: the file and what it lacks are named.
#[test]
fn incomplete_directories_are_refused() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    write_hf(dir.path(), &config, &tensors(&config), Dtype::F32);
    let mut json = config.to_hf_json();
    json.as_object_mut().unwrap().remove("num_hidden_layers");
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    assert_refused(dir.path(), &["config.json", "`num_hidden_layers` is missing"]);
    std::fs::write(dir.path().join("config.json"), "{ not json").unwrap();
    assert_refused(dir.path(), &["config.json", "not JSON"]);
    std::fs::write(dir.path().join("config.json"), config.to_hf_json().to_string()).unwrap();
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("pytorch_model.bin")).unwrap();
    assert_refused(dir.path(), &["model.safetensors.index.json", "pytorch_model.bin"]);
}

/// Protects embeddings: a tokenizer with more tokens than rows is refused, one with fewer (padded embedding) is not.
#[test]
fn a_tokenizer_may_not_exceed_the_embedding() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config());
    write_hf(dir.path(), &config, &tensors(&config), Dtype::F32);
    let vocabulary = |n: usize| -> serde_json::Value {
        let vocab: serde_json::Map<_, _> = (0..n).map(|i| (format!("t{i}"), json!(i))).collect();
        json!({ "model": { "type": "BPE", "vocab": vocab, "merges": [] } })
    };
    let write = |n| std::fs::write(dir.path().join("tokenizer.json"), vocabulary(n).to_string()).unwrap();
    write(30);
    assert_eq!(open(dir.path()).tokenizer.unwrap().vocab_size(), 30);
    write(33);
    assert_refused(dir.path(), &["33 tokens", "32 rows"]);
    std::fs::write(
        dir.path().join("tokenizer.json"),
        r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]}}"#,
    )
    .unwrap();
    assert_refused(dir.path(), &["tokenizer.json", "`aa`"]);
}
