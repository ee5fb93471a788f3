//! `recipe.toml`: what a recipe is called, which host it needs, where it begins, and its own defaults.
//!
//! ```toml
//! name = "greet"
//! version = "0.1.0"
//! description = "Says good day."
//! min_host = "0.1.0"    # the oldest host that can run it
//! entry = "main.rhai"   # the script, seen from this folder
//!
//! [options]             # in place of the defaults in the script's OPTIONS
//! lr = 3e-4
//! ```

use crate::engine::error::unknown_name;
use crate::script::{
    Diagnostic,
    diagnostics::Place,
    settings::{self, Table},
    sources::{Sources, display_name},
};
use semver::Version;
use std::path::{Component, Path};

/// Name of the file.
pub const MANIFEST: &str = "recipe.toml";

/// The keys of a manifest.
const KEYS: [&str; 6] = ["name", "version", "description", "min_host", "entry", "options"];

/// Longest name of a recipe, in bytes.
const NAME_BYTES: usize = 64;

/// The contents of a `recipe.toml`.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What `host run` and `host ls` call it: letters, digits, `-` and `_`.
    pub name: String,
    /// Its own version.
    pub version: Version,
    /// One line for `host ls`.
    pub description: String,
    /// The oldest host that can run it.
    pub min_host: Option<Version>,
    /// The script to run, relative to the folder.
    pub entry: String,
    /// Values in place of the script's own defaults.
    pub options: Table,
    /// The file as diagnostics call it, and its text.
    pub(crate) file: (String, String),
}

impl Manifest {
    /// The manifest in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, has unknown or missing keys, or asks for a newer host than this one.
    pub fn read(folder: &Path) -> Result<Option<Manifest>, Box<Diagnostic>> {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let shown = display_name(&path.canonicalize().unwrap_or_else(|_| path.clone()));
        let text = settings::read_text(&path, &shown)?;
        Manifest::parse(&shown, &text).map(Some)
    }

    /// The manifest `text`, which diagnostics call `file`.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(file: &str, text: &str) -> Result<Manifest, Box<Diagnostic>> {
        let mut table = settings::from_toml(file, text)?;
        let at = |key: &str, message: String| wrong(file, text, key, message);
        // First of all: an older host may not know what else is in here.
        let min_host =
            match take_text(&mut table, "min_host", &at)? {
                None => None,
                Some(min) => Some(lenient_version(&min).ok_or_else(|| {
                    at("min_host", format!("`min_host` is `{min}`; expected a version such as 0.1.0"))
                })?),
            };
        if let Some(min) = &min_host
            && *min > this_host()
        {
            let name = table.get("name").and_then(|n| n.as_str()).unwrap_or(file);
            let message = format!("the recipe `{name}` needs host {min} or newer; this is host {}", this_host());
            return Err(Box::new(
                Diagnostic::new("recipe", message).with_help(format!("update host, or lower `min_host` in {file}")),
            ));
        }
        if let Some(unknown) = table.keys().find(|k| !KEYS.contains(&k.as_str())) {
            let error = unknown_name("key", unknown, KEYS);
            let mut problem = at(unknown, error.to_string());
            problem.help.extend(error.help().map(str::to_string));
            return Err(problem);
        }
        let missing = |key: &str| {
            Box::new(Diagnostic::new("recipe", format!("{file}: `{key}` is missing")).with_help(format!(
                "add a line such as `{key} = \"{}\"`",
                if key == "name" { "my-recipe" } else { "0.1.0" }
            )))
        };
        let name = take_text(&mut table, "name", &at)?.ok_or_else(|| missing("name"))?;
        if !valid_name(&name) {
            let rule = "a letter, then letters, digits, `-` and `_`, at most 64 in all";
            return Err(at("name", format!("`name` is {name:?}; a recipe's name is {rule}")));
        }
        let version = take_text(&mut table, "version", &at)?.ok_or_else(|| missing("version"))?;
        let version = Version::parse(&version)
            .map_err(|e| at("version", format!("`version` is `{version}`: {e}; expected MAJOR.MINOR.PATCH")))?;
        let description = take_text(&mut table, "description", &at)?.unwrap_or_default();
        if description.contains('\n') {
            return Err(at("description", "`description` is one line".into()));
        }
        let entry = take_text(&mut table, "entry", &at)?.unwrap_or_else(|| "main.rhai".into());
        if !inside(&entry) || !entry.ends_with(".rhai") {
            return Err(at("entry", format!("`entry` is {entry:?}; expected a .rhai file in the recipe's folder")));
        }
        let options = match table.shift_remove("options") {
            None => Table::new(),
            Some(serde_json::Value::Object(options)) => options,
            Some(_) => return Err(at("options", "`options` is a table: `[options]`, then one line for each".into())),
        };
        Ok(Manifest { name, version, description, min_host, entry, options, file: (file.into(), text.into()) })
    }

    /// A problem with `key`, shown where it stands in the file.
    pub(crate) fn wrong(&self, key: &str, message: String) -> Box<Diagnostic> {
        wrong(&self.file.0, &self.file.1, key, message)
    }
}

/// Whether `name` can be a recipe's name.
pub fn valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= NAME_BYTES
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// This program's version.
pub fn this_host() -> Version {
    Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version::new(0, 0, 0)) // Cargo has checked it
}

/// `1.2` is 1.2.0.
fn lenient_version(text: &str) -> Option<Version> {
    let dots = text.split(['-', '+']).next()?.matches('.').count();
    Version::parse(&format!("{text}{}", [".0.0", ".0", ""].get(dots)?)).ok()
}

/// Whether `path` stays below the folder that it is relative to.
fn inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

fn take_text(
    table: &mut Table,
    key: &str,
    at: &dyn Fn(&str, String) -> Box<Diagnostic>,
) -> Result<Option<String>, Box<Diagnostic>> {
    match table.shift_remove(key) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(at(key, format!("`{key}` is {other}; expected text in quotes"))),
    }
}

fn wrong(file: &str, text: &str, key: &str, message: String) -> Box<Diagnostic> {
    let sources = Sources::default();
    sources.insert(file, text, None);
    let place = settings::line_of(text, key).map(|line| Place { file: file.into(), line, column: 1 });
    let message = if place.is_some() { message } else { format!("{file}: {message}") };
    Box::new(Diagnostic::new("recipe", message).at(place, &sources))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "name = \"greet\"\nversion = \"1.2.3\"\nmin_host = \"0.1\"\nentry = \"src/go.rhai\"\n\
                         [options]\nlr = 3e-4\nlora = { rank = 4 }\n";

    /// Protects the file format: every key is read, and what may be left out has its default.
    #[test]
    fn manifests_are_read() {
        let m = Manifest::parse("recipe.toml", WHOLE).unwrap();
        assert_eq!(
            (m.name.as_str(), m.version.to_string(), m.entry.as_str()),
            ("greet", "1.2.3".into(), "src/go.rhai")
        );
        assert_eq!(serde_json::to_string(&m.options).unwrap(), r#"{"lora":{"rank":4},"lr":0.0003}"#);
        let m = Manifest::parse("recipe.toml", "name = 'a'\nversion = '0.0.1'").unwrap();
        assert_eq!((m.entry.as_str(), m.min_host.is_none(), m.options.is_empty()), ("main.rhai", true, true));
    }

    /// Protects whoever writes a manifest: each mistake is named, at its line.
    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| {
            let d = Manifest::parse("r.toml", text).unwrap_err();
            format!("{} | {} | {}", d.message, d.place.map_or("-".into(), |p| p.line.to_string()), d.help.join(" "))
        };
        let head = "name = \"a\"\nversion = \"1.0.0\"\n";
        assert_eq!(
            wrong("version = \"1.0.0\""),
            "r.toml: `name` is missing | - | add a line such as `name = \"my-recipe\"`"
        );
        assert_eq!(wrong(&format!("{head}entri = \"x.rhai\"")), "unknown key: `entri` | 3 | did you mean `entry`?");
        assert!(wrong("name = \"../a\"\nversion = \"1.0.0\"").starts_with("`name` is \"../a\"; a recipe's name is"));
        assert!(wrong("name = \"a\"\nversion = \"1.0\"").contains("| 2 |"));
        for entry in ["/etc/x.rhai", "../x.rhai", "a/../../x.rhai", "", "main.py"] {
            assert!(wrong(&format!("{head}entry = {entry:?}")).contains("expected a .rhai file"), "{entry}");
        }
        assert_eq!(wrong(&format!("{head}description = 3")), "`description` is 3; expected text in quotes | 3 | ");
        assert!(wrong("name = ").contains("| 1 |"));
    }

    /// Protects recipes for a later host: they say what they need, even where this host would not understand the rest.
    #[test]
    fn a_newer_host_is_asked_for() {
        let d = Manifest::parse("r.toml", "name = \"a\"\nmin_host = \"99.1\"\nsteering = \"x\"").unwrap_err();
        let this = env!("CARGO_PKG_VERSION");
        assert_eq!(d.message, format!("the recipe `a` needs host 99.1.0 or newer; this is host {this}"));
        assert!(Manifest::parse("r.toml", "min_host = \"new\"").unwrap_err().message.contains("expected a version"));
    }
}
