//! From a name on the command line to a script.
//!
//! A path comes first: a file, a pack, a folder. Then recipes of that name are looked for in `./recipes`, in the user's
//! folder, and inside the program.

use super::{
    manifest::Manifest,
    places,
    unpack::{self, SUFFIX, Unpacked, is_pack},
};
use crate::engine::error::unknown_name;
use crate::script::{
    Diagnostic, Script, embedded,
    options::Declared,
    settings,
    sources::{self, display_name},
};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name that stands for standard input.
pub const STDIN: &str = "-";

/// Where a script came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Inside the program.
    Builtin,
    /// A file of its own.
    File(PathBuf),
    /// A folder.
    Folder(PathBuf),
    /// A `*.tar.zst`.
    Pack(PathBuf),
    /// Standard input, or text from the command line.
    Text,
}

/// A script, and the recipe that it is the entry of. A pack lies unpacked on the disk as long as this lives.
#[derive(Debug)]
pub struct Found {
    /// The script.
    pub script: Script,
    /// The `recipe.toml` beside it, for folders and packs that have one.
    pub manifest: Option<Manifest>,
    /// Where it came from.
    pub origin: Origin,
    /// The recipe's folder, below which it may import and read.
    pub folder: Option<PathBuf>,
    _unpacked: Option<Unpacked>,
}

impl Found {
    /// `text` that came from no file: its imports start from the working directory.
    pub fn text(name: &str, text: String) -> Found {
        let folder = std::env::current_dir().ok();
        let script = Script { name: name.into(), text, folder: folder.clone() };
        Found { script, manifest: None, origin: Origin::Text, folder, _unpacked: None }
    }

    /// The files that make it up, modules apart.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.origin {
            Origin::Builtin | Origin::Text => Vec::new(),
            Origin::File(path) | Origin::Pack(path) => vec![path.clone()],
            Origin::Folder(path) => {
                let all = [path.join(super::MANIFEST), PathBuf::from(&self.script.name)];
                all.into_iter().filter(|p| p.is_file()).collect()
            }
        }
    }

    /// What the script declares, with the recipe's own defaults in their place.
    ///
    /// # Errors
    /// A script that does not parse; `OPTIONS` that are no literals; defaults in `recipe.toml` that do not fit them.
    pub fn declared(&self) -> Result<Declared, Box<Diagnostic>> {
        let mut declared = Declared::read(&self.script)?;
        if let Some(manifest) = &self.manifest {
            declared.set_defaults(manifest)?;
        }
        Ok(declared)
    }
}

/// The script called `name`: `-` for standard input, a path, or the name of a recipe.
///
/// # Errors
/// Nothing of that name, with the near one; a file that cannot be read; a folder without a script; a recipe that is
/// damaged or needs a newer host.
pub fn find(name: &str) -> Result<Found, Box<Diagnostic>> {
    if name == STDIN {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|e| usage(format!("standard input cannot be read: {e}")))?;
        return Ok(Found::text("stdin", text));
    }
    let path = Path::new(name);
    if path.is_dir() {
        let found = in_folder(path)?;
        // `runs/`, `evaluate/` and the like do not hide a recipe.
        if found.is_some() || !super::manifest::valid_name(name) {
            return found.ok_or_else(|| no_script(path));
        }
    } else if path.exists() {
        return if is_pack(path) { in_pack(path) } else { in_file(path) };
    }
    for shelf in shelves() {
        if let Some(path) = shelf.get(name) {
            return match path {
                Some(path) if path.is_dir() => in_folder(path)?.ok_or_else(|| no_script(path)),
                Some(path) if is_pack(path) => in_pack(path),
                Some(path) => in_file(path),
                None => builtin(name).ok_or_else(|| usage(format!("there is no recipe {name}"))),
            };
        }
    }
    if path.is_dir() {
        return Err(no_script(path));
    }
    if path.extension().is_some() || name.contains(std::path::MAIN_SEPARATOR) {
        return Err(usage(format!("there is no script {name}")));
    }
    let known: Vec<String> = shelves().into_iter().flat_map(BTreeMap::into_keys).collect();
    let error = unknown_name("script or recipe", name, known.iter().map(String::as_str));
    Err(Box::new(Diagnostic { code: "usage".into(), ..Diagnostic::from(&error) }))
}

/// Recipes by name, with their paths; those inside the program have none.
pub(super) type Shelf = BTreeMap<String, Option<PathBuf>>;

/// The places where recipes are looked for by name, first one first: the project's, the user's, the program's.
pub(super) fn shelves() -> [Shelf; 3] {
    let builtin = embedded::RECIPES.iter().map(|(name, _)| (name.to_string(), None)).collect();
    [shelf(Path::new(places::PROJECT_RECIPES)), places::user_recipes().map(|p| shelf(&p)).unwrap_or_default(), builtin]
}

/// The recipes in `dir`: `NAME/`, `NAME.rhai`, `NAME.tar.zst`, `NAME-VERSION.tar.zst`; for one name the first of these,
/// and of several versions the newest.
fn shelf(dir: &Path) -> Shelf {
    let mut ranked: BTreeMap<String, (u8, semver::Version, PathBuf)> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(file) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let none = semver::Version::new(0, 0, 0);
        let (name, rank, version) = if path.is_dir() {
            (file.to_string(), 3, none)
        } else if let Some(name) = file.strip_suffix(".rhai").filter(|n| !n.ends_with("_test")) {
            (name.to_string(), 2, none)
        } else if let Some(name) = file.strip_suffix(SUFFIX) {
            let versioned = name.match_indices('-').find_map(|(at, _)| {
                let version = semver::Version::parse(&name[at + 1..]).ok()?;
                Some((name[..at].to_string(), 1, version))
            });
            versioned.unwrap_or((name.to_string(), 1, none))
        } else {
            continue;
        };
        if rank == 3 && !path.join(super::MANIFEST).is_file() && entry_of(&path).is_none() {
            continue;
        }
        let better = ranked.get(&name).is_none_or(|(r, v, _)| (*r, v) < (rank, &version));
        if better && super::manifest::valid_name(&name) {
            ranked.insert(name, (rank, version, path));
        }
    }
    ranked.into_iter().map(|(name, (_, _, path))| (name, Some(path))).collect()
}

fn builtin(name: &str) -> Option<Found> {
    let text = embedded::recipe(name)?;
    let script = Script { name: format!("{name}.rhai"), text: text.into(), folder: None };
    Some(Found { script, manifest: None, origin: Origin::Builtin, folder: None, _unpacked: None })
}

fn in_file(path: &Path) -> Result<Found, Box<Diagnostic>> {
    let script = read(path)?;
    let folder = script.folder.clone();
    Ok(Found { script, manifest: None, origin: Origin::File(path.to_path_buf()), folder, _unpacked: None })
}

/// The recipe in `folder`, if there is a script to run.
fn in_folder(folder: &Path) -> Result<Option<Found>, Box<Diagnostic>> {
    let manifest = Manifest::read(folder)?;
    let Some(path) = (match &manifest {
        Some(manifest) => Some(manifest_entry(folder, manifest)?),
        None => entry_of(folder),
    }) else {
        return Ok(None);
    };
    let script = read(&path)?;
    let real = folder.canonicalize().ok();
    Ok(Some(Found { script, manifest, origin: Origin::Folder(folder.to_path_buf()), folder: real, _unpacked: None }))
}

fn in_pack(path: &Path) -> Result<Found, Box<Diagnostic>> {
    let unpacked = unpack::unpack(path)?;
    // Diagnostics speak of the pack that was named, not of where it happens to lie unpacked.
    sources::show_as(&unpacked.root, &display_name(&path.canonicalize().unwrap_or_else(|_| path.to_path_buf())));
    let found = in_folder(&unpacked.root)?;
    let found = found.ok_or_else(|| {
        Box::new(
            Diagnostic::new("recipe", format!("{}: there is no script to run in it", path.display()))
                .with_help("a pack holds a recipe's folder: `host pack FOLDER` makes one"),
        )
    })?;
    Ok(Found { origin: Origin::Pack(path.to_path_buf()), _unpacked: Some(unpacked), ..found })
}

/// The script that `manifest` names.
pub(super) fn manifest_entry(folder: &Path, manifest: &Manifest) -> Result<PathBuf, Box<Diagnostic>> {
    let path = folder.join(&manifest.entry);
    let real = path.canonicalize().ok().filter(|p| p.is_file());
    let Some(real) = real else {
        return Err(manifest.wrong("entry", format!("`entry` names {}, and there is no such file", manifest.entry)));
    };
    match folder.canonicalize() {
        Ok(root) if real.starts_with(&root) => Ok(path),
        _ => Err(manifest.wrong("entry", format!("`entry` names {}, a link out of the folder", manifest.entry))),
    }
}

/// The script of a folder without a manifest: `NAME.rhai` in `NAME/`, or `main.rhai`.
pub(super) fn entry_of(folder: &Path) -> Option<PathBuf> {
    candidates(folder).into_iter().find(|p| p.is_file())
}

fn candidates(folder: &Path) -> Vec<PathBuf> {
    let own = folder.canonicalize().ok().and_then(|p| Some(format!("{}.rhai", p.file_name()?.to_str()?)));
    own.into_iter().chain(["main.rhai".into()]).map(|f| folder.join(f)).collect()
}

fn no_script(folder: &Path) -> Box<Diagnostic> {
    let mut tried: Vec<_> = candidates(folder).iter().map(|p| p.display().to_string()).collect();
    tried.insert(0, folder.join(super::MANIFEST).display().to_string());
    let last = tried.pop().unwrap_or_default();
    let text = format!("`{}` is a folder without a script to run", folder.display());
    Box::new(Diagnostic::new("usage", text).with_help(format!("looked for {} and {last}", tried.join(", "))))
}

pub(super) fn read(path: &Path) -> Result<Script, Box<Diagnostic>> {
    let text = settings::read_text(path, &path.display().to_string())?;
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    Ok(Script { name: display_name(&real), text, folder: real.parent().map(Path::to_path_buf) })
}

fn usage(message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("usage", message))
}
