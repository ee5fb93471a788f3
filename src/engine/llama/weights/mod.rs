//! Reading weights from every format LLaMA models are shipped in.
//!
//! Each reader turns its files into the same three things: a [`LlamaConfig`], a [`Tokenizer`], and a table from Hugging
//! Face's tensor names to places in mapped files. Values are read only by [`Checkpoint::load`], straight from the map.

mod builtin;
mod gguf;
mod llama2c;
mod meta;
pub mod rope_layout;
mod safetensors;
mod stored;

pub use builtin::NAMES as BUILTIN_NAMES;

use super::config::LlamaConfig;
use crate::engine::files::{bytes::Bytes, gguf::Gguf};
use crate::engine::ops::quant::Source;
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stored::Stored;

/// Tensors by Hugging Face name.
type Tensors = BTreeMap<String, Stored>;

/// Kind of files a model was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `config.json` and safetensors.
    HuggingFace,
    /// One GGUF file.
    Gguf,
    /// A llama2.c `.bin` file.
    Llama2c,
    /// `params.json` and `consolidated.00.pth`.
    Meta,
    /// Inside the program.
    Builtin,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::HuggingFace => "Hugging Face",
            Format::Gguf => "GGUF",
            Format::Llama2c => "llama2.c",
            Format::Meta => "Meta",
            Format::Builtin => "built in",
        })
    }
}

/// A model on disk: its configuration and tokenizer read, its weights mapped.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Shape and constants.
    pub config: LlamaConfig,
    /// The tokenizer, where one came with the model.
    pub tokenizer: Option<Tokenizer>,
    /// A short name: the file's or directory's.
    pub name: String,
    /// What it was read from.
    pub format: Format,
    path: PathBuf,
    tensors: Tensors,
}

impl Checkpoint {
    /// Opens `builtin:NAME`, a Hugging Face or Meta directory, a GGUF file, or a llama2.c file; which one it is shows in
    /// the contents. No weights are read yet.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown built-in name or a path that does not exist; [`Error::Format`] for files that
    /// are damaged, incomplete, unsupported, or disagree with each other.
    pub fn open(source: &str) -> Result<Self> {
        if let Some(name) = source.strip_prefix("builtin:") {
            return builtin::open(name);
        }
        let path = Path::new(source);
        if path.is_dir() {
            return open_dir(path);
        }
        if path.is_file() {
            return open_file(path);
        }
        Err(Error::config_help(
            format!("no model at `{source}`: there is no such file or directory"),
            format!(
                "a model is a directory with config.json and model.safetensors (Hugging Face), a directory with \
                 params.json and consolidated.00.pth (Meta), a .gguf file, a llama2.c .bin file, or `builtin:{}`",
                BUILTIN_NAMES.join("`, `builtin:")
            ),
        ))
    }

    /// The tensor called `name` in Hugging Face's naming and layout (q and k rows in halves, whatever the file has),
    /// converted to `dtype` on `device`.
    ///
    /// # Errors
    /// [`Error::Format`] if it is absent or its shape is not `shape`; [`Error::DType`] if `dtype` is no float.
    pub fn load(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let stored =
            self.tensors.get(name).ok_or_else(|| Error::format(&self.path, format!("tensor `{name}` is missing")))?;
        self.check_shape(name, stored, shape)?;
        stored.load(dtype, device)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensors whose blocks can be kept as they are, by Hugging Face name.
    pub fn quantized(&self) -> Vec<(&str, Source<'_>)> {
        self.tensors.iter().filter_map(|(name, stored)| Some((name.as_str(), stored.quantized()?))).collect()
    }

    /// The float dtype that most of the values are stored in; f32 where most are quantized.
    pub fn float_dtype(&self) -> DType {
        match self.stored_dtype().as_str() {
            "f64" => DType::F64,
            "bf16" => DType::BF16,
            "f16" => DType::F16,
            _ => DType::F32,
        }
    }

    /// All tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// How most of the values are stored, e.g. `bf16` or `q4_1`.
    pub fn stored_dtype(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for stored in self.tensors.values() {
            *counts.entry(stored.encoding().name()).or_default() += stored.elements();
        }
        counts.into_iter().max_by_key(|(_, n)| *n).map_or("none", |(name, _)| name).to_string()
    }

    /// The file or directory it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_shape(&self, name: &str, stored: &Stored, expected: &[usize]) -> Result<()> {
        if stored.shape() == expected {
            return Ok(());
        }
        Err(Error::format(
            &self.path,
            format!("tensor `{name}` has the shape {:?}, expected {expected:?}", stored.shape()),
        ))
    }

    /// Puts a checkpoint together if its parts agree: exactly the tensors that the configuration implies, in their
    /// shapes, and a tokenizer that knows no token the embedding lacks.
    fn assemble(
        path: &Path,
        name: String,
        format: Format,
        mut config: LlamaConfig,
        tokenizer: Option<Tokenizer>,
        mut tensors: Tensors,
    ) -> Result<Self> {
        if config.tie_word_embeddings {
            // Some files store the tied matrix twice.
            tensors.remove("lm_head.weight");
        }
        if let Some(tokenizer) = &tokenizer {
            let (known, rows) = (tokenizer.vocab_size(), config.vocab_size);
            if known > rows {
                let message =
                    format!("the tokenizer knows {known} tokens, but the model's embedding has only {rows} rows");
                return Err(Error::format(path, message));
            }
            config.bos_token_id = config.bos_token_id.or(tokenizer.bos_id());
            if config.eos_token_ids.is_empty() {
                config.eos_token_ids = tokenizer.stop_ids().to_vec();
            }
            config.pad_token_id = config.pad_token_id.or(tokenizer.pad_id());
        }
        let checkpoint = Checkpoint { config, tokenizer, name, format, path: path.to_path_buf(), tensors };
        let expected = checkpoint.config.parameter_shapes();
        for (name, shape) in &expected {
            match checkpoint.tensors.get(name) {
                Some(stored) => checkpoint.check_shape(name, stored, shape)?,
                None => return Err(Error::format(path, format!("tensor `{name}` is missing"))),
            }
        }
        if checkpoint.tensors.len() > expected.len() {
            let known: std::collections::HashSet<&str> = expected.iter().map(|(n, _)| n.as_str()).collect();
            let extra = checkpoint.tensors.keys().find(|n| !known.contains(n.as_str())).map_or("", String::as_str);
            let message = format!("tensor `{extra}` is not part of a LLaMA model with this configuration");
            return Err(Error::format(path, message));
        }
        Ok(checkpoint)
    }
}

fn open_dir(dir: &Path) -> Result<Checkpoint> {
    if safetensors::is(dir) {
        return safetensors::open(dir);
    }
    if meta::is(dir) {
        return meta::open(dir);
    }
    let files: Vec<PathBuf> = std::fs::read_dir(dir).map_err(Error::io(dir))?.flatten().map(|e| e.path()).collect();
    let mut models = files.iter().filter(|p| p.is_file() && Bytes::map(p).is_ok_and(|b| Gguf::is(&b)));
    match (models.next(), models.next()) {
        (Some(only), None) => gguf::open(only),
        (Some(_), Some(_)) => Err(Error::format(dir, "several GGUF files are in this directory; name one of them")),
        (None, _) => Err(Error::format(
            dir,
            "no model in this directory: looked for config.json (Hugging Face), params.json (Meta) and a GGUF file",
        )),
    }
}

fn open_file(path: &Path) -> Result<Checkpoint> {
    let bytes = Bytes::map(path)?;
    if Gguf::is(&bytes) {
        return gguf::open(path);
    }
    // A file of a directory that is a model means the directory.
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if matches!(extension, "safetensors" | "json" | "pth") {
        return match safetensors::is(dir) || meta::is(dir) {
            true => open_dir(dir),
            false => Err(Error::format(
                path,
                "a model needs its configuration too: looked for config.json and params.json beside this file",
            )),
        };
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let message = "a zip or PyTorch file; Meta's models open by their directory, others must be converted to \
                       safetensors first";
        return Err(Error::format(path, message));
    }
    if bytes.len() >= 28 && !llama2c::is(&bytes) {
        return Err(Error::format(
            path,
            "not a model: it begins neither as a GGUF file nor as a llama2.c file, and is no part of a model directory",
        ));
    }
    llama2c::open(path)
}

fn file_name(path: &Path) -> String {
    // A path such as `.` or `..` has no name until it is resolved.
    let resolved = path.canonicalize();
    let name = path.file_name().or(resolved.as_deref().ok().and_then(Path::file_name));
    name.map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn file_stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| file_name(path), |n| n.to_string_lossy().into_owned())
}
