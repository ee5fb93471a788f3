//! Learning-rate schedules: constant, linear and cosine, each with a linear warmup.
//!
//! With step s from 0, warmup w, total T and p = (s - w) / max(1, T - w):
//!
//! | kind | s < w | s >= w |
//! | --- | --- | --- |
//! | constant | s / max(1, w) | 1 |
//! | linear | s / max(1, w) | max(0, 1 - p) |
//! | cosine | s / max(1, w) | max(0, (1 + cos(pi p)) / 2) |
//!
//! lr(s) = base_lr * factor(s). These are the formulas of transformers' `get_constant_schedule_with_warmup`,
//! `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup` (`src/transformers/optimization.py`), so the
//! first step of a warmup has lr 0. With `min_ratio` m the decaying kinds end at m instead of 0: after the warmup the
//! factor is m + (1 - m) f, which for the cosine is transformers' `get_cosine_with_min_lr_schedule_with_warmup` after
//! its warmup. Beyond T the factor stays where it ended (transformers' cosine would rise again).

use crate::engine::error::unknown_name;
use crate::engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// The shape of a schedule after its warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Stays at the base rate.
    Constant,
    /// Falls in a straight line.
    Linear,
    /// Falls along half a cosine.
    Cosine,
}

impl Kind {
    /// The kind called `name`.
    pub fn parse(name: &str) -> Result<Kind> {
        Ok(match name {
            "constant" => Kind::Constant,
            "linear" => Kind::Linear,
            "cosine" => Kind::Cosine,
            _ => return Err(unknown_name("schedule", name, ["constant", "linear", "cosine"])),
        })
    }

    /// The name that [`Kind::parse`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Constant => "constant",
            Kind::Linear => "linear",
            Kind::Cosine => "cosine",
        }
    }
}

/// The numbers of a schedule, as a script gives them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScheduleConfig {
    /// Rate at factor 1.
    pub base_lr: f64,
    /// Steps over which the factor climbs from 0.
    pub warmup: i64,
    /// Steps of the whole run, warmup included; the constant schedule needs none.
    pub total: Option<i64>,
    /// Factor at the end of a linear or cosine schedule, 0 to 1.
    pub min_ratio: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig { base_lr: 1e-4, warmup: 0, total: None, min_ratio: 0.0 }
    }
}

/// A learning rate as a pure function of the step: kind and config are its whole state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    kind: Kind,
    config: ScheduleConfig,
}

impl Schedule {
    /// The schedule called `kind`, checked.
    ///
    /// Errors: an unknown kind; no `total` where one is needed; `total` below 1; a negative `warmup`, or one longer
    /// than `total`; `min_ratio` outside 0..=1; a `base_lr` that is negative or not finite.
    pub fn parse(kind: &str, config: ScheduleConfig) -> Result<Schedule> {
        Schedule::new(Kind::parse(kind)?, config)
    }

    /// [`Schedule::parse`] for a kind already known.
    pub fn new(kind: Kind, config: ScheduleConfig) -> Result<Schedule> {
        let ScheduleConfig { base_lr, warmup, total, min_ratio } = config;
        let name = kind.name();
        if !(base_lr.is_finite() && base_lr >= 0.0) {
            return Err(Error::config(format!(
                "schedule {name}: `lr` is {base_lr}; it must be finite and not negative"
            )));
        }
        if warmup < 0 {
            return Err(Error::config(format!("schedule {name}: `warmup` is {warmup} steps; it must not be negative")));
        }
        if !(0.0..=1.0).contains(&min_ratio) {
            return Err(Error::config(format!("schedule {name}: `min_ratio` is {min_ratio}; it must lie in 0..=1")));
        }
        match total {
            None if kind != Kind::Constant => {
                return Err(Error::config_help(
                    format!("schedule {name}: `total` is missing"),
                    "give the number of optimizer steps of the whole run, e.g. #{ total: epochs * steps_per_epoch }",
                ));
            }
            Some(total) if total < 1 => {
                return Err(Error::config(format!("schedule {name}: `total` is {total} steps; it must be at least 1")));
            }
            Some(total) if warmup > total => {
                return Err(Error::config(format!(
                    "schedule {name}: `warmup` ({warmup} steps) is longer than `total` ({total} steps)"
                )));
            }
            _ => {}
        }
        Ok(Schedule { kind, config })
    }

    /// Learning rate of step `step`, counted from 0.
    pub fn lr(&self, step: u64) -> f64 {
        self.config.base_lr * self.factor(step)
    }

    /// Factor on the base rate at step `step`, counted from 0; always in 0..=1.
    pub fn factor(&self, step: u64) -> f64 {
        let warmup = self.config.warmup.max(0) as u64;
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let total = self.config.total.unwrap_or(0).max(0) as u64;
        let progress = ((step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64).min(1.0);
        let falling = match self.kind {
            Kind::Constant => return 1.0,
            Kind::Linear => 1.0 - progress,
            Kind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        let floor = self.config.min_ratio;
        floor + (1.0 - floor) * falling.max(0.0)
    }

    /// The shape.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The numbers.
    pub fn config(&self) -> &ScheduleConfig {
        &self.config
    }
}

/// Warmup steps of a run of `total` steps whose warmup is the share `ratio`: ceil(total * ratio), as transformers'
/// `TrainingArguments.get_warmup_steps`.
pub fn warmup_steps(ratio: f64, total: u64) -> Result<u64> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(Error::config(format!("warmup ratio {ratio}: it must lie in 0..=1")));
    }
    Ok((total as f64 * ratio).ceil() as u64)
}

/// A learning rate that a person set during a run, and the schedule's at that moment: from there on the schedule's
/// course is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ByHand {
    /// What was set.
    pub lr: f64,
    /// What the schedule had set before.
    pub scheduled: f64,
}

impl ByHand {
    /// The rate where the schedule says `scheduled`. A schedule that stood at 0 has no ratio to keep: the rate stays.
    pub fn lr(self, scheduled: f64) -> f64 {
        // A constant schedule gives what was set, to the last bit.
        if scheduled == self.scheduled || self.scheduled == 0.0 {
            self.lr
        } else {
            self.lr * (scheduled / self.scheduled)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: &str, warmup: i64, total: i64, min_ratio: f64) -> Schedule {
        Schedule::parse(kind, ScheduleConfig { base_lr: 2.0, warmup, total: Some(total), min_ratio }).unwrap()
    }

    /// Protects the curves: values printed by CPython 3.11 from the lambda bodies published in transformers'
    /// optimization.py, copied by hand (transformers itself was not run), lr 2, warmup 3, total 10.
    #[test]
    fn matches_the_published_formulas() {
        let expected: [(&str, f64, [f64; 11]); 4] = [
            ("constant", 0.0, [0.0, 0.6666666666666666, 1.3333333333333333, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
            (
                "linear",
                0.0,
                [
                    0.0,
                    0.6666666666666666,
                    1.3333333333333333,
                    2.0,
                    1.7142857142857142,
                    1.4285714285714286,
                    1.1428571428571428,
                    0.8571428571428571,
                    0.5714285714285714,
                    0.2857142857142857,
                    0.0,
                ],
            ),
            (
                "cosine",
                0.0,
                [
                    0.0,
                    0.6666666666666666,
                    1.3333333333333333,
                    2.0,
                    1.900968867902419,
                    1.6234898018587336,
                    1.2225209339563143,
                    0.7774790660436857,
                    0.3765101981412665,
                    0.09903113209758097,
                    0.0,
                ],
            ),
            (
                "cosine",
                0.1,
                [
                    0.0,
                    0.6666666666666666,
                    1.3333333333333333,
                    2.0,
                    1.910871981112177,
                    1.6611408216728603,
                    1.3002688405606828,
                    0.8997311594393171,
                    0.5388591783271399,
                    0.2891280188878229,
                    0.2,
                ],
            ),
        ];
        for (kind, min_ratio, values) in expected {
            let s = schedule(kind, 3, 10, min_ratio);
            for (step, want) in values.into_iter().enumerate() {
                let got = s.lr(step as u64);
                assert!((got - want).abs() < 1e-15, "{kind} min_ratio {min_ratio} step {step}: {got:?}, not {want:?}");
            }
        }
    }

    /// Protects long and odd runs: beyond the end the factor stays, warmup = total and total = 1 divide by no zero.
    #[test]
    fn ends_stay_put() {
        for (kind, end) in [("constant", 1.0), ("linear", 0.25), ("cosine", 0.25)] {
            assert_eq!(schedule(kind, 3, 10, 0.25).factor(10), end);
            assert_eq!(schedule(kind, 3, 10, 0.25).factor(u64::MAX), end);
            assert_eq!(schedule(kind, 5, 5, 0.0).factor(5), 1.0);
            assert_eq!(schedule(kind, 0, 1, 0.0).factor(0), 1.0);
        }
        assert!(schedule("cosine", 0, 10, 0.0).lr(10).abs() < 1e-15);
        let constant = Schedule::parse("constant", ScheduleConfig { warmup: 2, ..Default::default() }).unwrap();
        assert_eq!((constant.factor(1), constant.factor(1000)), (0.5, 1.0));
    }

    /// Protects against nonsense: each bad number is an error that names it.
    #[test]
    fn nonsense_is_refused_by_name() {
        let good = ScheduleConfig { total: Some(10), ..Default::default() };
        for (kind, config, word) in [
            ("cosin", good, "cosine"),
            ("cosine", ScheduleConfig { total: None, ..good }, "`total` is missing"),
            ("linear", ScheduleConfig { total: Some(0), ..good }, "`total` is 0"),
            ("constant", ScheduleConfig { total: Some(-1), ..good }, "`total` is -1"),
            ("linear", ScheduleConfig { warmup: 11, ..good }, "longer than `total`"),
            ("linear", ScheduleConfig { warmup: -1, ..good }, "`warmup` is -1"),
            ("linear", ScheduleConfig { min_ratio: 1.5, ..good }, "`min_ratio` is 1.5"),
            ("linear", ScheduleConfig { min_ratio: f64::NAN, ..good }, "`min_ratio` is NaN"),
            ("linear", ScheduleConfig { base_lr: f64::INFINITY, ..good }, "`lr` is inf"),
        ] {
            let e = Schedule::parse(kind, config).unwrap_err();
            assert!(format!("{e} {}", e.help().unwrap_or("")).contains(word), "{e}");
        }
        assert_eq!((warmup_steps(0.03, 100).unwrap(), warmup_steps(0.1, 15).unwrap()), (3, 2));
        assert!(warmup_steps(3.0, 100).is_err());
    }

    /// Protects resuming: a schedule saved as JSON is the same schedule.
    #[test]
    fn json_round_trip() {
        let s = schedule("cosine", 3, 10, 0.1);
        assert_eq!(serde_json::from_str::<Schedule>(&serde_json::to_string(&s).unwrap()).unwrap(), s);
    }

    /// Protects a rate changed by hand: the schedule neither takes it back nor loses its own course.
    #[test]
    fn a_rate_set_by_hand_scales_the_rest() {
        let constant = ByHand { lr: 3e-4, scheduled: 1e-3 };
        assert_eq!(constant.lr(1e-3), 3e-4);
        let falling = ByHand { lr: 1.0, scheduled: 0.5 };
        assert_eq!((falling.lr(0.25), falling.lr(0.0)), (0.5, 0.0));
        assert_eq!(ByHand { lr: 2.0, scheduled: 0.0 }.lr(0.7), 2.0);
    }
}
