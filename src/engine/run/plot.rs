//! The figures of a run: `loss.svg` and `loss.png`, and, where learning rate, gradient norm or loss scale were logged,
//! `optim.svg` and `optim.png`.

use super::atomic::write_atomic;
use super::curve::{Curve, Epoch, MAX_STEP, Point, smoothing_alpha};
use crate::engine::Result;
use crate::engine::figure::{Body, Figure, Panel, Series, Stage};
use std::path::{Path, PathBuf};

/// Draws all figures of `curve` into `dir`; returns the files written.
pub fn write_all(dir: &Path, curve: &Curve) -> Result<Vec<PathBuf>> {
    // "." has no name of its own.
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut figures = vec![("loss", loss_figure(curve, &name))];
    if curve.has_optimizer() {
        figures.push(("optim", optim_figure(curve, &name)));
    }
    let mut files = Vec::new();
    for (file, figure) in figures {
        for (ending, bytes) in [("svg", figure.svg().into_bytes()), ("png", figure.png()?)] {
            let path = dir.join(format!("{file}.{ending}"));
            write_atomic(&path, &bytes)?;
            files.push(path);
        }
    }
    Ok(files)
}

/// Loss per step, faint, under its moving average; epoch means; held-out loss with its best point marked.
pub fn loss_figure(curve: &Curve, name: &str) -> Figure {
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut subtitle = plural(curve.loss.len(), "step");
    if !curve.epochs.is_empty() {
        subtitle += &format!(", {}", plural(curve.epochs.len(), "epoch"));
    }
    let mut panel = panel("loss (nats per token)", &curve.epochs);
    let alpha = smoothing_alpha(curve.loss.len());
    panel.series.push(match curve.loss.len() {
        0..=2 => Series { name: "training, each step".into(), points: steps(&curve.loss), ..Series::default() },
        _ => Series {
            name: format!("training, each step and smoothed (EMA, \u{3b1} = {alpha})"),
            points: steps(&curve.loss),
            smooth: true,
            ..Series::default()
        },
    });
    let best = curve.best();
    panel.series.push(Series {
        name: match best {
            Some((step, loss)) if curve.val_loss.len() > 1 => format!("held out (best {loss:.4} at step {step})"),
            _ => "held out".into(),
        },
        points: steps(&curve.val_loss),
        marks: true,
        ring: best.filter(|_| curve.val_loss.len() > 1),
        ..Series::default()
    });
    let level = |e: &Epoch| {
        let y = e.train_loss.unwrap_or(f64::NAN);
        [(e.from, y), (e.to, y), (e.to, f64::NAN)]
    };
    panel.series.push(Series {
        name: "training, epoch mean".into(),
        points: steps(&curve.epochs.iter().flat_map(level).collect::<Vec<_>>()),
        heavy: true,
        ..Series::default()
    });
    figure(format!("Loss of {name}"), subtitle, vec![panel])
}

/// Learning rate, gradient norm and loss scale, each where it was logged, one above the other.
pub fn optim_figure(curve: &Curve, name: &str) -> Figure {
    let mut panels = Vec::new();
    let mut add = |label: &str, points: &[Point], smooth: bool, log_y: bool| {
        if !points.is_empty() {
            let smooth = smooth && points.len() > 2;
            let series = Series { name: String::new(), points: steps(points), smooth, ..Series::default() };
            let axes = panel(label, &curve.epochs);
            let stages = axes.stages.into_iter().map(|s| Stage { label: String::new(), ..s }).collect();
            panels.push(Panel { series: vec![series], stages, from_zero: true, log_y, ..axes });
        }
    };
    add("learning rate", &curve.lr, false, false);
    add("gradient norm before clipping", &curve.grad_norm, true, false);
    if curve.loss_scale.windows(2).any(|w| w[0].1 != w[1].1) {
        add("loss scale", &curve.loss_scale, false, true);
    }
    if panels.is_empty() {
        panels.push(panel("learning rate", &[]));
    }
    let last = panels.len() - 1;
    panels[..last].iter_mut().for_each(|p| p.x_label.clear()); // the lowest panel says it
    figure(format!("Optimizer of {name}"), String::new(), panels)
}

/// Losses of several runs over each other: training losses smoothed over faint raw ones, held-out losses as marks in a
/// panel of their own where there are any.
pub fn compare_figure(curves: &[(String, Curve)]) -> Figure {
    let mut panels = Vec::new();
    let mut add = |label: &str, points: fn(&Curve) -> &Vec<Point>, marks: bool| {
        let series: Vec<_> = curves
            .iter()
            .filter(|(_, curve)| !points(curve).is_empty())
            .map(|(name, curve)| Series {
                name: name.clone(),
                points: steps(points(curve)),
                smooth: !marks && points(curve).len() > 2,
                marks,
                ..Series::default()
            })
            .collect();
        if !series.is_empty() {
            panels.push(Panel { series, ..panel(label, &[]) });
        }
    };
    add("training loss (nats per token)", |c| &c.loss, false);
    add("held-out loss (nats per token)", |c| &c.val_loss, true);
    let last = panels.len().saturating_sub(1);
    panels[..last].iter_mut().for_each(|p| p.x_label.clear());
    figure("Losses".into(), String::new(), panels)
}

fn figure(title: String, subtitle: String, panels: Vec<Panel>) -> Figure {
    Figure { title, subtitle, body: Body::Lines(panels) }
}

fn panel(y_label: &str, epochs: &[Epoch]) -> Panel {
    let stage = |e: &Epoch| Stage { label: format!("epoch {}", e.epoch), from: e.from, to: e.to };
    Panel {
        x_label: "optimizer step".into(),
        y_label: y_label.into(),
        stages: epochs.iter().map(stage).collect(),
        whole_x: true,
        ..Panel::default()
    }
}

/// Points at steps that a run can have.
fn steps(points: &[Point]) -> Vec<Point> {
    points.iter().copied().filter(|p| p.0 <= MAX_STEP as f64).collect()
}

#[cfg(test)]
mod tests;
