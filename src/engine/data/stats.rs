//! Counts of a tokenized set, and the sentence that reports them.

use super::tokenize::Example;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Counts and lengths, in tokens unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Examples in the set.
    pub examples: usize,
    /// Tokens of all examples.
    pub tokens: usize,
    /// Tokens that are learned.
    pub label_tokens: usize,
    /// Length of the shortest example.
    pub min_len: usize,
    /// Mean length.
    pub mean_len: f64,
    /// Half of the examples are no longer than this.
    pub median_len: usize,
    /// 95 % of the examples are no longer than this.
    pub p95_len: usize,
    /// Length of the longest example.
    pub max_len: usize,
    /// Records whose example lost its end, EOS included, to `max_seq_len`; by their index in the source.
    pub truncated: Vec<usize>,
    /// Tokens lost that way.
    pub tokens_lost: usize,
    /// Records left out because they leave nothing to learn; by their index in the source.
    pub all_masked: Vec<usize>,
    /// Examples whose ids equal those of an earlier one.
    pub duplicates: usize,
    /// Their records; by their index in the source.
    pub duplicated: Vec<usize>,
    /// Records whose example has nothing to learn but an end; by their index in the source.
    pub empty: Vec<usize>,
}

impl Stats {
    /// `ends` says which token ends an answer.
    pub(super) fn of(examples: &[Arc<Example>], all_masked: &[usize], ends: impl Fn(u32) -> bool) -> Self {
        let lengths = || examples.iter().map(|e| e.ids.len());
        let tokens = lengths().sum();
        let mut seen = HashSet::new();
        let repeated = examples.iter().filter(|e| !seen.insert(e.ids.as_slice()));
        let duplicated: Vec<usize> = repeated.map(|e| e.source).collect();
        let is_empty = |e: &Example| (0..e.ids.len()).filter(|&i| e.trained(i)).all(|i| ends(e.ids[i]));
        let mut sorted: Vec<usize> = lengths().collect();
        sorted.sort_unstable();
        // The smallest length that the share of examples does not exceed.
        let quantile = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Stats {
            examples: examples.len(),
            tokens,
            label_tokens: examples.iter().map(|e| e.label_tokens()).sum(),
            min_len: lengths().min().unwrap_or(0),
            mean_len: if examples.is_empty() { 0.0 } else { tokens as f64 / examples.len() as f64 },
            median_len: quantile(0.5),
            p95_len: quantile(0.95),
            max_len: lengths().max().unwrap_or(0),
            truncated: examples.iter().filter(|e| e.lost > 0).map(|e| e.source).collect(),
            tokens_lost: examples.iter().map(|e| e.lost).sum(),
            all_masked: all_masked.to_vec(),
            duplicates: duplicated.len(),
            duplicated,
            empty: examples.iter().filter(|e| is_empty(e)).map(|e| e.source).collect(),
        }
    }
}

impl fmt::Display for Stats {
    /// One sentence, and one more for each thing worth knowing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} tokens, {} of them learned, lengths {} to {} (mean {:.1}).",
            plural(self.examples, "example"),
            self.tokens,
            self.label_tokens,
            self.min_len,
            self.max_len,
            self.mean_len
        )?;
        if !self.truncated.is_empty() {
            write!(
                f,
                " {} truncated, EOS included ({} lost): {}.",
                plural(self.truncated.len(), "record"),
                plural(self.tokens_lost, "token"),
                list(&self.truncated)
            )?;
        }
        if !self.all_masked.is_empty() {
            write!(
                f,
                " {} left out, nothing to learn after the prompt: {}.",
                plural(self.all_masked.len(), "record"),
                list(&self.all_masked)
            )?;
        }
        if self.duplicates > 0 {
            write!(f, " {} of an earlier example.", plural(self.duplicates, "duplicate"))?;
        }
        if !self.empty.is_empty() {
            let empty = plural(self.empty.len(), "example");
            write!(f, " {empty} with nothing to learn but an end: {}.", list(&self.empty))?;
        }
        Ok(())
    }
}

/// `1 record`, `2 records`.
pub fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The first few indices; a report of thousands helps nobody.
pub(super) fn list(indices: &[usize]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = indices.iter().take(SHOWN).map(usize::to_string).collect();
    let more = indices.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ids: &[u32], masked: usize, source: usize, lost: usize) -> Arc<Example> {
        let labels = ids.iter().enumerate().map(|(i, &id)| if i < masked { -100 } else { i64::from(id) }).collect();
        Arc::new(Example { ids: ids.to_vec(), labels, source, lost })
    }

    /// Protects the figures of every run's header, duplicates and the unpredicted first label included.
    #[test]
    fn counts_are_exact() {
        let set = [example(&[1, 2, 3], 0, 4, 0), example(&[1, 2, 3, 4, 5], 3, 7, 2), example(&[1, 2, 3], 2, 9, 0)];
        let stats = Stats::of(&set, &[5], |id| id == 3);
        assert_eq!((stats.examples, stats.tokens, stats.label_tokens), (3, 11, 2 + 2 + 1));
        assert_eq!((stats.min_len, stats.max_len, stats.duplicates, stats.tokens_lost), (3, 5, 1, 2));
        assert_eq!((stats.median_len, stats.p95_len), (3, 5));
        // The last of them learns nothing but token 3, which ends an answer.
        assert_eq!((stats.duplicated.as_slice(), stats.empty.as_slice()), (&[9][..], &[9][..]));
        assert_eq!((stats.truncated.as_slice(), stats.all_masked.as_slice()), (&[7][..], &[5][..]));
        assert_eq!(
            stats.to_string(),
            "3 examples, 11 tokens, 5 of them learned, lengths 3 to 5 (mean 3.7). 1 record truncated, EOS included \
             (2 tokens lost): 7. 1 record left out, nothing to learn after the prompt: 5. 1 duplicate of an earlier example. \
             1 example with nothing to learn but an end: 9."
        );
    }

    /// Protects the report of a large set from running over pages, and of an empty one from dividing by zero.
    #[test]
    fn long_and_empty_reports() {
        assert_eq!(list(&(0..20).collect::<Vec<_>>()), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more");
        assert_eq!(Stats::of(&[], &[], |_| false).mean_len, 0.0);
    }
}
