//! `host new`: a recipe's folder that runs, is tested and can be packed from its first minute.

use super::manifest::{MANIFEST, this_host, valid_name};
use crate::engine::run::atomic::write_atomic;
use crate::script::Diagnostic;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a new recipe; `{{name}}` and `{{host}}` in them are filled in.
const TEMPLATE: [(&str, &str); 5] = [
    (MANIFEST, include_str!("template/recipe.toml")),
    ("main.rhai", include_str!("template/main.rhai")),
    ("records.rhai", include_str!("template/records.rhai")),
    ("records_test.rhai", include_str!("template/records_test.rhai")),
    ("README.md", include_str!("template/README.md")),
];

/// What [`create`] made.
#[derive(Debug)]
pub struct Created {
    /// The recipe's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The files in it, by their names.
    pub files: Vec<&'static str>,
}

/// Makes the recipe's folder `folder`, whose last part is the recipe's name.
///
/// # Errors
/// A name that no recipe can have; something in the way; the file system.
pub fn create(folder: &Path) -> Result<Created, Box<Diagnostic>> {
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_string();
    if !valid_name(&name) {
        let message = format!(
            "{:?} cannot be a recipe's name",
            if name.is_empty() { folder.to_str().unwrap_or("") } else { &name }
        );
        let help = "a letter, then letters, digits, `-` and `_`, at most 64 in all";
        return Err(Box::new(Diagnostic::new("usage", message).with_help(help)));
    }
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => folder.symlink_metadata().is_ok(),
    };
    if taken {
        let message = format!("{} exists already", folder.display());
        return Err(Box::new(Diagnostic::new("usage", message).with_help("give the recipe another name")));
    }
    fs::create_dir_all(folder).map_err(|e| Box::new(Diagnostic::new("io", format!("{}: {e}", folder.display()))))?;
    for (file, text) in TEMPLATE {
        let text = text.replace("{{name}}", &name).replace("{{host}}", &this_host().to_string());
        write_atomic(folder.join(file), text.as_bytes()).map_err(|e| Box::new(Diagnostic::from(&e)))?;
    }
    Ok(Created { name, folder: folder.to_path_buf(), files: TEMPLATE.iter().map(|(file, _)| *file).collect() })
}
