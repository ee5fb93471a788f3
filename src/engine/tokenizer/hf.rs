//! Hugging Face's `tokenizer.json` and the files beside it that say what its tokens are for.
//!
//! `tokenizer_config.json` and `special_tokens_map.json` name tokens, `generation_config.json` lists the ids that end a
//! generation, `chat_template.jinja` holds the template where `tokenizer_config.json` does not.

use super::{Parts, SpecialIds, Tokenizer, guarded};
use crate::engine::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Reads `tokenizer.json`, whose bytes are given, and its companions.
pub(super) fn from_files(path: &Path, bytes: &[u8], ids: &SpecialIds) -> Result<Tokenizer> {
    let json: Value = serde_json::from_slice(bytes).map_err(|e| Error::format(path, format!("not JSON: {e}")))?;
    check_merges(&json).map_err(|e| Error::format(path, e))?;
    let pipeline = guarded("reading the tokenizer", || {
        let mut pipeline: tokenizers::Tokenizer = serde_json::from_value(json)?;
        // What a file asks for here is meant for batches; a caller of `encode` wants all of the text and no more.
        pipeline.with_truncation(None)?;
        pipeline.with_padding(None);
        Ok(pipeline)
    })
    .map_err(|e| Error::format(path, e.to_string()))?;
    let begins_with = guarded("encoding", || pipeline.encode_fast("", true))
        .ok()
        .and_then(|encoding| encoding.get_ids().first().copied());
    let bare = Tokenizer::new(Parts { pipeline, ids: SpecialIds::default(), add_bos: false, chat_template: None });
    let dir = path.parent().unwrap_or(Path::new(""));
    companions(dir, bare, ids, |bos| bos.is_some() && bos == begins_with)
}

/// `tokenizer`, read from another format, with what the files beside it add.
pub(super) fn with_companions(dir: &Path, tokenizer: Tokenizer, ids: &SpecialIds) -> Result<Tokenizer> {
    let add_bos = tokenizer.add_bos();
    companions(dir, tokenizer, ids, |_| add_bos)
}

fn companions(
    dir: &Path,
    tokenizer: Tokenizer,
    model: &SpecialIds,
    add_bos_default: impl Fn(Option<u32>) -> bool,
) -> Result<Tokenizer> {
    let config = optional_json(&dir.join("tokenizer_config.json"))?;
    let map = optional_json(&dir.join("special_tokens_map.json"))?;
    let generation = optional_json(&dir.join("generation_config.json"))?;
    let token = |name: &str| {
        let spelled = [&config, &map].into_iter().find_map(|file| token_text(file.get(name)?));
        spelled.and_then(|text| tokenizer.id(text))
    };
    let own = &tokenizer.0.ids;
    let bos = token("bos_token").or(own.bos).or(model.bos);
    let mut eos: Vec<u32> = token("eos_token").into_iter().collect();
    eos.extend(&own.eos);
    eos.extend(ids(generation.get("eos_token_id")));
    eos.extend(&model.eos);
    let pad = token("pad_token").or(own.pad).or(model.pad);
    let add_bos = config.get("add_bos_token").and_then(Value::as_bool).unwrap_or_else(|| add_bos_default(bos));
    // A vocabulary is too large to copy for nothing, and nobody else holds this one yet.
    let pipeline = match Arc::try_unwrap(tokenizer.0) {
        Ok(inner) => inner.pipeline,
        Err(shared) => shared.pipeline.clone(),
    };
    Ok(Tokenizer::new(Parts {
        pipeline,
        ids: SpecialIds { bos, eos, pad },
        add_bos: add_bos && bos.is_some(),
        chat_template: chat_template(dir, &config)?,
    }))
}

/// The file's object; an empty one where there is no file.
fn optional_json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|e| Error::format(path, format!("not JSON: {e}")))
}

/// A token is given as text or as `{"content": text, ..}`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(one).collect(),
        Some(single) => one(single).into_iter().collect(),
        None => vec![],
    }
}

/// The template: a file of its own, a text, or one of several named ones.
fn chat_template(dir: &Path, config: &Value) -> Result<Option<String>> {
    let file = dir.join("chat_template.jinja");
    if file.is_file() {
        return std::fs::read_to_string(&file).map(Some).map_err(Error::io(&file));
    }
    let template = match config.get("chat_template") {
        Some(Value::Array(named)) => {
            let default = named.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
            default.or(named.first()).and_then(|t| t.get("template")).and_then(Value::as_str)
        }
        Some(other) => other.as_str(),
        None => None,
    };
    Ok(template.map(str::to_string))
}

/// Every merge's result must be a token: the tokenizers crate takes it for granted.
fn check_merges(json: &Value) -> std::result::Result<(), String> {
    let model = json.get("model").unwrap_or(&Value::Null);
    let (Some(vocab), Some(merges)) =
        (model.get("vocab").and_then(Value::as_object), model.get("merges").and_then(Value::as_array))
    else {
        return Ok(());
    };
    // A merge's second half may begin with a prefix that the result leaves out.
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("");
    for merge in merges {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        let (left, right) = pair.ok_or_else(|| format!("{merge} is not a merge"))?;
        let whole = format!("{left}{}", right.strip_prefix(prefix).unwrap_or(right));
        if !vocab.contains_key(&whole) {
            return Err(format!("the merge `{left} {right}` makes `{whole}`, which is not in the vocabulary"));
        }
    }
    Ok(())
}
