//! Which directory a run gets.
//!
//! A run asked for as `runs/finetune` gets exactly that where nothing lies there yet, else `runs/finetune-2`,
//! `runs/finetune-3`, ..: starting twice neither fails nor destroys the first run. Resuming opens the newest one of
//! them that is not finished. A directory that holds anything but a run is never written to.

use super::lock::{LOCK_FILE, Lock};
use super::record::{RECORD_FILE, Record, Status};
use super::{
    CSV_FILE, HTML_FILE, JSON_FILE, LOG_FILE, MARKDOWN_FILE, NOTES_FILE, REPEAT_FILE, SETTINGS_FILE, STATE_FILE, atomic,
};
use crate::engine::error::unknown_name;
use crate::engine::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What to do where a run lies already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Take the next free number.
    #[default]
    Number,
    /// Refuse.
    Refuse,
    /// Delete the old run's files and begin anew in the same directory.
    Overwrite,
    /// Go on with the newest unfinished run of that name, numbered or not.
    Resume,
    /// Go on with the run in exactly that directory, finished or not.
    Reopen,
    /// Go on with the run in exactly that directory if there is one, finished or not; else begin it there.
    Continue,
}

impl Policy {
    const NAMES: [(&str, Policy); 6] = [
        ("number", Policy::Number),
        ("refuse", Policy::Refuse),
        ("overwrite", Policy::Overwrite),
        ("resume", Policy::Resume),
        ("reopen", Policy::Reopen),
        ("continue", Policy::Continue),
    ];

    /// The policy called `name`: the variant's, in lower case.
    pub fn parse(name: &str) -> Result<Policy> {
        let found = Policy::NAMES.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy);
        found.ok_or_else(|| unknown_name("way to open a run directory", name, Policy::NAMES.map(|(known, _)| known)))
    }
}

/// A directory that this process holds alone.
#[derive(Debug)]
pub struct Claim {
    /// The directory.
    pub dir: PathBuf,
    /// Held as long as the run is open.
    pub lock: Lock,
    /// The run to go on with; `None` for a new one.
    pub record: Option<Record>,
    /// What the person at the keyboard should know, one sentence each.
    pub notices: Vec<String>,
}

/// Most numbers tried before giving up.
const MAX_NUMBER: u64 = 9999;

/// Finds or makes the directory for a run asked for as `asked`, and locks it.
///
/// Errors: a name that names no directory of its own (``, `.`, `..`, `/`) or holds control characters; an existing run
/// that `policy` does not accept; nothing to resume; a directory in use or full of other things; the file system.
pub fn claim(asked: &Path, policy: Policy) -> Result<Claim> {
    let name = check_name(asked)?;
    match policy {
        Policy::Number => claim_number(asked, &name),
        Policy::Refuse => match occupied(asked)? {
            None => claim_new(asked),
            Some(what) => Err(Error::config_help(
                format!("{} exists already ({what})", asked.display()),
                "`--resume` continues an unfinished run; else choose another `--out`, or `overwrite`",
            )),
        },
        Policy::Overwrite => claim_overwriting(asked),
        Policy::Resume => claim_newest_unfinished(asked, &name),
        Policy::Reopen => claim_existing(asked.to_path_buf()),
        Policy::Continue => match Record::read(asked) {
            Ok(Some(_)) => claim_existing(asked.to_path_buf()),
            _ => claim(asked, Policy::Refuse),
        },
    }
}

/// The last part of `asked`, checked to be a name.
fn check_name(asked: &Path) -> Result<String> {
    let shown = asked.display().to_string();
    if shown.chars().any(char::is_control) {
        return Err(Error::config(format!("run directory {shown:?}: control characters in a name")));
    }
    match asked.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(Error::config_help(
            format!("run directory {shown:?}: this names no directory of its own"),
            "give the run a name, e.g. `runs/finetune`",
        )),
    }
}

fn numbered(asked: &Path, name: &str, n: u64) -> PathBuf {
    if n == 1 { asked.to_path_buf() } else { asked.with_file_name(format!("{name}-{n}")) }
}

/// What lies at `dir`, in words; `None` if a run can be made there.
fn occupied(dir: &Path) -> Result<Option<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(_) if fs::symlink_metadata(dir).is_err() => return Ok(None), // nothing there, or making it will say why not
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(Some("not a directory".into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Some("a link to nowhere".into())),
        Err(e) => return Err(Error::io(dir)(e)),
    };
    let entries: Vec<_> = entries.flatten().collect();
    if torn(&entries) {
        return Ok(None);
    }
    for entry in entries {
        if entry.file_name() != LOCK_FILE {
            return Ok(Some(match Record::read(dir) {
                Ok(Some(Record { status: Status::Finished, .. })) => "a finished run".into(),
                Ok(Some(_)) => "an unfinished run".into(),
                Ok(None) => "a directory that holds other files".into(),
                Err(_) => "a run whose record cannot be read".into(),
            }));
        }
    }
    Ok(None)
}

/// Whether the directory holds what a run killed in its first moments leaves: an empty log and perhaps its settings.
fn torn(entries: &[fs::DirEntry]) -> bool {
    let empty = |e: &fs::DirEntry| e.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
    let first = |e: &fs::DirEntry| {
        let name = e.file_name();
        [LOCK_FILE, LOG_FILE, SETTINGS_FILE].iter().any(|n| name == *n) || atomic::is_temporary(&name)
    };
    entries.iter().any(|e| e.file_name() == LOG_FILE && empty(e)) && entries.iter().all(first)
}

fn claim_number(asked: &Path, name: &str) -> Result<Claim> {
    for n in 1..=MAX_NUMBER {
        let dir = numbered(asked, name, n);
        if occupied(&dir)?.is_some() {
            continue;
        }
        make(&dir)?;
        // Another process may have seen the same free place: the lock decides, and what it did before is looked at again.
        let Ok(lock) = Lock::try_take(&dir)? else { continue };
        if occupied(&dir)?.is_some() {
            continue;
        }
        let notices = if n == 1 { vec![] } else { explain_number(asked, name, &dir) };
        return Ok(Claim { dir, lock, record: None, notices });
    }
    Err(Error::config(format!("{}: all numbers up to {MAX_NUMBER} are taken; choose another `--out`", asked.display())))
}

fn explain_number(asked: &Path, name: &str, dir: &Path) -> Vec<String> {
    let mut notices = vec![format!("{} exists already: this run goes to {}", asked.display(), dir.display())];
    if let Some((newest, _)) = unfinished(asked, name).into_iter().next_back() {
        notices.push(format!("{} is unfinished: `--resume` would continue it", newest.display()));
    }
    notices
}

fn claim_new(dir: &Path) -> Result<Claim> {
    make(dir)?;
    let lock = Lock::take(dir)?;
    Ok(Claim { dir: dir.to_path_buf(), lock, record: None, notices: vec![] })
}

fn claim_overwriting(dir: &Path) -> Result<Claim> {
    if occupied(dir)?.is_none() {
        return claim_new(dir);
    }
    if !dir.join(RECORD_FILE).is_file() {
        return Err(Error::config_help(
            format!("{} holds no run: its files are not overwritten", dir.display()),
            "choose another `--out`",
        ));
    }
    let lock = Lock::take(dir)?;
    clear(dir)?;
    let notices = vec![format!("the run in {} was overwritten", dir.display())];
    Ok(Claim { dir: dir.to_path_buf(), lock, record: None, notices })
}

fn claim_existing(dir: PathBuf) -> Result<Claim> {
    let missing =
        || Error::config_help(format!("{} holds no run to continue", dir.display()), "start it without `--resume`");
    Record::read(&dir)?.ok_or_else(missing)?;
    let lock = Lock::take(&dir)?;
    let record = Record::read(&dir)?.ok_or_else(missing)?; // again: now nobody else writes it
    atomic::sweep(&dir);
    Ok(Claim { dir, lock, record: Some(record), notices: vec![] })
}

fn claim_newest_unfinished(asked: &Path, name: &str) -> Result<Claim> {
    if let Some((newest, _)) = unfinished(asked, name).into_iter().next_back() {
        return claim_existing(newest);
    }
    let what = occupied(asked)?.map_or("nothing is there".into(), |what| format!("there is {what}"));
    Err(Error::config_help(
        format!("no unfinished run to resume at {} ({what})", asked.display()),
        "start a new run without `--resume`; to train a finished one further, reopen its directory with more epochs",
    ))
}

/// The unfinished runs that were asked for as `asked`, by number, smallest first.
fn unfinished(asked: &Path, name: &str) -> Vec<(PathBuf, u64)> {
    let parent = match asked.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let entry = entry.file_name().to_string_lossy().into_owned();
        let Some(n) = number_of(&entry, name) else { continue };
        let dir = numbered(asked, name, n);
        // `lora-8` may be the eighth `lora` or a run of its own that is called so: its record knows.
        match Record::read(&dir) {
            Ok(Some(r)) if r.status == Status::Unfinished && (n == 1 || r.asked == name) => found.push((dir, n)),
            _ => {}
        }
    }
    found.sort_by_key(|(_, n)| *n);
    found
}

/// 1 for `name` itself, N for `name-N` as [`numbered`] writes it.
fn number_of(entry: &str, name: &str) -> Option<u64> {
    if entry == name {
        return Some(1);
    }
    let digits = entry.strip_prefix(name)?.strip_prefix('-')?;
    let n: u64 = digits.parse().ok()?;
    (n >= 2 && n.to_string() == digits).then_some(n)
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io(dir))
}

/// Deletes what a run writes, and nothing else: a file that someone put there stays.
fn clear(dir: &Path) -> Result<()> {
    const FILES: &[&str] = &[
        RECORD_FILE, // first: from here on this is no run that could be resumed
        SETTINGS_FILE,
        REPEAT_FILE,
        LOG_FILE,
        CSV_FILE,
        NOTES_FILE,
        STATE_FILE,
        MARKDOWN_FILE,
        HTML_FILE,
        JSON_FILE,
        "loss.svg",
        "loss.png",
        "optim.svg",
        "optim.png",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ];
    let events = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(super::tensorboard::PREFIX))
    });
    for path in FILES.iter().map(|name| dir.join(name)).chain(events) {
        match fs::remove_file(&path) {
            Err(e) if !matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Err(Error::io(&path)(e));
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir(dir.join("adapter")); // stays if something else is in it
    atomic::sweep(dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(asked: &Path, policy: Policy) -> Claim {
        let claim = claim(asked, policy).unwrap();
        let name = asked.file_name().unwrap().to_string_lossy();
        claim.record.clone().unwrap_or_else(|| Record::new(name)).write(&claim.dir).unwrap();
        claim
    }

    fn finish(claim: Claim) {
        let mut record = Record::read(&claim.dir).unwrap().unwrap();
        record.finish();
        record.write(&claim.dir).unwrap();
    }

    /// Protects the first run of a newcomer: the second start gets its own directory and is told so.
    #[test]
    fn second_start_gets_a_number() {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("runs/finetune");
        let first = begin(&asked, Policy::Number);
        assert_eq!((first.dir.as_path(), first.notices.len()), (asked.as_path(), 0));
        let second = begin(&asked, Policy::Number);
        assert_eq!(second.dir, root.path().join("runs/finetune-2"));
        assert!(second.notices[0].contains("goes to"), "{:?}", second.notices);
        fs::create_dir(root.path().join("runs/finetune-3")).unwrap();
        fs::write(root.path().join("runs/finetune-3/thesis.txt"), "x").unwrap();
        fs::write(root.path().join("runs/finetune-4"), "a file").unwrap();
        assert_eq!(begin(&asked, Policy::Number).dir, root.path().join("runs/finetune-5"));
    }

    /// Protects `--resume`: the newest unfinished run of that name, and no namesake with a number of its own.
    #[test]
    fn resume_finds_the_newest_unfinished() {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("lora");
        let e = claim(&asked, Policy::Resume).unwrap_err();
        assert!(e.to_string().contains("nothing is there"), "{e}");
        drop(begin(&asked, Policy::Number));
        drop(begin(&asked, Policy::Number)); // lora-2
        finish(begin(&asked, Policy::Number)); // lora-3
        drop(begin(&root.path().join("lora-8"), Policy::Number)); // another experiment
        let resumed = claim(&asked, Policy::Resume).unwrap();
        assert_eq!(resumed.dir, root.path().join("lora-2"));
        finish(resumed);
        assert_eq!(claim(&asked, Policy::Resume).unwrap().dir, asked);
        assert_eq!(claim(&root.path().join("lora-3"), Policy::Reopen).unwrap().dir, root.path().join("lora-3"));
        assert!(claim(&root.path().join("lora-4"), Policy::Reopen).is_err());
    }

    /// Protects a study that is killed in a run's first moments: what such a kill leaves is no obstacle; anything more is.
    #[test]
    fn torn_beginnings_are_begun_again() {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("r");
        fs::create_dir(&asked).unwrap();
        for name in [LOG_FILE, LOCK_FILE, ".host-tmp-1-1"] {
            fs::write(asked.join(name), "").unwrap();
        }
        fs::write(asked.join(SETTINGS_FILE), "{}").unwrap();
        for policy in [Policy::Continue, Policy::Refuse, Policy::Number] {
            let claimed = claim(&asked, policy).unwrap();
            assert!(claimed.dir == asked && claimed.record.is_none(), "{policy:?}");
        }
        fs::write(asked.join("thesis.txt"), "x").unwrap();
        assert!(claim(&asked, Policy::Continue).is_err());
        drop(begin(&root.path().join("s"), Policy::Continue));
        assert!(claim(&root.path().join("s"), Policy::Continue).unwrap().record.is_some());
    }

    /// Protects files: overwriting takes a run's own files only, and never a directory that is no run.
    #[test]
    fn overwrite_spares_what_is_not_a_runs() {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("r");
        drop(begin(&asked, Policy::Refuse));
        for name in ["thesis.txt", "log.jsonl"] {
            fs::write(asked.join(name), "x").unwrap();
        }
        let refused = claim(&asked, Policy::Refuse).unwrap_err();
        assert!(refused.to_string().contains("an unfinished run"), "{refused}");
        assert!(refused.help().unwrap().contains("--resume"));
        drop(claim(&asked, Policy::Overwrite).unwrap());
        assert!(asked.join("thesis.txt").exists() && !asked.join("log.jsonl").exists());
        let e = claim(&asked, Policy::Overwrite).unwrap_err();
        assert!(e.to_string().contains("holds no run"), "{e}");
    }

    /// Protects from two writers: a run in use is neither resumed nor overwritten; a new one goes beside it.
    #[test]
    fn run_in_use_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("r");
        let held = begin(&asked, Policy::Number);
        for policy in [Policy::Resume, Policy::Reopen, Policy::Overwrite] {
            let e = claim(&asked, policy).unwrap_err();
            assert!(e.to_string().contains("being written by this process"), "{e}");
        }
        assert_ne!(claim(&asked, Policy::Number).unwrap().dir, held.dir);
    }

    /// Protects from odd names: each is an error or a directory of exactly that name, never a panic or a place above.
    #[test]
    fn hostile_names() {
        for name in ["", ".", "..", "/", "a/..", "a\0b", "a\nb", "\u{1b}[2J"] {
            let e = claim(Path::new(name), Policy::Number).unwrap_err();
            assert_eq!(e.kind(), "config", "{name:?}: {e}");
        }
        let root = tempfile::tempdir().unwrap();
        for name in ["-rf", "a b", "<b>&\"'", "näme", "%s{}", "x-2", "x"] {
            assert_eq!(begin(&root.path().join(name), Policy::Number).dir, root.path().join(name));
        }
        assert_eq!(claim(&root.path().join("n".repeat(4000)), Policy::Number).unwrap_err().kind(), "io");
        fs::write(root.path().join("file"), "x").unwrap();
        assert_eq!(claim(&root.path().join("file/run"), Policy::Number).unwrap_err().kind(), "io");
    }
}
