//! Several sets as one, by weight.
//!
//! Each place goes to the set that is furthest behind its share, so that after any number of examples no set is a whole one
//! ahead of it. Which of its examples comes next is a random order of each set, a new one for each pass. Nothing depends on
//! anything but lengths, weights and the seed.

use super::split::Subset;
use super::tokenize::Tokenized;
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::rng::{permutation, philox};
use crate::engine::{interrupt, memory};

/// When a mixed set ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stop {
    /// Before an example would come again: when the first set is used up.
    #[default]
    First,
    /// When every example has come: smaller sets begin anew.
    All,
}

impl Stop {
    /// `"first"` or `"all"`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "first" => Ok(Stop::First),
            "all" => Ok(Stop::All),
            _ => Err(unknown_name("stop", name, ["first", "all"])),
        }
    }
}

/// How sets are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MixOptions {
    /// Decides which example of a set comes when.
    pub seed: u64,
    /// When the mixed set ends, unless `len` says.
    pub stop: Stop,
    /// How many examples the mixed set has; sets begin anew as often as it takes.
    pub len: Option<usize>,
}

/// One set of `parts`, of which each gives a share in proportion to its weight.
///
/// # Errors
/// [`Error::Config`] without parts, for an empty one, for a weight that is no positive number, for parts that are padded
/// with different tokens (their tokenizers differ), and for a mix that does not fit into memory.
pub fn mix(parts: &[(Tokenized, f64)], options: &MixOptions) -> Result<Tokenized> {
    let sets: Vec<&Tokenized> = parts.iter().map(|(set, _)| set).collect();
    let Some(first) = sets.first() else {
        return Err(Error::config("mix: no sets were given"));
    };
    if let Some(i) = sets.iter().position(|set| set.pad_id() != first.pad_id()) {
        return Err(Error::config_help(
            format!("mix: set {i} is padded with token {}, the first with {}", sets[i].pad_id(), first.pad_id()),
            "tokenize all of them with one tokenizer",
        ));
    }
    let shares: Vec<(usize, f64)> = parts.iter().map(|(set, weight)| (set.len(), *weight)).collect();
    Ok(Tokenized::joined(&sets, &order(&shares, options)?))
}

/// Set and place of each example, for sets of so many examples and such weights.
fn order(parts: &[(usize, f64)], options: &MixOptions) -> Result<Vec<(usize, usize)>> {
    for (i, (len, weight)) in parts.iter().enumerate() {
        if !(weight.is_finite() && *weight > 0.0) {
            return Err(Error::config(format!("mix: the weight of set {i} is {weight}, but must be above 0")));
        }
        if *len == 0 {
            return Err(Error::config(format!("mix: set {i} has no examples")));
        }
    }
    let sum: f64 = parts.iter().map(|(_, weight)| weight).sum();
    let share = |i: usize| parts[i].1 / sum;
    // What the stop rule comes to, for memory's sake: a set of tiny weight takes the others many times.
    let needed = parts.iter().enumerate().map(|(i, (len, _))| *len as f64 / share(i));
    let total = match options.stop {
        Stop::First => needed.fold(f64::INFINITY, f64::min),
        Stop::All => needed.fold(0.0, f64::max),
    };
    let total = options.len.unwrap_or(total as usize);
    memory::check(|| format!("mix: a set of {total} examples"), total.checked_mul(3 * size_of::<usize>()))?;

    let mut picks = Vec::new();
    let mut drawn = vec![0usize; parts.len()];
    let mut passes: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    loop {
        if picks.len().is_multiple_of(4096) {
            interrupt::poll()?;
        }
        let behind = |i: usize| share(i) * (picks.len() + 1) as f64 - drawn[i] as f64;
        let next = (1..parts.len()).fold(0, |best, i| if behind(i) > behind(best) { i } else { best });
        let done = match (options.len, options.stop) {
            (Some(len), _) => picks.len() == len,
            (None, Stop::First) => drawn[next] == parts[next].0,
            (None, Stop::All) => drawn.iter().zip(parts).all(|(drawn, (len, _))| drawn >= len),
        };
        if done {
            return Ok(picks);
        }
        let (pass, at) = (drawn[next] / parts[next].0, drawn[next] % parts[next].0);
        if at == 0 {
            let words = philox(options.seed ^ 0x006d_6978, (next as u64) << 32 ^ pass as u64);
            passes[next] = permutation(parts[next].0, u64::from(words[0]) << 32 | u64::from(words[1]));
        }
        picks.push((next, passes[next][at]));
        drawn[next] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(picks: &[(usize, usize)]) -> Vec<usize> {
        (0..3).map(|part| picks.iter().filter(|pick| pick.0 == part).count()).collect()
    }

    /// Protects the shares at every point of the set, not on average alone, and each example's turn.
    #[test]
    fn shares_hold_throughout() {
        let parts = [(700, 7.0), (1000, 2.0), (1000, 1.0)];
        let picks = order(&parts, &MixOptions::default()).unwrap();
        assert_eq!(counts(&picks), [700, 200, 100]);
        for n in 1..picks.len() {
            let counted = counts(&picks[..n]);
            let off = counted.iter().zip([0.7, 0.2, 0.1]).map(|(c, share)| (*c as f64 - share * n as f64).abs());
            assert!(off.fold(0.0, f64::max) <= 1.0, "after {n}: {counted:?}");
        }
        let mut first: Vec<usize> = picks.iter().filter(|p| p.0 == 0).map(|p| p.1).collect();
        assert_ne!(first[..5], [0, 1, 2, 3, 4]);
        first.sort_unstable();
        assert_eq!(first, (0..700).collect::<Vec<_>>());
    }

    /// Protects the end: at the first set's, at the last one's, or where `len` says; and the seed.
    #[test]
    fn stops_where_told() {
        let parts = [(10, 1.0), (40, 1.0)];
        let run = |options: MixOptions| order(&parts, &options).unwrap();
        assert_eq!(counts(&run(MixOptions::default())), [10, 10, 0]);
        let all = run(MixOptions { stop: Stop::All, ..MixOptions::default() });
        assert_eq!(counts(&all), [40, 40, 0]);
        let pass =
            |n: usize| -> Vec<usize> { all.iter().filter(|p| p.0 == 0).map(|p| p.1).skip(10 * n).take(10).collect() };
        assert_ne!(pass(0), pass(1));
        assert_eq!(run(MixOptions { len: Some(7), ..MixOptions::default() }).len(), 7);
        assert_eq!(all, run(MixOptions { stop: Stop::All, ..MixOptions::default() }));
        assert_ne!(all, run(MixOptions { stop: Stop::All, seed: 1, ..MixOptions::default() }));
    }

    /// Protects memory and sense: weights that are none, empty sets, a mix of billions.
    #[test]
    fn impossible_mixes_are_refused() {
        let error = |parts: &[(usize, f64)], stop| {
            order(parts, &MixOptions { stop, ..MixOptions::default() }).unwrap_err().to_string()
        };
        assert!(error(&[(1, 0.0)], Stop::First).contains("weight of set 0 is 0"));
        assert!(error(&[(1, f64::NAN)], Stop::First).contains("NaN"));
        assert!(error(&[(1, 1.0), (0, 1.0)], Stop::First).contains("set 1 has no examples"));
        assert!(error(&[(1000, 1e-12), (1, 1.0)], Stop::All).contains("mix: a set of"));
    }
}
