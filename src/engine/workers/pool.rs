//! The workers of one queue: started, waited for, asked to stop.

use super::{Delivery, FOLDER, Launcher, Order};
use crate::engine::atomic::sweep;
use crate::engine::error::{Error, Result};
use crate::engine::interrupt::{self, Graceful};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often workers are looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long a worker whose lifeline has ended may take to go.
const GRACE: Duration = Duration::from_secs(10);
/// Lines and bytes of a failed worker's log that are shown.
const TAIL: (usize, usize) = (16, 4 << 10);
/// Exit code of a worker that stopped because it was asked to.
const STOPPED: i32 = 130;

/// A job that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its name.
    pub job: String,
    /// Its result, plain data.
    pub result: serde_json::Value,
    /// How long the job itself took.
    pub seconds: f64,
}

/// The workers of one queue. Dropping it ends those that run, at once.
#[derive(Debug)]
pub struct Pool {
    launcher: Option<Launcher>,
    queue: String,
    folder: PathBuf,
    lanes: usize,
    threads: usize,
    running: Vec<Worker>,
    /// They were asked to stop: no more are started.
    stopping: bool,
    /// Why the first of those failed that did.
    failed: Option<Error>,
    /// While workers run, the first Ctrl-C waits until they have saved what they did.
    graceful: Option<Graceful>,
}

#[derive(Debug)]
struct Worker {
    order: Order,
    log: PathBuf,
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Pool {
    /// For the queue in the directory `queue`: at most `lanes` workers at once, each with so many `threads`.
    ///
    /// Waits for workers that are still about to end because whoever started them was killed.
    ///
    /// # Errors
    /// A folder that cannot be made; a worker that does not end.
    pub fn open(launcher: Option<Launcher>, queue: &str, lanes: usize, threads: usize) -> Result<Pool> {
        let folder = Path::new(queue).join(FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                lock(&entry.path())?;
            }
        }
        sweep(&folder);
        Ok(Pool {
            launcher,
            queue: queue.to_string(),
            folder,
            lanes: lanes.max(1),
            threads: threads.max(1),
            running: Vec::new(),
            stopping: false,
            failed: None,
            graceful: None,
        })
    }

    /// Whether another worker may be started.
    pub fn free(&self) -> bool {
        !self.stopping && self.running.len() < self.lanes && !interrupt::requested()
    }

    /// Starts a worker for `job`, whose files are named by its `number`.
    ///
    /// # Errors
    /// If there is no lane for it, or no process can be started.
    pub fn start(&mut self, number: usize, job: &str) -> Result<()> {
        let launcher = self.launcher.as_ref().ok_or_else(|| {
            Error::config_help(
                format!("no worker can be started here for the job \"{job}\""),
                "only `host run` starts workers, for a script in a file: ask `workers::available()`",
            )
        })?;
        if !self.free() {
            return Err(Error::config(format!("there is no lane for the job \"{job}\": wait for another to end")));
        }
        let order =
            Order { queue: self.queue.clone(), job: job.into(), result: self.folder.join(format!("{number}.json")) };
        // A result that was never taken is of a queue that was killed: the job gives it again.
        let _ = fs::remove_file(&order.result);
        let path = self.folder.join(format!("{number}.log"));
        let log = lock(&path)?;
        log.set_len(0).map_err(Error::io(&path))?;
        let mut command = launcher.command(&order, self.threads)?;
        let output = log.try_clone().map_err(Error::io(&path))?;
        command.stdin(Stdio::piped()).stdout(output).stderr(log);
        let mut child = command.spawn().map_err(Error::io(command.get_program()))?;
        let lifeline = child.stdin.take();
        self.running.push(Worker { order, log: path, child, lifeline });
        self.graceful.get_or_insert_with(Graceful::new);
        Ok(())
    }

    /// Waits until a worker has ended, and takes its result; `None` once there are none. When one fails, or Ctrl-C is
    /// pressed, the others are asked to stop, and what ends well until then is still given.
    ///
    /// # Errors
    /// A worker that failed, with the end of its log, once all others have stopped; [`Error::Interrupted`] likewise.
    pub fn wait(&mut self) -> Result<Option<Done>> {
        loop {
            if let Some((mut worker, status)) = self.ended()? {
                match worker.result() {
                    Some(done) => return Ok(Some(done)),
                    None if self.stopping && status.code() == Some(STOPPED) => {}
                    // Ctrl-C met it before it had come so far as to leave that to us.
                    None if status.code().is_none() && interrupted_soon() => {}
                    None => {
                        let why = worker.failure(status);
                        self.failed.get_or_insert(why);
                        self.stop();
                    }
                }
                continue;
            }
            if self.running.is_empty() {
                self.graceful = None;
                return match self.failed.take() {
                    Some(why) => Err(why),
                    None if self.stopping || interrupt::requested() => Err(Error::Interrupted),
                    None => Ok(None),
                };
            }
            if let Some(why) = interrupt::reason() {
                self.end();
                return Err(why);
            }
            if interrupt::requested() {
                self.stop();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Workers that run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Takes out a worker that has ended.
    fn ended(&mut self) -> Result<Option<(Worker, ExitStatus)>> {
        for i in 0..self.running.len() {
            let worker = &mut self.running[i];
            if let Some(status) = worker.child.try_wait().map_err(Error::io(&worker.log))? {
                return Ok(Some((self.running.swap_remove(i), status)));
            }
        }
        Ok(None)
    }

    /// Asks every worker to stop cleanly.
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            for worker in &mut self.running {
                // Who does not read any more has ended.
                let _ = worker.lifeline.as_mut().map(|line| line.write_all(b".").and_then(|()| line.flush()));
            }
        }
    }

    /// Ends every worker at once.
    fn end(&mut self) {
        // All lifelines first: they end side by side.
        self.running.iter_mut().for_each(|w| w.lifeline = None);
        self.running.clear();
        self.graceful = None;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

impl Worker {
    /// The result that it left, which is taken away.
    fn result(&mut self) -> Option<Done> {
        let bytes = fs::read(&self.order.result).ok()?;
        let Delivery { job, seconds, result } = serde_json::from_slice(&bytes).ok()?;
        let _ = fs::remove_file(&self.order.result); // one that stays is overwritten
        (job == self.order.job).then_some(Done { job, result, seconds })
    }

    fn failure(&self, status: ExitStatus) -> Error {
        let how = match status.code() {
            Some(0) => "ended without a result".to_string(),
            Some(_) => "failed".to_string(),
            None => format!("was ended from outside ({status})"),
        };
        let said = match tail(&self.log) {
            text if text.is_empty() => "; it said nothing".to_string(),
            text => format!("; the end of what it said:\n{text}"),
        };
        let more = if status.code().is_none() { "; if memory ran out, run fewer side by side" } else { "" };
        Error::config_help(
            format!("the job \"{}\" {how}, in a process of its own{said}", self.order.job),
            format!(
                "all of it is in {}; once the cause is gone, the same command goes on with what is left{more}",
                self.log.display()
            ),
        )
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.lifeline = None;
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > GRACE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Whether Ctrl-C was pressed: a signal to the whole group of processes need not reach us first.
fn interrupted_soon() -> bool {
    let asked = Instant::now();
    while !interrupt::requested() && asked.elapsed() < 5 * POLL {
        std::thread::sleep(POLL);
    }
    interrupt::requested()
}

/// Opens the log at `path` and locks it, once nobody else has it.
fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(Error::io(path))?;
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if asked.elapsed() < GRACE => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::config_help(
                    format!("a worker of an earlier run still writes {}", path.display()),
                    "wait for it, or end its process",
                ));
            }
            // Where a file system knows no locks, work goes on without.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// The last lines of the file at `path`, indented.
fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL.1)..]).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL.0)..].iter().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn pool(dir: &Path, script: &str) -> Pool {
        let launcher = Launcher::of("/bin/sh", &["-c", script]);
        Pool::open(Some(launcher), dir.to_str().unwrap(), 2, 1).unwrap()
    }

    /// Protects results: a worker's comes back as it was written, and its order says which job, and how many threads.
    #[test]
    fn a_result_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let order = r#"case "$HOST_WORKER" in *'"job":"a"'*) job=a;; esac; "#;
        let result = r#"printf '{"job":"a","seconds":1.5,"result":"%s %s"}' "$RAYON_NUM_THREADS" "$job""#;
        let mut pool = pool(dir.path(), &format!("{order}{result} > {}/workers/7.json", dir.path().display()));
        pool.start(7, "a").unwrap();
        let done = pool.wait().unwrap().unwrap();
        assert_eq!((done.job.as_str(), done.seconds), ("a", 1.5));
        assert_eq!(done.result, "1 a");
        assert_eq!(pool.wait().unwrap(), None);
        assert!(!dir.path().join("workers/7.json").exists());
    }

    /// Protects whoever looks for the cause: a failure names the job, shows what it said, and comes after the others have
    /// been asked to stop. Protects against workers that live on.
    #[test]
    fn a_failure_stops_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            r#"case "$HOST_WORKER" in *bad*) echo disk on fire; exit 1;; esac; head -c 1 > /dev/null; exit 130"#;
        let mut pool = pool(dir.path(), script);
        pool.start(1, "slow").unwrap();
        pool.start(2, "bad").unwrap();
        assert!(!pool.free() && pool.running() == 2);
        let why = pool.wait().unwrap_err();
        assert!(why.to_string().contains("\"bad\" failed") && why.to_string().contains("  disk on fire"), "{why}");
        assert!(why.help().unwrap().contains("2.log"), "{why:?}");
        assert!(pool.running() == 0 && !pool.free());
    }

    /// Protects a restart from workers of a killed run: it waits until they have gone. A lifeline that ends ends them.
    #[test]
    fn dropping_ends_workers_and_opening_waits_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = pool(dir.path(), "cat; sleep 0.2");
        first.start(1, "a").unwrap();
        first.running[0].lifeline = None;
        let began = Instant::now();
        let again = pool(dir.path(), "true");
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        drop((first, again));
    }
}
