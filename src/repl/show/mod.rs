//! Values as a session shows them: the text of each type's own `to_debug`, containers laid out over several lines, and
//! what is huge cut.

mod layout;
mod plot;
mod table;

pub(super) use layout::{brief, painted, value};
pub(super) use plot::plot;
pub(super) use table::{cut, table};

use crate::engine::number::grouped;

/// 12345 as `12,345`.
pub(super) fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// Bytes, in the unit that leaves one to four digits before the point.
pub(super) fn size(bytes: usize) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut x = bytes as f64;
    let mut unit = 0;
    while x >= 1024.0 && unit + 1 < units.len() {
        x /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{x:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects figures that people compare.
    #[test]
    fn figures() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 5 << 20, 3 << 30].map(size), ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]);
    }
}
