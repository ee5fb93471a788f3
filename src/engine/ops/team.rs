//! A team of threads for work of microseconds: the helpers of a step look for the next one for a while before they sleep.
//!
//! A model that decodes has four products in each block, short ones, one after the other. To wake a sleeping thread takes
//! longer than one of them, and rayon's sleep at once where the caller is none of its own. Between two calls the helpers of
//! this team spin, for `PATIENCE` at most, and let others have the processor meanwhile; a helper that comes too late is not
//! waited for. As OpenMP's and ggml's threads do.
//!
//! One call at a time has the team; another caller does its work alone.

use rayon::prelude::*;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(150);

type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// What the present call wants done.
#[derive(Clone, Copy)]
struct Call {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

struct Shared {
    /// Number of the call, in the upper half; the lower one counts the helpers at work on it, and [`CLOSED`].
    state: AtomicU64,
    call: UnsafeCell<Option<Call>>,
    next: AtomicUsize,
    failed: AtomicBool,
    asleep: AtomicUsize,
}

/// No helper may begin any more.
const CLOSED: u64 = 1 << 31;
const CALL: u64 = 1 << 32;

// SAFETY: `call` is written only while the state is closed and nobody is at work, by the one who has the team, and read only
// by helpers that have entered.
unsafe impl Sync for Shared {}

struct Team {
    shared: &'static Shared,
    helpers: Vec<Thread>,
}

static TEAM: OnceLock<Mutex<Team>> = OnceLock::new();

/// Calls `task(0) .. task(count)`, on as many threads as rayon has. One of rayon's own threads asks rayon: it is awake there, and
/// its pool may be meant to have fewer.
pub(in crate::engine) fn each(count: usize, task: Task<'_>) {
    if rayon::current_thread_index().is_some() {
        return (0..count).into_par_iter().for_each(task);
    }
    if count > 1 && rayon::current_num_threads() > 1 {
        let team = TEAM.get_or_init(|| Mutex::new(Team::new(rayon::current_num_threads() - 1)));
        match team.try_lock() {
            Ok(team) => return team.call(count, task),
            // A panic of a task's leaves nothing undone.
            Err(TryLockError::Poisoned(team)) => return team.into_inner().call(count, task),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    (0..count).for_each(task);
}

impl Team {
    fn new(helpers: usize) -> Self {
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            state: AtomicU64::new(CLOSED),
            call: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
        }));
        let spawn = |i: usize| {
            let builder = std::thread::Builder::new().name(format!("team-{i}"));
            // Without a helper the others do its work.
            builder.spawn(move || shared.help()).ok().map(|handle| handle.thread().clone())
        };
        Team { shared, helpers: (0..helpers).filter_map(spawn).collect() }
    }

    fn call(&self, count: usize, task: Task<'_>) {
        let s = self.shared;
        // SAFETY: only the lifetime is changed. `close` returns when no helper is at work on the call, and none can begin.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: the state is closed, and we have the team.
        unsafe { *s.call.get() = Some(Call { task, count }) };
        s.next.store(0, Ordering::Relaxed);
        s.failed.store(false, Ordering::Relaxed);
        let number = (s.state.load(Ordering::Relaxed) / CALL).wrapping_add(1);
        s.state.store(number.wrapping_mul(CALL), Ordering::SeqCst);
        if s.asleep.load(Ordering::SeqCst) > 0 {
            self.helpers.iter().for_each(Thread::unpark);
        }
        let done = catch_unwind(AssertUnwindSafe(|| s.work(task, count)));
        s.close();
        match done {
            Err(panic) => resume_unwind(panic),
            Ok(()) if s.failed.load(Ordering::Relaxed) => panic!("a helper of the team panicked"), // as its own report says
            Ok(()) => {}
        }
    }
}

impl Shared {
    fn work(&self, task: Task<'_>, count: usize) {
        loop {
            match self.next.fetch_add(1, Ordering::Relaxed) {
                i if i < count => task(i),
                _ => return,
            }
        }
    }

    /// Lets no helper begin any more, and waits for those at work.
    fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        let mut turns = 0u32;
        while !self.state.load(Ordering::Acquire).is_multiple_of(CLOSED) {
            pause(&mut turns);
        }
    }

    /// A helper's life.
    fn help(&self) -> ! {
        let (mut seen, mut since, mut turns) = (0, Instant::now(), 0u32);
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state / CALL != seen && state & CLOSED == 0 {
                if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                    continue;
                }
                seen = state / CALL;
                // SAFETY: we have entered the call, so that it stays until we leave.
                if let Some(Call { task, count }) = unsafe { *self.call.get() } {
                    // SAFETY: as above.
                    let task = unsafe { &*task };
                    if catch_unwind(AssertUnwindSafe(|| self.work(task, count))).is_err() {
                        self.failed.store(true, Ordering::Relaxed);
                    }
                }
                self.state.fetch_sub(1, Ordering::AcqRel);
                (since, turns) = (Instant::now(), 0);
            } else if turns % 64 == 63 && since.elapsed() > PATIENCE {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                // A call that came before it could know that we sleep.
                let state = self.state.load(Ordering::SeqCst);
                if state / CALL == seen || state & CLOSED != 0 {
                    std::thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                (since, turns) = (Instant::now(), 0);
            } else {
                pause(&mut turns);
            }
        }
    }
}

/// A moment; now and then one that another thread may use.
fn pause(turns: &mut u32) {
    *turns = turns.wrapping_add(1);
    if turns.is_multiple_of(32) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects a pool that is meant to have fewer threads: on rayon's own, the work stays in their pool.
    #[test]
    fn a_pool_keeps_its_work() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).thread_name(|_| "pool".into()).build().unwrap();
        let named = || std::thread::current().name() == Some("pool");
        pool.install(|| each(64, &|_| assert!(named())));
    }

    /// Protects every product of a decoded token: each task runs once, however short the calls and whoever else calls; and a
    /// panic arrives where the call was made, with the team still in order.
    #[test]
    fn each_task_runs_once() {
        let run = || {
            for round in 0..2000 {
                let counts: Vec<AtomicUsize> = (0..round % 7).map(|_| AtomicUsize::new(0)).collect();
                each(counts.len(), &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(run))));
        let failing = || each(8, &|i| assert!(i != 5, "of our own"));
        assert!(catch_unwind(failing).is_err());
        run();
        std::thread::sleep(PATIENCE * 4);
        run();
    }
}
