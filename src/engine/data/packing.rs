//! Several examples in one row: best-fit decreasing.
//!
//! The longest example is placed first; each goes into the row that it leaves the least room in, or into a new one. The
//! number of rows is at most 11/9 of the best possible, plus four (Johnson, 1973). Rows are made within a stretch of the
//! shuffled order, so that a set of any size takes little memory and time, and examples that meet in a row are a random
//! choice.

use std::collections::BTreeSet;

/// Examples that are packed together: more fill rows better, fewer are sooner done.
pub(super) const STRETCH: usize = 2048;

/// Rows of at most `room` tokens that hold each of `items` once; `length` gives an item's tokens, at most `room`.
pub(super) fn pack(items: &[usize], room: usize, length: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut longest_first = items.to_vec();
    longest_first.sort_by_key(|item| std::cmp::Reverse(length(*item))); // stable: ties stay in shuffled order
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new(); // room left, row
    for item in longest_first {
        let need = length(item);
        match open.range((need, 0)..).next().copied() {
            Some((left, row)) => {
                open.remove(&(left, row));
                open.insert((left - need, row));
                rows[row].push(item);
            }
            None => {
                open.insert((room.saturating_sub(need), rows.len()));
                rows.push(vec![item]);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Stream;

    /// Protects the rule on an example that can be followed by hand: 7 takes 3, and 5 takes 4 rather than 2.
    #[test]
    fn the_fullest_row_that_fits_is_taken() {
        let lengths = [2, 7, 5, 4, 3];
        assert_eq!(pack(&[0, 1, 2, 3, 4], 10, |i| lengths[i]), [vec![1, 4], vec![2, 3], vec![0]]);
        assert!(pack(&[], 10, |_| 1).is_empty());
        assert_eq!(pack(&[0, 1], 10, |_| 10), [vec![0], vec![1]]);
    }

    /// Protects training: every example once, no row over its room, and few rows.
    #[test]
    fn rows_hold_everything_once() {
        for seed in 0..50 {
            let random = Stream::new(seed);
            let n = 1 + random.below(0, 300);
            let lengths: Vec<usize> = (0..n).map(|i| 1 + random.below(1 + i as u64, 64)).collect();
            let items: Vec<usize> = (0..n).collect();
            let rows = pack(&items, 64, |i| lengths[i]);
            let mut seen = rows.concat();
            seen.sort_unstable();
            assert_eq!(seen, items, "seed {seed}");
            let tokens = |row: &Vec<usize>| row.iter().map(|i| lengths[*i]).sum::<usize>();
            assert!(rows.iter().all(|row| tokens(row) <= 64), "seed {seed}");
            let least = lengths.iter().sum::<usize>().div_ceil(64);
            assert!(rows.len() <= least * 11 / 9 + 1, "seed {seed}: {} rows, at least {least} needed", rows.len());
        }
    }
}
