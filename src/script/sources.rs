//! The text of every script that takes part: for snippets in diagnostics, and for the folder an import starts from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One script's text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The whole text.
    pub text: Arc<str>,
    /// The folder that its relative imports start from; `None` for embedded scripts, which import only `std/...`.
    pub folder: Option<PathBuf>,
}

/// Lines of one text that are another's, which was read into it.
#[derive(Debug, Clone)]
struct Part {
    whole: String,
    /// Lines before it.
    before: usize,
    lines: usize,
    name: String,
}

/// Source texts by the name that diagnostics show: a path as given, `std/...`, or `repl`.
#[derive(Debug, Default)]
pub struct Sources {
    texts: Mutex<HashMap<String, Source>>,
    parts: Mutex<Vec<Part>>,
}

impl Sources {
    /// Adds or replaces the text called `name`.
    pub fn insert(&self, name: &str, text: &str, folder: Option<PathBuf>) {
        self.map().insert(name.to_string(), Source { text: text.into(), folder });
    }

    /// Appends to the text called `name`, which grows as a session goes on.
    pub fn append(&self, name: &str, text: &str, folder: Option<PathBuf>) {
        let mut map = self.map();
        let before = map.get(name).map_or("", |s| &s.text);
        let text = format!("{before}{text}").into();
        map.insert(name.to_string(), Source { text, folder });
    }

    /// The text called `name`.
    pub fn get(&self, name: &str) -> Option<Source> {
        self.map().get(name).cloned()
    }

    /// The files among them.
    pub fn files(&self) -> Vec<PathBuf> {
        let map = self.map();
        let named = map.iter().filter(|(_, source)| source.folder.is_some());
        named.map(|(name, _)| PathBuf::from(name)).filter(|p| p.is_file()).collect()
    }

    /// Line `line` (from 1) of the text called `name`.
    pub fn line(&self, name: &str, line: usize) -> Option<String> {
        self.get(name)?.text.lines().nth(line.checked_sub(1)?).map(str::to_string)
    }

    /// `lines` lines of the text called `whole`, after its first `before`, are the text called `name`.
    pub fn contains(&self, whole: &str, before: usize, lines: usize, name: &str) {
        let part = Part { whole: whole.into(), before, lines, name: name.into() };
        // Entries are whole or absent.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }

    /// The text that line `line` of the text called `name` came from, if that is another, and which line of that it is.
    pub fn origin(&self, name: &str, line: usize) -> Option<(String, usize)> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.iter().find(|p| p.whole == name && (p.before + 1..=p.before + p.lines).contains(&line))?;
        Some((part.name.clone(), line - part.before))
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, Source>> {
        // A panic while the lock was held cannot leave the map half-written.
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Folders that are shown under another name than they have: unpacked recipes, under that of their pack.
static SHOWN_AS: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// Shows what lies below the folder `real`, a canonical path, as `shown/..` from now on.
pub fn show_as(real: &Path, shown: &str) {
    SHOWN_AS.lock().unwrap_or_else(PoisonError::into_inner).push((real.to_path_buf(), shown.to_string()));
}

/// How diagnostics name `path`: relative to the working directory where it lies below it.
pub fn display_name(path: &Path) -> String {
    let shown = SHOWN_AS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((below, shown)) = shown.iter().find_map(|(real, shown)| Some((path.strip_prefix(real).ok()?, shown))) {
        return Path::new(shown).join(below).display().to_string();
    }
    let below = std::env::current_dir().ok().and_then(|cwd| path.strip_prefix(cwd).ok().map(Path::to_path_buf));
    below.unwrap_or_else(|| path.to_path_buf()).display().to_string()
}
