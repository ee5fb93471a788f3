//! Optimizer windows: what one optimizer step sees, as micro-batches whose weighted losses add up to one mean.
//!
//! With `n_j` predicted labels in micro-batch `j`, the mean loss over the window's tokens is
//! `sum_j (n_j / sum_k n_k) * mean_j`: a batch's weight is `n_j / sum_k n_k`, over the batches the window really has, so
//! the last, shorter one is weighted right too. (The mean of means, `1 / count`, is there as [`Weighting::Batches`].)
//!
//! The order is a function of `(seed, epoch)` alone, so `(epoch, window)` is all that a saved run needs to go on. With
//! packing, so is what shares a row; how many windows an epoch has then differs a little from epoch to epoch.

use super::batch::Batch;
use super::plan::Plan;
use super::split::Subset;
use super::tokenize::{Example, Tokenized};
use crate::engine::error::{Error, Result, unknown_name};
use std::sync::Arc;

/// What a micro-batch's mean loss counts for in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weighting {
    /// Its share of the window's predicted labels: every token counts the same.
    #[default]
    Tokens,
    /// One over the number of micro-batches the window has: every micro-batch counts the same.
    Batches,
}

impl Weighting {
    /// `"tokens"` or `"batches"`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "tokens" => Ok(Weighting::Tokens),
            "batches" => Ok(Weighting::Batches),
            _ => Err(unknown_name("weighting", name, ["tokens", "batches"])),
        }
    }
}

/// How a tokenized set is walked through in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Rows of a micro-batch, at least 1.
    pub size: usize,
    /// Most places of a micro-batch, padding included; `size` may end it sooner.
    pub max_tokens: Option<usize>,
    /// Puts several examples into one row, of at most so many tokens.
    pub pack: Option<usize>,
    /// Micro-batches of a window, at least 1.
    pub accumulate: usize,
    /// Whether each epoch has its own random order.
    pub shuffle: bool,
    /// With `epoch`, decides the order.
    pub seed: u64,
    /// With `seed`, decides the order.
    pub epoch: u64,
    /// Windows to leave out at the beginning: those that a resumed run has done.
    pub skip: usize,
    /// Whether to leave out a last window with fewer than `size * accumulate` rows (with a token budget, than
    /// `accumulate` micro-batches).
    pub drop_last: bool,
    /// Row widths are multiples of this, 1 to 4096.
    pub pad_to_multiple: usize,
    /// Whether micro-batches are made of examples of similar length: less padding, a less random order.
    pub group_by_length: bool,
    /// What a micro-batch's loss counts for.
    pub weighting: Weighting,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            size: 1,
            max_tokens: None,
            pack: None,
            accumulate: 1,
            shuffle: true,
            seed: 0,
            epoch: 0,
            skip: 0,
            drop_last: false,
            pad_to_multiple: 1,
            group_by_length: false,
            weighting: Weighting::Tokens,
        }
    }
}

impl LoaderOptions {
    /// Refuses what makes no sense whatever the set.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [
            ("size", self.size),
            ("accumulate", self.accumulate),
            ("max_tokens", self.max_tokens.unwrap_or(1)),
            ("pack_len", self.pack.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::config(format!("batches: {name} is 0, but must be at least 1")));
            }
        }
        if !(1..=4096).contains(&self.pad_to_multiple) {
            return Err(Error::config(format!(
                "batches: pad_to_multiple is {}, but must be from 1 to 4096",
                self.pad_to_multiple
            )));
        }
        if self.pack.is_some() && self.group_by_length {
            return Err(Error::config_help(
                "batches: pack and group_by_length are two ways to save padding, and exclude each other",
                "packing saves more; leave out group_by_length",
            ));
        }
        Ok(())
    }

    /// Gives the micro-batches of one window their weights.
    pub(super) fn weigh(&self, window: &mut [Batch]) {
        let labels: usize = window.iter().map(|b| b.label_tokens).sum();
        let count = window.len();
        for batch in window {
            batch.weight = match self.weighting {
                // A tokenized set holds only examples with labels, so the sum is not 0.
                Weighting::Tokens => batch.label_tokens as f64 / labels as f64,
                Weighting::Batches => 1.0 / count as f64,
            };
        }
    }
}

/// What the micro-batches of an epoch hold, and how much of it is of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Usage {
    /// Micro-batches.
    pub batches: usize,
    /// Rows of all of them.
    pub rows: usize,
    /// Examples in those rows.
    pub documents: usize,
    /// Tokens of the examples.
    pub tokens: usize,
    /// Places of the rectangles, padding included.
    pub places: usize,
    /// Share of the places that hold tokens, 0..1.
    pub useful_share: f64,
}

/// The windows of one epoch, in order: an iterator that collates as it goes and shares the examples.
#[derive(Debug, Clone)]
pub struct Windows {
    data: Tokenized,
    plan: Arc<Plan>,
    options: LoaderOptions,
    next: usize,
    total: usize,
}

impl Windows {
    /// Decides the order of one epoch over `data`.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty set, a size or count of 0, `drop_last` that would leave nothing, examples that are
    /// longer than a packed row or a token budget, and a `skip` beyond the end (the set or the batch size is not what it
    /// was when the position was saved).
    pub fn new(data: &Tokenized, options: LoaderOptions) -> Result<Self> {
        let n = data.len();
        if n == 0 {
            return Err(Error::config("the set has no examples to make batches of"));
        }
        options.check()?;
        let plan = Plan::new(n, |i| data.examples()[i].ids.len(), &options)?;
        let per_window = options.size.saturating_mul(options.accumulate);
        let total = match (options.drop_last, options.max_tokens) {
            (false, _) => plan.batches().div_ceil(options.accumulate),
            (true, None) => plan.rows() / per_window,
            (true, Some(_)) => plan.batches() / options.accumulate,
        };
        if total == 0 {
            let (rows, what) = (plan.rows(), if options.pack.is_some() { "rows" } else { "examples" });
            return Err(Error::config_help(
                match options.max_tokens {
                    None => format!(
                        "batches: drop_last leaves nothing: {rows} {what} do not fill one window of {per_window}"
                    ),
                    Some(_) => format!(
                        "batches: drop_last leaves nothing: {} batches do not fill one window of {}",
                        plan.batches(),
                        options.accumulate
                    ),
                },
                "lower size or accumulate, or use drop_last: false",
            ));
        }
        if options.skip > total {
            return Err(Error::config_help(
                format!("batches: skip is {}, but the epoch has only {total} windows", options.skip),
                "a position is only good for the data and batch size it was saved with",
            ));
        }
        Ok(Windows { data: data.clone(), plan: Arc::new(plan), next: options.skip, options, total })
    }

    /// Windows of the whole epoch, skipped ones included.
    pub fn total(&self) -> usize {
        self.total
    }

    /// `(epoch, window)` of the window that comes next: give them back as `epoch` and `skip` to continue there.
    pub fn position(&self) -> (u64, usize) {
        (self.options.epoch, self.next)
    }

    /// What the whole epoch's micro-batches hold.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { batches: self.batches(0..self.total).len(), ..Usage::default() };
        for batch in self.batches(0..self.total) {
            let (mut rows, mut widest) = (0, 0);
            for row in self.plan.batch(batch) {
                let tokens: usize = row.iter().map(|i| self.data.examples()[*i].ids.len()).sum();
                (rows, widest) = (rows + 1, widest.max(tokens));
                usage.documents += row.len();
                usage.tokens += tokens;
            }
            usage.rows += rows;
            usage.places += rows * widest.next_multiple_of(self.options.pad_to_multiple);
        }
        usage.useful_share = usage.tokens as f64 / usage.places.max(1) as f64;
        usage
    }

    /// The micro-batches of `windows`.
    fn batches(&self, windows: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let each = self.options.accumulate;
        let end = windows.end.saturating_mul(each).min(self.plan.batches());
        windows.start.saturating_mul(each).min(end)..end
    }
}

impl Iterator for Windows {
    /// The micro-batches of one optimizer step; their weights add up to 1.
    type Item = Vec<Batch>;

    fn next(&mut self) -> Option<Vec<Batch>> {
        if self.next >= self.total {
            return None;
        }
        let batches = self.batches(self.next..self.next + 1);
        self.next += 1;
        let example = |i: &usize| self.data.examples()[*i].clone();
        let collate = |batch: usize| {
            let rows = self.plan.batch(batch).map(|row| row.iter().map(example).collect::<Vec<Arc<Example>>>());
            Batch::packed(rows, self.data.pad_id(), self.options.pad_to_multiple)
        };
        let mut window: Vec<Batch> = batches.map(collate).collect();
        self.options.weigh(&mut window);
        Some(window)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.total - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Windows {}

impl Tokenized {
    /// [`Windows::new`] over this set.
    pub fn windows(&self, options: LoaderOptions) -> Result<Windows> {
        Windows::new(self, options)
    }

    /// The set once, in order, in batches of `size` with weight 1: for evaluation.
    pub fn batches(&self, size: usize) -> Result<impl Iterator<Item = Batch> + use<>> {
        let options = LoaderOptions { size, shuffle: false, ..LoaderOptions::default() };
        Ok(Windows::new(self, options)?.flatten())
    }
}

#[cfg(test)]
mod tests;
