//! Lines over a number: losses over steps, memory over length.

use super::color::{COUNT, Color};
use super::font::{shorten, width};
use super::frame::{Layout, Swatch, legend, wrap};
use super::scale::{Scale, short};
use super::scene::{Anchor, Pen, Place, Scene};
use super::series::{Point, smooth, smoothing_alpha, stretches, thin};

/// One line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// In the order of drawing; a y that is not finite is a gap.
    pub points: Vec<Point>,
    /// Drawn in a share of its colour, which is that of the next series that is not faint.
    pub faint: bool,
    /// Drawn faint, under its exponential moving average ([`smooth`]).
    pub smooth: bool,
    /// With a diamond at each point.
    pub marks: bool,
    /// In dashes.
    pub dashed: bool,
    /// As level stretches, e.g. of means: heavier, and without dots.
    pub heavy: bool,
    /// A line alone, without dots at few points.
    pub quiet: bool,
    /// A point to draw a ring around.
    pub ring: Option<Point>,
}

/// A value to compare with: a dashed level line.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is called.
    pub label: String,
    /// Where it is.
    pub value: f64,
}

/// A part of the x axis with a name, such as an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What it is called.
    pub label: String,
    /// Its begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// One pair of axes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Panel {
    /// Below the x axis, with its unit.
    pub x_label: String,
    /// Beside the y axis, with its unit.
    pub y_label: String,
    /// What is drawn, the first lowest.
    pub series: Vec<Series>,
    /// Values to compare with.
    pub rules: Vec<Rule>,
    /// Parts of the x axis, in order.
    pub stages: Vec<Stage>,
    /// Logarithmic x axis: values of 0 and below are gaps.
    pub log_x: bool,
    /// Logarithmic y axis.
    pub log_y: bool,
    /// Whether the y axis begins at 0 wherever the values are not negative.
    pub from_zero: bool,
    /// Whether x counts something: ticks at whole numbers, from 0.
    pub whole_x: bool,
}

/// Larger values would only flatten everything else.
const DRAWABLE: f64 = 1e12;
/// Smaller values are no places on a logarithmic axis: its ends must have a quotient.
const LEAST: f64 = 1e-100;

impl Panel {
    fn drawable(&self, &(x, y): &Point) -> bool {
        let fits = |v: f64, log: bool| v.is_finite() && v.abs() < DRAWABLE && (!log || v >= LEAST);
        fits(x, self.log_x) && fits(y, self.log_y)
    }

    /// The colour of each series.
    fn colors(&self) -> Vec<usize> {
        let mut next = 0;
        let mut colors = Vec::with_capacity(self.series.len());
        for series in &self.series {
            colors.push(next);
            next += usize::from(!series.faint);
        }
        colors
    }

    fn x_range(&self) -> (f64, f64) {
        let xs = self.series.iter().flat_map(|s| &s.points).filter(|p| self.drawable(p)).map(|p| p.0);
        let stages = self.stages.iter().map(|s| s.to).filter(|x| x.is_finite() && x.abs() < DRAWABLE);
        let (mut low, mut high) = ends(xs.chain(stages)).unwrap_or((0.0, 1.0));
        if self.whole_x && !self.log_x {
            low = low.min(0.0);
            high = high.max(low + 1.0);
        }
        if low == high {
            let half = if low == 0.0 { 1.0 } else { 0.5 * low.abs() };
            return if self.log_x { (low / 2.0, low * 2.0) } else { (low - half, low + half) };
        }
        (low, high)
    }

    /// The y axis: all values with a margin; single spikes of a long line are cut off.
    fn y_range(&self) -> (f64, f64) {
        let mut steady = Vec::new();
        for series in &self.series {
            let mut values: Vec<f64> = series.points.iter().filter(|p| self.drawable(p)).map(|p| p.1).collect();
            values.sort_unstable_by(f64::total_cmp);
            let (Some(&low), Some(&high)) = (values.first(), values.last()) else { continue };
            let usual = values[(values.len() - 1) * 99 / 100];
            let spikes = !self.log_y && values.len() >= 100 && high - low > 3.0 * (usual - low) && usual > low;
            steady.extend([low, if spikes { low + 1.3 * (usual - low) } else { high }]);
        }
        steady.extend(self.rules.iter().map(|r| r.value).filter(|y| self.drawable(&(1.0, *y))));
        let Some((low, high)) = ends(steady) else { return if self.log_y { (1.0, 10.0) } else { (0.0, 1.0) } };
        if self.log_y {
            let margin = (high / low).powf(0.05).max(1.05);
            return (low / margin, high * margin);
        }
        if high - low <= 1e-6 * high.abs().max(low.abs()) {
            let half = (0.1 * high.abs()).max(1e-9);
            return (if self.from_zero && low >= 0.0 { 0.0 } else { low - half }, high + half);
        }
        let margin = 0.06 * (high - low);
        // An axis that nearly reaches 0 begins there: the eye compares heights.
        let zero = low >= 0.0 && (self.from_zero || low < 0.2 * high);
        (if zero { 0.0 } else { low - margin }, high + margin)
    }
}

fn ends(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().fold(None, |ends, v| {
        let (low, high) = ends.unwrap_or((v, v));
        Some((f64::min(low, v), f64::max(high, v)))
    })
}

/// A panel, laid out.
struct Axes {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
}

impl Axes {
    fn at(&self, p: &Point) -> Place {
        let x = self.left + self.x.place(p.0) * (self.right - self.left);
        (x, self.bottom - self.y.place(p.1) * (self.bottom - self.top))
    }
}

/// Draws `panels` from `top` on.
pub(super) fn draw(scene: &mut Scene, layout: &Layout, top: f64, panels: &[Panel]) {
    let mut top = top;
    let height = if panels.len() > 1 { 0.58 * layout.height } else { layout.height - 44.0 };
    // All axes begin at one place, so that what is above each other belongs together.
    let gutter = panels.iter().map(|p| gutter(layout, p)).fold(0.0, f64::max);
    let (low, high) = ends(panels.iter().map(Panel::x_range).flat_map(|(l, h)| [l, h])).unwrap_or((0.0, 1.0));
    for panel in panels {
        top = draw_panel(scene, layout, top, height, gutter, panel, (low, high)) + 10.0;
    }
    scene.height = top;
}

fn y_scale(panel: &Panel, height: f64) -> Scale {
    let (low, high) = panel.y_range();
    let wanted = ((height / 46.0) as usize).max(3);
    if panel.log_y { Scale::log(low, high, wanted) } else { Scale::linear(low, high, wanted) }
}

/// Width of what stands left of the y axis.
fn gutter(layout: &Layout, panel: &Panel) -> f64 {
    let size = layout.tick().size;
    let widest = y_scale(panel, 0.7 * layout.height).ticks.iter().map(|t| width(&t.1, size, false)).fold(0.0, f64::max);
    layout.margin + if layout.narrow || panel.y_label.is_empty() { 0.0 } else { 22.0 } + widest + 10.0
}

fn draw_panel(
    scene: &mut Scene,
    layout: &Layout,
    top: f64,
    height: f64,
    left: f64,
    panel: &Panel,
    (low, high): (f64, f64),
) -> f64 {
    let colors = panel.colors();
    let label_size = layout.text;
    let mut top = top;
    let below = 24.0 + if panel.x_label.is_empty() { 0.0 } else { 20.0 };
    let bottom = top + height - below;
    let mut axes = Axes {
        left,
        right: layout.width - layout.margin - 8.0,
        top,
        bottom,
        x: x_scale(layout, panel, low, high, layout.width - left),
        y: y_scale(panel, bottom - top),
    };

    let named: Vec<usize> = (0..panel.series.len()).filter(|&i| has_points(panel, i)).collect();
    let room = named.iter().map(|&i| width(&panel.series[i].name, label_size, false)).fold(0.0, f64::max);
    axes.right -= room + 10.0;
    let direct =
        if layout.narrow || room > 0.24 * layout.width { None } else { beside(panel, &axes, &named, label_size) };
    if direct.is_none() {
        axes.right += room + 10.0;
    }
    let mut items = Vec::new();
    let alone = named.len() == 1 && !panel.series[named[0]].smooth && panel.rules.is_empty();
    if direct.is_none() && !alone {
        for &i in &named {
            let series = &panel.series[i];
            let pen = pen(series, colors[i]);
            let swatch = match series {
                Series { smooth: true, .. } => Swatch::Smoothed(pen),
                Series { marks: true, .. } => Swatch::Marks(pen),
                _ => Swatch::Line(pen),
            };
            items.push((swatch, series.name.clone()));
        }
    }
    for rule in panel.rules.iter().filter(|r| panel.drawable(&(1.0, r.value))) {
        let pen = Pen { dashed: true, ..Pen::new(Color::Ink, 1.4) };
        items.push((Swatch::Line(pen), format!("{}: {}", rule.label, short(rule.value, rule.value.fract() == 0.0))));
    }
    let legend_left = if layout.narrow { layout.margin } else { left };
    let before = top;
    top = legend(scene, layout, legend_left, top, &items);
    // One row is part of the height; more of them make the figure higher.
    let end = before + height + (top - before - 2.0 * layout.text).max(0.0);
    axes.bottom = end - below;
    if layout.narrow && !panel.y_label.is_empty() {
        for line in wrap(&panel.y_label, label_size, false, layout.room(), 2) {
            top += label_size * 1.3;
            scene.text((layout.margin, top - 2.0), line, layout.tick());
        }
        top += 4.0;
    }
    let labelled = !panel.stages.is_empty() && panel.stages.iter().any(|s| !s.label.is_empty());
    axes.top = top + if labelled { 22.0 } else { 8.0 };
    axes.y = y_scale(panel, axes.bottom - axes.top);

    draw_axes(scene, layout, panel, &axes);
    draw_stages(scene, layout, panel, &axes);
    for rule in panel.rules.iter().filter(|r| panel.drawable(&(1.0, r.value))) {
        let y = axes.at(&(low, rule.value)).1;
        let pen = Pen { dashed: true, ..Pen::new(Color::Ink, 1.4) };
        scene.line(vec![(axes.left, y), (axes.right, y)], pen);
    }
    for (series, color) in panel.series.iter().zip(&colors) {
        draw_series(scene, panel, &axes, series, *color);
    }
    if direct.is_some() {
        // Heights have changed with the room that is left.
        for (i, y) in beside(panel, &axes, &named, label_size).unwrap_or_default() {
            let mut style = layout.label();
            style.color = Color::Ink;
            let text = shorten(&panel.series[i].name, label_size, false, room + 2.0);
            scene.line(vec![(axes.right + 4.0, y), (axes.right + 9.0, y)], Pen::new(Color::Series(colors[i]), 3.0));
            scene.text((axes.right + 14.0, y + 0.36 * label_size), text, style);
        }
    }
    end
}

/// Series that a reader must be told the name of: those that are drawn and have one.
fn has_points(panel: &Panel, i: usize) -> bool {
    let series = &panel.series[i];
    !series.name.is_empty() && series.points.iter().any(|p| panel.drawable(p))
}

/// Heights of names beside the ends of their lines, or nothing if they do not fit there.
fn beside(panel: &Panel, axes: &Axes, named: &[usize], size: f64) -> Option<Vec<(usize, f64)>> {
    if !(2..=6).contains(&named.len()) || !panel.rules.is_empty() {
        return None;
    }
    let mut labels = Vec::new();
    for &i in named {
        let series = &panel.series[i];
        let shown = if series.smooth { smoothed(series) } else { series.points.clone() };
        let last = *shown.iter().rfind(|p| panel.drawable(p))?;
        let (x, y) = axes.at(&last);
        // A name far from its line names nothing.
        if series.faint || series.heavy || x < axes.right - 0.06 * (axes.right - axes.left) {
            return None;
        }
        labels.push((i, y, y));
    }
    labels.sort_by(|a, b| a.1.total_cmp(&b.1));
    let apart = size * 1.25;
    for _ in 0..50 {
        for k in 1..labels.len() {
            let gap = labels[k].2 - labels[k - 1].2;
            if gap < apart {
                labels[k - 1].2 -= (apart - gap) / 2.0;
                labels[k].2 += (apart - gap) / 2.0;
            }
        }
    }
    let near = labels.iter().all(|(_, at, shown)| (at - shown).abs() < 1.2 * size);
    near.then(|| labels.into_iter().map(|(i, _, y)| (i, y)).collect())
}

fn x_scale(layout: &Layout, panel: &Panel, low: f64, high: f64, room: f64) -> Scale {
    // A little room on the right, so that the last point does not sit on the edge.
    let high = if panel.log_x { high * (high / low).powf(0.02) } else { high + 0.02 * (high - low) };
    let make = |wanted| match (panel.log_x, panel.whole_x) {
        (true, _) => Scale::log(low, high, wanted),
        (_, true) => Scale::whole(low, high, wanted),
        _ => Scale::linear(low, high, wanted),
    };
    let size = layout.tick().size;
    let crowded = |s: &Scale| {
        let ends = s.ticks.iter().map(|(v, l)| (s.place(*v) * room, width(l, size, false)));
        let ends: Vec<_> = ends.collect();
        ends.windows(2).any(|w| w[1].0 - w[0].0 < (w[0].1 + w[1].1) / 2.0 + 14.0)
    };
    let most = ((room / 70.0) as usize).max(2);
    (2..=most).rev().map(make).find(|s| !crowded(s)).unwrap_or_else(|| make(2))
}

fn draw_axes(scene: &mut Scene, layout: &Layout, panel: &Panel, axes: &Axes) {
    let style = layout.tick();
    for (value, label) in &axes.y.ticks {
        let y = axes.at(&(f64::NAN, *value)).1;
        scene.line(vec![(axes.left, y), (axes.right, y)], Pen::new(Color::Grid, 1.0));
        scene.text((axes.left - 7.0, y + 0.36 * style.size), label.clone(), style.anchor(Anchor::End));
    }
    scene.line(vec![(axes.left, axes.bottom), (axes.right, axes.bottom)], Pen::new(Color::Muted, 1.0));
    for (value, label) in &axes.x.ticks {
        let x = axes.left + axes.x.place(*value) * (axes.right - axes.left);
        scene.line(vec![(x, axes.bottom), (x, axes.bottom + 4.0)], Pen::new(Color::Muted, 1.0));
        // The last number must not leave the figure.
        let half = width(label, style.size, false) / 2.0;
        let x = x.min(layout.width - 4.0 - half);
        scene.text((x, axes.bottom + 6.0 + style.size), label.clone(), style.anchor(Anchor::Middle));
    }
    let middle = (axes.left + axes.right) / 2.0;
    if !panel.x_label.is_empty() {
        let label = shorten(&panel.x_label, layout.text, false, layout.room());
        let half = width(&label, layout.text, false) / 2.0;
        let x = middle.min(layout.width - layout.margin - half).max(layout.margin + half);
        scene.text((x, axes.bottom + 38.0), label, layout.label().anchor(Anchor::Middle));
    }
    if !panel.y_label.is_empty() && !layout.narrow {
        let room = axes.bottom - axes.top + 40.0;
        let label = shorten(&panel.y_label, layout.text, false, room);
        let at = (layout.margin + layout.text, (axes.top + axes.bottom) / 2.0);
        scene.text(at, label, layout.label().anchor(Anchor::Middle).turned());
    }
}

/// A line at the end of each stage and its name above, as many as there is room for.
fn draw_stages(scene: &mut Scene, layout: &Layout, panel: &Panel, axes: &Axes) {
    let Some(last) = panel.stages.last() else { return };
    let across = |x: f64| axes.left + axes.x.place(x) * (axes.right - axes.left);
    let room = (across(last.to) - axes.left) / panel.stages.len() as f64;
    let every = |need: f64| ((need / room.max(1e-3)).ceil().clamp(1.0, 1e9)) as usize;
    let style = layout.tick();
    let widest = panel.stages.iter().map(|s| width(&s.label, style.size, false)).fold(0.0, f64::max);
    let (lines, labels) = (every(14.0), every(widest + 12.0));
    for (i, stage) in panel.stages.iter().enumerate() {
        if !(axes.x.holds(stage.from) && axes.x.holds(stage.to)) {
            continue;
        }
        let x = across(stage.to);
        if (i + 1) % lines == 0 {
            scene.line(vec![(x, axes.top), (x, axes.bottom)], Pen::new(Color::Grid, 1.0));
        }
        if (i + 1) % labels == 0 {
            // One label per stretch of `labels` stages: centred over its own stage, or at its end.
            let center = if labels == 1 { (across(stage.from) + x) / 2.0 } else { x };
            let half = width(&stage.label, style.size, false) / 2.0;
            let center = center.min(layout.width - 4.0 - half);
            scene.text((center, axes.top - 6.0), stage.label.clone(), style.anchor(Anchor::Middle));
        }
    }
}

fn pen(series: &Series, color: usize) -> Pen {
    let width = match series {
        Series { heavy: true, .. } => 3.0,
        Series { faint: true, .. } => 1.3,
        Series { marks: true, .. } => 1.4,
        _ => 2.0,
    };
    // Past the last colour, dashes tell two series of one colour apart.
    let dashed = series.dashed || color / COUNT % 2 == 1;
    Pen { faint: series.faint, dashed, ..Pen::new(Color::Series(color), width) }
}

fn smoothed(series: &Series) -> Vec<Point> {
    smooth(&series.points, smoothing_alpha(series.points.len()))
}

fn draw_series(scene: &mut Scene, panel: &Panel, axes: &Axes, series: &Series, color: usize) {
    if series.smooth {
        let raw = Series { smooth: false, faint: true, ..series.clone() };
        draw_series(scene, panel, axes, &raw, color);
        let mean = Series { smooth: false, quiet: true, points: smoothed(series), ..series.clone() };
        return draw_series(scene, panel, axes, &mean, color);
    }
    let sorted = series.points.windows(2).all(|w| w[0].0 <= w[1].0);
    let thinned = if sorted { thin(&series.points, axes.right as usize) } else { series.points.clone() };
    let shown: Vec<Point> = thinned.into_iter().map(|p| if panel.drawable(&p) { p } else { (p.0, f64::NAN) }).collect();
    let pen = pen(series, color);
    let few = shown.len() <= 60 && !series.heavy && !series.quiet;
    for stretch in stretches(&shown) {
        let places: Vec<Place> = stretch.iter().map(|p| axes.at(p)).collect();
        if !series.marks && (few || places.len() == 1) {
            places.iter().for_each(|at| scene.dot(*at, pen.width + 0.6, pen.color, pen.faint));
        }
        if places.len() > 1 {
            scene.line(places, pen);
        }
    }
    if series.marks {
        let size = if shown.len() > 60 { 2.6 } else { 4.6 };
        let finite: Vec<_> = shown.iter().filter(|p| p.1.is_finite()).map(|p| axes.at(p)).collect();
        finite.into_iter().for_each(|at| scene.diamond(at, size, pen.color));
    }
    if let Some(at) = series.ring.filter(|p| panel.drawable(p)).map(|p| axes.at(&p)) {
        let circle = (0..=32).map(|i| f64::from(i) * std::f64::consts::TAU / 32.0);
        scene.line(circle.map(|a| (at.0 + 8.5 * a.cos(), at.1 + 8.5 * a.sin())).collect(), Pen::new(pen.color, 1.6));
    }
}
