//! The automatic reading on curves whose truth is known.

use super::super::curve::Epoch;
use super::*;
use crate::engine::rng::Stream;

/// `n` steps of `f(step)` with normal noise of deviation `noise`.
fn noisy(seed: u64, n: usize, noise: f64, f: impl Fn(f64) -> f64) -> Vec<Point> {
    let random = Stream::new(seed);
    let unit = |i: u64| (f64::from(random.bits(i)) + 0.5) / 2f64.powi(32);
    let normal = |i: u64| (-2.0 * unit(2 * i).ln()).sqrt() * (std::f64::consts::TAU * unit(2 * i + 1)).cos();
    (0..n).map(|i| ((i + 1) as f64, f((i + 1) as f64) + noise * normal(i as u64))).collect()
}

fn curve(loss: Vec<Point>) -> Curve {
    Curve { loss, ..Curve::default() }
}

fn epochs(count: u64, each: u64) -> Vec<Epoch> {
    (1..=count)
        .map(|n| Epoch { epoch: n, from: ((n - 1) * each) as f64, to: (n * each) as f64, train_loss: Some(1.0) })
        .collect()
}

/// Protects the reading of a good run: over many seeds, noise is never called a spike more than once in a while, and a
/// curve that still falls, and one that has arrived, are told apart.
#[test]
fn trends_are_told_from_noise() {
    let (mut spikes, mut falling, mut level) = (0, 0, 0);
    for seed in 0..100 {
        let falls = Reading::of_curve(&curve(noisy(seed, 120, 0.15, |t| 3.0 - 0.012 * t)));
        let arrived = Reading::of_curve(&curve(noisy(1000 + seed, 120, 0.15, |t| 1.5 + 2.0 * (-t / 8.0).exp())));
        spikes += falls.spikes.len() + arrived.spikes.len();
        falling += usize::from(falls.trend == Trend::Falling);
        level += usize::from(arrived.trend == Trend::Level);
    }
    // Twice the standard error: about one in twenty is wrong by chance.
    assert!(falling >= 99 && level >= 88 && spikes <= 2, "falling {falling}, level {level}, spikes {spikes} of 24000");
}

/// Protects the warning: planted spikes are found at their steps, a plateau of several is one, and a run that diverges
/// is said to rise.
#[test]
fn planted_spikes_are_found() {
    for seed in 0..50 {
        let mut loss = noisy(seed, 200, 0.1, |t| 1.0 + 2.0 * (-t / 40.0).exp());
        for (i, up) in [(60, 2.0), (130, 1.5), (131, 2.5), (132, 1.5)] {
            loss[i].1 += up;
        }
        let found: Vec<f64> = Reading::of_curve(&curve(loss)).spikes.iter().map(|s| s.step).collect();
        assert_eq!(found, [61.0, 132.0], "seed {seed}");
    }
    let diverging =
        Reading::of_curve(&curve(noisy(1, 100, 0.1, |t| if t < 60.0 { 2.0 } else { 2.0 + 0.05 * (t - 60.0) })));
    assert_eq!(diverging.trend, Trend::Rising);
    assert!(diverging.sentences().iter().any(|s| s.contains("rose at the end")), "{:?}", diverging.sentences());
}

/// Protects the choice of the epoch to keep: where the held-out loss turned, by step and epoch, and that a rise within
/// 1 % is none.
#[test]
fn the_turn_is_where_it_was_planted() {
    let loss = noisy(3, 60, 0.05, |t| 2.5 * (-t / 20.0).exp());
    let val = |values: &[f64]| values.iter().enumerate().map(|(i, v)| (10.0 * i as f64, *v)).collect::<Vec<_>>();
    let read = |values: &[f64]| {
        Reading::of_curve(&Curve {
            loss: loss.clone(),
            val_loss: val(values),
            epochs: epochs(6, 10),
            ..Curve::default()
        })
    };
    let turned = read(&[3.0, 2.2, 1.9, 1.85, 1.95, 2.1, 2.4]);
    let held_out = turned.held_out.unwrap();
    assert!(held_out.turned && held_out.best == (30.0, 1.85) && turned.best_epoch == Some(3));
    assert_eq!(turned.gap, Some(2.4 - 1.0));
    let said = turned.sentences().join(" ");
    assert!(said.contains("turned at step 30, epoch 3") && said.contains("+29.7 %"), "{said}");

    let level = read(&[3.0, 2.2, 1.9, 1.85, 1.86, 1.855, 1.86]);
    assert!(!level.held_out.unwrap().turned);
    assert!(level.sentences().join(" ").contains("level since its lowest"), "{:?}", level.sentences());
    let falling = read(&[3.0, 2.2, 1.9, 1.85, 1.8, 1.79, 1.75]);
    assert!(falling.sentences().join(" ").contains("lowest at the end"), "{:?}", falling.sentences());
    let worse = read(&[1.5, 1.6, 1.7]);
    assert!(worse.sentences().join(" ").contains("only rose"), "{:?}", worse.sentences());
    assert_eq!(worse.best_epoch, Some(0));
}

/// Protects odd runs: nothing, one step, constants, and losses that are no numbers are read without a panic or a false
/// alarm.
#[test]
fn odd_runs_are_read() {
    for n in [0, 1, 2, 7] {
        let few = Reading::of_curve(&curve(noisy(1, n, 0.1, |_| 1.0)));
        assert!(few.trend == Trend::Unknown && few.spikes.is_empty(), "{n}");
        assert!(few.sentences().iter().any(|s| s.contains("too few")), "{:?}", few.sentences());
    }
    let constant = Reading::of_curve(&curve((0..50).map(|i| (f64::from(i), 2.0)).collect()));
    assert!(constant.trend == Trend::Level && constant.spikes.is_empty());
    let mut loss = noisy(2, 50, 0.1, |_| 2.0);
    loss[20].1 = f64::NAN;
    loss[30].1 = f64::INFINITY;
    let odd = Reading::of_curve(&Curve { val_loss: vec![(0.0, f64::NAN), (50.0, 1.0)], ..curve(loss) });
    assert_eq!((odd.bad.as_slice(), odd.spikes.len()), ([21.0, 31.0].as_slice(), 0));
    assert!(odd.sentences().join(" ").contains("no number at 2 steps: 21, 31"), "{:?}", odd.sentences());
    assert!(odd.to_json()["held_out"]["turned"] == false);
}
