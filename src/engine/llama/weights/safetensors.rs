//! Hugging Face directories: `config.json` with `model.safetensors`, or with shards and `model.safetensors.index.json`.
//!
//! Source: <https://huggingface.co/docs/safetensors/index#format>.

use super::stored::{Encoding, Stored};
use super::{Checkpoint, Format, Tensors, file_name};
use crate::engine::files::bytes::{Bytes, Reader};
use crate::engine::llama::config::LlamaConfig;
use crate::engine::tokenizer::{SpecialIds, Tokenizer};
use crate::engine::{Error, Result};
use safetensors::tensor::{Dtype, Metadata};
use std::collections::BTreeMap;
use std::path::Path;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The safetensors crate's own bound on a header.
const MAX_HEADER: u64 = 100_000_000;

/// Whether `dir` holds a Hugging Face model, by its files.
pub(super) fn is(dir: &Path) -> bool {
    dir.join("config.json").is_file()
}

/// Opens a Hugging Face directory.
pub(super) fn open(dir: &Path) -> Result<Checkpoint> {
    let config = LlamaConfig::from_hf_file(&dir.join("config.json"))?;
    let mut tensors = Tensors::new();
    for file in weight_files(dir)? {
        read(&dir.join(file), &mut tensors)?;
    }
    let ids = SpecialIds { bos: config.bos_token_id, eos: config.eos_token_ids.clone(), pad: config.pad_token_id };
    let tokenizer = Tokenizer::from_dir(dir, &ids)?;
    Checkpoint::assemble(dir, file_name(dir), Format::HuggingFace, config, tokenizer, tensors)
}

/// The files that hold the weights, relative to `dir`; every one exists.
fn weight_files(dir: &Path) -> Result<Vec<String>> {
    if dir.join(SINGLE).is_file() {
        return Ok(vec![SINGLE.into()]);
    }
    let index = dir.join(INDEX);
    if !index.is_file() {
        let found = std::fs::read_dir(dir).map_err(Error::io(dir))?.flatten().map(|e| e.file_name());
        let pickled = found.filter_map(|n| n.into_string().ok()).find(|n| n.starts_with("pytorch_model"));
        let hint = match pickled {
            Some(name) => format!("; it has `{name}`, which must be converted to safetensors first"),
            None => String::new(),
        };
        return Err(Error::format(dir, format!("no weights: looked for `{SINGLE}` and `{INDEX}`{hint}")));
    }
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(&index).map_err(Error::io(&index))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| Error::format(&index, format!("not an index: {e}")))?;
    let mut files: Vec<String> = parsed.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    for file in &files {
        if Path::new(file).components().count() != 1 || !dir.join(file).is_file() {
            return Err(Error::format(&index, format!("names the shard `{file}`, which is not in this directory")));
        }
    }
    Ok(files)
}

/// Adds the tensors of one file.
fn read(path: &Path, tensors: &mut Tensors) -> Result<()> {
    let bytes = Bytes::map(path)?;
    let mut reader = Reader::new(path, &bytes);
    let header_len = reader.u64("the header's length")?;
    if header_len > MAX_HEADER {
        return Err(Error::format(path, format!("not a safetensors file: its header would take {header_len} bytes")));
    }
    let header = reader.take(header_len as usize, "the header")?;
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|e| Error::format(path, format!("damaged safetensors header: {e}")))?;
    let data = reader.position();
    let missing = metadata.data_len().saturating_sub(reader.remaining());
    if missing > 0 {
        return Err(Error::format(path, format!("the file is cut short: {missing} bytes are missing")));
    }
    for (name, info) in metadata.tensors() {
        let name = match name.as_str() {
            // Old LLaMA conversions saved RoPE's frequencies; they follow from the configuration.
            n if n.ends_with("rotary_emb.inv_freq") => continue,
            n if n.starts_with("model.") || n.starts_with("lm_head.") => name,
            // A bare `LlamaModel` has no prefix.
            _ => format!("model.{name}"),
        };
        let encoding = match info.dtype {
            Dtype::F64 => Encoding::F64,
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::BF16,
            other => {
                let message = format!("tensor `{name}` is stored as {other:?}; supported are F64, F32, F16 and BF16");
                return Err(Error::format(path, message));
            }
        };
        let start = (data + info.data_offsets.0) as u64;
        let stored = Stored::new(&bytes, start, encoding, info.shape.clone())
            .map_err(|e| Error::format(path, format!("tensor `{name}`: {e}")))?;
        if tensors.insert(name.clone(), stored).is_some() {
            return Err(Error::format(path, format!("tensor `{name}` is in two of the model's files")));
        }
    }
    Ok(())
}
