//! A global allocator that counts: current and peak heap bytes of the process, for logs, scripts and limits.
//!
//! Two limits stand on the count. What is large asks [`check`] before it is made, and long work asks whether the limit is
//! [`exceeded`]: both end as errors. Past [`set_limit`]'s hard end the allocator itself says no, which ends the process;
//! that is for what asks nobody.
//!
//! Memory-mapped files are not heap: weights used straight from a mapped file do not count. Nor does a GPU's memory.

pub(super) mod machine;
mod size;

pub use size::{number_and_unit, parse_size, parse_size_or_zero, show_size};

use crate::engine::error::{Error, Result};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// 0: the machine's.
static LIMIT: AtomicUsize = AtomicUsize::new(0);
static HARD: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system allocator with two counters and a limit around it.
#[derive(Debug)]
pub struct Counting;

fn grew(bytes: usize) {
    let now = CURRENT.fetch_add(bytes, Relaxed) + bytes;
    // The load keeps the common case, no new peak, free of a contended write.
    if now > PEAK.load(Relaxed) {
        PEAK.fetch_max(now, Relaxed);
    }
}

/// Whether `bytes` more would pass the hard end of the limit.
fn refused(bytes: usize) -> bool {
    CURRENT.load(Relaxed).saturating_add(bytes) > HARD.load(Relaxed)
}

// SAFETY: every call is handed to `System` unchanged, or refused by the null that the contract provides for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is passed on.
        let p = unsafe { System.alloc(layout) };
        if !p.is_null() {
            grew(layout.size());
        }
        p
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is passed on.
        let p = unsafe { System.alloc_zeroed(layout) };
        if !p.is_null() {
            grew(layout.size());
        }
        p
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(p, layout) };
        CURRENT.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if refused(new_size.saturating_sub(layout.size())) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is passed on.
        let q = unsafe { System.realloc(p, layout, new_size) };
        if !q.is_null() {
            if new_size >= layout.size() {
                grew(new_size - layout.size());
            } else {
                CURRENT.fetch_sub(layout.size() - new_size, Relaxed);
            }
        }
        q
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lets glibc keep up to 128 MiB of what is freed, for the whole process: each layer's results would otherwise be given back to
/// the system and asked for again, and a prompt spends much of its time on pages that are cleared for it. Tensors past 32
/// MiB are given back as ever.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets two numbers of the allocator; it is called before there are threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
}

/// Heap bytes in use now.
pub fn current() -> usize {
    CURRENT.load(Relaxed)
}

/// Most heap bytes in use at once since the start or the last [`reset_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Starts a new peak measurement from what is in use now.
pub fn reset_peak() {
    PEAK.store(CURRENT.load(Relaxed), Relaxed);
}

/// Counts a peak that was seen before a [`reset_peak`].
pub fn raise_peak(bytes: usize) {
    PEAK.fetch_max(bytes, Relaxed);
}

/// Bytes that may be in use: what [`set_limit`] said, or else what the machine has for this process.
pub fn limit() -> usize {
    static MACHINE: OnceLock<usize> = OnceLock::new();
    match LIMIT.load(Relaxed) {
        0 => *MACHINE.get_or_init(machine::limit),
        bytes => bytes,
    }
}

/// Bytes that other processes could have beside this one: what the machine could give now, and no more than [`limit`] leaves.
/// `None` where the machine does not say.
pub fn free() -> Option<usize> {
    machine::free().map(|bytes| bytes.min(limit().saturating_sub(current())))
}

/// Sets [`limit`], and a quarter above it the hard end, past which allocations fail.
pub fn set_limit(bytes: usize) {
    LIMIT.store(bytes, Relaxed);
    // What is in use already, and some room to say what happened, is never refused.
    HARD.store(bytes.saturating_add(bytes / 4).max(current().saturating_add(64 << 20)), Relaxed);
}

/// Whether more is in use than [`limit`] says.
pub fn exceeded() -> bool {
    current() > limit()
}

/// The error that says that [`limit`] is passed.
pub fn over() -> Error {
    Error::OutOfMemory(format!("{} MiB are in use, {} MiB are allowed", current() >> 20, limit() >> 20))
}

fn amount(bytes: usize) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Whether `bytes` more fit; `what` needs them.
///
/// # Errors
/// [`Error::OutOfMemory`] if they do not.
pub fn check(what: impl FnOnce() -> String, bytes: Option<usize>) -> Result<()> {
    match bytes {
        Some(bytes) if bytes <= limit().saturating_sub(current()) => Ok(()),
        _ => Err(Error::OutOfMemory(format!(
            "{} needs {}; {} MiB of {} MiB are in use",
            what(),
            bytes.map_or("more bytes than can be counted".into(), amount),
            current() >> 20,
            limit() >> 20
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the memory figures of every report: a freed buffer must show in the peak and not in the current count.
    #[test]
    fn peak_remembers_what_current_forgets() {
        const BIG: usize = 4 << 30; // never touched, so it costs no memory; other tests move far less at the same time
        let before = current();
        let buffer = std::hint::black_box(Vec::<u8>::with_capacity(BIG));
        assert!(current() >= before + BIG / 2);
        drop(buffer);
        assert!(peak() >= before + BIG / 2 && current() < before + BIG / 2);
    }
}
