//! Which files of a repository a model or an adapter needs, and whether a folder has them.

use super::Reference;
use super::client::{Listing, RemoteFile};
use crate::engine::error::{Error, Result, unknown_name};
use std::path::Path;

/// Read where they are there, beside the weights.
const BESIDE: [&str; 8] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The files of `listing` that `reference` asks for.
///
/// # Errors
/// If they are not there; the message says what the repository has instead.
pub(super) fn files(reference: &Reference, listing: &Listing) -> Result<Vec<RemoteFile>> {
    let names = || listing.files.iter().map(|f| f.name.as_str());
    let take = |wanted: &dyn Fn(&str) -> bool| -> Vec<RemoteFile> {
        listing.files.iter().filter(|f| wanted(&f.name)).cloned().collect()
    };
    let has = |name: &str| names().any(|n| n == name);
    if let Some(file) = &reference.file {
        if !has(file) {
            return Err(unknown_name(&format!("file of {}", reference.repo), file, names()));
        }
        return Ok(take(&|n| n == file));
    }
    if has("config.json") && (has(INDEX) || has("model.safetensors")) {
        let sharded = has(INDEX);
        let weights = |n: &str| match sharded {
            true => n == INDEX || (n.starts_with("model-") && n.ends_with(".safetensors")),
            false => n == "model.safetensors",
        };
        return Ok(take(&|n| n == "config.json" || BESIDE.contains(&n) || weights(n)));
    }
    if ADAPTER.iter().all(|n| has(n)) {
        return Ok(take(&|n| ADAPTER.contains(&n)));
    }
    let gguf: Vec<&str> = names().filter(|n| n.ends_with(".gguf")).collect();
    let help = match gguf.as_slice() {
        [] => format!("a model has config.json with model.safetensors, or .gguf files; there are: {}", short(names())),
        [first, ..] => format!(
            "it has GGUF files; name one, for example `{}/{first}`: {}",
            reference.repo,
            short(gguf.iter().copied())
        ),
    };
    Err(Error::network(format!("{reference} has no model in safetensors"), Some(help)))
}

fn short<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let more = if names.len() > 12 { ", .." } else { "" };
    format!("{}{more}", names[..names.len().min(12)].join(", "))
}

/// Whether `folder` holds everything that [`files`] would choose.
pub(super) fn is_whole(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    if ADAPTER.iter().all(|name| has(name)) {
        return true;
    }
    let shards = || -> Option<bool> {
        let index: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(INDEX)).ok()?).ok()?;
        Some(index.get("weight_map")?.as_object()?.values().all(|file| file.as_str().is_some_and(has)))
    };
    has("config.json") && (has("model.safetensors") || shards().unwrap_or(false))
}
