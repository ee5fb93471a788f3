//! One process per run directory.
//!
//! The lock is the operating system's advisory lock on the file `.lock`, which also names the holder's process id. The
//! system drops it when the holder dies, however it dies, so a stale file needs no judgement: whoever gets the lock
//! has the directory. Where a file system knows no such locks (some network ones), a run goes on without.

use crate::engine::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the lock file inside a run directory.
pub const LOCK_FILE: &str = ".lock";

/// Held while a run is open; released on drop or death.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `dir`, or returns `None` with the holder's process id where it can be read.
    pub fn try_take(dir: &Path) -> Result<std::result::Result<Lock, Option<u32>>> {
        let path = dir.join(LOCK_FILE);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // An unreadable id only makes the message poorer.
                let _ = file.take(20).read_to_string(&mut holder);
                return Ok(Err(holder.trim().parse().ok()));
            }
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let id = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(id.as_bytes()))
            .map_err(Error::io(&path))?;
        Ok(Ok(Lock { _file: file }))
    }

    /// Whether a process holds `dir` now. Writes nothing.
    pub fn is_taken(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
        // A shared lock is refused only by the holder's; it is let go with the file.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Takes the lock of `dir`; an error names the holder.
    pub fn take(dir: &Path) -> Result<Lock> {
        Lock::try_take(dir)?.map_err(|holder| {
            let holder = match holder {
                Some(id) if id == std::process::id() => "this process".into(),
                Some(id) => format!("process {id}"),
                None => "another process".into(),
            };
            Error::config_help(
                format!("run directory {} is being written by {holder}", dir.display()),
                "wait for it or stop it, or choose another directory with `--out`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects a run from a second writer, and the message from being useless.
    #[test]
    fn second_taker_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let e = Lock::take(dir.path()).unwrap_err();
        assert!(e.to_string().contains("this process"), "{e}");
        drop(held);
        Lock::take(dir.path()).unwrap();
    }

    /// Protects restarts: what a dead process left, and garbage, do not block.
    #[test]
    fn stale_file_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        for left in ["4194304\n", "garbage", ""] {
            std::fs::write(dir.path().join(LOCK_FILE), left).unwrap();
            drop(Lock::take(dir.path()).unwrap());
            let now = std::fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
            assert_eq!(now, format!("{}\n", std::process::id()));
        }
    }
}
