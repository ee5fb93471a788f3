//! An epoch holds everything once, in the order that seed and epoch say, weighted and packed as promised.

use super::*;
use crate::engine::data::tokenize::toy::{PAD, Toy};
use crate::engine::data::tokenize::{Example, Tokenized};
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
    let example = |labels: &[i64]| Example { ids: vec![1; labels.len()], labels: labels.to_vec(), source: 0, lost: 0 };
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
