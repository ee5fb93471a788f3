//! GGUF files.

use crate::common;
use crate::tiny::{Named, assert_loads, assert_refused, config, f32_bytes, interleave, tensors};
use candle_core::{DType, Device};
use lora_host::engine::llama::config::{LlamaConfig, RopeScaling};
use lora_host::engine::llama::weights::{Checkpoint, Format};
use std::path::Path;

/// A GGUF file to be written.
#[derive(Clone)]
pub struct Writer {
    pub metadata: Vec<(String, u32, Vec<u8>)>,
    /// Name, shape (outermost first), ggml type, data.
    pub tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

pub fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

impl Writer {
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.put(key, 4, value.to_le_bytes().to_vec())
    }

    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.put(key, 6, value.to_le_bytes().to_vec())
    }

    pub fn str(&mut self, key: &str, value: &str) -> &mut Self {
        self.put(key, 8, text(value))
    }

    pub fn array(&mut self, key: &str, kind: u32, items: Vec<Vec<u8>>) -> &mut Self {
        let mut data = kind.to_le_bytes().to_vec();
        data.extend((items.len() as u64).to_le_bytes());
        data.extend(items.concat());
        self.put(key, 9, data)
    }

    fn put(&mut self, key: &str, kind: u32, data: Vec<u8>) -> &mut Self {
        self.metadata.retain(|(k, ..)| k != key);
        self.metadata.push((key.into(), kind, data));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, kind, data) in &self.metadata {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(data);
        }
        let mut offset = 0u64;
        for (name, shape, kind, data) in &self.tensors {
            out.extend(text(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|n| out.extend((*n as u64).to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += data.len().next_multiple_of(32) as u64;
        }
        for (.., data) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(data);
        }
        out
    }
}

fn gguf_name(hf: &str) -> String {
    hf.replace("model.layers.", "blk.")
        .replace("self_attn.q_proj", "attn_q")
        .replace("self_attn.k_proj", "attn_k")
        .replace("self_attn.v_proj", "attn_v")
        .replace("self_attn.o_proj", "attn_output")
        .replace("mlp.gate_proj", "ffn_gate")
        .replace("mlp.up_proj", "ffn_up")
        .replace("mlp.down_proj", "ffn_down")
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "ffn_norm")
        .replace("model.embed_tokens", "token_embd")
        .replace("model.norm", "output_norm")
        .replace("lm_head", "output")
}

/// `tensors` in f32, as llama.cpp's converter lays them out.
pub fn writer(c: &LlamaConfig, tensors: &[Named]) -> Writer {
    let mut w = Writer { metadata: vec![], tensors: vec![] };
    w.str("general.architecture", "llama")
        .u32("llama.block_count", c.num_hidden_layers as u32)
        .u32("llama.context_length", c.max_position_embeddings as u32)
        .u32("llama.embedding_length", c.hidden_size as u32)
        .u32("llama.feed_forward_length", c.intermediate_size as u32)
        .u32("llama.attention.head_count", c.num_attention_heads as u32)
        .u32("llama.attention.head_count_kv", c.num_key_value_heads as u32)
        .u32("llama.rope.dimension_count", c.head_dim as u32)
        .f32("llama.rope.freq_base", c.rope_theta as f32)
        .f32("llama.attention.layer_norm_rms_epsilon", c.rms_norm_eps as f32);
    w.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
    w.tensors = tensors
        .iter()
        .map(|t| interleave(t, c.head_dim))
        .map(|t| (gguf_name(&t.name), t.shape, 0, f32_bytes(&t.values)))
        .collect();
    w
}

fn tiny() -> Writer {
    writer(&config(), &tensors(&config()))
}

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        File(tempfile::tempdir().unwrap())
    }

    fn write(&self, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.0.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, writer: &Writer, needles: &[&str]) {
        assert_refused(&self.write(&writer.bytes()), needles);
    }
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path.to_str().unwrap()).unwrap()
}

/// Protects every GGUF model: names, configuration, and q and k rows sorted back into halves.
#[test]
fn a_model_loads_in_hugging_faces_layout() {
    let file = File::new();
    let checkpoint = open(&file.write(&tiny().bytes()));
    assert_eq!(checkpoint.config, config());
    assert_eq!((checkpoint.name.as_str(), checkpoint.format), ("m", Format::Gguf));
    assert_loads(&checkpoint, &tensors(&config()), |x| x);
    // The directory that holds it means the same.
    assert_loads(&open(file.0.path()), &tensors(&config()), |x| x);
}

/// Protects models with biases and tied embeddings: both show in which tensors are there.
#[test]
fn biases_and_tying_are_found() {
    let mut c = config();
    (c.qkv_bias, c.o_bias, c.mlp_bias, c.tie_word_embeddings) = (true, true, true, true);
    let all = tensors(&c);
    let checkpoint = open(&File::new().write(&writer(&c, &all).bytes()));
    assert_eq!(checkpoint.config, c);
}

/// Protects q and k biases, which follow the rows of their weights.
#[test]
fn biases_are_sorted_like_their_rows() {
    let mut c = config();
    (c.qkv_bias, c.tie_word_embeddings) = (true, true);
    let all = tensors(&c);
    let file = File::new();
    assert_loads(&open(&file.write(&writer(&c, &all).bytes())), &all, |x| x);
}

/// Protects Llama 3.1 and later: `rope_freqs.weight` becomes the scaling it was made from.
#[test]
fn rope_frequencies_are_read() {
    let mut w = tiny();
    w.tensors.push(("rope_freqs.weight".into(), vec![4], 0, f32_bytes(&[1.0, 2.0, 3.0, 8.0])));
    let checkpoint = open(&File::new().write(&w.bytes()));
    assert_eq!(checkpoint.config.rope_scaling, Some(RopeScaling::Factors(vec![1.0, 2.0, 3.0, 8.0])));
    assert!(!checkpoint.contains("rope_freqs.weight"));

    let mut linear = tiny();
    linear.str("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4.0);
    let scaling = open(&File::new().write(&linear.bytes())).config.rope_scaling;
    assert_eq!(scaling, Some(RopeScaling::Linear { factor: 4.0 }));
}

/// Protects quantized models: every block type gives the values that the `gguf` package gives, to the last bit or,
/// where it rounds in another order, to one part in a million.
#[test]
fn blocks_match_the_reference() {
    #[derive(serde::Deserialize)]
    struct Row {
        r#type: String,
        number: u32,
        hex: String,
        values: Vec<f32>,
    }
    let rows: Vec<Row> = serde_json::from_str(include_str!("../golden/gguf/blocks.json")).unwrap();
    assert_eq!(rows.len(), 10);
    let c = LlamaConfig::from_json(&serde_json::json!({
        "vocab_size": 4, "hidden_size": 256, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4,
        "tie_word_embeddings": true, "max_position_embeddings": 8 }))
    .unwrap();
    let plain = writer(&c, &tensors(&c));
    let file = File::new();
    for row in rows {
        let data: Vec<u8> =
            (0..row.hex.len()).step_by(2).map(|i| u8::from_str_radix(&row.hex[i..i + 2], 16).unwrap()).collect();
        let mut w = plain.clone();
        // As the embedding in file order, and as rows of q that must be sorted.
        for tensor in &mut w.tensors {
            if tensor.0 == "token_embd.weight" || tensor.0 == "blk.0.attn_q.weight" {
                let n = tensor.1[0];
                (tensor.2, tensor.3) = (row.number, data.repeat(n));
            }
        }
        let checkpoint = open(&file.write(&w.bytes()));
        for (name, rows) in [("model.embed_tokens.weight", 4), ("model.layers.0.self_attn.q_proj.weight", 256)] {
            let loaded = checkpoint.load(name, &[rows, 256], DType::F32, &Device::Cpu).unwrap();
            for got in loaded.to_vec2::<f32>().unwrap() {
                for (i, (got, want)) in got.iter().zip(&row.values).enumerate() {
                    let close = (got - want).abs() <= 1e-6 * want.abs();
                    assert!(close, "{} value {i}: {got}, expected {want}", row.r#type);
                }
            }
        }
    }
}

/// Protects the real thing: SmolLM2's configuration, and its tensors against the `gguf` package.
#[test]
fn smollm2_matches_the_reference() {
    let Some(path) = common::smollm2() else { return };
    let checkpoint = open(&path);
    assert_eq!(checkpoint.config, LlamaConfig::preset("smollm2-135m").unwrap());
    assert_eq!(checkpoint.stored_dtype(), "q4_1");
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
        shape: Vec<usize>,
        sum: f64,
        head: Vec<f32>,
        tail: Vec<f32>,
    }
    let rows: Vec<Row> = serde_json::from_str(include_str!("../golden/gguf/smollm2.json")).unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let loaded = checkpoint.load(&row.name, &row.shape, DType::F32, &Device::Cpu).unwrap();
        let values = loaded.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
        let size: f64 = values.iter().map(|x| f64::from(x.abs())).sum();
        assert!((sum - row.sum).abs() <= 1e-7 * size, "{}: sum {sum}, expected {}", row.name, row.sum);
        let near = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-6 * w.abs());
        assert!(near(&values[..8], &row.head), "{}: {:?}, expected {:?}", row.name, &values[..8], row.head);
        assert!(near(&values[values.len() - 8..], &row.tail), "{}", row.name);
    }
}

/// Protects against what cannot be run: each refusal names the reason.
#[test]
fn unsupported_files_are_refused() {
    let file = File::new();
    let changed = |change: &dyn Fn(&mut Writer)| {
        let mut w = tiny();
        change(&mut w);
        w
    };
    file.refused(
        &changed(&|w| {
            w.str("general.architecture", "qwen2");
        }),
        &["`qwen2`"],
    );
    file.refused(
        &changed(&|w| {
            w.u32("split.count", 3);
        }),
        &["3 parts"],
    );
    file.refused(
        &changed(&|w| {
            w.u32("llama.expert_count", 8);
        }),
        &["8 experts"],
    );
    file.refused(&changed(&|w| w.tensors[1].2 = 23), &["`blk.0.attn_q.weight`", "IQ4_XS"]);
    file.refused(
        &changed(&|w| {
            w.str("llama.block_count", "two");
        }),
        &["`llama.block_count`", "integer", "text"],
    );
    file.refused(
        &changed(&|w| w.metadata.retain(|m| m.0 != "llama.context_length")),
        &["`llama.context_length` is missing"],
    );
    file.refused(
        &changed(&|w| {
            w.u32("llama.rope.dimension_count", 4);
        }),
        &["dimension_count", "4"],
    );
    file.refused(
        &changed(&|w| {
            w.str("llama.rope.scaling.type", "yarn");
        }),
        &["`yarn`"],
    );
    file.refused(&changed(&|w| w.tensors[1].1 = vec![8, 32]), &["q_proj", "[8, 32]", "[16, 16]"]);
    file.refused(
        &changed(&|w| {
            w.tensors.remove(2);
        }),
        &["`model.layers.0.self_attn.k_proj.weight` is missing"],
    );
    file.refused(&changed(&|w| w.tensors[3].0 = "blk.0.ssm_a".into()), &["`blk.0.ssm_a`"]);
    file.refused(&changed(&|w| w.tensors[0].1 = vec![1 << 40, 1 << 40]), &["vocab_size"]);
    let tokens = |n: usize| (0..n).map(|i| text(&format!("t{i}"))).collect::<Vec<_>>();
    file.refused(
        &changed(&|w| {
            w.str("tokenizer.ggml.model", "gpt2").str("tokenizer.ggml.pre", "gpt-2");
            w.array("tokenizer.ggml.tokens", 8, tokens(33)).array("tokenizer.ggml.merges", 8, vec![]);
        }),
        &["33 tokens", "32 rows"],
    );
    file.refused(
        &changed(&|w| {
            w.str("tokenizer.ggml.model", "gpt2").str("tokenizer.ggml.pre", "klingon");
            w.array("tokenizer.ggml.tokens", 8, tokens(5));
        }),
        &["`klingon`"],
    );
}

/// Protects against truncated downloads: refused at every length, with the number of missing bytes.
#[test]
fn truncated_files_are_refused() {
    let (file, whole) = (File::new(), tiny().bytes());
    assert_refused(&file.write(&whole[..whole.len() - 1000]), &["1000 bytes are missing"]);
    for end in (4..whole.len()).step_by(61) {
        assert_refused(&file.write(&whole[..end]), &["missing"]);
    }
}

/// Protects against damaged headers: whatever byte is changed, opening and loading end in a result, never in a panic.
#[test]
fn changed_bytes_never_panic() {
    let mut w = tiny();
    w.str("tokenizer.ggml.model", "llama");
    let tokens: Vec<_> = (0..32).map(|i| text(&format!("t{i}"))).collect();
    w.array("tokenizer.ggml.tokens", 8, tokens);
    w.array("tokenizer.ggml.scores", 6, (0..32).map(|i| (-(i as f32)).to_le_bytes().to_vec()).collect());
    let whole = w.bytes();
    let header = whole.len() - w.tensors.iter().map(|t| t.3.len().next_multiple_of(32)).sum::<usize>();
    let (file, mut seed) = (File::new(), 7u32);
    let mut opened = 0;
    for _ in 0..600 {
        let mut bytes = whole.clone();
        for _ in 0..2 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (seed >> 4) as usize % header;
            bytes[at] = (seed >> 24) as u8;
        }
        let path = file.write(&bytes);
        if let Ok(checkpoint) = Checkpoint::open(path.to_str().unwrap()) {
            opened += 1;
            for (name, shape) in checkpoint.config.parameter_shapes() {
                let _ = checkpoint.load(&name, &shape, DType::F32, &Device::Cpu);
            }
        }
    }
    assert!(opened > 0, "every change was refused: the file under test is not the good one");
}
