//! llama2.c files.

use crate::tiny::{Named, assert_loads, assert_refused, config, f32_bytes, interleave, tensors};
use lora_host::engine::llama::config::LlamaConfig;
use lora_host::engine::llama::weights::{Checkpoint, Format};

/// `export.py`'s `legacy_export`.
fn write(c: &LlamaConfig, tensors: &[Named]) -> Vec<u8> {
    let vocab = c.vocab_size as i32 * if c.tie_word_embeddings { 1 } else { -1 };
    let header = [
        c.hidden_size as i32,
        c.intermediate_size as i32,
        c.num_hidden_layers as i32,
        c.num_attention_heads as i32,
        c.num_key_value_heads as i32,
        vocab,
        c.max_position_embeddings as i32,
    ];
    let mut out: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    for part in [
        "embed_tokens",
        "input_layernorm",
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "post_attention_layernorm",
        "gate_proj",
        "down_proj",
        "up_proj",
        "model.norm",
        "RoPE",
        "lm_head",
    ] {
        if part == "RoPE" {
            out.extend(vec![0; 4 * c.max_position_embeddings * c.head_dim]);
        }
        for t in tensors.iter().filter(|t| t.name.contains(part)) {
            out.extend(f32_bytes(&interleave(t, c.head_dim).values));
        }
    }
    out
}

/// Protects llama2.c models, tied and not: order of the matrices and of q's and k's rows.
#[test]
fn a_model_loads_in_hugging_faces_layout() {
    for tied in [false, true] {
        let mut c = config();
        c.tie_word_embeddings = tied;
        let all = tensors(&c);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.bin");
        std::fs::write(&path, write(&c, &all)).unwrap();
        let checkpoint = Checkpoint::open(path.to_str().unwrap()).unwrap();
        assert_eq!((&checkpoint.config, checkpoint.format), (&c, Format::Llama2c));
        assert!(checkpoint.tokenizer.is_none());
        assert_loads(&checkpoint, &all, |x| x);
    }
}

/// Protects against damage: too short, too long, a later version, an impossible header.
#[test]
fn damaged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.bin");
    let whole = write(&config(), &tensors(&config()));
    let refused = |bytes: &[u8], needles: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        assert_refused(&path, needles);
    };
    refused(&whole[..whole.len() - 8], &["8 bytes are missing"]);
    refused(&whole[..20], &["missing"]);
    refused(&[&whole[..], &[0; 3]].concat(), &["3 bytes are too many"]);
    refused(&[&0x616b_3432u32.to_le_bytes()[..], &whole[4..]].concat(), &["version 1 or 2"]);
    let mut impossible = whole.clone();
    impossible[12..16].copy_from_slice(&0i32.to_le_bytes());
    refused(&impossible, &["not a model"]);
    let mut huge = whole.clone();
    huge[20..24].copy_from_slice(&(1i32 << 24).to_le_bytes());
    refused(&huge, &["missing"]);
}

/// Protects the choice of tokenizer: the one with the model's vocabulary is taken, and none is as good as a wrong one.
#[test]
fn the_tokenizer_beside_it_must_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stories260K.bin");
    std::fs::write(&path, include_bytes!("../../src/builtin/stories260K.bin")).unwrap();
    std::fs::write(dir.path().join("m.model"), include_bytes!("../golden/meta_tiny/m.model")).unwrap();
    assert_refused(&path, &["512", "2000", "m.model"]);
    std::fs::write(dir.path().join("tok512.model"), include_bytes!("../golden/tokenizers/tok512.model")).unwrap();
    let checkpoint = Checkpoint::open(path.to_str().unwrap()).unwrap();
    assert_eq!(checkpoint.tokenizer.unwrap().vocab_size(), 512);
}
