//! Memory for weights in large pages, where the system has them: a product reads its weights once and from front to back,
//! and with pages of 4 KiB the processor's look-ups of addresses slow that down.

/// A cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
struct Line([u8; LINE]);

/// Bytes of a [`Line`].
pub(super) const LINE: usize = 64;

/// Bytes that begin at a cache line; zeros at first.
#[derive(Debug)]
pub(super) struct Pages(Vec<Line>);

impl Pages {
    /// Room for `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let count = bytes.div_ceil(LINE);
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        // Before the first touch, which is when the system chooses the page.
        advise(lines.as_mut_ptr().cast(), count * LINE);
        lines.resize(count, Line([0; LINE]));
        Pages(lines)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: a line is its bytes, without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; any bytes are a line.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

/// Asks for large pages. A system that has none goes on with small ones.
#[cfg(target_os = "linux")]
fn advise(from: *mut u8, bytes: usize) {
    const PAGE: usize = 4096;
    /// Below this no large page fits.
    const LEAST: usize = 4 << 20;
    if bytes < LEAST {
        return;
    }
    let start = (from as usize).next_multiple_of(PAGE);
    let end = (from as usize + bytes) / PAGE * PAGE;
    // SAFETY: the pages lie within an allocation of ours; the advice changes no contents.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}
