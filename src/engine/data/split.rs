//! Subsets by index, the same for records and for tokenized examples: split, shuffle, take, select.
//!
//! Every choice is a function of the set's length and a seed alone.

use crate::engine::rng::permutation;
use crate::engine::{Error, Result};
use std::ops::Range;

/// A set from which parts can be picked by position.
pub trait Subset: Sized {
    /// How many items.
    fn len(&self) -> usize;

    /// The items at `indices`, in that order. Every index is below [`Subset::len`].
    fn pick_unchecked(&self, indices: &[usize]) -> Self;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items at `indices`, in that order; an index may repeat.
    fn pick(&self, indices: &[usize]) -> Result<Self> {
        match indices.iter().find(|&&i| i >= self.len()) {
            Some(i) => Err(Error::config(format!("index {i} is beyond the set, which has {} items", self.len()))),
            None => Ok(self.pick_unchecked(indices)),
        }
    }

    /// Two disjoint sets, together the whole: a share of `fraction` and the rest, each in the original order.
    ///
    /// `fraction` strictly between 0 and 1 leaves neither side empty where there are at least two items; a single item
    /// goes to the first side.
    fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let (first, second) = split_indices(self.len(), fraction, seed)?;
        Ok((self.pick_unchecked(&first), self.pick_unchecked(&second)))
    }

    /// All items in an order that depends on `seed` alone.
    fn shuffle(&self, seed: u64) -> Self {
        self.pick_unchecked(&permutation(self.len(), seed))
    }

    /// The first `n` items, or all if there are fewer.
    fn take(&self, n: usize) -> Self {
        let indices: Vec<usize> = (0..n.min(self.len())).collect();
        self.pick_unchecked(&indices)
    }

    /// The items of `range`, which must lie within the set.
    fn select(&self, range: Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::config(format!(
                "range {}..{} does not lie within the set, which has {} items",
                range.start,
                range.end,
                self.len()
            )));
        }
        Ok(self.pick_unchecked(&range.collect::<Vec<_>>()))
    }
}

/// Indices of both sides of a split of `n` items, each ascending.
pub fn split_indices(n: usize, fraction: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Error::config_help(
            format!("split: the fraction is {fraction}, not a number from 0 to 1"),
            "0.9 puts nine tenths in the first set and the rest in the second",
        ));
    }
    let mut size = (n as f64 * fraction).round() as usize;
    if n >= 2 && fraction > 0.0 && fraction < 1.0 {
        size = size.clamp(1, n - 1);
    } else if n == 1 && fraction > 0.0 {
        size = 1;
    }
    let mut first = permutation(n, seed);
    let mut second = first.split_off(size.min(n));
    first.sort_unstable();
    second.sort_unstable();
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::record::{Dataset, Record};

    fn set(n: usize) -> Dataset {
        Dataset::new("t", (0..n).map(|i| Record::new(i.to_string(), "", "")))
    }

    fn indices(set: &Dataset) -> Vec<usize> {
        set.records().iter().map(|r| r.index).collect()
    }

    /// Protects the held-out set: disjoint, complete, never empty, the same for the same seed, for many sizes and shares.
    #[test]
    fn split_is_a_partition() {
        for n in 0..40 {
            for fraction in [1e-9, 0.1, 0.5, 0.9, 1.0 - 1e-9] {
                for seed in 0..5 {
                    let (a, b) = split_indices(n, fraction, seed).unwrap();
                    assert_eq!((a.clone(), b.clone()), split_indices(n, fraction, seed).unwrap());
                    assert!(n < 2 || (!a.is_empty() && !b.is_empty()), "n {n}, fraction {fraction}");
                    assert!(a.is_sorted() && b.is_sorted());
                    let mut all = [a, b].concat();
                    all.sort_unstable();
                    assert_eq!(all, (0..n).collect::<Vec<_>>());
                }
            }
        }
        assert_ne!(split_indices(40, 0.5, 1).unwrap(), split_indices(40, 0.5, 2).unwrap());
        assert_eq!(split_indices(100, 0.9, 0).unwrap().0.len(), 90);
    }

    /// Protects the ends of the scale: all, nothing, one item, and what is no fraction at all.
    #[test]
    fn extreme_fractions() {
        let sizes = |n, f| split_indices(n, f, 0).map(|(a, b)| (a.len(), b.len())).unwrap();
        assert_eq!([sizes(5, 0.0), sizes(5, 1.0), sizes(1, 0.1), sizes(1, 0.0)], [(0, 5), (5, 0), (1, 0), (0, 1)]);
        for fraction in [-0.1, 1.1, 90.0, f64::NAN, f64::INFINITY] {
            assert!(split_indices(5, fraction, 0).is_err());
        }
    }

    /// Protects shuffle, take, select and pick on a real set, errors included.
    #[test]
    fn subsets_keep_identity() {
        let set = set(10);
        let shuffled = set.shuffle(3);
        assert_eq!(indices(&shuffled), permutation(10, 3));
        assert_eq!(indices(&set.take(3)), [0, 1, 2]);
        assert_eq!(set.take(99).len(), 10);
        assert_eq!(indices(&set.select(8..10).unwrap()), [8, 9]);
        assert_eq!(indices(&set.pick(&[4, 4, 1]).unwrap()), [4, 4, 1]);
        assert!(set.pick(&[10]).unwrap_err().to_string().contains("index 10 is beyond the set, which has 10"));
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = set.select(5..3);
        assert!(backwards.is_err() && set.select(5..11).is_err());
    }
}
