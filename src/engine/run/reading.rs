//! What a run's curve says, in words: spikes, whether the loss still falls, and where the held-out loss turned.
//!
//! Every judgement is made by a rule that is written here, from the run's own noise:
//!
//! - A *spike* is a step whose loss lies above the median of the steps before it by more than six robust deviations
//!   (1.4826 times the median absolute deviation of all steps from such medians), and by more than a tenth.
//! - The loss *still falls* if the last quarter's mean is below that of the quarter before by more than twice the
//!   standard error of that difference and by more than 0.5 %; it *rises* if it is above it by as much.
//! - The held-out loss *turned* where it was lowest, if it is now more than 1 % above.

use super::curve::{Curve, Point};
use super::log::Fields;
use serde_json::{Value, json};

/// Steps below which nothing is said of spikes and trend.
const FEW: usize = 8;
/// Steps before one that its loss is compared with.
const WINDOW: usize = 20;
/// Robust deviations from which on a loss is a spike.
const FAR: f64 = 6.0;
/// By how much, of its lowest value, a held-out loss must have risen to have turned.
const TURN: f64 = 0.01;

/// A loss far above those before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// The optimizer step; of several in a row, the one with the highest loss.
    pub step: f64,
    /// Its loss.
    pub loss: f64,
    /// The median of the steps before it.
    pub usual: f64,
}

/// Where the training loss was going at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// Too few steps to say.
    Unknown,
    /// Lower than a quarter of the run before.
    Falling,
    /// No difference beyond its noise.
    Level,
    /// Higher.
    Rising,
}

impl Trend {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Trend::Unknown => "unknown",
            Trend::Falling => "falling",
            Trend::Level => "level",
            Trend::Rising => "rising",
        }
    }
}

/// The held-out loss from its lowest point on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// The first one, and its step.
    pub first: Point,
    /// The lowest one.
    pub best: Point,
    /// The last one.
    pub last: Point,
    /// Whether it rose since by more than 1 %.
    pub turned: bool,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Optimizer steps with a loss.
    pub steps: usize,
    /// Mean loss of the first tenth and of the last.
    pub ends: Option<(f64, f64)>,
    /// Losses far above those before them.
    pub spikes: Vec<Spike>,
    /// Steps whose loss was NaN or infinite.
    pub bad: Vec<f64>,
    /// Where the training loss was going.
    pub trend: Trend,
    /// By how much it changed from the third quarter to the last, in nats.
    pub change: f64,
    /// The held-out loss, if there was any.
    pub held_out: Option<HeldOut>,
    /// The epoch of the lowest held-out loss, from 1, where epochs were logged; 0: before the first.
    pub best_epoch: Option<u64>,
    /// Held-out loss minus mean training loss of the last epoch, in nats.
    pub gap: Option<f64>,
    /// Steps that the gradient scaler skipped.
    pub skipped: usize,
}

impl Reading {
    /// Reads the log's `lines`.
    pub fn of(lines: &[Fields]) -> Reading {
        let curve = Curve::from_log(lines);
        let skipped = lines.iter().filter(|l| l.get("skipped") == Some(&Value::Bool(true))).count();
        Reading { skipped, ..Reading::of_curve(&curve) }
    }

    /// Reads `curve`, in which nothing is known of skipped steps.
    pub fn of_curve(curve: &Curve) -> Reading {
        let (fine, bad): (Vec<Point>, Vec<Point>) = curve.loss.iter().partition(|p| p.1.is_finite());
        let loss: Vec<f64> = fine.iter().map(|p| p.1).collect();
        let (trend, change) = trend(&loss);
        let held_out = held_out(&curve.val_loss);
        let epoch = |best: f64| curve.epochs.iter().filter(|e| e.to <= best).map(|e| e.epoch).max().unwrap_or(0);
        let epochs = !curve.epochs.is_empty();
        let last_mean = curve.epochs.last().and_then(|e| e.train_loss).filter(|x| x.is_finite());
        let tenth = (loss.len() / 10).max(1);
        Reading {
            steps: curve.loss.len(),
            ends: (!loss.is_empty()).then(|| (mean(&loss[..tenth]), mean(&loss[loss.len() - tenth..]))),
            spikes: spikes(&fine),
            bad: bad.iter().map(|p| p.0).collect(),
            trend,
            change,
            held_out,
            best_epoch: held_out.filter(|_| epochs).map(|h| epoch(h.best.0)),
            gap: held_out.and_then(|h| Some(h.last.1 - last_mean?)),
            skipped: 0,
        }
    }

    /// The reading in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some((first, last)) = self.ends.filter(|_| self.steps >= FEW) {
            let over = format!("over {} steps (means of the first and the last tenth)", self.steps);
            said.push(format!("The training loss went from {first:.3} to {last:.3} nats per token {over}."));
        }
        said.push(match self.trend {
            Trend::Unknown => format!("{} steps are too few to say whether the training loss still falls.", self.steps),
            Trend::Falling => format!(
                "It was still falling at the end: the last quarter's mean is {:.3} below that of the quarter before.",
                -self.change
            ),
            Trend::Level => {
                "It has converged: the last quarter's mean does not differ from that of the quarter before \
                             by more than its noise."
                    .into()
            }
            Trend::Rising => format!(
                "It rose at the end: the last quarter's mean is {:.3} above that of the quarter before.",
                self.change
            ),
        });
        said.push(self.of_spikes());
        if !self.bad.is_empty() {
            said.push(format!("The loss was no number at {}: {}.", steps(self.bad.len()), listed(&self.bad)));
        }
        if self.skipped > 0 {
            said.push(format!("The gradient scaler skipped {}.", steps(self.skipped)));
        }
        said.extend(self.of_held_out());
        said
    }

    fn of_spikes(&self) -> String {
        let shown: Vec<String> = self
            .spikes
            .iter()
            .take(5)
            .map(|s| format!("step {} ({:.3}, {:.3} before it)", s.step, s.loss, s.usual))
            .collect();
        match self.spikes.len() {
            _ if self.steps < FEW => "Nor can spikes be told from noise.".into(),
            0 => "There are no spikes.".into(),
            1 => format!("There is one spike: {}.", shown[0]),
            n if n <= 5 => format!("There are {n} spikes: {}.", shown.join(", ")),
            n => format!("There are {n} spikes, the first at {}.", shown.join(", ")),
        }
    }

    fn of_held_out(&self) -> Vec<String> {
        let Some(h) = self.held_out else { return vec!["Nothing was held out.".into()] };
        let at = match self.best_epoch {
            Some(0) => format!("step {}, before the end of the first epoch", h.best.0),
            Some(epoch) => format!("step {}, epoch {epoch}", h.best.0),
            None => format!("step {}", h.best.0),
        };
        let (best, last) = (h.best.1, h.last.1);
        let mut said = vec![if h.first.0 == h.last.0 {
            format!("The held-out loss was measured once: {last:.3}.")
        } else if !h.turned {
            let still = if h.best.0 == h.last.0 { "lowest at the end" } else { "level since its lowest" };
            format!("The held-out loss went from {:.3} to {last:.3} and is {still} ({at}): no overfitting.", h.first.1)
        } else if h.best.0 == h.first.0 {
            format!(
                "The held-out loss only rose, from {best:.3} to {last:.3}: training made the model worse outside its data."
            )
        } else {
            format!(
                "The held-out loss turned at {at}: {best:.3} there, {last:.3} at the end ({:+.1} %). From there on the \
                 model learns its training data by heart.",
                100.0 * (last - best) / best.abs()
            )
        }];
        if let Some(gap) = self.gap {
            said.push(format!("At the end it is {:.3} {} the last epoch's training loss.", gap.abs(), side(gap)));
        }
        said
    }

    /// The reading for a program: numbers, and `text`, an array of sentences.
    pub fn to_json(&self) -> Value {
        let spikes: Vec<Value> =
            self.spikes.iter().map(|s| json!({"step": s.step as u64, "loss": s.loss, "usual": s.usual})).collect();
        let held_out = self.held_out.map(|h| {
            json!({
                "first": h.first.1, "best": h.best.1, "best_step": h.best.0 as u64, "best_epoch": self.best_epoch,
                "last": h.last.1, "turned": h.turned, "gap": self.gap,
            })
        });
        json!({
            "steps": self.steps, "first": self.ends.map(|e| e.0), "last": self.ends.map(|e| e.1),
            "trend": self.trend.word(), "change": self.change, "spikes": spikes,
            "bad_steps": self.bad.iter().map(|s| *s as u64).collect::<Vec<_>>(), "skipped": self.skipped,
            "held_out": held_out, "text": self.sentences(),
        })
    }
}

fn side(gap: f64) -> &'static str {
    if gap < 0.0 { "below" } else { "above" }
}

fn steps(n: usize) -> String {
    if n == 1 { "one step".into() } else { format!("{n} steps") }
}

fn listed(all: &[f64]) -> String {
    let shown: Vec<String> = all.iter().take(5).map(f64::to_string).collect();
    let more = if all.len() > 5 { format!(" and {} more", all.len() - 5) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn spikes(loss: &[Point]) -> Vec<Spike> {
    if loss.len() < FEW {
        return Vec::new();
    }
    // The first steps have too few before them; a run begins high anyway.
    let from = 4;
    let usual: Vec<f64> =
        (from..loss.len()).map(|i| median(loss[i.saturating_sub(WINDOW)..i].iter().map(|p| p.1))).collect();
    let away: Vec<f64> = loss[from..].iter().zip(&usual).map(|(p, u)| p.1 - u).collect();
    let center = median(away.iter().copied());
    let scale = 1.4826 * median(away.iter().map(|d| (d - center).abs()));
    let mut found: Vec<Spike> = Vec::new();
    let mut last = None;
    for (i, d) in away.iter().enumerate() {
        let usual = usual[i];
        if *d <= FAR * scale || *d <= 0.1 * usual.abs() {
            continue;
        }
        let (step, loss) = loss[from + i];
        match found.last_mut().filter(|_| last == Some(i.wrapping_sub(1))) {
            Some(before) if before.loss < loss => *before = Spike { step, loss, ..*before },
            Some(_) => {}
            None => found.push(Spike { step, loss, usual }),
        }
        last = Some(i);
    }
    found
}

/// The trend, and the last quarter's mean minus that of the quarter before.
fn trend(loss: &[f64]) -> (Trend, f64) {
    let quarter = loss.len() / 4;
    if loss.len() < FEW {
        return (Trend::Unknown, 0.0);
    }
    let (before, last) = (&loss[loss.len() - 2 * quarter..loss.len() - quarter], &loss[loss.len() - quarter..]);
    let change = mean(last) - mean(before);
    let square = |part: &[f64]| {
        let mean = mean(part);
        part.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    };
    let freedom = (2 * quarter).saturating_sub(2).max(1) as f64;
    let variance = (square(before) + square(last)) / freedom;
    let error = (2.0 * variance / quarter as f64).sqrt();
    let least = (2.0 * error).max(0.005 * mean(before).abs());
    let trend = if change < -least {
        Trend::Falling
    } else if change > least {
        Trend::Rising
    } else {
        Trend::Level
    };
    (trend, change)
}

fn held_out(points: &[Point]) -> Option<HeldOut> {
    let fine: Vec<Point> = points.iter().copied().filter(|p| p.1.is_finite()).collect();
    let (first, last) = (*fine.first()?, *fine.last()?);
    let best = fine.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(HeldOut { first, best, last, turned: last.1 > best.1 + TURN * best.1.abs() })
}

#[cfg(test)]
mod tests;
