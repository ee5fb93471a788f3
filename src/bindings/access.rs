//! What a script may read and write: every binding that opens a path asks here first.
//!
//! Read: below the working directory, the recipe's folder and the model cache. Written: below `runs` in the working
//! directory. More is what the person at the keyboard allows, by `--allow-read`, `--allow-write` and `--allow-all`, or
//! by naming a path as an option's value. The check resolves `..` and symbolic links first; it does not hold the path
//! open, so another process may change it between the check and the use.

use super::resolve::{links_in, resolve};
use crate::engine::hub::Hub;
use crate::engine::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Where scripts may write without being told: below this folder of the working directory.
pub const RUNS: &str = "runs";

/// What a script may touch; clones share it. Paths are checked and handed back as they were given, so that messages show those.
#[derive(Debug, Clone)]
pub struct Access(Option<Arc<RwLock<Rules>>>, Seen);

/// Files that were read, for whoever wants to know when they change.
type Seen = Arc<Mutex<BTreeSet<PathBuf>>>;

#[derive(Debug, Default)]
struct Rules {
    read: Vec<Root>,
    write: Vec<Root>,
    net: bool,
}

/// A resolved path and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    path: PathBuf,
    /// The person named it, or filled it: links in it lead where they should, as those of a model cache do.
    trusted: bool,
    /// `path-2`, `path-3`, .. belong to it: a run's directory gets a number where its name is taken.
    numbered: bool,
}

impl Root {
    fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.path) || (self.numbered && self.holds_numbered(path))
    }

    fn holds_numbered(&self, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name().and_then(|n| n.to_str())) else {
            return false;
        };
        let Ok(rest) = path.strip_prefix(parent) else { return false };
        let first = rest.components().next().and_then(|c| c.as_os_str().to_str());
        let number = first.and_then(|f| f.strip_prefix(name)?.strip_prefix('-'));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Read,
    Write,
}

impl Access {
    /// No limits: the person's own hands.
    pub fn everything() -> Self {
        Access(None, Seen::default())
    }

    /// What every script may do: see the module's description.
    pub fn restricted() -> Self {
        let cwd = std::env::current_dir().and_then(|d| d.canonicalize());
        Self::below(cwd.ok(), resolve(&Hub::from_env().cache).ok())
    }

    fn below(cwd: Option<PathBuf>, cache: Option<PathBuf>) -> Self {
        let mut rules = Rules::default();
        if let Some(cwd) = cwd {
            // Not resolved: a link called `runs` is not the folder that is meant.
            rules.write.push(Root { path: cwd.join(RUNS), trusted: false, numbered: false });
            rules.read.push(Root { path: cwd, trusted: false, numbered: false });
        }
        rules.read.extend(cache.map(|path| Root { path, trusted: true, numbered: false }));
        Access(Some(Arc::new(RwLock::new(rules))), Seen::default())
    }

    /// Lets scripts read and import from below `folder`, a recipe's.
    pub fn admit(&self, folder: &Path) {
        self.add(Act::Read, folder, false, false);
    }

    /// `--allow-read PATH`.
    pub fn allow_read(&self, path: &Path) {
        self.add(Act::Read, path, true, false);
    }

    /// `--allow-write PATH`; what may be written may be read.
    pub fn allow_write(&self, path: &Path) {
        self.add(Act::Write, path, true, false);
    }

    /// `--allow-net`.
    pub fn allow_net(&self) {
        self.change(|rules| rules.net = true);
    }

    /// A word of the command line: if it is the path of something, that may be read; if of nothing, one may be told so.
    pub fn name(&self, word: &str) {
        let path = Path::new(word);
        let missing = |e: std::io::Error| e.kind() == std::io::ErrorKind::NotFound && !word.is_empty();
        // `/` is more likely a separator than everything there is.
        if path.metadata().map_or_else(missing, |_| true) && resolve(path).is_ok_and(|p| p.parent().is_some()) {
            self.add(Act::Read, path, true, false);
        }
    }

    /// The value of an option that names the output directory: it and its numbered neighbours may be written.
    pub fn name_output(&self, word: &str) {
        let path = Path::new(word);
        if !word.is_empty() && resolve(path).is_ok_and(|p| p.parent().is_some()) {
            self.add(Act::Write, path, true, true);
        }
    }

    /// `path`, a file or directory, if it may be read.
    ///
    /// # Errors
    /// [`Error::Denied`], naming the flag that would allow it. For a directory, also if a link in it leads outside of
    /// what may be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.check(Act::Read, path.as_ref())
    }

    /// `path`, a model's file or directory, if it and what is read beside it may be read.
    ///
    /// # Errors
    /// As [`Access::read`].
    pub fn read_model(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        const COMPANIONS: [&str; 6] = ["json", "safetensors", "model", "bin", "pth", "jinja"];
        let path = self.check(Act::Read, path.as_ref())?;
        let named = self.holds(Act::Read, &path).is_some_and(|root| root.trusted);
        if path.is_file() && !named {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let companion = |p: &Path| p.extension().is_some_and(|e| COMPANIONS.iter().any(|c| e == *c));
            for link in links_in(folder).into_iter().filter(|p| companion(p)) {
                self.check(Act::Read, &link)?;
            }
        }
        Ok(path)
    }

    /// `path`, a file or directory, if it may be written.
    ///
    /// # Errors
    /// [`Error::Denied`], naming the flag that would allow it. For a directory, also if a link in it leads outside of
    /// what may be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.check(Act::Write, path.as_ref())
    }

    /// `dir`, asked for as a run's directory, if it and those with a number behind its name may be written.
    ///
    /// # Errors
    /// As [`Access::write`].
    pub fn write_run(&self, dir: impl AsRef<Path>) -> Result<PathBuf> {
        let dir = self.check(Act::Write, dir.as_ref())?;
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(name) = dir.file_name().and_then(|n| n.to_str()) {
            let prefix = format!("{name}-");
            let numbered = |p: &PathBuf| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix));
            for link in links_in(parent).into_iter().filter(numbered) {
                self.check(Act::Write, &link)?;
            }
        }
        Ok(dir)
    }

    /// Whether the network may be used, for `what`.
    ///
    /// # Errors
    /// [`Error::Denied`], naming the flag that would allow it.
    pub fn net(&self, what: &str) -> Result<()> {
        match &self.0 {
            Some(rules) if !rules.read().unwrap_or_else(PoisonError::into_inner).net => {
                Err(Error::Denied(format!("{what} is not allowed; --allow-net would allow it")))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, act: Act, path: &Path) -> Result<PathBuf> {
        if path.to_str().is_some_and(|p| p.contains("://")) {
            return Err(Error::config_help(
                format!("{} is a URL, and files are what is read and written", path.display()),
                "download it first, and give the file's path",
            ));
        }
        self.check_one(act, path)?;
        // What a directory's links lead to is read and written through it.
        if self.0.is_some() && path.is_dir() && !(act == Act::Read && self.is_trusted(path)) {
            for link in links_in(path) {
                self.check_one(act, &link)?;
            }
        }
        if act == Act::Read && path.is_file() {
            self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf());
        }
        Ok(path.to_path_buf())
    }

    /// The files that were read so far, or were about to be.
    pub fn files_read(&self) -> Vec<PathBuf> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn check_one(&self, act: Act, path: &Path) -> Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let Some(root) = self.holds(act, path) else { return Err(self.denied(act, path)) };
        // A pipe or device blocks or never ends.
        if !root.trusted && path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            return Err(Error::Denied(format!("{} is neither a file nor a directory", path.display())));
        }
        Ok(())
    }

    fn is_trusted(&self, path: &Path) -> bool {
        self.holds(Act::Read, path).is_some_and(|root| root.trusted)
    }

    /// What allows `act` on `path`.
    fn holds(&self, act: Act, path: &Path) -> Option<Root> {
        let rules = self.0.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        let roots = || rules.write.iter().chain(if act == Act::Read { &rules.read[..] } else { &[] });
        let real = resolve(path).ok()?;
        // The most trusting one, where several hold it.
        let found = roots().filter(|r| r.holds(&real)).max_by_key(|r| r.trusted).cloned();
        found.or_else(|| {
            // A link to a file, right inside of what the person named.
            let name = path.file_name()?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let place = resolve(parent).ok()?.join(name);
            let file = || path.is_file();
            roots().find(|r| r.trusted && act == Act::Read && r.holds(&place) && file()).cloned()
        })
    }

    fn denied(&self, act: Act, path: &Path) -> Error {
        let (doing, flag) = match act {
            Act::Read => ("reading", "--allow-read"),
            Act::Write => ("writing", "--allow-write"),
        };
        let given = path.display().to_string();
        // Where a link in an allowed folder leads is what must be said; of other places nothing is.
        let lexical = std::path::absolute(path).ok();
        let inside = lexical.as_ref().is_some_and(|p| {
            let rules = self.0.as_ref().map(|r| r.read().unwrap_or_else(PoisonError::into_inner));
            let plain = !p.components().any(|c| matches!(c, std::path::Component::ParentDir));
            plain && rules.is_some_and(|rules| rules.read.iter().chain(&rules.write).any(|r| r.holds(p)))
        });
        let leads = resolve(path).ok().filter(|real| inside && lexical.as_ref() != Some(real));
        let target = leads.as_ref().map_or(given.clone(), |real| real.display().to_string());
        let why = leads.map_or(String::new(), |real| format!(", because it leads to {}", real.display()));
        Error::Denied(format!("{doing} {given} is not allowed{why}; {flag} {} would allow it", quoted(&target)))
    }

    fn add(&self, act: Act, path: &Path, trusted: bool, numbered: bool) {
        let Ok(path) = resolve(path) else { return };
        let root = Root { path, trusted, numbered };
        self.change(|rules| {
            let roots = if act == Act::Read { &mut rules.read } else { &mut rules.write };
            if !roots.contains(&root) {
                roots.push(root);
            }
        });
    }

    fn change(&self, with: impl FnOnce(&mut Rules)) {
        if let Some(rules) = &self.0 {
            // The rules are whole between any two statements that hold the lock.
            with(&mut rules.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// `text` as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=~".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    struct World {
        _dir: tempfile::TempDir,
        root: PathBuf,
        access: Access,
    }

    /// A working directory `cwd`, a folder `else` beside it, and the access of a script that runs in the former.
    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["cwd/runs/old", "else/model"] {
            create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["cwd/data.json", "else/secret", "else/model/config.json", "cwd/runs/old/log"] {
            write(root.join(file), "{}").unwrap();
        }
        let access = Access::below(Some(root.join("cwd")), None);
        World { _dir: dir, root, access }
    }

    impl World {
        fn link(&self, to: &str, at: &str) {
            symlink(self.root.join(to), self.root.join(at)).unwrap();
        }
        fn read(&self, path: &str) -> Result<PathBuf> {
            self.access.read(self.root.join(path))
        }
        fn write(&self, path: &str) -> Result<PathBuf> {
            self.access.write(self.root.join(path))
        }
    }

    #[track_caller]
    fn denied(result: Result<PathBuf>) -> String {
        let e = result.unwrap_err();
        assert_eq!(e.kind(), "denied");
        e.to_string()
    }

    /// Protects everything outside: by plain path, by `..`, by links to files, to folders, and to what is not there yet.
    #[test]
    fn the_way_out_is_closed() {
        let w = world();
        w.read("cwd/data.json").unwrap();
        w.read("cwd/not/there/yet").unwrap();
        w.write("cwd/runs/new/adapter").unwrap();
        w.link("else/secret", "cwd/file_link");
        w.link("else", "cwd/dir_link");
        w.link("else/new", "cwd/runs/dangling");
        w.link("cwd/loop", "cwd/loop");
        let secret = w.root.join("else/secret").display().to_string();
        assert_eq!(
            denied(w.read("else/secret")),
            format!("reading {secret} is not allowed; --allow-read {secret} would allow it")
        );
        for path in ["cwd/../else/secret", "cwd/runs/../../else/secret", "cwd/no/../../else/x", "cwd/loop", "cwd"] {
            let result = w.read(path);
            // The folder itself is inside, but what its links lead to is not.
            denied(result);
        }
        let link = denied(w.read("cwd/file_link"));
        assert!(
            link.ends_with(&format!("because it leads to {secret}; --allow-read {secret} would allow it")),
            "{link}"
        );
        denied(w.read("cwd/dir_link/secret"));
        for path in ["cwd/data.json", "cwd/adapter", "else/x", "cwd/runs/dangling", "cwd/runs/../x", "cwd/runs-2/x"] {
            denied(w.write(path));
        }
    }

    /// Protects a folder called `runs` that is a link: a script's folder may bring one.
    #[test]
    fn links_among_the_runs_lead_nowhere() {
        let w = world();
        w.link("else/secret", "cwd/runs/old/log.jsonl");
        denied(w.write("cwd/runs/old"));
        w.link("else/model", "cwd/runs/new-2");
        denied(w.access.write_run(w.root.join("cwd/runs/new")));
        w.write("cwd/runs/new").unwrap();
        std::fs::rename(w.root.join("cwd/runs"), w.root.join("else/runs")).unwrap();
        w.link("else/runs", "cwd/runs");
        denied(w.write("cwd/runs/other"));
        w.access.name_output(w.root.join("cwd/runs/other").to_str().unwrap());
        w.write("cwd/runs/other").unwrap();
        w.write("cwd/runs/other-12/adapter").unwrap();
        denied(w.write("cwd/runs/other-x"));
        denied(w.write("cwd/runs/another"));
    }

    /// Protects models in a cache, whose files are links: named by the person they open, named by the script they do not.
    #[test]
    fn naming_a_folder_is_consent_to_its_links() {
        let w = world();
        create_dir_all(w.root.join("hub/snapshot")).unwrap();
        write(w.root.join("hub/blob"), "{}").unwrap();
        w.link("hub/blob", "hub/snapshot/config.json");
        denied(w.read("hub/snapshot"));
        w.access.name(w.root.join("hub/snapshot").to_str().unwrap());
        w.read("hub/snapshot").unwrap();
        w.read("hub/snapshot/config.json").unwrap();
        denied(w.read("hub/blob"));
        denied(w.read("hub/snapshot/../other"));
        denied(w.write("hub/snapshot/x"));
        // A file of the script's own choice, with a link beside it that a loader would follow.
        write(w.root.join("cwd/m.bin"), "").unwrap();
        w.link("else/secret", "cwd/tok512.bin");
        denied(w.access.read_model(w.root.join("cwd/m.bin")));
        w.access.name(w.root.join("cwd/m.bin").to_str().unwrap());
        w.access.read_model(w.root.join("cwd/m.bin")).unwrap();
    }

    /// Protects the flags: each allows its path and what is below, and no more; what may be written may be read.
    #[test]
    fn flags_open_what_they_name() {
        let w = world();
        w.access.allow_read(&w.root.join("else/model"));
        w.read("else/model/config.json").unwrap();
        denied(w.read("else/secret"));
        denied(w.write("else/model/x"));
        w.access.allow_write(&w.root.join("else/out"));
        w.write("else/out/x").unwrap();
        w.read("else/out/x").unwrap();
        w.access.name("/");
        denied(w.read("else/secret"));
        // Whoever mistypes a path is to hear that nothing is there, not of permissions.
        denied(w.read("else/mistyped"));
        w.access.name(w.root.join("else/mistyped").to_str().unwrap());
        w.read("else/mistyped").unwrap();
        denied(w.read("else/secret"));
        assert!(w.access.net("downloading").unwrap_err().to_string().contains("--allow-net would allow it"));
        w.access.allow_net();
        w.access.net("downloading").unwrap();
        Access::everything().write(w.root.join("else/secret")).unwrap();
    }
}
