//! x
use crate::engine::Result;
pub fn write(dir: &std::path::Path) -> Result<std::path::PathBuf> { Ok(dir.to_path_buf()) }
