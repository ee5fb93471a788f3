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
mod tests {
    use super::super::tokenize::toy::{PAD, Toy};
    use super::super::tokenize::{Example, Tokenized};
    use super::*;
    use crate::engine::rng::Stream;

    /// `n` examples of random lengths and masks; ids of example `i` are all `i % 256`, so that rows can be recognised.
    fn set(n: usize, seed: u64) -> Tokenized {
        let random = Stream::new(seed);
        let example = |i: usize| {
            let length = 2 + random.below(2 * i as u64, 30);
            let masked = random.below(2 * i as u64 + 1, length);
            let labels = (0..length).map(|t| if t < masked { -100 } else { (i % 256) as i64 }).collect();
            Example { ids: vec![(i % 256) as u32; length], labels, source: i, lost: 0 }
        };
        Tokenized::from_examples((0..n).map(example).collect(), Toy::shared()).unwrap()
    }

    /// Random but valid options from `seed`.
    fn options(seed: u64) -> LoaderOptions {
        let random = Stream::new(seed ^ 0x5eed);
        let flag = |i| random.below(i, 2) == 0;
        LoaderOptions {
            size: 1 + random.below(0, 7),
            accumulate: 1 + random.below(1, 5),
            shuffle: flag(2),
            seed,
            epoch: random.below(3, 4) as u64,
            pad_to_multiple: 1 + random.below(4, 9),
            group_by_length: flag(5),
            pack: (flag(7) && !flag(5)).then_some(31 + random.below(8, 60)),
            weighting: if flag(6) { Weighting::Tokens } else { Weighting::Batches },
            ..LoaderOptions::default()
        }
    }

    fn indices(windows: impl Iterator<Item = Vec<Batch>>) -> Vec<usize> {
        windows.flatten().flat_map(|b| b.indices).collect()
    }

    /// Protects an epoch: every example exactly once, whatever the options, in windows of the announced number and size.
    #[test]
    fn every_example_once() {
        for seed in 0..200 {
            let n = 1 + seed as usize % 61;
            let (data, options) = (set(n, seed), options(seed));
            let windows = data.windows(options.clone()).unwrap();
            assert_eq!(windows.len(), windows.total());
            let all: Vec<_> = windows.collect();
            let rows: usize = all.iter().flatten().map(|b| b.rows).sum();
            assert!(options.pack.is_some() || rows == n);
            assert_eq!(all.len(), rows.div_ceil(options.size * options.accumulate));
            for (w, window) in all.iter().enumerate() {
                let last = w + 1 == all.len();
                assert!(last || window.len() == options.accumulate, "seed {seed}");
                let full = |b: &Batch| b.rows == options.size;
                assert!(window.iter().rev().skip(usize::from(last)).all(full), "seed {seed}");
            }
            let mut seen = indices(all.into_iter());
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>(), "seed {seed}");
        }
    }

    /// Protects the loss: weights of every window add up to 1, the last partial one included, and weighted means of the
    /// micro-batches equal the mean over the window's tokens.
    #[test]
    fn weights_add_up() {
        for seed in 0..200 {
            let (data, mut options) = (set(1 + seed as usize % 61, seed), options(seed));
            for window in data.windows(options.clone()).unwrap() {
                let sum: f64 = window.iter().map(|b| b.weight).sum();
                assert!((sum - 1.0).abs() < 1e-12, "seed {seed}: {sum}");
            }
            options.weighting = Weighting::Tokens;
            for window in data.windows(options).unwrap() {
                // Any loss per token will do; this one differs from token to token.
                let losses = |b: &Batch| -> Vec<f64> {
                    let begins = |i: usize| i.is_multiple_of(b.width) || b.documents.begins(i / b.width, i % b.width);
                    let predicted = |i: &usize| !begins(*i) && b.labels[*i] != -100;
                    (0..b.labels.len()).filter(predicted).map(|i| (b.labels[i] as f64 * 0.7 + i as f64).sin()).collect()
                };
                let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
                let weighted: f64 = window.iter().map(|b| b.weight * mean(&losses(b))).sum();
                let all: Vec<f64> = window.iter().flat_map(losses).collect();
                assert!((weighted - mean(&all)).abs() < 1e-12, "seed {seed}");
            }
        }
    }

    /// Protects the choice between the two weightings on a window of unequal batches.
    #[test]
    fn weightings_differ() {
        let example =
            |labels: &[i64]| Example { ids: vec![1; labels.len()], labels: labels.to_vec(), source: 0, lost: 0 };
        let data = vec![example(&[-100, 1]), example(&[-100, 1, 1, 1]), example(&[9, 1])];
        let data = Tokenized::from_examples(data, Toy::shared()).unwrap();
        let weights = |weighting| -> Vec<f64> {
            let options = LoaderOptions { accumulate: 2, shuffle: false, weighting, ..LoaderOptions::default() };
            data.windows(options).unwrap().flatten().map(|b| b.weight).collect()
        };
        assert_eq!(weights(Weighting::Tokens), [0.25, 0.75, 1.0]);
        assert_eq!(weights(Weighting::Batches), [0.5, 0.5, 1.0]);
    }

    /// Protects resuming: skipping k windows gives the tail of the whole, batch for batch, at every k.
    #[test]
    fn skip_gives_the_same_tail() {
        for seed in 0..60 {
            let (data, options) = (set(1 + seed as usize % 37, seed), options(seed));
            let whole: Vec<_> = data.windows(options.clone()).unwrap().collect();
            for skip in 0..=whole.len() {
                let mut tail = data.windows(LoaderOptions { skip, ..options.clone() }).unwrap();
                assert_eq!(tail.position(), (options.epoch, skip));
                assert_eq!(tail.len(), whole.len() - skip);
                assert!(tail.by_ref().eq(whole[skip..].iter().cloned()), "seed {seed}, skip {skip}");
                assert_eq!(tail.position(), (options.epoch, whole.len()));
            }
            let beyond = LoaderOptions { skip: whole.len() + 1, ..options };
            assert!(data.windows(beyond).unwrap_err().to_string().contains("skip is"));
        }
    }

    /// Protects the loss from padding: past a row's length there is only the padding id, and never a label.
    #[test]
    fn padding_is_never_labelled() {
        for seed in 0..100 {
            let data = set(1 + seed as usize % 61, seed);
            for batch in data.windows(options(seed)).unwrap().flatten() {
                let mask = batch.attention_mask();
                assert_eq!(mask.iter().filter(|&&m| m == 1).count(), batch.tokens);
                let mut next = 0;
                for row in 0..batch.rows {
                    let cells = row * batch.width..(row + 1) * batch.width;
                    let (ids, labels) = (&batch.input_ids[cells.clone()], &batch.labels[cells]);
                    let length = batch.lengths[row];
                    for document in batch.documents.of_row(row) {
                        let id = batch.indices[next] as u32 % 256;
                        assert!(ids[document].iter().all(|&other| other == id));
                        next += 1;
                    }
                    assert!(ids[length..].iter().all(|&id| id == PAD) && labels[length..].iter().all(|&l| l == -100));
                }
                assert_eq!(batch.width % options(seed).pad_to_multiple, 0);
            }
        }
    }

    /// Protects the order: seed and epoch decide it, nothing else; without shuffling it is the set's own.
    #[test]
    fn order_depends_on_seed_and_epoch() {
        let data = set(50, 0);
        let run = |seed, epoch, shuffle, size| {
            indices(data.windows(LoaderOptions { seed, epoch, shuffle, size, ..LoaderOptions::default() }).unwrap())
        };
        assert_eq!(run(1, 0, true, 1), run(1, 0, true, 7));
        assert_ne!(run(1, 0, true, 1), run(1, 1, true, 1));
        assert_ne!(run(1, 0, true, 1), run(2, 0, true, 1));
        assert_eq!(run(1, 3, false, 4), (0..50).collect::<Vec<_>>());
        let batches: Vec<_> = data.batches(8).unwrap().collect();
        assert_eq!(batches.iter().map(|b| b.rows).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 2]);
        assert!(batches.iter().all(|b| b.weight == 1.0));
    }

    /// Protects what length grouping is for: less padding than a plain shuffle.
    #[test]
    fn grouping_by_length_saves_padding() {
        let data = set(400, 9);
        let cells = |group_by_length| -> usize {
            let options = LoaderOptions { size: 8, group_by_length, ..LoaderOptions::default() };
            data.windows(options).unwrap().flatten().map(|b| b.rows * b.width).sum()
        };
        let (plain, grouped, tokens) = (cells(false), cells(true), data.stats().tokens);
        assert!(grouped - tokens < (plain - tokens) / 4, "plain {plain}, grouped {grouped}, tokens {tokens}");
    }

    /// Protects what packing is for, and the figure that says so: nearly every place holds a token.
    #[test]
    fn packing_saves_padding() {
        let data = set(400, 9);
        let usage = |pack| {
            let windows = data.windows(LoaderOptions { size: 8, pack, ..LoaderOptions::default() }).unwrap();
            let usage = windows.usage();
            let batches: Vec<Batch> = windows.flatten().collect();
            let places: usize = batches.iter().map(|b| b.rows * b.width).sum();
            assert_eq!((usage.batches, usage.places), (batches.len(), places));
            assert_eq!((usage.documents, usage.tokens), (400, data.stats().tokens));
            usage
        };
        let (padded, packed) = (usage(None), usage(Some(64)));
        assert!(padded.useful_share < 0.7 && packed.useful_share > 0.97, "{padded:?} {packed:?}");
        assert_eq!(padded.rows, 400);
        assert!(packed.rows < 400 * 17 / 64 + 2, "{packed:?}");
        let short = LoaderOptions { pack: Some(20), ..LoaderOptions::default() };
        let said = data.windows(short).unwrap_err().to_string();
        assert!(said.contains("an example has 31 tokens, and pack_len is 20"), "{said}");
        let both = LoaderOptions { pack: Some(64), group_by_length: true, ..LoaderOptions::default() };
        assert!(data.windows(both).is_err());
    }

    /// Protects memory where lengths differ much: no micro-batch has more places than its budget, and none is wasted.
    #[test]
    fn batches_keep_a_token_budget() {
        let data = set(300, 4);
        for (pack, group_by_length) in [(None, false), (None, true), (Some(64), false)] {
            let options = LoaderOptions {
                size: usize::MAX,
                max_tokens: Some(128),
                pad_to_multiple: 4,
                pack,
                group_by_length,
                accumulate: 3,
                ..LoaderOptions::default()
            };
            let all: Vec<Vec<Batch>> = data.windows(options.clone()).unwrap().collect();
            let batches: Vec<&Batch> = all.iter().flatten().collect();
            assert!(batches.iter().all(|b| b.rows * b.width <= 128));
            assert!(all[..all.len() - 1].iter().all(|w| w.len() == 3));
            let mean = batches.iter().map(|b| b.rows * b.width).sum::<usize>() / batches.len();
            assert!(mean > 96, "{mean} places of 128");
            let mut seen = indices(all.into_iter());
            seen.sort_unstable();
            assert_eq!(seen, (0..300).collect::<Vec<_>>());
            let tight = LoaderOptions { max_tokens: Some(20), ..options };
            assert!(data.windows(tight).unwrap_err().to_string().contains("max_tokens is 20"));
        }
    }

    /// Protects runs on other machines: order and rows do not depend on how many threads tokenize or collate.
    #[test]
    fn threads_do_not_change_the_order() {
        use crate::engine::data::record::{Dataset, Record};
        use crate::engine::data::tokenize::{TokenizeOptions, tokenize};
        let text = |i: usize| "word ".repeat(1 + i * 7 % 13);
        let records = Dataset::new("t", (0..200).map(|i| Record::new(text(i), "", text(i + 3))));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let data = tokenize(&records, Toy::shared(), &TokenizeOptions::default()).unwrap();
                let options = |pack, group_by_length| LoaderOptions {
                    size: 3,
                    accumulate: 2,
                    seed: 5,
                    epoch: 1,
                    pack,
                    group_by_length,
                    ..LoaderOptions::default()
                };
                [(None, false), (None, true), (Some(600), false)]
                    .map(|(pack, grouped)| data.windows(options(pack, grouped)).unwrap().collect::<Vec<_>>())
            })
        };
        let one = with(1);
        assert!(one == with(2) && one == with(5));
    }

    /// Protects drop_last and the refusal of sizes that cannot work, huge ones included.
    #[test]
    fn limits() {
        let data = set(10, 0);
        let with = |size, accumulate, drop_last| {
            data.windows(LoaderOptions { size, accumulate, drop_last, ..LoaderOptions::default() })
        };
        assert_eq!(indices(with(2, 2, true).unwrap()).len(), 8);
        assert_eq!(with(2, 2, false).unwrap().len(), 3);
        assert!(with(4, 4, true).unwrap_err().to_string().contains("drop_last leaves nothing: 10 examples"));
        assert_eq!(indices(with(usize::MAX, usize::MAX, false).unwrap()).len(), 10);
        assert!(with(0, 1, false).is_err() && with(1, 0, false).is_err());
        let wide = LoaderOptions { pad_to_multiple: usize::MAX, ..LoaderOptions::default() };
        assert!(data.windows(wide).is_err());
        assert!(data.take(0).windows(LoaderOptions::default()).is_err());
        assert!(Weighting::named("token").unwrap_err().help().unwrap().contains("`tokens`"));
    }
}
