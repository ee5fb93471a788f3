//! llama2.c's first format ("legacy", version 0): a header of seven integers, then every matrix as f32.
//!
//! Source: <https://github.com/karpathy/llama2.c>, `export.py` (`legacy_export`) and `run.c` (`memory_map_weights`).
//! The matrices of all layers lie together by kind; q and k are interleaved.

use super::rope_layout::RowOrder;
use super::stored::{Encoding, Stored};
use super::{Checkpoint, Format, Tensors};
use crate::engine::files::bytes::{Bytes, Reader};
use crate::engine::llama::config::LlamaConfig;
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Error, Result};
use std::path::{Path, PathBuf};

/// First four bytes of the later versions 1 and 2.
const LATER_MAGIC: &[u8] = &0x616b_3432u32.to_le_bytes();

/// Whether `bytes` begin with a header of the size that a model could have.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(LATER_MAGIC) || header(Path::new(""), bytes).is_ok()
}

/// Reads the header: seven counts, the vocabulary's negated if the output projection is stored separately.
fn header(path: &Path, bytes: &[u8]) -> Result<LlamaConfig> {
    let mut r = Reader::new(path, bytes);
    if bytes.starts_with(LATER_MAGIC) {
        return Err(r.error("version 1 or 2 of llama2.c's format; export the model with `--version 0`"));
    }
    let mut field = [0i32; 7];
    for value in &mut field {
        *value = r.i32("the header")?;
    }
    let [dim, hidden, layers, heads, kv_heads, vocab, context] = field;
    let tied = vocab > 0;
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    if heads <= 0 || dim % heads != 0 {
        return Err(r.error(format!("not a llama2.c file: its header would give {heads} heads for a width of {dim}")));
    }
    let config = LlamaConfig {
        vocab_size: vocab.unsigned_abs() as usize,
        hidden_size: count(dim),
        intermediate_size: count(hidden),
        num_hidden_layers: count(layers),
        num_attention_heads: count(heads),
        num_key_value_heads: count(kv_heads),
        head_dim: count(dim / heads),
        max_position_embeddings: count(context),
        // The format has no room for these; run.c has them as constants.
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        tie_word_embeddings: tied,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        pad_token_id: None,
    };
    config.check().map_err(|e| r.error(format!("not a llama2.c file: {e}")))?;
    Ok(config)
}

/// Opens a file; its tokenizer is looked for beside it.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let bytes = Bytes::map(path)?;
    let config = header(path, &bytes)?;
    let tensors = tensors(path, &bytes, &config)?;
    let tokenizer = tokenizer_beside(path, config.vocab_size)?;
    Checkpoint::assemble(path, super::file_stem(path), Format::Llama2c, config, tokenizer, tensors)
}

/// The configuration and tensors of a model that is in memory.
pub(super) fn parse(path: &Path, bytes: &Bytes) -> Result<(LlamaConfig, Tensors)> {
    let config = header(path, bytes)?;
    let tensors = tensors(path, bytes, &config)?;
    Ok((config, tensors))
}

fn tensors(path: &Path, bytes: &Bytes, c: &LlamaConfig) -> Result<Tensors> {
    let (dim, hidden, layers) = (c.hidden_size, c.intermediate_size, c.num_hidden_layers);
    let kv = c.num_key_value_heads * c.head_dim;
    let order = RowOrder::Interleaved { head_dim: c.head_dim };
    let same = RowOrder::Same;
    let layer = |part: &str, shape: &[usize], order| {
        (format!("model.layers.{{}}.{part}.weight"), layers, shape.to_vec(), order)
    };
    let once = |name: &str, shape: &[usize]| (name.to_string(), 1, shape.to_vec(), same);
    let mut parts = vec![
        once("model.embed_tokens.weight", &[c.vocab_size, dim]),
        layer("input_layernorm", &[dim], same),
        layer("self_attn.q_proj", &[dim, dim], order),
        layer("self_attn.k_proj", &[kv, dim], order),
        layer("self_attn.v_proj", &[kv, dim], same),
        layer("self_attn.o_proj", &[dim, dim], same),
        layer("post_attention_layernorm", &[dim], same),
        layer("mlp.gate_proj", &[hidden, dim], same),
        layer("mlp.down_proj", &[dim, hidden], same),
        layer("mlp.up_proj", &[hidden, dim], same),
        once("model.norm.weight", &[dim]),
        // cos and sin of RoPE's angles, which follow from the configuration.
        once("", &[2 * c.max_position_embeddings, c.head_dim / 2]),
    ];
    if !c.tie_word_embeddings {
        parts.push(once("lm_head.weight", &[c.vocab_size, dim]));
    }
    // The configuration's limits keep these products within 64 bits.
    let bytes_of = |shape: &[usize]| 4 * shape.iter().product::<usize>() as u64;
    let total = 28 + parts.iter().map(|(_, n, shape, _)| *n as u64 * bytes_of(shape)).sum::<u64>();
    let found = bytes.len() as u64;
    if found != total {
        let (what, by) = if found < total { ("missing", total - found) } else { ("too many", found - total) };
        return Err(Error::format(
            path,
            format!("{by} bytes are {what}: a llama2.c model with this header takes {total}, the file has {found}"),
        ));
    }
    let mut at = 28;
    let mut tensors = Tensors::new();
    for (name, count, shape, order) in parts {
        for layer in 0..count {
            let stored = Stored::new(bytes, at, Encoding::F32, shape.clone())
                .map_err(|e| Error::format(path, format!("{name}: {e}")))?;
            at += bytes_of(&shape);
            if !name.is_empty() {
                tensors.insert(name.replace("{}", &layer.to_string()), stored.with_order(order));
            }
        }
    }
    Ok(tensors)
}

/// The tokenizer file beside `model` whose vocabulary has `vocab` pieces, if there is any tokenizer file.
fn tokenizer_beside(model: &Path, vocab: usize) -> Result<Option<Tokenizer>> {
    let dir = match model.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut candidates: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(Error::io(dir))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or("");
            p != model && (name.starts_with("tok") && name.ends_with(".bin") || name.ends_with(".model"))
        })
        .collect();
    candidates.sort();
    let mut rejected = vec![];
    for path in candidates {
        let tokenizer = Tokenizer::from_file(&path)?;
        if tokenizer.vocab_size() == vocab {
            return Ok(Some(tokenizer));
        }
        rejected.push(format!("{} ({} pieces)", path.display(), tokenizer.vocab_size()));
    }
    match rejected.is_empty() {
        true => Ok(None),
        false => Err(Error::format(
            model,
            format!(
                "the model's vocabulary has {vocab} tokens, but no tokenizer beside it does: {}",
                rejected.join(", ")
            ),
        )),
    }
}
