//! The binary as a bounded child: address space, wall clock, and what it took.

use crate::cli_support::Dir;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Most address space of a child, in bytes; what a script may take is far below.
const ADDRESS_SPACE: u64 = 6 << 30;

/// Longest time until a child is killed, which fails its test; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The beginning of standard error.
    pub err: String,
    /// Bytes on both standard streams together.
    pub written: usize,
    /// Most memory at once, in MiB.
    pub peak_mib: i64,
    pub took: Duration,
}

/// Runs `host ARGS` in `dir`.
pub fn run(dir: &Dir, args: &[&str]) -> Ended {
    run_in(dir, "", args)
}

/// Runs `host ARGS` in the folder `below` of `dir`.
pub fn run_in(dir: &Dir, below: &str, args: &[&str]) -> Ended {
    let mut command = dir.host(args);
    command.current_dir(dir.path().join(below));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env("RAYON_NUM_THREADS", "2");
    // SAFETY: between fork and exec only setrlimit is called, which is allowed there.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: ADDRESS_SPACE, rlim_max: ADDRESS_SPACE };
            let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) | libc::setrlimit(libc::RLIMIT_CORE, &core) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let start = Instant::now();
    #[allow(clippy::zombie_processes)] // `wait4` below waits for it
    let mut child = command.spawn().unwrap();
    let drain = |mut stream: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let (mut kept, mut written, mut piece) = (Vec::new(), 0, vec![0; 1 << 16]);
            while let Ok(n @ 1..) = stream.read(&mut piece) {
                written += n;
                kept.extend(&piece[..n.min((1usize << 16).saturating_sub(kept.len()))]);
            }
            (String::from_utf8_lossy(&kept).into_owned(), written)
        })
    };
    let out = drain(Box::new(child.stdout.take().unwrap()));
    let err = drain(Box::new(child.stderr.take().unwrap()));
    let pid = child.id() as libc::pid_t;
    let (mut status, mut killed) = (0, false);
    // SAFETY: a zeroed `rusage` is a valid one, and wait4 only fills in what it is handed.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        while libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage) == 0 {
            if start.elapsed() > PATIENCE && !killed {
                libc::kill(pid, libc::SIGKILL);
                killed = true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        usage
    };
    let took = start.elapsed();
    let (_, out) = out.join().unwrap();
    let (err, written) = err.join().unwrap();
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    Ended { code, err, written: out + written, peak_mib: usage.ru_maxrss / 1024, took }
}
