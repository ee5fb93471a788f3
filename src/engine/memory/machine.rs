//! How much memory the machine has for this process: its own, its control group's, its address space's.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes that this process may have on the heap. A sixteenth of what there is stays for what is no heap: code, stacks,
/// the allocator's own waste.
pub(super) fn limit() -> usize {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemTotal:"));
    let limits = [machine, control_group(), address_space()];
    // Where nothing is known, refuse only what no machine holds.
    let bytes = limits.into_iter().flatten().min().unwrap_or(1 << 40);
    bytes - bytes / 16
}

/// The value in bytes of the line `name` of a file of /proc.
pub(in crate::engine) fn kib(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The least limit of this process's control group and those around it.
pub(in crate::engine) fn control_group() -> Option<usize> {
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |file: &Path| read_to_string(file).ok()?.trim().parse::<usize>().ok();
    let mut found = vec![limit(Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes"))];
    let own = groups.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or("");
    for group in Path::new(own).ancestors() {
        found.push(limit(&Path::new("/sys/fs/cgroup").join(group).join("memory.max")));
    }
    found.into_iter().flatten().min()
}

/// Bytes that the machine could give now: what is available, and what the limits of the control groups leave of it.
pub(super) fn free() -> Option<usize> {
    let available = read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemAvailable:"));
    let number = |file: &Path| read_to_string(file).ok()?.trim().parse::<usize>().ok();
    // What a group has read of files is given back when it is wanted.
    let room = |group: &Path, [limit, used, given_back]: [&str; 3]| {
        let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|l| l.strip_prefix(given_back)?.trim().parse::<usize>().ok()).unwrap_or(0);
        let used = number(&group.join(used))?.saturating_sub(cache);
        Some(number(&group.join(limit))?.saturating_sub(used))
    };
    let old = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
    let mut found = vec![available, room(Path::new("/sys/fs/cgroup/memory"), old)];
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or("");
    for group in Path::new(own).ancestors() {
        let group = Path::new("/sys/fs/cgroup").join(group);
        found.push(room(&group, ["memory.max", "memory.current", "inactive_file "]));
    }
    found.into_iter().flatten().min()
}

/// What `ulimit -v` and `ulimit -d` leave of the address space.
fn address_space() -> Option<usize> {
    let limits = read_to_string("/proc/self/limits").ok()?;
    let taken = read_to_string("/proc/self/status").ok().and_then(|text| kib(&text, "VmSize:")).unwrap_or(0);
    let soft = |name: &str| -> Option<usize> {
        limits.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let least = [soft("Max address space"), soft("Max data size")].into_iter().flatten().min()?;
    // Threads that start later take some too.
    Some(least.saturating_sub(taken) / 8 * 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects against refusing everything, or nothing, on the machine at hand.
    #[test]
    fn the_limit_is_a_machines() {
        let bytes = limit();
        assert!(bytes > 64 << 20 && bytes <= 1 << 46, "{bytes}");
        assert!(free().is_none_or(|free| free > 1 << 20 && free <= 1 << 46), "{:?}", free());
        assert_eq!(kib("A:  1 kB\nMemTotal:   16 kB\n", "MemTotal:"), Some(16384));
    }
}
