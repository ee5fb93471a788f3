//! Models in GGUF files of the `llama` architecture, as llama.cpp writes them.
//!
//! Source of names and keys: llama.cpp, `gguf-py/gguf/constants.py`.

use super::rope_layout::RowOrder;
use super::stored::{Encoding, Stored};
use super::{Checkpoint, Format, Tensors, file_stem};
use crate::engine::files::gguf::{Gguf, TensorInfo};
use crate::engine::llama::config::{LlamaConfig, RopeScaling};
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Error, Result};
use std::path::Path;

/// Opens a GGUF file.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let gguf = Gguf::open(path)?;
    match gguf.str("general.architecture")? {
        Some("llama") => {}
        Some(other) => {
            return Err(Error::format(
                path,
                format!("the model's architecture is `{other}`; only `llama` is supported in GGUF files"),
            ));
        }
        None => return Err(Error::format(path, "metadata `general.architecture` is missing")),
    }
    if let Some(count) = gguf.size("split.count")?.filter(|n| *n > 1) {
        return Err(Error::format(
            path,
            format!("one of {count} parts of a split model; join them first with `llama-gguf-split --merge`"),
        ));
    }
    check_length(&gguf)?;
    let config = config(&gguf)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let mut tensors = Tensors::new();
    for info in &gguf.tensors {
        if info.name == ROPE_FREQS {
            continue;
        }
        let stored = stored(&gguf, info)?;
        let name = hf_name(&info.name)
            .ok_or_else(|| Error::format(path, format!("tensor `{}` is not part of a llama model", info.name)))?;
        let order = match name.contains(".q_proj.") || name.contains(".k_proj.") {
            true => RowOrder::Interleaved { head_dim: config.head_dim },
            false => RowOrder::Same,
        };
        if tensors.insert(name, stored.with_order(order)).is_some() {
            return Err(Error::format(path, format!("tensor `{}` is there twice", info.name)));
        }
    }
    Checkpoint::assemble(path, file_stem(path), Format::Gguf, config, tokenizer, tensors)
}

const ROPE_FREQS: &str = "rope_freqs.weight";

/// One error for the whole file, before any for a single tensor.
fn check_length(gguf: &Gguf) -> Result<()> {
    for info in &gguf.tensors {
        encoding(gguf, info)?;
    }
    let missing = gguf.tensors.iter().filter_map(|info| {
        // An error in one tensor's description shows later, with its name.
        let (elements, encoding) =
            (info.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?, encoding(gguf, info).ok()?);
        let end = info.start.checked_add(encoding.bytes_for(elements)?)?;
        end.checked_sub(gguf.bytes.len() as u64)
    });
    match missing.max() {
        Some(n) if n > 0 => Err(Error::format(
            &gguf.path,
            format!("the file is cut short: {n} bytes are missing of {}", gguf.bytes.len() as u64 + n),
        )),
        _ => Ok(()),
    }
}

fn encoding(gguf: &Gguf, info: &TensorInfo) -> Result<Encoding> {
    Encoding::from_ggml(info.ggml_type)
        .map_err(|kind| Error::format(&gguf.path, format!("tensor `{}` has the unsupported type {kind}", info.name)))
}

fn stored(gguf: &Gguf, info: &TensorInfo) -> Result<Stored> {
    Stored::new(&gguf.bytes, info.start, encoding(gguf, info)?, info.shape.clone())
        .map_err(|e| Error::format(&gguf.path, format!("tensor `{}`: {e}", info.name)))
}

/// The Hugging Face name of a tensor, if it belongs to a llama model.
fn hf_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let mut parts = name.strip_prefix("blk.")?.split('.');
    let (layer, part, kind) = (parts.next()?.parse::<usize>().ok()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !["weight", "bias"].contains(&kind) {
        return None;
    }
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// The configuration that the metadata and the tensors' presence describe.
fn config(gguf: &Gguf) -> Result<LlamaConfig> {
    let fail = |message: String| Error::format(&gguf.path, message);
    let need = |key: &str| gguf.size(key)?.ok_or_else(|| fail(format!("metadata `{key}` is missing")));
    let has = |name: &str| gguf.tensors.iter().any(|t| t.name == name);
    if let Some(experts) = gguf.size("llama.expert_count")?.filter(|n| *n > 0) {
        return Err(fail(format!("a mixture of {experts} experts; only dense models are supported")));
    }
    let embedding = gguf.tensors.iter().find(|t| t.name == "token_embd.weight");
    let vocab_size = match embedding.map(|t| t.shape.as_slice()) {
        Some([rows, _]) => *rows,
        Some(shape) => {
            return Err(fail(format!("tensor `token_embd.weight` has the shape {shape:?}, expected two dimensions")));
        }
        None => return Err(fail("tensor `token_embd.weight` is missing".into())),
    };
    let hidden_size = need("llama.embedding_length")?;
    let heads = same_in_every_layer(gguf, "llama.attention.head_count")?
        .ok_or_else(|| fail("metadata `llama.attention.head_count` is missing".into()))?;
    let head_dim = match gguf.size("llama.attention.key_length")? {
        Some(given) => given,
        None if heads == 0 || !hidden_size.is_multiple_of(heads) => {
            return Err(fail(format!(
                "`llama.embedding_length` ({hidden_size}) is not a multiple of the {heads} heads"
            )));
        }
        None => hidden_size / heads,
    };
    for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
        if let Some(n) = gguf.size(key)?.filter(|n| *n != head_dim) {
            return Err(fail(format!("`{key}` is {n} for heads of width {head_dim}; only whole heads are supported")));
        }
    }
    let rope_theta = gguf.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let config = LlamaConfig {
        vocab_size,
        hidden_size,
        intermediate_size: same_in_every_layer(gguf, "llama.feed_forward_length")?
            .ok_or_else(|| fail("metadata `llama.feed_forward_length` is missing".into()))?,
        num_hidden_layers: need("llama.block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: same_in_every_layer(gguf, "llama.attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        max_position_embeddings: need("llama.context_length")?,
        rms_norm_eps: gguf
            .float("llama.attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| fail("metadata `llama.attention.layer_norm_rms_epsilon` is missing".into()))?,
        rope_theta,
        rope_scaling: rope_scaling(gguf, rope_theta, head_dim)?,
        tie_word_embeddings: !has("output.weight"),
        qkv_bias: has("blk.0.attn_q.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        bos_token_id: gguf.id("tokenizer.ggml.bos_token_id")?,
        eos_token_ids: gguf.id("tokenizer.ggml.eos_token_id")?.into_iter().collect(),
        pad_token_id: gguf.id("tokenizer.ggml.padding_token_id")?,
    };
    config.check().map_err(fail)?;
    Ok(config)
}

/// A count that newer files may give per layer.
fn same_in_every_layer(gguf: &Gguf, key: &str) -> Result<Option<usize>> {
    let Some(crate::engine::files::gguf::Value::Ints(all)) = gguf.get(key) else { return gguf.size(key) };
    match all.as_slice() {
        [first, rest @ ..] if rest.iter().all(|n| n == first) && *first >= 0 => Ok(usize::try_from(*first).ok()),
        _ => Err(Error::format(&gguf.path, format!("`{key}` differs between layers, which is not supported"))),
    }
}

fn rope_scaling(gguf: &Gguf, theta: f64, head_dim: usize) -> Result<Option<RopeScaling>> {
    if let Some(info) = gguf.tensors.iter().find(|t| t.name == ROPE_FREQS) {
        let factors: Vec<f64> = stored(gguf, info)?.values()?;
        return Ok(Some(RopeScaling::recognise(factors, theta, head_dim)));
    }
    // Files from before `rope.scaling.type` had only the factor.
    let old = gguf.float("llama.rope.scale_linear")?;
    match gguf.str("llama.rope.scaling.type")?.or(old.map(|_| "linear")) {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let factor = gguf.float("llama.rope.scaling.factor")?.or(old).unwrap_or(1.0);
            Ok((factor != 1.0).then_some(RopeScaling::Linear { factor }))
        }
        Some(other) => Err(Error::format(&gguf.path, format!("RoPE scaling `{other}` is not supported"))),
    }
}
