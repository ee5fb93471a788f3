//! Meta's own releases: `params.json`, `consolidated.00.pth` and `tokenizer.model` in one directory.
//!
//! A `.pth` file is an uncompressed zip: `data.pkl` describes the state dict, `data/N` holds each storage's bytes.
//! Source: torch's `serialization.py`; names from facebookresearch/llama, `model.py`.

use super::rope_layout::RowOrder;
use super::stored::{Encoding, Stored};
use super::{Checkpoint, Format, Tensors, file_name};
use crate::engine::files::bytes::Bytes;
use crate::engine::files::pickle::{Object, Pickle, Ref};
use crate::engine::llama::config::LlamaConfig;
use crate::engine::tokenizer::{SpecialIds, Tokenizer};
use crate::engine::{Error, Result};
use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

const PARAMS: &str = "params.json";
const WEIGHTS: &str = "consolidated.00.pth";

/// Whether `dir` holds a Meta release, by its files.
pub(super) fn is(dir: &Path) -> bool {
    dir.join(PARAMS).is_file()
}

/// Opens a Meta directory.
pub(super) fn open(dir: &Path) -> Result<Checkpoint> {
    let weights = dir.join(WEIGHTS);
    if dir.join("consolidated.01.pth").is_file() {
        return Err(Error::format(
            dir,
            "the model is split over several consolidated.NN.pth files, which is not supported; convert it to Hugging \
             Face's layout first",
        ));
    }
    if !weights.is_file() {
        return Err(Error::format(dir, format!("no weights: looked for `{WEIGHTS}` beside `{PARAMS}`")));
    }
    let bytes = Bytes::map(&weights)?;
    let raw = read(&bytes).map_err(|e| Error::format(&weights, e))?;
    let Some(embedding) = raw.iter().find(|(name, _)| name == "tok_embeddings.weight") else {
        return Err(Error::format(&weights, "tensor `tok_embeddings.weight` is missing"));
    };
    let rows = embedding.1.shape().first().copied().unwrap_or(0);
    let params = dir.join(PARAMS);
    let text = std::fs::read_to_string(&params).map_err(Error::io(&params))?;
    let mut config = LlamaConfig::from_meta_params(&text, rows).map_err(|e| Error::format(&params, e))?;
    let mut tensors = Tensors::new();
    for (name, stored) in raw {
        if name == "rope.freqs" {
            continue;
        }
        let hf = hf_name(&name)
            .ok_or_else(|| Error::format(&weights, format!("tensor `{name}` is not part of a LLaMA model")))?;
        let order = match hf.contains(".q_proj.") || hf.contains(".k_proj.") {
            true => RowOrder::Interleaved { head_dim: config.head_dim },
            false => RowOrder::Same,
        };
        tensors.insert(hf, stored.with_order(order));
    }
    config.tie_word_embeddings = !tensors.contains_key("lm_head.weight");
    let tokenizer = Tokenizer::from_dir(dir, &SpecialIds::default())?;
    Checkpoint::assemble(dir, file_name(dir), Format::Meta, config, tokenizer, tensors)
}

/// The Hugging Face name of a tensor of Meta's.
fn hf_name(name: &str) -> Option<String> {
    match name {
        "tok_embeddings.weight" => return Some("model.embed_tokens.weight".into()),
        "norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let part = match part {
        "attention.wq.weight" => "self_attn.q_proj",
        "attention.wk.weight" => "self_attn.k_proj",
        "attention.wv.weight" => "self_attn.v_proj",
        "attention.wo.weight" => "self_attn.o_proj",
        "feed_forward.w1.weight" => "mlp.gate_proj",
        "feed_forward.w2.weight" => "mlp.down_proj",
        "feed_forward.w3.weight" => "mlp.up_proj",
        "attention_norm.weight" => "input_layernorm",
        "ffn_norm.weight" => "post_attention_layernorm",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.weight"))
}

type Parse<T> = std::result::Result<T, String>;

/// The named tensors of a `.pth` file.
fn read(bytes: &Bytes) -> Parse<Vec<(String, Stored)>> {
    let mut zip = match zip::ZipArchive::new(Cursor::new(&bytes[..])) {
        Ok(zip) => zip,
        Err(e) => return Err(cut_short(bytes).unwrap_or_else(|| format!("not a file of torch.save's: {e}"))),
    };
    let mut entries = HashMap::new();
    for i in 0..zip.len() {
        let file = zip.by_index_raw(i).map_err(|e| format!("damaged zip: {e}"))?;
        if file.compression() != zip::CompressionMethod::Stored {
            return Err("its parts are compressed, which torch.save never does".into());
        }
        let start = file.data_start().ok_or("damaged zip: an entry lies nowhere")?;
        let name = file.name().map_err(|e| format!("damaged zip: {e}"))?.into_owned();
        // Names begin with the archive's own: `consolidated/data/0`.
        let name = name.split_once('/').map_or(name.clone(), |(_, rest)| rest.to_string());
        entries.insert(name, (start, file.size()));
    }
    let (start, len) = *entries.get("data.pkl").ok_or("not a file of torch.save's: it holds no data.pkl")?;
    let pickled = usize::try_from(start).ok().and_then(|start| bytes.get(start..)).unwrap_or(&[]);
    let pickled = usize::try_from(len).ok().and_then(|len| pickled.get(..len)).ok_or("data.pkl is cut short")?;
    let pickle = Pickle::parse(pickled)?;
    let mut out = vec![];
    for (key, value) in state_dict(&pickle)? {
        let (Some(name), Some(tensor)) = (pickle.str(*key), Description::read(&pickle, *value)) else { continue };
        let stored = tensor.locate(bytes, &entries).map_err(|e| format!("tensor `{name}`: {e}"))?;
        out.push((name.to_string(), stored));
    }
    Ok(out)
}

/// The entries of the state dict: the pickled object itself, or what it keeps under a usual name.
fn state_dict<'p>(pickle: &'p Pickle) -> Parse<&'p [(Ref, Ref)]> {
    let entries = pickle.dict(pickle.root()).ok_or("the file holds no state dict")?;
    let nested = entries.iter().find(|(k, _)| matches!(pickle.str(*k), Some("model" | "state_dict")));
    Ok(nested.and_then(|(_, v)| pickle.dict(*v)).unwrap_or(entries))
}

/// A tensor as its pickle describes it. Offsets and strides count elements.
struct Description<'a> {
    storage: &'a str,
    storage_type: &'a str,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    storage_len: usize,
}

impl<'a> Description<'a> {
    /// `_rebuild_tensor_v2(storage, offset, size, stride, ..)`, perhaps wrapped in `_rebuild_parameter(tensor, ..)`.
    fn read(pickle: &Pickle<'a>, at: Ref) -> Option<Self> {
        let (mut name, mut args) = pickle.call(at)?;
        if name == "_rebuild_parameter" {
            (name, args) = pickle.call(*args.first()?)?;
        }
        let ("_rebuild_tensor_v2", [storage, offset, size, stride, ..]) = (name, args) else { return None };
        let Object::Persistent(id) = pickle.get(*storage) else { return None };
        // ("storage", type, key, location, number of elements)
        let [_, kind, key, _, len] = pickle.seq(*id)? else { return None };
        let Object::Global(_, storage_type) = pickle.get(*kind) else { return None };
        Some(Description {
            storage: pickle.str(*key)?,
            storage_type,
            offset: pickle.size(*offset)?,
            shape: pickle.sizes(*size)?,
            strides: pickle.sizes(*stride)?,
            storage_len: pickle.size(*len)?,
        })
    }

    fn encoding(&self) -> Parse<(Encoding, u64)> {
        match self.storage_type {
            "FloatStorage" => Ok((Encoding::F32, 4)),
            "HalfStorage" => Ok((Encoding::F16, 2)),
            "BFloat16Storage" => Ok((Encoding::BF16, 2)),
            "DoubleStorage" => Ok((Encoding::F64, 8)),
            other => Err(format!("stored as {other}; supported are Float, Half, BFloat16 and Double")),
        }
    }

    fn locate(&self, bytes: &Bytes, entries: &HashMap<String, (u64, u64)>) -> Parse<Stored> {
        let (encoding, width) = self.encoding()?;
        let mut dense = 1usize;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *size != 1 && *stride != dense {
                return Err("its values are not in row-major order; save a contiguous copy".into());
            }
            dense = dense.checked_mul(*size).ok_or("its shape is impossibly large")?;
        }
        let (start, len) = *entries
            .get(&format!("data/{}", self.storage))
            .ok_or_else(|| format!("its storage `data/{}` is not in the file", self.storage))?;
        let first = (self.offset as u64).checked_mul(width).ok_or("its offset is impossibly large")?;
        let end = (dense as u64).checked_mul(width).and_then(|n| n.checked_add(first));
        if end.is_none_or(|end| end > len) {
            return Err(format!("it needs more than the {len} bytes of its storage"));
        }
        Stored::new(bytes, start + first, encoding, self.shape.clone())
    }
}

/// How much a `.pth` file lacks whose end, and with it the zip's directory, is gone.
fn cut_short(bytes: &[u8]) -> Option<String> {
    let fallback = "the file is cut short: the zip directory at its end is missing".to_string();
    let header = bytes.strip_prefix(b"PK\x03\x04")?;
    // torch writes data.pkl first; its local header ends with the name and an extra field.
    let field = |at: usize| Some(u16::from_le_bytes([*header.get(at)?, *header.get(at + 1)?]) as usize);
    let needed = || {
        let pickle = Pickle::parse(header.get(26 + field(22)? + field(24)?..)?).ok()?;
        let mut storages = HashMap::new();
        for (_, value) in state_dict(&pickle).ok()? {
            let tensor = Description::read(&pickle, *value)?;
            storages.insert(tensor.storage, (tensor.storage_len as u64).checked_mul(tensor.encoding().ok()?.1)?);
        }
        storages.values().try_fold(0u64, |sum, n| sum.checked_add(*n))
    };
    match needed().and_then(|n| n.checked_sub(bytes.len() as u64)).filter(|n| *n > 0) {
        Some(missing) => Some(format!("the file is cut short: at least {missing} bytes are missing")),
        None => Some(fallback),
    }
}
