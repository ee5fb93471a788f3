//! Files whose change means: run the script again.
//!
//! The operating system wakes us when something happens in their folders; whether one of them has changed is then decided
//! by size and time, which a look every second also finds on disks that send no events.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

/// How long nothing must happen before a change counts as complete: editors write in several steps.
const SETTLED: Duration = Duration::from_millis(120);
/// Where something happens all the time, such as a log in the script's folder.
const SETTLED_AT_LAST: Duration = Duration::from_secs(2);
/// Between two looks at the files where no event came.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at whether to stop.
const POLL: Duration = Duration::from_millis(50);

/// Time and size: what tells one state of a file from another.
type Stamp = (Option<SystemTime>, u64);

/// Watches a growing set of files.
pub struct Watch {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    folders: BTreeSet<PathBuf>,
    /// Scripts beside the files that are no part of the run, as far as they are known.
    others: BTreeSet<PathBuf>,
    /// `None` where the system offers no events: then only the looks remain.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<()>,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Watch {
        let (wake, events) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change; to look at the folders ourselves would wake us for ever.
            if !event.is_ok_and(|e| e.kind.is_access()) {
                let _ = wake.send(()); // a receiver that is gone has nobody to wake
            }
        });
        let watcher = watcher.ok();
        Watch { files: BTreeMap::new(), folders: BTreeSet::new(), others: BTreeSet::new(), watcher, events }
    }

    /// Watches `file` too, from its state of now on.
    pub fn add(&mut self, file: &Path) {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
        if self.files.contains_key(&file) {
            return;
        }
        if let Some(folder) = file.parent().filter(|f| f.is_dir())
            && self.folders.insert(folder.to_path_buf())
        {
            self.others.extend(scripts_in(folder));
            if let Some(watcher) = &mut self.watcher {
                // A folder that cannot be watched is still looked at.
                drop(watcher.watch(folder, RecursiveMode::NonRecursive));
            }
        }
        self.files.insert(file.clone(), stamp(&file));
    }

    /// How many files are watched.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file is watched.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Waits until a file has changed, and returns which have; `None` when `stop` says so. `more` is asked again and again
    /// for files that have come to matter. With `new_scripts` a script that appears beside the others counts too: it may
    /// be the module that was missing.
    pub fn changed(
        &mut self,
        new_scripts: bool,
        more: &dyn Fn() -> Vec<PathBuf>,
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<PathBuf>> {
        let mut looked = Instant::now();
        loop {
            for file in more() {
                self.add(&file);
            }
            if stop() {
                return None;
            }
            let woken = self.wait(POLL);
            if !woken && looked.elapsed() < LOOK_EVERY {
                continue;
            }
            looked = Instant::now();
            let mut found = self.look(new_scripts);
            if found.is_empty() {
                continue;
            }
            while self.wait(SETTLED) && looked.elapsed() < SETTLED_AT_LAST {
                found.extend(self.look(new_scripts));
            }
            return Some(found.into_iter().collect());
        }
    }

    /// Whether an event came within `time`.
    fn wait(&self, time: Duration) -> bool {
        let came = if self.watcher.is_some() {
            self.events.recv_timeout(time).is_ok()
        } else {
            std::thread::sleep(time);
            false
        };
        while self.events.try_recv().is_ok() {}
        came
    }

    fn look(&mut self, new_scripts: bool) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for (file, before) in &mut self.files {
            let now = stamp(file);
            // A file that is gone is about to come back: this is how editors save.
            if now.is_some() && now != *before {
                *before = now;
                found.insert(file.clone());
            }
        }
        if new_scripts {
            for script in self.folders.iter().flat_map(|f| scripts_in(f)) {
                if !self.files.contains_key(&script) && self.others.insert(script.clone()) {
                    found.insert(script);
                }
            }
        }
        found
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok(), meta.len()))
}

fn scripts_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.filter(|p| p.extension().is_some_and(|e| e == "rhai")).collect()
}
