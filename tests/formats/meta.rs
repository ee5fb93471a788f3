//! Meta's directories.

use crate::tiny::assert_refused;
use candle_core::{DType, Device};
use lora_host::engine::llama::weights::{Checkpoint, Format};
use std::path::Path;

const WEIGHTS: &[u8] = include_bytes!("../golden/meta_tiny/tiny_fair_checkpoint.pt");
const PARAMS: &str =
    r#"{"dim": 32, "n_layers": 2, "n_heads": 4, "multiple_of": 256, "norm_eps": 1e-5, "vocab_size": -1}"#;

fn dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("params.json"), PARAMS).unwrap();
    std::fs::write(dir.path().join("consolidated.00.pth"), WEIGHTS).unwrap();
    dir
}

fn refused(dir: &Path, needles: &[&str]) {
    assert_refused(dir, needles);
}

/// Protects Meta's releases: a file of torch.save's is read without torch. Every value of this one is 0.2.
#[test]
fn a_model_loads() {
    let dir = dir();
    let checkpoint = Checkpoint::open(dir.path().to_str().unwrap()).unwrap();
    assert_eq!(checkpoint.format, Format::Meta);
    let c = &checkpoint.config;
    assert_eq!((c.vocab_size, c.intermediate_size, c.head_dim, c.tie_word_embeddings), (500, 256, 8, false));
    for (name, shape) in c.parameter_shapes() {
        let loaded = checkpoint.load(&name, &shape, DType::F32, &Device::Cpu).unwrap();
        assert!(loaded.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|x| *x == 0.2), "{name}");
    }
}

/// Protects against what does not fit together, each with its reason.
#[test]
fn disagreements_are_refused() {
    let dir = dir();
    let params = dir.path().join("params.json");
    let with = |text: &str, needles: &[&str]| {
        std::fs::write(&params, text).unwrap();
        refused(dir.path(), needles);
    };
    with(&PARAMS.replace("-1", "600"), &["params.json", "600", "500"]);
    with(&PARAMS.replace("256", "100"), &["gate_proj", "[256, 32]", "[100, 32]"]);
    with(&PARAMS.replace(r#""n_layers": 2, "#, ""), &["params.json", "n_layers"]);
    std::fs::write(&params, PARAMS).unwrap();
    std::fs::write(dir.path().join("tokenizer.model"), include_bytes!("../golden/meta_tiny/m.model")).unwrap();
    refused(dir.path(), &["2000 tokens", "500 rows"]);
    std::fs::write(dir.path().join("consolidated.01.pth"), "").unwrap();
    refused(dir.path(), &["several consolidated"]);
    for name in ["consolidated.00.pth", "consolidated.01.pth"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    refused(dir.path(), &["consolidated.00.pth"]);
}

/// Protects against truncated downloads: refused at every length, and told how much is missing where that can be known.
#[test]
fn truncated_files_are_refused() {
    let dir = dir();
    let file = dir.path().join("consolidated.00.pth");
    std::fs::write(&file, &WEIGHTS[..WEIGHTS.len() / 2]).unwrap();
    refused(dir.path(), &["at least", "bytes are missing"]);
    for end in (0..WEIGHTS.len()).step_by(4099) {
        std::fs::write(&file, &WEIGHTS[..end]).unwrap();
        refused(dir.path(), &["consolidated.00.pth"]);
    }
}

/// Protects against damaged pickles and zip directories: a result, never a panic, and never a value that is not there.
#[test]
fn changed_bytes_never_panic() {
    let dir = dir();
    let file = dir.path().join("consolidated.00.pth");
    let mut seed = 3u32;
    for round in 0..400 {
        let mut bytes = WEIGHTS.to_vec();
        // The pickle at the front, the zip directory at the end.
        let (from, len) = if round % 2 == 0 { (0, 3100) } else { (WEIGHTS.len() - 3000, 3000) };
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[from + (seed >> 4) as usize % len] = (seed >> 24) as u8;
        std::fs::write(&file, &bytes).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(dir.path().to_str().unwrap()) {
            for (name, shape) in checkpoint.config.parameter_shapes() {
                checkpoint.load(&name, &shape, DType::F32, &Device::Cpu).unwrap();
            }
        }
    }
}
