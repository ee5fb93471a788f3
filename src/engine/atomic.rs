//! Files that are either the old one or the new one, whole, whatever is killed when.
//!
//! The bytes go to a temporary file in the same directory, which is synced and then renamed over the target; then the
//! directory is synced, so that the rename itself survives a power cut. A temporary file left by a killed process is
//! named `.host-tmp-*` and removed by [`sweep`].

use crate::engine::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".host-tmp-";

/// Replaces the file at `path` by `bytes`, or leaves it untouched and returns the error.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    write_atomic_with(path, |out| out.write_all(bytes).map_err(Error::io(path)))
}

/// [`write_atomic`] for contents that are produced piece by piece: `write` fills the file.
///
/// If `write` fails, its error is returned and the file at `path` is as it was.
pub fn write_atomic_with(path: impl AsRef<Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let dir = parent(path);
    let (temporary, file) = create_temporary(&dir)?;
    let filled = fill(&file, path, write).and_then(|()| {
        drop(file); // Windows renames closed files only
        fs::rename(&temporary, path).map_err(Error::io(path))
    });
    if filled.is_err() {
        // The first error is the one worth reporting; a temporary file that stays is swept later.
        let _ = fs::remove_file(&temporary);
    } else {
        sync_dir(&dir);
    }
    filled
}

fn fill(file: &File, path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    write(&mut out)?;
    out.flush().map_err(Error::io(path))?;
    file.sync_all().map_err(Error::io(path))
}

fn create_temporary(dir: &Path) -> Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        // The name does not repeat the target's: that one may already be as long as a name can be.
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{PREFIX}{}-{n}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(dir)(e)),
        }
    }
}

/// The directory that holds `path`: `.` for a bare name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Makes renames inside `dir` durable. Not every file system lets a directory be synced; the rename is atomic all the
/// same, so a refusal is not an error.
fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

/// Whether `name` is that of a temporary file which a killed process left.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(PREFIX)
}

/// Removes the temporary files that a killed process left in `dir`. Call it only while no one else writes there.
pub fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects every saved file: a write that fails half way leaves the old contents and no litter.
    #[test]
    fn failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"old").unwrap();
        let failed = write_atomic_with(&path, |out| {
            out.write_all(b"half of the n").unwrap();
            Err(Error::config("disk on fire"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk on fire"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Protects long names: the temporary name must not be longer than the target's.
    #[test]
    fn longest_name_works_and_litter_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        write_atomic(&path, b"x").unwrap();
        fs::write(dir.path().join(".host-tmp-1-1"), b"torn").unwrap();
        sweep(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    /// Protects the message: the directory that is missing is named.
    #[test]
    fn missing_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let e = write_atomic(dir.path().join("none/a"), b"x").unwrap_err();
        assert_eq!(e.kind(), "io");
        assert!(e.to_string().contains("none"), "{e}");
    }
}
