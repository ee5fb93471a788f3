//! File paths inside strings.

use super::Candidate;
use std::path::Path;

/// Files and folders whose path begins as `written`: where the last name begins in it, and the names.
///
/// Hidden ones are offered once their dot is written.
pub(super) fn complete(written: &str) -> (usize, Vec<Candidate>) {
    let start = written.rfind('/').map_or(0, |i| i + 1);
    let (folder, name) = written.split_at(start);
    let folder = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
    let Ok(entries) = std::fs::read_dir(folder) else { return (start, Vec::new()) };
    let candidate = |entry: std::fs::DirEntry| {
        let found = entry.file_name().into_string().ok()?;
        let wanted = found.starts_with(name) && (name.starts_with('.') || !found.starts_with('.'));
        let slash = if entry.path().is_dir() { "/" } else { "" };
        (wanted && !found.contains('"')).then(|| Candidate::plain(format!("{found}{slash}")))
    };
    let mut found: Vec<Candidate> = entries.flatten().filter_map(candidate).collect();
    found.sort();
    (start, found)
}
