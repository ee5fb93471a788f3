//! Opening a pack: `*.tar.zst` from anyone, unpacked where it can do no harm.
//!
//! Only files and folders come out of it, each below the folder it is unpacked into, up to a number and a size; nothing
//! of the archive's owners, modes and times is taken over. Whatever else is in there, or a checksum that does not fit,
//! ends it: what was unpacked till then is deleted, and nothing has been run.

use super::manifest::MANIFEST;
use crate::script::Diagnostic;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use tar::{Archive, EntryType};

/// Most files and folders in a pack.
pub const MAX_ENTRIES: usize = 4096;
/// Most bytes in a pack, unpacked.
pub const MAX_BYTES: u64 = 512 << 20;
/// Longest path inside a pack, in bytes: what a plain tar header holds.
pub const MAX_PATH: usize = 255;
/// The largest window, as a power of two, that a pack may make us hold in memory: 8 MiB, zstd's own default.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// Most bytes of a manifest.
const MANIFEST_BYTES: u64 = 1 << 20;

/// How a pack's name ends.
pub const SUFFIX: &str = ".tar.zst";

/// A pack, unpacked: deleted from the disk when this is dropped.
#[derive(Debug)]
pub struct Unpacked {
    /// The folder that holds the recipe.
    pub root: PathBuf,
    _temporary: tempfile::TempDir,
}

/// Whether `path` is a pack by its name, or by its first bytes.
pub fn is_pack(path: &Path) -> bool {
    if path.to_str().is_some_and(|p| p.ends_with(SUFFIX)) {
        return true;
    }
    if !path.is_file() {
        return false; // what is read of a pipe is gone from it
    }
    let mut magic = [0; 4];
    File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && magic == [0x28, 0xB5, 0x2F, 0xFD]
}

/// Unpacks `pack` into a temporary folder.
///
/// # Errors
/// A file that cannot be read, is damaged or cut off, or holds something that has no place in a recipe.
pub fn unpack(pack: &Path) -> Result<Unpacked, Box<Diagnostic>> {
    let failed = |e: &dyn std::fmt::Display| {
        Box::new(Diagnostic::new("recipe", format!("the temporary folder for {}: {e}", pack.display())))
    };
    let temporary = tempfile::Builder::new().prefix("host-recipe-").tempdir().map_err(|e| failed(&e))?;
    let into = temporary.path().canonicalize().map_err(|e| failed(&e))?;
    unpack_into(pack, &into)?;
    let root = sole_folder(&into).unwrap_or(into);
    Ok(Unpacked { root, _temporary: temporary })
}

/// The text of a pack's `recipe.toml`, without unpacking the rest; `None` if it has none.
///
/// # Errors
/// As [`unpack`], for what stands before it.
pub fn manifest_text(pack: &Path) -> Result<Option<String>, Box<Diagnostic>> {
    let text = (|| {
        let mut decoder = zstd::Decoder::new(File::open(pack)?)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        let bounded = Bounded { inner: decoder, left: MAX_BYTES, over: false };
        for entry in Archive::new(bounded).entries()?.raw(true) {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if path.split('/').filter(|p| *p != ".").count() <= 2 && path.ends_with(&format!("/{MANIFEST}"))
                || path == MANIFEST
            {
                let mut text = String::new();
                entry.by_ref().take(MANIFEST_BYTES).read_to_string(&mut text)?;
                return Ok(Some(text));
            }
        }
        Ok(None)
    })();
    text.map_err(|e: io::Error| {
        Box::new(Diagnostic::new("recipe", format!("{} is damaged or no pack at all: {e}", pack.display())))
    })
}

/// Unpacks `pack` into the folder `into`, which exists and is empty.
fn unpack_into(pack: &Path, into: &Path) -> Result<(), Box<Diagnostic>> {
    let shown = pack.display();
    let refuse = |what: String| {
        Box::new(
            Diagnostic::new("recipe", format!("{shown}: {what}"))
                .with_help("nothing of it was run; `host pack` makes packs that hold nothing of the kind"),
        )
    };
    let damaged = |e: &dyn std::fmt::Display| {
        Box::new(
            Diagnostic::new("recipe", format!("{shown} is damaged or no pack at all: {e}"))
                .with_help("nothing of it was run; get the file again"),
        )
    };
    let file =
        File::open(pack).map_err(|e| Box::new(Diagnostic::new("usage", format!("{shown} cannot be read: {e}"))))?;
    let mut decoder = zstd::Decoder::with_buffer(BufReader::new(file)).map_err(|e| damaged(&e))?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(|e| damaged(&e))?;
    let mut bounded = Bounded { inner: decoder, left: MAX_BYTES + (MAX_ENTRIES as u64 + 4) * 1024, over: false };

    let mut archive = Archive::new(&mut bounded);
    let mut entries = 0;
    let result = (|| {
        // Raw: names that span several entries, links and sparse files stay what they are, and are refused below.
        for entry in archive.entries().map_err(|e| damaged(&e))?.raw(true) {
            let mut entry = entry.map_err(|e| damaged(&e))?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(refuse(format!("more than {MAX_ENTRIES} files")));
            }
            let bytes = entry.path_bytes().into_owned();
            let name = String::from_utf8_lossy(&bytes).into_owned();
            let folder = match entry.header().entry_type() {
                EntryType::Regular => false,
                EntryType::Directory => true,
                kind => return Err(refuse(format!("{name:?} is {}, where only files may be", describe(kind)))),
            };
            let path = safe_path(&bytes).map_err(|why| refuse(format!("{name:?} {why}")))?;
            let target = into.join(path);
            let parent = if folder { Some(target.as_path()) } else { target.parent() };
            if let Some(parent) = parent {
                fs::create_dir_all(parent).map_err(|e| refuse(format!("{name:?} cannot be unpacked: {e}")))?;
            }
            if folder {
                continue;
            }
            let size = entry.size();
            // Never over a file that is there, whatever case the disk's names are in.
            let mut out =
                OpenOptions::new().write(true).create_new(true).open(&target).map_err(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => refuse(format!("{name:?} is in it twice")),
                    _ => refuse(format!("{name:?} cannot be unpacked: {e}")),
                })?;
            let written = io::copy(&mut entry, &mut out).map_err(|e| damaged(&e))?;
            if written != size {
                return Err(damaged(&format!("{name:?} breaks off")));
            }
        }
        Ok(())
    })();
    // To the end: the checksum stands there, and a file that was cut off between two entries shows.
    let rest = result.and_then(|()| io::copy(&mut bounded, &mut io::sink()).map_err(|e| damaged(&e)));
    if bounded.over {
        return Err(refuse(format!("more than {} MiB, unpacked", MAX_BYTES >> 20)));
    }
    rest.map(drop)
}

/// `bytes` as a path that stays below any folder that it is joined to; an error says what is wrong with it.
pub(super) fn safe_path(bytes: &[u8]) -> Result<PathBuf, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    // A backslash or a colon is harmless here and a way out on another system: packs mean the same everywhere.
    if text.contains(['\\', ':']) || text.chars().any(char::is_control) {
        return Err("has a character that names in a pack may not have");
    }
    if text.starts_with('/') {
        return Err("is an absolute path");
    }
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return Err("leads out of the folder");
    }
    if parts.is_empty() { Err("is no name") } else { Ok(parts.iter().collect()) }
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader => {
            "an extended header"
        }
        _ => "of an unknown kind",
    }
}

/// The one folder in `dir`, if that is all it holds: packs wrap a recipe in a folder of its name.
fn sole_folder(dir: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).ok()?;
    let first = entries.next()?.ok()?.path();
    (entries.next().is_none() && first.is_dir()).then_some(first)
}

/// A reader that fails after so many bytes: a few kilobytes of zstd can mean terabytes.
struct Bounded<R> {
    inner: R,
    left: u64,
    over: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.over = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the disk: names that lead anywhere but below the folder are refused, plain ones are kept.
    #[test]
    fn paths_stay_below() {
        for (name, path) in [("a", "a"), ("./a//b.rhai", "a/b.rhai"), ("a/", "a"), ("näme", "näme")] {
            assert_eq!(safe_path(name.as_bytes()).unwrap(), Path::new(path));
        }
        for name in ["", ".", "/", "/etc/passwd", "..", "a/../../b", "a\\b", "C:x", "a\nb", "a\0b", "\u{1b}[2J"] {
            assert!(safe_path(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(safe_path(b"\xff").is_err());
    }
}
