//! The folders that belong to the person at the keyboard: data and state, where the XDG base directory
//! specification puts them.

use std::path::PathBuf;

/// Where a project keeps its recipes, seen from the working directory.
pub const PROJECT_RECIPES: &str = "recipes";

/// `$XDG_DATA_HOME/host`, else `~/.local/share/host`.
pub fn data() -> Option<PathBuf> {
    base("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_STATE_HOME/host`, else `~/.local/state/host`.
pub fn state() -> Option<PathBuf> {
    base("XDG_STATE_HOME", ".local/state")
}

/// Where a person's own recipes lie.
pub fn user_recipes() -> Option<PathBuf> {
    Some(data()?.join("recipes"))
}

/// Relative paths in these variables are to be ignored, says the specification.
fn base(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |p: &PathBuf| p.is_absolute();
    let set = std::env::var_os(variable).map(PathBuf::from).filter(absolute);
    let base = set.or_else(|| std::env::home_dir().filter(absolute).map(|home| home.join(in_home)))?;
    Some(base.join("host"))
}
