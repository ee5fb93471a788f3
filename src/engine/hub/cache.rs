//! The cache on disk, in the layout of `huggingface_hub`:
//!
//! ```text
//! models--org--name/refs/main              the commit that a branch or tag was at
//! models--org--name/blobs/<etag>           contents, once each
//! models--org--name/snapshots/<commit>/..  names, as links to blobs
//! ```
//!
//! Source: "Understand caching", documentation of huggingface_hub.

use crate::engine::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::path::{Component, Path, PathBuf};

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// `org/name`.
    pub(super) repo: String,
    /// Its folder.
    pub(super) path: PathBuf,
}

impl Repository {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        Repository { repo: repo.to_string(), path: cache.join(format!("models--{}", repo.replace('/', "--"))) }
    }

    /// The folder of `revision`, a name that was remembered or a commit, if it is there.
    pub(super) fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.path.join("refs").join(revision)).ok();
        let commit = commit.map_or(revision.to_string(), |c| c.trim().to_string());
        let folder = self.path.join("snapshots").join(plain(&commit)?);
        folder.is_dir().then_some(folder)
    }

    /// Notes that `revision` is `commit`.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.path.join("refs").join(revision);
        make_parent(&path)?;
        fs::write(&path, commit).map_err(Error::io(&path))
    }

    /// Where the content with this `etag` belongs.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.path.join("blobs").join(etag)
    }

    /// The unfinished content, held by this process alone until the file is dropped.
    pub(super) fn unfinished(&self, etag: &str) -> Result<(File, PathBuf)> {
        let path = self.path.join("blobs").join(format!("{etag}.incomplete"));
        make_parent(&path)?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(Error::io(&path))?;
        // Where a file system knows no locks, two downloads at once are still found out by the final check.
        drop(file.lock());
        Ok((file, path))
    }

    /// Gives the content of `etag` the name `file` in the snapshot of `commit`.
    pub(super) fn name(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.path.join("snapshots").join(commit).join(file);
        make_parent(&path)?;
        // A name left by an interrupted call is made anew.
        let _ = fs::remove_file(&path);
        link(&self.blob(etag), &path, file.split('/').count())
    }
}

#[cfg(unix)]
fn link(blob: &Path, path: &Path, depth: usize) -> Result<()> {
    // Relative, so that the cache can be moved: out of the file's folders, the commit's and `snapshots`.
    let mut target = PathBuf::from("../".repeat(depth + 1)).join("blobs");
    target.extend(blob.file_name());
    std::os::unix::fs::symlink(target, path).map_err(Error::io(path))
}

#[cfg(not(unix))]
fn link(blob: &Path, path: &Path, _: usize) -> Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop)).map_err(Error::io(path))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Error::io(folder)))
}

/// `name` if it is one plain component of a path: what a hub sends must not lead out of the cache.
pub(super) fn plain(name: &str) -> Option<&str> {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    (one && !name.contains(['\\', '/', '\0'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the disk outside the cache from names that a hub sends.
    #[test]
    fn names_stay_inside() {
        assert_eq!(plain("model.safetensors"), Some("model.safetensors"));
        for name in ["", ".", "..", "/etc", "a/b", "a\\b", "a/", "./a"] {
            assert_eq!(plain(name), None, "{name:?}");
        }
    }
}
