//! `host ls`: every recipe that can be run by name, with what it says of itself.

use super::{
    find::shelves,
    manifest::{MANIFEST, Manifest},
    places, unpack,
};
use crate::script::{Diagnostic, Script, embedded, options::Declared, sources::display_name};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Whose a recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shelf {
    /// In `./recipes`.
    Project,
    /// In the user's own folder.
    User,
    /// Inside the program.
    BuiltIn,
}

/// One recipe.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What `host run` calls it.
    pub name: String,
    /// Whose it is.
    pub from: Shelf,
    /// One line; empty if it says nothing of itself.
    pub description: String,
    /// The version in its manifest.
    pub version: Option<String>,
    /// Where it lies; `None` inside the program.
    pub path: Option<PathBuf>,
    /// Another recipe of its name comes before it.
    pub hidden: bool,
    /// Why it cannot be run.
    pub problem: Option<String>,
}

/// Every recipe, in the order in which they are looked for.
pub fn list() -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    for (from, shelf) in [Shelf::Project, Shelf::User, Shelf::BuiltIn].into_iter().zip(shelves()) {
        for (name, path) in shelf {
            let hidden = all.iter().any(|l| l.name == name);
            let about = match &path {
                Some(path) => about(path),
                None => about_builtin(&name),
            };
            let (description, version, problem) = match about {
                Ok((description, version)) => (description, version, None),
                Err(d) => (String::new(), None, Some(d.message)),
            };
            all.push(Listed { name, from, description, version, path, hidden, problem });
        }
    }
    all
}

/// Where `list` has looked: the project's folder and the user's.
pub fn looked_in() -> (PathBuf, Option<PathBuf>) {
    (PathBuf::from(places::PROJECT_RECIPES), places::user_recipes())
}

type About = Result<(String, Option<String>), Box<Diagnostic>>;

fn about(path: &Path) -> About {
    let of_manifest = |m: Manifest| (m.description, Some(m.version.to_string()));
    if path.is_dir() {
        if let Some(manifest) = Manifest::read(path)? {
            return Ok(of_manifest(manifest));
        }
        let Some(script) = super::find::entry_of(path) else { return Ok((String::new(), None)) };
        return about(&script);
    }
    if unpack::is_pack(path) {
        let text = unpack::manifest_text(path)?;
        let file = format!("{}/{MANIFEST}", path.display());
        return text.map_or(Ok((String::new(), None)), |text| Manifest::parse(&file, &text).map(of_manifest));
    }
    let script = super::find::read(path)?;
    Ok((first_line(&Declared::read(&script)?), None))
}

fn about_builtin(name: &str) -> About {
    let text = embedded::recipe(name).unwrap_or_default().to_string();
    let script = Script { name: format!("{name}.rhai"), text, folder: None };
    Ok((first_line(&Declared::read(&script)?), None))
}

/// The first sentence's line of a script's header.
fn first_line(declared: &Declared) -> String {
    declared.description.lines().next().unwrap_or_default().trim().to_string()
}

/// The file `path` as `host ls` shows it.
pub fn shown(path: &Path) -> String {
    display_name(&path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
}
