//! The model inside the program: stories260K, so that everything can be tried without a download.

use super::{Checkpoint, Format, llama2c};
use crate::builtin::{STORIES260K, TOK512};
use crate::engine::files::bytes::Bytes;
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Result, error::unknown_name};
use std::path::Path;

/// Models that [`Checkpoint::open`] knows as `builtin:NAME`.
pub const NAMES: [&str; 1] = ["stories260K"];

/// Opens `builtin:<name>`.
pub(super) fn open(name: &str) -> Result<Checkpoint> {
    if !name.eq_ignore_ascii_case(NAMES[0]) {
        return Err(unknown_name("built-in model", name, NAMES));
    }
    let path = Path::new("builtin:stories260K");
    let (config, tensors) = llama2c::parse(path, &Bytes::Static(STORIES260K))?;
    let tokenizer = Tokenizer::from_llama2c(Path::new("builtin:tok512"), TOK512)?;
    Checkpoint::assemble(path, NAMES[0].into(), Format::Builtin, config, Some(tokenizer), tensors)
}
