//! The engine's one error type: what was wrong, with names, shapes and values, and what to do about it.

use std::path::{Path, PathBuf};

/// Result of every engine call.
pub type Result<T> = std::result::Result<T, Error>;

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
    },
    /// A dtype that an operation does not take.
    #[error("{op}: {message}")]
    DType {
        /// Operation as the script names it.
        op: &'static str,
        /// The dtypes involved.
        message: String,
    },
    /// A device that is absent, or operands on different devices.
    #[error("device: {0}")]
    Device(String),
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
            Error::Device(_) => "device",
            Error::OutOfMemory(_) => "out_of_memory",
            Error::Format { .. } => "format",
            Error::Io { .. } => "io",
            Error::Config { .. } => "config",
            Error::Limit(_) => "limit",
            Error::Denied(_) => "denied",
            Error::Timeout(_) => "timeout",
            Error::Interrupted => "interrupted",
            Error::Backend(_) => "backend",
        }
    }

    /// What the person at the keyboard can do, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Error::Shape { help, .. } | Error::Config { help, .. } => help.as_deref(),
            _ => None,
        }
    }

    /// A [`Error::Config`] without a suggestion.
    pub fn config(message: impl Into<String>) -> Self {
        Error::Config { message: message.into(), help: None }
    }

    /// A [`Error::Config`] with a suggestion.
    pub fn config_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Config { message: message.into(), help: Some(help.into()) }
    }

    /// A [`Error::Shape`] without a suggestion.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into(), help: None }
    }

    /// A [`Error::Shape`] with a suggestion.
    pub fn shape_help(op: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into(), help: Some(help.into()) }
    }

    /// A [`Error::DType`].
    pub fn dtype(op: &'static str, message: impl Into<String>) -> Self {
        Error::DType { op, message: message.into() }
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

/// `unknown` against the `known` names: a [`Error::Config`] that suggests the nearest one.
///
/// `what` names the kind of thing, e.g. `"option of inject_lora"`.
pub fn unknown_name<'a>(what: &str, unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|k| (strsim::jaro_winkler(unknown, k), *k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let help = match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Error::config_help(format!("unknown {what}: `{unknown}`"), help)
}
