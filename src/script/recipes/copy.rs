//! `host cp`: a recipe of one's own, from one that exists.

use super::{
    find::{Origin, find},
    pack::{self, contents},
};
use crate::engine::run::atomic::write_atomic;
use crate::script::Diagnostic;
use std::fs;
use std::path::{Path, PathBuf};

/// What [`copy`] wrote.
#[derive(Debug)]
pub struct Copied {
    /// The script, or the recipe's folder.
    pub to: PathBuf,
    /// Files written.
    pub files: usize,
    /// Whether it has a `recipe.toml`, whose `name` is still the old one.
    pub named: bool,
}

/// Copies the recipe called `name` to `dest`, or under its own name into the working directory. A folder that exists takes
/// it in; a script's name gets its `.rhai`.
///
/// # Errors
/// No such recipe; something in the way, unless `force`; the file system.
pub fn copy(name: &str, dest: Option<&Path>, force: bool) -> Result<Copied, Box<Diagnostic>> {
    let found = find(name)?;
    let dest = dest.unwrap_or(Path::new("."));
    let into_folder = dest.is_dir() || dest.to_str().is_some_and(|d| d.ends_with(std::path::MAIN_SEPARATOR));
    match (&found.origin, &found.folder) {
        (Origin::Folder(_) | Origin::Pack(_), Some(folder)) => {
            let own = match &found.manifest {
                Some(manifest) => manifest.name.clone(),
                None => folder.file_name().map_or("recipe".into(), |n| n.to_string_lossy().into_owned()),
            };
            let to = if into_folder { tidy(dest).join(own) } else { dest.to_path_buf() };
            not_itself(folder, &to)?;
            if to.exists() && !force {
                return Err(in_the_way(&to));
            }
            let pack::Contents { files, .. } = contents(folder)?;
            for file in &files {
                let target = to.join(&file.path);
                let bytes = fs::read(&file.real).map_err(|e| failed(&file.real, &e))?;
                write(&target, &bytes)?;
            }
            Ok(Copied { to, files: files.len(), named: found.manifest.is_some() })
        }
        (origin, _) => {
            let own = match origin {
                Origin::File(path) => path.file_stem().map_or(name.into(), |n| n.to_string_lossy().into_owned()),
                _ => name.to_string(),
            };
            let mut to = if into_folder { tidy(dest).join(own) } else { dest.to_path_buf() };
            if to.extension().is_none_or(|e| e != "rhai") {
                to.as_mut_os_string().push(".rhai");
            }
            if let Origin::File(path) = origin {
                not_itself(path, &to)?;
            }
            if to.exists() && !force {
                return Err(in_the_way(&to));
            }
            write(&to, found.script.text.as_bytes())?;
            Ok(Copied { to, files: 1, named: false })
        }
    }
}

/// `.` adds nothing to a path.
fn tidy(dest: &Path) -> &Path {
    if dest == Path::new(".") { Path::new("") } else { dest }
}

fn write(target: &Path, bytes: &[u8]) -> Result<(), Box<Diagnostic>> {
    if let Some(parent) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| failed(parent, &e))?;
    }
    write_atomic(target, bytes).map_err(|e| Box::new(Diagnostic::from(&e)))
}

fn not_itself(from: &Path, to: &Path) -> Result<(), Box<Diagnostic>> {
    match (from.canonicalize(), to.canonicalize()) {
        (Ok(from), Ok(to)) if from == to => {
            let message = format!("{} is the recipe itself", to.display());
            Err(Box::new(Diagnostic::new("usage", message).with_help("give the copy another name")))
        }
        _ => Ok(()),
    }
}

fn in_the_way(to: &Path) -> Box<Diagnostic> {
    let help = "give another destination, or overwrite it with `--force`";
    Box::new(Diagnostic::new("usage", format!("{} exists already", to.display())).with_help(help))
}

fn failed(path: &Path, e: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("io", format!("{}: {e}", path.display())))
}
