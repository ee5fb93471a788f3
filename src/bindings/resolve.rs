//! Where a path really leads: `..` and symbolic links followed, also for what does not exist yet.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Links followed before a path counts as a loop, as on Linux.
const MAX_LINKS: usize = 40;

/// The absolute path that opening `path` would reach. Unlike `canonicalize` it takes paths whose end does not exist:
/// creating a file through a dangling link makes what the link names.
///
/// # Errors
/// A loop of links, or no working directory.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    let mut rest: VecDeque<Step> = VecDeque::new();
    let mut links = 0;
    if !path.is_absolute() {
        rest.extend(std::env::current_dir()?.components().map(Step::from));
    }
    rest.extend(path.components().map(Step::from));
    while let Some(step) = rest.pop_front() {
        match step {
            // Pushing a root replaces what is there.
            Step::Root(root) => real.push(root),
            Step::Here => {}
            Step::Up => drop(real.pop()),
            Step::Down(name) => {
                let next = real.join(&name);
                let link = next.symlink_metadata().is_ok_and(|m| m.is_symlink());
                if !link {
                    real = next;
                    continue;
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many levels of symbolic links"));
                }
                let target = std::fs::read_link(&next)?;
                for component in target.components().rev() {
                    rest.push_front(Step::from(component));
                }
            }
        }
    }
    Ok(real)
}

/// One component, owned.
enum Step {
    Root(OsString),
    Here,
    Up,
    Down(OsString),
}

impl From<Component<'_>> for Step {
    fn from(component: Component<'_>) -> Self {
        match component {
            Component::Prefix(_) | Component::RootDir => Step::Root(component.as_os_str().to_os_string()),
            Component::CurDir => Step::Here,
            Component::ParentDir => Step::Up,
            Component::Normal(name) => Step::Down(name.to_os_string()),
        }
    }
}

/// The symbolic links right inside `dir`.
pub(super) fn links_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_symlink())).map(|e| e.path()).collect()
}
