//! Models by the name of their repository on a Hugging Face hub: `org/name`, downloaded once into the cache that Python's
//! `huggingface_hub` uses too.
//!
//! What lies in the cache is used as it is, without asking anybody. Environment, as for `huggingface_hub`: `HF_ENDPOINT`
//! (default `https://huggingface.co`), `HF_HUB_CACHE` or `HF_HOME` (default `~/.cache/huggingface`), `HF_TOKEN` or the file
//! `HF_HOME/token`, `HF_HUB_OFFLINE`.

mod cache;
mod choice;
mod client;

use crate::engine::error::{Error, Result};
use crate::engine::progress::{Reporter, Unit};
use cache::Repository;
use client::Client;
use std::path::{Path, PathBuf};

/// A repository, a revision of it, and a file in it if one is meant: `org/name[@revision][/path/to/file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `org/name`.
    pub repo: String,
    /// Branch, tag or commit; `main` where none is named.
    pub revision: String,
    /// One file, such as a `.gguf`; `None`: all that a model directory needs.
    pub file: Option<String>,
}

impl Reference {
    /// `text` as a reference, if it has the form of one. Whether such a file lies on disk is for the caller to ask first.
    pub fn parse(text: &str) -> Option<Reference> {
        let mut parts = text.splitn(3, '/');
        let (org, rest, mut file) = (parts.next()?, parts.next()?, parts.next());
        let (name, revision) = match rest.split_once('@') {
            Some((name, revision)) => (name, revision),
            None => (rest, "main"),
        };
        if file == Some("") {
            file = None;
        }
        let plain = |s: &str| {
            let first = s.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            first && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let fits = plain(org) && plain(name) && plain(revision) && file.is_none_or(|f| f.split('/').all(plain));
        fits.then(|| Reference {
            repo: format!("{org}/{name}"),
            revision: revision.into(),
            file: file.map(str::to_string),
        })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "/{file}"))
    }
}

/// A hub and the cache of what came from it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Access token, for private and gated repositories.
    pub token: Option<String>,
    /// Whether the hub may be asked at all.
    pub offline: bool,
}

impl Hub {
    /// The hub that the environment names; see the module's description.
    pub fn from_env() -> Hub {
        let var = |name: &str| std::env::var(name).ok().map(|v| v.trim().to_string()).filter(|v| !v.is_empty());
        let home = var("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let caches = var("XDG_CACHE_HOME").map(PathBuf::from);
            let caches = caches.or_else(|| Some(std::env::home_dir()?.join(".cache")));
            caches.unwrap_or_else(|| PathBuf::from(".cache")).join("huggingface")
        });
        let kept = || std::fs::read_to_string(home.join("token")).ok().map(|t| t.trim().to_string());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let on = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true");
        Hub {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache: var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: var("HF_TOKEN").or_else(kept).filter(|t| !t.is_empty()),
            offline: var("HF_HUB_OFFLINE").is_some_and(|v| on(&v)),
        }
    }

    /// Where `reference` lies in the cache, whole; `None` if it does not.
    pub fn cached(&self, reference: &Reference) -> Option<PathBuf> {
        let snapshot = Repository::new(&self.cache, &reference.repo).snapshot(&reference.revision)?;
        match &reference.file {
            Some(file) => Some(snapshot.join(file)).filter(|path| path.is_file()),
            None => choice::is_whole(&snapshot).then_some(snapshot),
        }
    }

    /// The file or folder of `reference`: from the cache, or downloaded into it.
    ///
    /// # Errors
    /// [`Error::Network`] if the hub does not have it, wants a token, or cannot be reached; [`Error::Format`] if what arrived is
    /// not what the hub announced; [`Error::Io`] if the cache cannot be written; [`Error::Interrupted`] after Ctrl-C. What was
    /// downloaded so far is kept, and the next call goes on from there.
    pub fn fetch(&self, reference: &Reference, reporter: &dyn Reporter) -> Result<PathBuf> {
        if let Some(found) = self.cached(reference) {
            return Ok(found);
        }
        if self.offline {
            let why =
                format!("{reference} is not in the model cache ({}), and HF_HUB_OFFLINE is set", self.cache.display());
            return Err(Error::network(why, None));
        }
        let client = Client::new(self);
        let listing = client.listing(reference)?;
        let wanted = choice::files(reference, &listing)?;
        let repository = Repository::new(&self.cache, &reference.repo);
        let total = wanted.iter().map(|f| f.size.unwrap_or(0)).sum();
        let bar = reporter.start(total, &format!("downloading {}", reference.repo), Unit::Bytes);
        let mut before = 0;
        for file in &wanted {
            before +=
                client.download(&repository, &listing.commit, file, &mut |done| bar.update(before + done, &[]))?;
        }
        bar.finish();
        repository.remember(&reference.revision, &listing.commit)?;
        self.cached(reference).ok_or_else(|| {
            let why = format!("{reference}: the repository does not hold a whole model");
            Error::network(why, Some(format!("what was downloaded is in {}", repository.path.display())))
        })
    }
}

/// Where a model or an adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file or directory.
    pub path: PathBuf,
    /// The repository it came from, if it came from a hub.
    pub repo: Option<String>,
}

/// The place of `source`: itself where it is on disk or looks like a path, else as [`Hub::fetch`] finds it.
/// `permit` is asked before anything is downloaded.
///
/// # Errors
/// As [`Hub::fetch`], and those of `permit`, which is handed what would be done.
pub fn locate(source: &str, permit: impl FnOnce(&str) -> Result<()>, reporter: &dyn Reporter) -> Result<Located> {
    let reference = Reference::parse(source).filter(|_| !Path::new(source).exists());
    let Some(reference) = reference else { return Ok(Located { path: PathBuf::from(source), repo: None }) };
    let hub = Hub::from_env();
    let path = match hub.cached(&reference) {
        Some(found) => found,
        None => {
            permit(&format!("there is no file or directory `{source}`, and downloading it from {}", hub.endpoint))?;
            hub.fetch(&reference, reporter)?
        }
    };
    Ok(Located { path, repo: Some(reference.repo) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the line between names and paths: what looks like a path stays one.
    #[test]
    fn references_are_told_from_paths() {
        let shown = |text| Reference::parse(text).map(|r| format!("{}|{}|{:?}", r.repo, r.revision, r.file));
        assert_eq!(shown("org/name").unwrap(), "org/name|main|None");
        assert_eq!(shown("a/b-1.5@v2/q/m.gguf").unwrap(), "a/b-1.5|v2|Some(\"q/m.gguf\")");
        for path in
            ["model.gguf", "./org/name", "../a/b", "/abs/path", "a/../b", "a/b/../c", "org/", "a b/c", "builtin:x"]
        {
            assert_eq!(shown(path), None, "{path}");
        }
        assert_eq!(Reference::parse("a/b@v2/m.gguf").unwrap().to_string(), "a/b@v2/m.gguf");
    }
}
