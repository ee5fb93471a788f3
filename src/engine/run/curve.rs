//! The numbers behind the figures: series read from the log, smoothed, and thinned to what a figure can show.

use super::log::{self, Fields};
use super::number::from_json;
use crate::engine::Result;
use serde_json::Value;
use std::path::Path;

/// (optimizer step, value); a value that is not finite is a gap.
pub type Point = (f64, f64);

/// One closed epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// The step after which it began.
    pub from: f64,
    /// Its last step.
    pub to: f64,
    /// Mean training loss over its label tokens.
    pub train_loss: Option<f64>,
}

/// Every series of a run, by optimizer step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Training loss of each step.
    pub loss: Vec<Point>,
    /// Validation losses, from whatever lines they were logged on.
    pub val_loss: Vec<Point>,
    /// Learning rate of each step.
    pub lr: Vec<Point>,
    /// Gradient norm of each step, before clipping.
    pub grad_norm: Vec<Point>,
    /// The closed epochs, in order.
    pub epochs: Vec<Epoch>,
}

/// No run has more steps: a larger number is a damaged line, and the axis of a figure could not hold it.
pub const MAX_STEP: u64 = 1_000_000_000_000;

impl Curve {
    /// The series of the log at `path`.
    pub fn read(path: &Path) -> Result<Curve> {
        Ok(Curve::from_log(&log::read(path)?))
    }

    /// The series of log lines. Damaged lines (a step beyond [`MAX_STEP`]), lines and fields that are not known are
    /// passed over.
    pub fn from_log(lines: &[Fields]) -> Curve {
        let mut curve = Curve::default();
        for line in lines {
            let Some(step) = line.get("step").and_then(Value::as_u64).filter(|step| *step <= MAX_STEP) else {
                continue;
            };
            let step = step as f64;
            let kind = line.get("kind").and_then(Value::as_str);
            let add = |series: &mut Vec<Point>, name: &str| {
                if let Some(value) = line.get(name).and_then(from_json) {
                    series.push((step, value));
                }
            };
            add(&mut curve.val_loss, "val_loss");
            if kind == Some("step") {
                add(&mut curve.loss, "loss");
                add(&mut curve.lr, "lr");
                add(&mut curve.grad_norm, "grad_norm");
            }
            if kind == Some("epoch") {
                curve.epochs.push(Epoch {
                    epoch: line.get("epoch").and_then(Value::as_u64).unwrap_or(0),
                    from: curve.epochs.last().map_or(0.0, |e| e.to),
                    to: step,
                    train_loss: line.get("train_loss").and_then(from_json),
                });
            }
        }
        curve
    }

    /// The last step that anything was logged for.
    pub fn last_step(&self) -> f64 {
        let ends = [&self.loss, &self.val_loss, &self.lr, &self.grad_norm].map(|s| s.last().map_or(0.0, |p| p.0));
        ends.into_iter().fold(self.epochs.last().map_or(0.0, |e| e.to), f64::max)
    }
}

/// Weight of a new value in [`smooth`] that suits `n` values: a window of a twentieth of them, at least 2, at most 50.
pub fn smoothing_alpha(n: usize) -> f64 {
    let window = (n as f64 / 20.0).clamp(2.0, 50.0);
    // Two digits, since a figure's legend says it.
    (100.0 / window).round() / 100.0
}

/// Exponential moving average with bias correction: m_t = (1 - a) m_{t-1} + a x_t from m_0 = 0, shown as
/// m_t / (1 - (1 - a)^t), so that the first values are not pulled to 0 (Kingma & Ba, "Adam", 2015, section 3).
///
/// Gaps stay gaps and do not count.
pub fn smooth(points: &[Point], alpha: f64) -> Vec<Point> {
    let (mut mean, mut left) = (0.0, 1.0);
    let next = |&(x, y): &Point| {
        if !y.is_finite() {
            return (x, f64::NAN);
        }
        mean = (1.0 - alpha) * mean + alpha * y;
        left *= 1.0 - alpha;
        (x, mean / (1.0 - left))
    };
    points.iter().map(next).collect()
}

/// `points`, sorted by x, thinned to the smallest and largest value in each of `columns` equal stretches, in order:
/// a line through them covers the same pixels as one through all of them. Few points are returned as they are.
pub fn thin(points: &[Point], columns: usize) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return vec![] };
    let width = last.0 - first.0;
    if points.len() <= 4 * columns.max(1) || !(width.is_finite() && width > 0.0) {
        return points.to_vec();
    }
    let column = |p: &Point| (((p.0 - first.0) / width * columns as f64) as usize).min(columns - 1);
    let mut kept = Vec::with_capacity(2 * columns);
    for bucket in points.chunk_by(|a, b| column(a) == column(b)) {
        let finite = || bucket.iter().enumerate().filter(|(_, p)| p.1.is_finite());
        let low = finite().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let high = finite().max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let (Some((i, low)), Some((j, high))) = (low, high) else {
            kept.extend(bucket.first()); // nothing but a gap
            continue;
        };
        match i.cmp(&j) {
            std::cmp::Ordering::Less => kept.extend([*low, *high]),
            std::cmp::Ordering::Equal => kept.push(*low),
            std::cmp::Ordering::Greater => kept.extend([*high, *low]),
        }
    }
    kept
}

/// The unbroken stretches of `points`: gaps cut them.
pub fn stretches(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|p| !p.1.is_finite()).filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(values: Value) -> Vec<Fields> {
        serde_json::from_value(values).unwrap()
    }

    /// Protects the figures: each series from its own lines, epochs as spans, a NaN as a gap.
    #[test]
    fn series_of_a_log() {
        let curve = Curve::from_log(&lines(json!([
            {"kind": "eval", "step": 0, "val_loss": 4.0},
            {"kind": "step", "step": 1, "loss": 3.0, "lr": 0.1, "grad_norm": "Infinity"},
            {"kind": "step", "step": 2, "loss": "NaN", "lr": 0.2},
            {"kind": "epoch", "epoch": 1, "step": 2, "train_loss": 3.0, "val_loss": 2.0},
            {"kind": "step", "step": 3, "loss": null},
            {"kind": "other"},
            {"kind": "epoch", "epoch": 2, "step": 3, "train_loss": null},
        ])));
        assert_eq!(curve.val_loss, [(0.0, 4.0), (2.0, 2.0)]);
        assert_eq!((curve.loss.len(), curve.loss[1].1.is_nan(), curve.lr.len()), (2, true, 2));
        assert_eq!(curve.grad_norm, [(1.0, f64::INFINITY)]);
        assert_eq!(curve.epochs[1], Epoch { epoch: 2, from: 2.0, to: 3.0, train_loss: None });
        assert_eq!(curve.last_step(), 3.0);
    }

    /// Protects the smoothed line: unbiased from the first value, exact on constants, worked example, gaps kept.
    #[test]
    fn smoothing_is_bias_corrected() {
        let s = smooth(&[(1.0, 4.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 2.0)], 0.5);
        assert_eq!((s[0].1, s[2].1.is_nan()), (4.0, true));
        assert!((s[1].1 - (0.25 * 4.0 + 0.5 * 2.0) / 0.75).abs() < 1e-15);
        assert!((s[3].1 - (0.125 * 4.0 + 0.25 * 2.0 + 0.5 * 2.0) / 0.875).abs() < 1e-15);
        let constant: Vec<Point> = (0..500).map(|i| (f64::from(i), 7.0)).collect();
        assert!(smooth(&constant, 0.02).iter().all(|p| (p.1 - 7.0).abs() < 1e-12));
        assert_eq!((smoothing_alpha(0), smoothing_alpha(200), smoothing_alpha(100_000)), (0.5, 0.1, 0.02));
    }

    /// Protects long runs: extremes survive thinning, order stays, gaps neither spread nor vanish.
    #[test]
    fn thinning_keeps_extremes() {
        let mut points: Vec<Point> = (0..100_000).map(|i| (f64::from(i), (f64::from(i) * 0.37).sin())).collect();
        points[54_321].1 = 50.0;
        points[54_322].1 = -50.0;
        points[77] = (77.0, f64::NAN);
        points[90_000..95_000].iter_mut().for_each(|p| p.1 = f64::NAN);
        let thinned = thin(&points, 900);
        assert!(thinned.len() <= 1800 && thinned.len() > 1700, "{}", thinned.len());
        assert!(thinned.windows(2).all(|w| w[0].0 < w[1].0));
        assert!(thinned.contains(&(54_321.0, 50.0)) && thinned.contains(&(54_322.0, -50.0)));
        assert_eq!(stretches(&thinned).count(), 2);
        assert_eq!(thin(&points[..3], 900), points[..3]);
        assert!(thin(&[], 900).is_empty());
        assert_eq!(thin(&[(1.0, 2.0); 9], 1).len(), 9); // no width: nothing to divide by
    }
}
