//! Axes: from values to places, and the round numbers beside them.

use crate::engine::number::grouped;
use std::ops::RangeInclusive;

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values with their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// An axis from `low` to `high` with about `wanted` ticks.
    pub(super) fn linear(low: f64, high: f64, wanted: usize) -> Scale {
        Scale::stepped(low, high, round_step((high - low) / wanted.max(1) as f64))
    }

    fn stepped(low: f64, high: f64, step: f64) -> Scale {
        let first = (low / step - 1e-9).ceil();
        let values = (0..60).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= high + 1e-9 * step);
        let mut ticks: Vec<(f64, String)> = values.map(|v| (v, label(v, step))).collect();
        ticks.dedup_by(|a, b| a.1 == b.1); // a step that f64 cannot resolve
        Scale { low, high, log: false, ticks }
    }

    /// [`Scale::linear`], with ticks at whole numbers alone.
    pub(super) fn whole(low: f64, high: f64, wanted: usize) -> Scale {
        let step = round_step((high - low) / wanted.max(1) as f64);
        let size = 10f64.powf(step.log10().floor());
        Scale::stepped(
            low,
            high,
            if step < 1.0 {
                1.0
            } else if step.fract() > 0.0 {
                5.0 * size
            } else {
                step
            },
        )
    }

    /// A logarithmic axis; both ends are above 0. Its ticks are powers of ten, or 1, 2 and 5 times them where those are few.
    pub(super) fn log(low: f64, high: f64, wanted: usize) -> Scale {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let inside = |v: &f64| *v >= low * (1.0 - 1e-9) && *v <= high * (1.0 + 1e-9);
        let at = |factors: &[f64], decades: RangeInclusive<i32>, every: usize| -> Vec<f64> {
            let powers = decades.filter(|d| d.rem_euclid(every as i32) == 0).map(|d| 10f64.powi(d));
            powers.flat_map(|p| factors.iter().map(move |f| f * p)).filter(inside).collect()
        };
        let count = decades.clone().count();
        let choices = [
            at(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], decades.clone(), 1),
            at(&[1.0, 2.0, 5.0], decades.clone(), 1),
            at(&[1.0], decades.clone(), 1),
            at(&[1.0], decades, count.div_ceil(wanted.max(2))),
        ];
        let values = choices.into_iter().find(|c| c.len() <= wanted.max(3) + 1).unwrap_or_default();
        if values.len() < 2 && high / low < 100.0 {
            return Scale { log: true, ..Scale::linear(low, high, wanted) };
        }
        // One form for all: 1e5 between 10,000 and 1e7 would look like a mistake.
        let large = values.iter().any(|v| *v >= 1e6 || *v < 1e-4);
        let text = |v: f64| if large && v != 1.0 { sign(&format!("{v:e}")) } else { label(v, v) };
        let ticks = values.into_iter().map(|v| (v, text(v))).collect();
        Scale { low, high, log: true, ticks }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end; outside, at the end that is nearer.
    pub(super) fn place(&self, value: f64) -> f64 {
        let f = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).log10() } else { v };
        ((f(value) - f(self.low)) / (f(self.high) - f(self.low))).clamp(0.0, 1.0)
    }

    /// Whether `value` is on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let size = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * size);
    steps.into_iter().find(|s| *s >= rough * (1.0 - 1e-9)).filter(|s| s.is_normal()).unwrap_or(rough)
}

/// `value` with as many digits as ticks `step` apart need.
fn label(value: f64, step: f64) -> String {
    if value == 0.0 || value.abs() < 1e-9 * step {
        return "0".into();
    }
    if value.abs() >= 1e7 || step < 1e-4 {
        return sign(&format!("{value:.1e}").replace(".0e", "e"));
    }
    // 2.5 has a digit more than its size says.
    let digits = (0..6).find(|d| {
        let scaled = step * 10f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    sign(&grouped(&format!("{value:.*}", digits.unwrap_or(6) as usize)))
}

/// A value beside a bar or a point: three digits, whole thousands in groups. Among values that are all `whole`, no digits
/// behind the point.
pub(super) fn short(value: f64, whole: bool) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "\u{2013}".into();
    }
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return sign(&format!("{value:.1e}").replace(".0e", "e"));
    }
    sign(&match size {
        0.0 => "0".into(),
        s if whole || s >= 99.95 => grouped(&format!("{value:.0}")),
        s if s >= 9.995 => format!("{value:.1}"),
        s if s >= 0.0995 => format!("{value:.2}"),
        _ => trimmed(&format!("{value:.4}")),
    })
}

/// Whether none of `values` has digits behind the point.
pub(super) fn all_whole(values: impl IntoIterator<Item = f64>) -> bool {
    values.into_iter().all(|v| !v.is_finite() || v.fract() == 0.0)
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn sign(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|t| t.1.as_str()).collect()
    }

    /// Protects the axes' labels: round numbers, no more digits than they need, never two alike.
    #[test]
    fn ticks_are_readable() {
        assert_eq!(labels(&Scale::linear(0.0, 2.9, 6)), ["0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(labels(&Scale::linear(-30.0, 1200.0, 3)), ["0", "500", "1,000"]);
        assert_eq!(labels(&Scale::linear(0.0, 0.001, 4)), ["0", "0.00025", "0.00050", "0.00075", "0.00100"]);
        assert_eq!(
            labels(&Scale::linear(0.0, 2e-5, 4)),
            ["0", "5e\u{2212}6", "1e\u{2212}5", "1.5e\u{2212}5", "2e\u{2212}5"]
        );
        assert_eq!(labels(&Scale::whole(0.0, 2.0, 8)), ["0", "1", "2"]);
        assert_eq!(labels(&Scale::whole(0.0, 10.0, 4)), ["0", "5", "10"]);
        let absurd = [(1.0, 1.0 + 1e-15), (-1e300, 1e300), (0.0, 1e-300), (1e15, 1e15 + 1.0)];
        for (low, high) in absurd {
            let ticks = Scale::linear(low, high, 6).ticks;
            assert!(ticks.len() <= 61 && ticks.windows(2).all(|w| w[0].1 != w[1].1), "{low} {high}: {ticks:?}");
        }
    }

    /// Protects log axes: powers of ten, 1-2-5 where there is one decade, and a linear step within less.
    #[test]
    fn log_ticks_are_powers() {
        assert_eq!(
            labels(&Scale::log(1e-5, 1.0, 6)),
            ["1e\u{2212}5", "1e\u{2212}4", "1e\u{2212}3", "1e\u{2212}2", "1e\u{2212}1", "1"]
        );
        assert_eq!(labels(&Scale::log(1.0, 60.0, 6)), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(&Scale::log(1e-12, 1e12, 6)), ["1e\u{2212}10", "1e\u{2212}5", "1", "1e5", "1e10"]);
        assert!(Scale::log(2.1, 2.9, 6).ticks.len() >= 3);
        assert!((Scale::log(1.0, 100.0, 4).place(10.0) - 0.5).abs() < 1e-12);
        assert_eq!(Scale::log(1.0, 100.0, 4).place(-5.0), 0.0);
    }

    /// Protects the values on bars.
    #[test]
    fn values_are_short() {
        let shown = [35_821.4, 621.04, 12.34, 1.5, 0.0, -2.0, 0.0123, 1e-6, f64::NAN].map(|v| short(v, false));
        assert_eq!(shown, ["35,821", "621", "12.3", "1.50", "0", "\u{2212}2.00", "0.0123", "1e\u{2212}6", "\u{2013}"]);
        assert_eq!([7.0, 1026.0].map(|v| short(v, all_whole([7.0, 1026.0]))), ["7", "1,026"]);
    }
}
