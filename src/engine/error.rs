//! The engine's one error type: what was wrong, with names, shapes and values, and what to do about it.

use std::path::{Path, PathBuf};

/// Result of every engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// A value that an error is about: for whoever handles it by program rather than by reading.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A count, an index, an id.
    Int(i64),
    /// Sizes of dimensions.
    Shape(Vec<usize>),
    /// A name, a dtype, a device.
    Text(String),
    /// Names to choose from.
    Texts(Vec<String>),
}

/// What an error is about, by name: `left`, `right`, `index`, `size`, `dim`, `known`.
pub type Facts = Vec<(&'static str, Fact)>;

impl From<i64> for Fact {
    fn from(n: i64) -> Self {
        Fact::Int(n)
    }
}

impl From<usize> for Fact {
    fn from(n: usize) -> Self {
        Fact::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<&[usize]> for Fact {
    fn from(dims: &[usize]) -> Self {
        Fact::Shape(dims.to_vec())
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Fact::Text(text.to_string())
    }
}

impl From<candle_core::DType> for Fact {
    fn from(dtype: candle_core::DType) -> Self {
        Fact::Text(dtype.as_str().to_string())
    }
}

/// What can go wrong in the engine. Each variant says what was wrong; [`Error::help`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shapes that do not fit an operation.
    #[error("{op}: {message}")]
    Shape {
        /// Operation as the script names it, e.g. `matmul`.
        op: &'static str,
        /// The shapes and the dimensions that disagree.
        message: String,
        /// A suggestion, where there is one.
        help: Option<String>,
        /// The shapes and sizes by name.
        facts: Facts,
    },
    /// A dtype that an operation does not take.
    #[error("{op}: {message}")]
    DType {
        /// Operation as the script names it.
        op: &'static str,
        /// The dtypes involved.
        message: String,
        /// A suggestion, where there is one.
        help: Option<String>,
        /// The dtypes by name.
        facts: Facts,
    },
    /// A device that is absent, or operands on different devices.
    #[error("{message}")]
    Device {
        /// What was asked of which device.
        message: String,
        /// A suggestion, where there is one.
        help: Option<String>,
    },
    /// An allocation that was refused.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// A file whose contents are not what its name or header promises.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected, and where (line, tensor name, byte offset).
        message: String,
    },
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// An option, a name or a value that makes no sense.
    #[error("{message}")]
    Config {
        /// What was given and what is accepted.
        message: String,
        /// A suggestion, e.g. the nearest known name.
        help: Option<String>,
        /// The name or value, and what there is instead.
        facts: Facts,
    },
    /// A model hub that does not have what was asked for, or cannot be reached.
    #[error("{message}")]
    Network {
        /// What was asked for and what came back.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// More of something than a script may have.
    #[error("{0}")]
    Limit(String),
    /// A path, or the network, that the script may not touch; names the flag that would allow it.
    #[error("{0}")]
    Denied(String),
    /// The time that `--timeout` allows is over.
    #[error("stopped after {0:?}, the time that --timeout allows")]
    Timeout(std::time::Duration),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// An error of the tensor library that has no better translation.
    #[error("{0}")]
    Backend(candle_core::Error),
}

impl Error {
    /// Short, stable name of the variant: what a script sees as `e.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Shape { .. } => "shape",
            Error::DType { .. } => "dtype",
            Error::Device { .. } => "device",
            Error::OutOfMemory(_) => "out_of_memory",
            Error::Format { .. } => "format",
            Error::Io { .. } => "io",
            Error::Config { .. } => "config",
            Error::Limit(_) => "limit",
            Error::Network { .. } => "network",
            Error::Denied(_) => "denied",
            Error::Timeout(_) => "timeout",
            Error::Interrupted => "interrupted",
            Error::Backend(_) => "backend",
        }
    }

    /// What the person at the keyboard can do, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Error::Shape { help, .. }
            | Error::DType { help, .. }
            | Error::Device { help, .. }
            | Error::Config { help, .. }
            | Error::Network { help, .. } => help.as_deref(),
            Error::OutOfMemory(_) => Some("smaller batches, shorter sequences or a smaller dtype need less"),
            _ => None,
        }
    }

    /// The operation that refused, where one did.
    pub fn op(&self) -> Option<&'static str> {
        match self {
            Error::Shape { op, .. } | Error::DType { op, .. } => Some(op),
            _ => None,
        }
    }

    /// What it is about, by name.
    pub fn facts(&self) -> Facts {
        match self {
            Error::Shape { facts, .. } | Error::DType { facts, .. } | Error::Config { facts, .. } => facts.clone(),
            Error::Format { path, .. } | Error::Io { path, .. } => {
                vec![("path", Fact::Text(path.display().to_string()))]
            }
            _ => Facts::new(),
        }
    }

    /// Adds the value called `name` that the error is about.
    pub fn about(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        match &mut self {
            Error::Shape { facts, .. } | Error::DType { facts, .. } | Error::Config { facts, .. } => {
                facts.push((name, fact.into()));
            }
            _ => {}
        }
        self
    }

    /// Says what to do, where the kind of error has room for it.
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        match &mut self {
            Error::Shape { help, .. }
            | Error::DType { help, .. }
            | Error::Device { help, .. }
            | Error::Config { help, .. } => *help = Some(advice.into()),
            _ => {}
        }
        self
    }

    /// A [`Error::Config`] without a suggestion.
    pub fn config(message: impl Into<String>) -> Self {
        Error::Config { message: message.into(), help: None, facts: Facts::new() }
    }

    /// A [`Error::Config`] with a suggestion.
    pub fn config_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Error::config(message).advise(help)
    }

    /// A [`Error::Network`].
    pub fn network(message: impl Into<String>, help: Option<String>) -> Self {
        Error::Network { message: message.into(), help }
    }

    /// A [`Error::Shape`] without a suggestion.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into(), help: None, facts: Facts::new() }
    }

    /// A [`Error::Shape`] with a suggestion.
    pub fn shape_help(op: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Error::shape(op, message).advise(help)
    }

    /// A [`Error::DType`].
    pub fn dtype(op: &'static str, message: impl Into<String>) -> Self {
        Error::DType { op, message: message.into(), help: None, facts: Facts::new() }
    }

    /// An [`Error::Device`] without a suggestion.
    pub fn device(message: impl Into<String>) -> Self {
        Error::Device { message: message.into(), help: None }
    }

    /// A [`Error::Format`] for `path`.
    pub fn format(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// A [`Error::Io`] for `path`; made for `map_err(Error::io(path))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }
}

impl From<candle_core::Error> for Error {
    fn from(e: candle_core::Error) -> Self {
        match e {
            // Under RUST_BACKTRACE candle prints frames of its own into the message.
            candle_core::Error::WithBacktrace { inner, .. } => Error::from(*inner),
            other => Error::Backend(other),
        }
    }
}

/// What PyTorch, PEFT and Transformers call our options.
const SYNONYMS: &[(&str, &str)] = &[
    ("r", "rank"),
    ("lora_r", "rank"),
    ("lora_alpha", "alpha"),
    ("lora_dropout", "dropout"),
    ("use_rslora", "rslora"),
    ("learning_rate", "lr"),
    ("wd", "weight_decay"),
    ("batch_size", "size"),
    ("bs", "size"),
    ("gradient_accumulation_steps", "accumulate"),
    ("grad_accum_steps", "accumulate"),
    ("max_length", "max_seq_len"),
    ("max_tokens", "max_new_tokens"),
    ("warmup_steps", "warmup"),
    ("num_training_steps", "total"),
    ("total_steps", "total"),
    ("torch_dtype", "dtype"),
    ("packing", "pack"),
    ("float32", "f32"),
    ("float", "f32"),
    ("float16", "f16"),
    ("half", "f16"),
    ("bfloat16", "bf16"),
    ("float64", "f64"),
    ("double", "f64"),
    ("int64", "i64"),
    ("long", "i64"),
    ("uint8", "u8"),
    ("gpu", "cuda"),
];

/// `unknown` against the `known` names: a [`Error::Config`] that suggests the nearest one.
///
/// `what` names the kind of thing, e.g. `"option of inject_lora"`.
pub fn unknown_name<'a>(what: &str, unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    let elsewhere = SYNONYMS.iter().find(|(other, ours)| *other == unknown && known.contains(ours));
    let near = known
        .iter()
        .map(|k| (strsim::jaro_winkler(unknown, k), *k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let help = match (elsewhere, near) {
        (Some((_, name)), _) => format!("it is called `{name}` here"),
        (None, Some((_, name))) => format!("did you mean `{name}`?"),
        (None, None) => format!("known: {}", known.join(", ")),
    };
    let known = Fact::Texts(known.iter().map(ToString::to_string).collect());
    Error::config_help(format!("unknown {what}: `{unknown}`"), help).about("name", unknown).about("known", known)
}
