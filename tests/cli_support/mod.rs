//! A scratch folder with scripts in it, and the real binary run there.

#![allow(dead_code)] // each test binary uses a part

use std::path::Path;
use std::process::{Command, Stdio};

pub struct Dir(tempfile::TempDir);

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Dir {
    /// A folder with `files`: names and texts.
    pub fn with(files: &[(&str, &str)]) -> Dir {
        let dir = Dir(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The binary, about to run in this folder.
    pub fn host(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.path().join("state")).env("TERM", "dumb");
        command.env_remove("HOST_PROGRESS_SECONDS").env_remove("NO_COLOR");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let done = self.host(args).output().unwrap();
        Ran {
            code: done.status.code(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

/// The processes that work in `dir` for a queue, once those that are about to end have had the time.
pub fn workers_left(dir: &Path) -> Vec<String> {
    let dir = dir.canonicalize().unwrap();
    let at_work = || -> Vec<String> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.path());
        let ours = processes.filter(|p| std::fs::read_link(p.join("cwd")).is_ok_and(|cwd| cwd == dir));
        let order = |p: std::path::PathBuf| {
            let environment = String::from_utf8_lossy(&std::fs::read(p.join("environ")).ok()?).into_owned();
            environment.split('\0').find(|v| v.starts_with("HOST_WORKER=")).map(|v| format!("{}: {v}", p.display()))
        };
        ours.filter_map(order).collect()
    };
    for _ in 0..100 {
        if at_work().is_empty() {
            return Vec::new();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    at_work()
}

/// Runs `text` as `t.rhai`, whatever `host check` would say of it: tests of errors want to meet them.
pub fn script(text: &str) -> Ran {
    Dir::with(&[("t.rhai", text)]).run(&["run", "--no-check", "t.rhai"])
}

/// What `text`, run as `t.rhai`, says on standard error when it fails.
#[track_caller]
pub fn failure(text: &str) -> String {
    let ran = script(text);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.err
}
