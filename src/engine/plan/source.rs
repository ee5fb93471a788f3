//! The shape of a model that is somewhere: its configuration and tokenizer, without its weights.

use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::hub::{Hub, Reference};
use crate::engine::llama::LlamaConfig;
use crate::engine::llama::weights::Checkpoint;
use crate::engine::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// What can be known of a model without loading it.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// A short name.
    pub name: String,
    /// Shape and constants.
    pub config: LlamaConfig,
    /// Its tokenizer, where one comes with it.
    pub tokenizer: Option<Tokenizer>,
}

/// Where the files of `source` are: `None` for a preset or a built-in model. Nothing is downloaded.
///
/// # Errors
/// If it is a hub's name whose files are not in the cache, or nothing at all.
pub fn locate(source: &str) -> Result<Option<PathBuf>> {
    if source.starts_with("builtin:") || is_preset(source) {
        return Ok(None);
    }
    if Path::new(source).exists() {
        return Ok(Some(PathBuf::from(source)));
    }
    match Reference::parse(source) {
        Some(reference) => match Hub::from_env().cached(&reference) {
            Some(path) => Ok(Some(path)),
            None => Err(Error::config_help(
                format!("`{source}` is not in the cache, and planning downloads nothing"),
                "name a preset (e.g. llama-2-7b), or a config.json that you have downloaded",
            )),
        },
        // A name without a slash or a dot was meant as a preset.
        None if !source.contains(['/', '.']) => Err(unknown_name("model", source, LlamaConfig::preset_names())),
        None => Err(Error::config_help(
            format!("no model at `{source}`: there is no such file or directory"),
            format!(
                "a model's files, a config.json, or a preset: {}",
                LlamaConfig::preset_names().collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}

fn is_preset(source: &str) -> bool {
    LlamaConfig::preset_names().any(|name| name.eq_ignore_ascii_case(source))
}

impl ModelSource {
    /// Opens `source`: `builtin:NAME`, a preset such as `llama-2-7b`, a model's file or directory, or a `config.json` alone.
    ///
    /// # Errors
    /// As [`locate`], or what is wrong with the files.
    pub fn open(source: &str) -> Result<Self> {
        let path = match locate(source)? {
            None if is_preset(source) => {
                let config = LlamaConfig::preset(source)?;
                return Ok(ModelSource { name: source.to_ascii_lowercase(), config, tokenizer: None });
            }
            None => source.to_string(),
            Some(path) => path.to_string_lossy().into_owned(),
        };
        if let Some(config) = lone_config(Path::new(&path)) {
            let config = LlamaConfig::from_hf_file(&config)?;
            config.validate()?;
            return Ok(ModelSource { name: source.to_string(), config, tokenizer: None });
        }
        let checkpoint = Checkpoint::open(&path)?;
        Ok(ModelSource { name: checkpoint.name, config: checkpoint.config, tokenizer: checkpoint.tokenizer })
    }
}

/// The `config.json` at `path`, where there is nothing else of a model beside it.
fn lone_config(path: &Path) -> Option<PathBuf> {
    let config = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    let is_config = config.is_file() && config.extension().is_some_and(|e| e == "json");
    let weights = |dir: &Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().any(|f| {
            let name = f.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") || name.ends_with(".pth")
        })
    };
    (is_config
        && !config.parent().is_some_and(|dir| weights(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })))
    .then_some(config)
}
