//! Jobs in processes of their own: this program, started again with the same words, told through its environment which
//! single job of a queue it is to do.
//!
//! A worker's standard input is its lifeline. A byte on it asks the worker to stop cleanly; its end says that whoever
//! started the worker is gone, however that came about, and that the worker must go too. The log of a worker is locked for as
//! long as the worker lives: the lock is the open file's, which the worker has as its standard output.

mod pool;

pub use pool::{Done, Pool};

use super::atomic::write_atomic;
use super::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable that holds a worker's [`Order`].
const ORDER: &str = "HOST_WORKER";

/// The folder in a queue's directory where workers leave their logs and results.
pub const FOLDER: &str = "workers";

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The directory of the queue, which the process that started the worker holds.
    pub queue: String,
    /// The job.
    pub job: String,
    /// The file for its result.
    result: PathBuf,
}

/// A job's result on its way back.
#[derive(Debug, Serialize, Deserialize)]
struct Delivery {
    job: String,
    seconds: f64,
    result: Value,
}

impl Order {
    /// The order that this process was started with; `None` for one that a person started.
    ///
    /// # Errors
    /// If the variable holds anything else.
    pub fn given() -> Result<Option<Order>> {
        let Some(text) = std::env::var_os(ORDER) else { return Ok(None) };
        let order = text.to_str().and_then(|text| serde_json::from_str(text).ok());
        order.map(Some).ok_or_else(|| {
            Error::config_help(
                format!("the environment variable {ORDER} holds no order"),
                "the host sets it for the workers that it starts: unset it",
            )
        })
    }

    /// Leaves the job's `result`, which took `seconds`, for whoever gave the order.
    ///
    /// # Errors
    /// The file system.
    pub fn deliver(&self, result: Value, seconds: f64) -> Result<()> {
        let delivery = Delivery { job: self.job.clone(), seconds, result };
        let text = serde_json::to_vec(&delivery)
            .map_err(|e| Error::config(format!("the result of the job \"{}\" is no plain data: {e}", self.job)))?;
        write_atomic(&self.result, &text)
    }
}

/// How this program is started again.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    words: Vec<OsString>,
}

impl Launcher {
    /// Starts the program that runs now, with `words` behind its name. `None` where the system does not say which it is.
    pub fn again(words: Vec<OsString>) -> Option<Launcher> {
        // This name means the program that runs even when its file has been replaced since.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() { own.to_path_buf() } else { std::env::current_exe().ok()? };
        Some(Launcher { program, words })
    }

    /// `program` with `words` behind its name.
    #[cfg(test)]
    fn of(program: &str, words: &[&str]) -> Launcher {
        Launcher { program: program.into(), words: words.iter().map(Into::into).collect() }
    }

    /// The command of a worker with so many `threads`.
    fn command(&self, order: &Order, threads: usize) -> Result<Command> {
        let order = serde_json::to_string(order)
            .map_err(|e| Error::config(format!("the order of the job \"{}\" cannot be written: {e}", order.job)))?;
        let mut command = Command::new(&self.program);
        #[cfg(unix)]
        if let Some(name) = std::env::args_os().next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        command.args(&self.words).env(ORDER, order).env("RAYON_NUM_THREADS", threads.to_string());
        Ok(command)
    }
}
