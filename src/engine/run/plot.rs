//! The figures of a run: `loss.svg` and `loss.png`, and, where learning rate or gradient norm were logged, `optim.svg`
//! and `optim.png`.
//!
//! Both files of a figure come from one drawing at four times its size of 900 x 540: the SVG is scaled back by its view
//! box, which keeps a quarter of a pixel of precision, and the PNG is halved, which leaves 1800 x 1080 soft-edged pixels.
//! Colours: Okabe & Ito, "Color Universal Design", 2008; told apart by every common kind of colour vision.

use super::atomic::write_atomic;
use super::curve::{Curve, Epoch, MAX_STEP, Point, smooth, smoothing_alpha, stretches, thin};
use super::raster::Canvas;
use crate::engine::{Error, Result};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Roboto, cut down; see `assets/README.md`.
pub(super) const REGULAR: &[u8] = include_bytes!("assets/Roboto-Regular.ttf");
/// Roboto Bold, cut down.
pub(super) const BOLD: &[u8] = include_bytes!("assets/Roboto-Bold.ttf");
/// What the SVG asks for and what the embedded font is registered as.
const FAMILY: &str = "Roboto, Helvetica, Arial, sans-serif";

/// Width and height of a figure in CSS pixels.
pub const SIZE: (u32, u32) = (900, 540);
/// Drawing units per CSS pixel.
const S: i32 = 4;

const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const FAINT_BLUE: RGBColor = RGBColor(0xB3, 0xD4, 0xE8);
const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
const VERMILLION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
const FAINT_GREEN: RGBColor = RGBColor(0xB3, 0xE2, 0xD5);
const INK: RGBColor = RGBColor(0x26, 0x26, 0x26);
const GREY: RGBColor = RGBColor(0x6B, 0x6B, 0x6B);
const GRID: RGBColor = RGBColor(0xE6, 0xE6, 0xE6);

/// Larger values are no losses any more; they would only flatten everything else.
const DRAWABLE: f64 = 1e12;

/// Draws all figures of `curve` into `dir`; returns the files written.
pub fn write_all(dir: &Path, curve: &Curve) -> Result<Vec<PathBuf>> {
    // "." has no name of its own.
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut figures = vec![("loss", loss_figure(curve, &name)?)];
    if !(curve.lr.is_empty() && curve.grad_norm.is_empty()) {
        figures.push(("optim", optim_figure(curve, &name)?));
    }
    let mut files = Vec::new();
    for (file, figure) in figures {
        for (ending, bytes) in [("svg", figure.svg.as_bytes()), ("png", &figure.png)] {
            let path = dir.join(format!("{file}.{ending}"));
            write_atomic(&path, bytes)?;
            files.push(path);
        }
    }
    Ok(files)
}

/// One figure in both forms.
#[derive(Debug)]
pub struct Figure {
    /// A complete SVG document.
    pub svg: String,
    /// A complete PNG file.
    pub png: Vec<u8>,
}

/// Loss per step, faint, with its moving average; epoch means; validation.
pub fn loss_figure(curve: &Curve, name: &str) -> Result<Figure> {
    let alpha = smoothing_alpha(curve.loss.len());
    let mut panel = Panel::new("optimizer step", "loss (nats per token)");
    panel.epochs = &curve.epochs;
    panel.label_epochs = true;
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let title = format!("Loss of {name}");
    let mut subtitle = plural(curve.loss.len(), "step");
    if !curve.epochs.is_empty() {
        subtitle += &format!(", {}", plural(curve.epochs.len(), "epoch"));
    }
    panel.lines.push(Line {
        legend: "train, each step".into(),
        points: &curve.loss,
        color: FAINT_BLUE,
        width: 1.4,
        dots: 1.9,
    });
    let smoothed = smooth(&curve.loss, alpha);
    if curve.loss.len() > 2 {
        let legend = format!("train, smoothed (EMA, \u{3b1} = {alpha})");
        panel.lines.push(Line { legend, points: &smoothed, color: BLUE, width: 2.2, dots: 0.0 });
    }
    let means = curve.epochs.iter().any(|e| e.train_loss.is_some_and(f64::is_finite));
    panel.means = means.then(|| ("train, epoch mean".into(), ORANGE));
    panel.marks = Some(Marks { legend: "validation".into(), points: &curve.val_loss, color: VERMILLION });
    draw(&title, &subtitle, &[panel], curve.last_step())
}

/// Learning rate over gradient norm, each where it was logged.
pub fn optim_figure(curve: &Curve, name: &str) -> Result<Figure> {
    let smoothed = smooth(&curve.grad_norm, smoothing_alpha(curve.grad_norm.len()));
    let mut panels = Vec::new();
    if !curve.lr.is_empty() {
        let mut panel = Panel::new("optimizer step", "learning rate");
        panel.from_zero = true;
        panel.lines.push(Line {
            legend: "learning rate".into(),
            points: &curve.lr,
            color: BLUE,
            width: 2.2,
            dots: 1.9,
        });
        panels.push(panel);
    }
    if !curve.grad_norm.is_empty() || panels.is_empty() {
        let mut panel = Panel::new("optimizer step", "gradient norm");
        panel.from_zero = true;
        let legend = "gradient norm before clipping".into();
        panel.lines.push(Line { legend, points: &curve.grad_norm, color: FAINT_GREEN, width: 1.4, dots: 1.9 });
        if curve.grad_norm.len() > 2 {
            panel.lines.push(Line {
                legend: "smoothed".into(),
                points: &smoothed,
                color: GREEN,
                width: 2.2,
                dots: 0.0,
            });
        }
        panels.push(panel);
    }
    for panel in &mut panels {
        panel.epochs = &curve.epochs;
    }
    if let [first, _] = panels.as_mut_slice() {
        first.x_label = ""; // the panel below says it
    }
    draw(&format!("Optimizer of {name}"), "", &panels, curve.last_step())
}

/// One pair of axes.
struct Panel<'a> {
    x_label: &'static str,
    y_label: &'static str,
    lines: Vec<Line<'a>>,
    marks: Option<Marks<'a>>,
    means: Option<(String, RGBColor)>,
    epochs: &'a [Epoch],
    label_epochs: bool,
    from_zero: bool,
}

/// A series drawn as a line; with dots at its points where they are few and `dots`, a radius, is not 0.
struct Line<'a> {
    legend: String,
    points: &'a [Point],
    color: RGBColor,
    width: f64,
    dots: f64,
}

/// A series of few points, drawn as diamonds on a thin line.
struct Marks<'a> {
    legend: String,
    points: &'a [Point],
    color: RGBColor,
}

impl Panel<'_> {
    fn new(x_label: &'static str, y_label: &'static str) -> Self {
        let (lines, epochs) = (vec![], &[][..]);
        Panel { x_label, y_label, lines, marks: None, means: None, epochs, label_epochs: false, from_zero: false }
    }

    /// The y axis: all values with a margin; single spikes of a long line are cut off.
    fn range(&self) -> Range<f64> {
        let drawable = |y: &f64| y.is_finite() && y.abs() < DRAWABLE;
        let marks = self.marks.iter().flat_map(|m| m.points).map(|p| p.1);
        let means = self.epochs.iter().filter(|_| self.means.is_some()).filter_map(|e| e.train_loss);
        let mut steady: Vec<f64> = marks.chain(means).filter(drawable).collect();
        for line in &self.lines {
            let mut values: Vec<f64> = line.points.iter().map(|p| p.1).filter(drawable).collect();
            values.sort_unstable_by(f64::total_cmp);
            let (Some(&low), Some(&high)) = (values.first(), values.last()) else { continue };
            let usual = values[(values.len() - 1) * 99 / 100];
            let spikes = values.len() >= 100 && high - low > 3.0 * (usual - low) && usual > low;
            steady.extend([low, if spikes { low + 1.3 * (usual - low) } else { high }]);
        }
        let low = steady.iter().copied().fold(f64::INFINITY, f64::min);
        let high = steady.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return 0.0..1.0; // nothing to draw
        }
        if high - low <= 1e-6 * high.abs().max(low.abs()) {
            let half = (0.1 * high.abs()).max(1e-9);
            return low - half..high + half;
        }
        let margin = 0.06 * (high - low);
        // An axis that nearly reaches 0 begins there: the eye compares heights.
        let zero = low >= 0.0 && (self.from_zero || low < 0.2 * high);
        if zero { 0.0..high + margin } else { low - margin..high + margin }
    }
}

fn draw(title: &str, subtitle: &str, panels: &[Panel<'_>], last_step: f64) -> Result<Figure> {
    register_fonts()?;
    let size = (SIZE.0 * S as u32, SIZE.1 * S as u32);
    let mut svg = String::new();
    scene(SVGBackend::with_string(&mut svg, size).into_drawing_area(), title, subtitle, panels, last_step)?;
    let drawn = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    let shown = format!("width=\"{}\" height=\"{}\" role=\"img\"", SIZE.0, SIZE.1);
    let svg = svg.replacen(&drawn, &shown, 1);
    let mut canvas = Canvas::new(size.0, size.1);
    scene((&mut canvas).into_drawing_area(), title, subtitle, panels, last_step)?;
    Ok(Figure { svg, png: canvas.halved().to_png() })
}

fn register_fonts() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        register_font(FAMILY, FontStyle::Normal, REGULAR).is_ok()
            && register_font(FAMILY, FontStyle::Bold, BOLD).is_ok()
    });
    if *done { Ok(()) } else { Err(Error::config("figures: the embedded font cannot be read")) }
}

/// What plotters reports: a font it lacks, or a text buffer that cannot grow.
fn failed(e: impl std::fmt::Display) -> Error {
    Error::config(format!("figures: {e}"))
}

fn text(size: f64, color: RGBColor) -> TextStyle<'static> {
    let mut style = (FAMILY, size * f64::from(S) * 1.24).into_text_style(&(1, 1));
    style.color = color.to_backend_color();
    style
}

fn px(x: f64) -> i32 {
    (x * f64::from(S)).round() as i32
}

fn scene<DB: DrawingBackend>(
    area: DrawingArea<DB, Shift>,
    title: &str,
    subtitle: &str,
    panels: &[Panel<'_>],
    last_step: f64,
) -> Result<()> {
    area.fill(&WHITE).map_err(failed)?;
    let bold = (FAMILY, 17.0 * f64::from(S) * 1.24, FontStyle::Bold).into_text_style(&(1, 1)).color(&INK);
    let room = SIZE.0 as i32 * S - px(40.0);
    let title = shorten(&area, title, &bold, room)?;
    area.draw_text(&title, &bold, (px(20.0), px(16.0))).map_err(failed)?;
    let right = text(13.0, GREY).pos(Pos::new(HPos::Right, VPos::Top));
    let used = width(&area, &title, &bold)? + width(&area, subtitle, &right)? + px(20.0);
    if used < room {
        area.draw_text(subtitle, &right, (SIZE.0 as i32 * S - px(20.0), px(19.0))).map_err(failed)?;
    }
    let (_, below) = area.split_vertically(px(44.0));
    let last_step = if last_step.is_finite() { last_step.clamp(1.0, MAX_STEP as f64) } else { 1.0 };
    for (area, panel) in below.split_evenly((panels.len().max(1), 1)).iter().zip(panels) {
        draw_panel(area, panel, last_step)?;
    }
    area.present().map_err(failed)
}

fn width<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, text: &str, style: &TextStyle<'_>) -> Result<i32> {
    Ok(area.estimate_text_size(text, style).map_err(failed)?.0 as i32)
}

/// `text`, with its end left out if it is wider than `room`.
fn shorten<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    text: &str,
    style: &TextStyle<'_>,
    room: i32,
) -> Result<String> {
    let mut shown = text.to_string();
    let mut kept = text.chars().count().min(200);
    while kept > 1 && width(area, &shown, style)? > room {
        kept -= 1;
        shown = text.chars().take(kept).chain(['\u{2026}']).collect();
    }
    Ok(shown)
}

type Chart<'a, 'b, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_panel<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, panel: &Panel<'_>, last_step: f64) -> Result<()> {
    draw_legend(area, panel)?;
    let y = panel.range();
    // A little room on the right, so that the last point does not sit on the edge.
    let x = 0.0..last_step + (0.02 * last_step).max(0.02);
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(if panel.label_epochs { 46.0 } else { 30.0 }))
        .margin_right(px(20.0))
        .margin_bottom(px(if panel.x_label.is_empty() { 2.0 } else { 10.0 }))
        .margin_left(px(14.0))
        .x_label_area_size(px(if panel.x_label.is_empty() { 24.0 } else { 42.0 }))
        .y_label_area_size(px(62.0))
        .build_cartesian_2d(x.clone(), y.clone())
        .map_err(failed)?;
    let span = y.end - y.start;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(9)
        .y_labels(if panel.label_epochs { 8 } else { 5 })
        .max_light_lines(0)
        .bold_line_style(GRID.stroke_width(px(1.0) as u32))
        .axis_style(INK.stroke_width(px(1.0) as u32))
        .set_all_tick_mark_size(px(4.0))
        .label_style(text(12.0, INK))
        .axis_desc_style(text(13.0, INK))
        .x_desc(panel.x_label)
        .y_desc(panel.y_label)
        // Half a step is no step.
        .x_label_formatter(&|x| if (x - x.round()).abs() < 1e-6 { thousands(x.round()) } else { String::new() })
        .y_label_formatter(&|y| tick(*y, span))
        .draw()
        .map_err(failed)?;

    draw_epochs(&mut chart, panel, &y)?;
    let inside = |p: &Point| (p.0, p.1.clamp(y.start, y.end));
    for line in &panel.lines {
        let thinned = drawable(&thin(line.points, SIZE.0 as usize));
        let style = line.color.stroke_width(px(line.width) as u32);
        let few = thinned.len() <= 60 && line.dots > 0.0;
        for stretch in stretches(&thinned) {
            chart
                .draw_series([PathElement::new(stretch.iter().map(inside).collect::<Vec<_>>(), style)])
                .map_err(failed)?;
            if few || (stretch.len() == 1 && line.dots > 0.0) {
                let dots = stretch.iter().map(|p| Circle::new(inside(p), px(line.dots), line.color.filled()));
                chart.draw_series(dots).map_err(failed)?;
            }
        }
    }
    if let Some((_, color)) = &panel.means {
        let style = color.stroke_width(px(2.6) as u32);
        let means = panel.epochs.iter().filter_map(|e| Some((e, e.train_loss.filter(|y| is_drawable(*y))?)));
        let steps = means.map(|(e, y)| PathElement::new(vec![inside(&(e.from, y)), inside(&(e.to, y))], style));
        chart.draw_series(steps).map_err(failed)?;
    }
    if let Some(marks) = &panel.marks {
        let points: Vec<Point> = drawable(&thin(marks.points, SIZE.0 as usize));
        for stretch in stretches(&points) {
            let style = marks.color.stroke_width(px(1.2) as u32);
            chart
                .draw_series([PathElement::new(stretch.iter().map(inside).collect::<Vec<_>>(), style)])
                .map_err(failed)?;
        }
        let size = if points.len() > 60 { 3.0 } else { 5.5 };
        let shown = points.iter().filter(|p| p.1.is_finite());
        chart.draw_series(shown.map(|p| EmptyElement::at(inside(p)) + diamond(size + 1.2, WHITE))).map_err(failed)?;
        let shown = points.iter().filter(|p| p.1.is_finite());
        chart.draw_series(shown.map(|p| EmptyElement::at(inside(p)) + diamond(size, marks.color))).map_err(failed)?;
    }
    Ok(())
}

/// A diamond of `radius` CSS pixels around the origin, in pixels.
fn diamond(radius: f64, color: RGBColor) -> Polygon<(i32, i32)> {
    let r = px(radius);
    Polygon::new(vec![(0, -r), (r, 0), (0, r), (-r, 0)], color.filled())
}

fn is_drawable(y: f64) -> bool {
    y.is_finite() && y.abs() < DRAWABLE
}

/// Values that cannot be drawn become gaps.
fn drawable(points: &[Point]) -> Vec<Point> {
    points.iter().map(|&(x, y)| (x, if is_drawable(y) { y } else { f64::NAN })).collect()
}

/// A line at the end of each epoch and its number above, as many as there is room for.
fn draw_epochs<DB: DrawingBackend>(chart: &mut Chart<'_, '_, DB>, panel: &Panel<'_>, y: &Range<f64>) -> Result<()> {
    let area = chart.plotting_area().strip_coord_spec();
    let at = |x: f64| chart.backend_coord(&(x, y.end));
    let (_, bottom) = chart.backend_coord(&(0.0, y.start));
    let (left, top) = at(0.0);
    let (corner_x, corner_y) = area.get_base_pixel();
    let Some(last) = panel.epochs.last() else { return Ok(()) };
    let room = f64::from(at(last.to).0 - left) / panel.epochs.len() as f64 / f64::from(S); // CSS pixels per epoch
    let every = |need: f64| ((need / room.max(1e-3)).ceil().clamp(1.0, 1e9)) as usize;
    let style = RGBColor(0xCC, 0xCC, 0xCC).stroke_width(px(1.0) as u32);
    let (lines, labels) = (every(14.0), every(64.0));
    for (i, epoch) in panel.epochs.iter().enumerate() {
        if !(is_drawable(epoch.from) && is_drawable(epoch.to)) {
            continue;
        }
        let x = at(epoch.to).0;
        if (i + 1) % lines == 0 {
            let line = vec![(x - corner_x, top - corner_y), (x - corner_x, bottom - corner_y)];
            area.draw(&PathElement::new(line, style)).map_err(failed)?;
        }
        if panel.label_epochs && (i + 1) % labels == 0 {
            // One label per stretch of `labels` epochs: centred over its own epoch, or at its end.
            let center = if labels == 1 { (at(epoch.from).0 + x) / 2 } else { x };
            let style = text(11.5, GREY).pos(Pos::new(HPos::Center, VPos::Bottom));
            let label = format!("epoch {}", epoch.epoch);
            area.draw_text(&label, &style, (center - corner_x, top - corner_y - px(4.0))).map_err(failed)?;
        }
    }
    Ok(())
}

/// One row above the axes, in the order of drawing.
fn draw_legend<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, panel: &Panel<'_>) -> Result<()> {
    let style = text(12.5, INK).pos(Pos::new(HPos::Left, VPos::Center));
    let (mut x, y) = (px(76.0), px(10.0));
    let mut entry = |label: &str, color: RGBColor, width: f64, mark: bool| -> Result<()> {
        let line = PathElement::new(vec![(x, y), (x + px(24.0), y)], color.stroke_width(px(width) as u32));
        area.draw(&line).map_err(failed)?;
        if mark {
            let (cx, r) = (x + px(12.0), px(5.5));
            let corners = vec![(cx, y - r), (cx + r, y), (cx, y + r), (cx - r, y)];
            area.draw(&Polygon::new(corners, color.filled())).map_err(failed)?;
        }
        x += px(31.0);
        area.draw_text(label, &style, (x, y)).map_err(failed)?;
        x += self::width(area, label, &style)? + px(18.0);
        Ok(())
    };
    for line in panel.lines.iter().filter(|l| !l.points.is_empty()) {
        entry(&line.legend, line.color, line.width.max(2.0), false)?;
    }
    if let Some((label, color)) = &panel.means {
        entry(label, *color, 2.6, false)?;
    }
    if let Some(marks) = panel.marks.as_ref().filter(|m| !m.points.is_empty()) {
        entry(&marks.legend, marks.color, 1.2, true)?;
    }
    Ok(())
}

/// A tick's value with as many digits as the axis, `span` long, needs.
fn tick(y: f64, span: f64) -> String {
    if y == 0.0 || y.abs() < 1e-9 * span {
        return "0".into();
    }
    if y.abs() >= 1e5 || span < 1e-2 {
        let text = format!("{y:.1e}");
        return text.replace(".0e", "e").replace('-', "\u{2212}");
    }
    let digits = (1.3 - span.log10()).ceil().clamp(0.0, 4.0) as usize;
    format!("{y:.digits$}").replace('-', "\u{2212}")
}

/// 12345 as 12,345.
fn thousands(x: f64) -> String {
    let digits = format!("{x:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    if digits.len() > 4 { groups.join(",") } else { digits }
}

#[cfg(test)]
mod tests;
