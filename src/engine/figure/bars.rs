//! Bars over names: memory by technique, scores by model. Upright where the names fit below, else lying.

use super::color::Color;
use super::font::{shorten, width};
use super::frame::{Layout, Swatch, legend, wrap};
use super::lines::Rule;
use super::scale::{Scale, all_whole, short};
use super::scene::{Anchor, Pen, Place, Scene, Type};

/// A figure of bars.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// What the names are of.
    pub x_label: String,
    /// What the values are, with their unit.
    pub y_label: String,
    /// The names, in order.
    pub categories: Vec<String>,
    /// The bars of each name.
    pub groups: Vec<Group>,
    /// One bar for each name, made of all groups, rather than one beside the other.
    pub stacked: bool,
    /// Bars from left to right, whatever the length of the names.
    pub lying: bool,
    /// A value to compare with.
    pub reference: Option<Rule>,
}

/// One value for each name; a value that is not finite, or beyond 1e100, is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// As many as there are names.
    pub values: Vec<f64>,
}

impl Bars {
    fn value(&self, group: usize, at: usize) -> Option<f64> {
        self.groups[group].values.get(at).copied().filter(drawable)
    }

    /// The value to compare with, where it can be drawn.
    fn rule(&self) -> Option<&Rule> {
        self.reference.as_ref().filter(|r| drawable(&r.value))
    }

    /// The sum of all groups at a name.
    fn total(&self, at: usize) -> f64 {
        (0..self.groups.len()).filter_map(|g| self.value(g, at)).sum()
    }

    fn range(&self) -> (f64, f64) {
        let n = self.categories.len();
        let values: Vec<f64> = if self.stacked {
            (0..n).map(|i| self.total(i)).collect()
        } else {
            (0..self.groups.len()).flat_map(|g| (0..n).filter_map(move |i| self.value(g, i))).collect()
        };
        let reference = self.rule().map(|r| r.value);
        let (low, high) =
            values.into_iter().chain(reference).fold((0.0, 0.0), |(l, h), v| (f64::min(l, v), f64::max(h, v)));
        if low == high { (0.0, 1.0) } else { (low, high) }
    }

    /// Bars beside each other at each name.
    fn lanes(&self) -> usize {
        if self.stacked { 1 } else { self.groups.len().max(1) }
    }

    /// How a value is written on its bar.
    fn writer(&self) -> impl Fn(f64) -> String {
        let whole = all_whole(self.groups.iter().flat_map(|g| g.values.iter().copied()));
        move |value| short(value, whole)
    }

    /// The widest value that will be written at the end of a bar.
    fn widest(&self, size: f64) -> f64 {
        let written = self.writer();
        let n = self.categories.len();
        let values: Vec<f64> = if self.stacked {
            (0..n).map(|i| self.total(i)).collect()
        } else {
            (0..self.groups.len()).flat_map(|g| (0..n).map(move |i| self.value(g, i).unwrap_or(f64::NAN))).collect()
        };
        values.into_iter().map(|v| width(&written(v), size, false)).fold(0.0, f64::max)
    }
}

/// Whether `value` can be drawn: sums and margins of larger ones would not be finite.
fn drawable(value: &f64) -> bool {
    value.abs() < 1e100
}

/// Draws `bars` from `top` on.
pub(super) fn draw(scene: &mut Scene, layout: &Layout, top: f64, bars: &Bars) {
    let mut items = Vec::new();
    if bars.groups.len() > 1 {
        let named = bars.groups.iter().enumerate().filter(|(_, g)| !g.name.is_empty());
        items.extend(named.map(|(i, g)| (Swatch::Block(Color::Series(i)), g.name.clone())));
    }
    if let Some(rule) = bars.rule() {
        items.push((
            Swatch::Line(reference()),
            format!("{}: {}", rule.label, short(rule.value, rule.value.fract() == 0.0)),
        ));
    }
    let top = legend(scene, layout, layout.margin, top, &items);
    let slot = (layout.room() - 70.0) / bars.categories.len().max(1) as f64;
    let fits = |c: &String| {
        wrap(c, layout.tick().size, false, slot - 10.0, 9).len() <= 2
            && c.split_whitespace().all(|w| width(w, layout.tick().size, false) < slot - 10.0)
    };
    let values = bars.lanes() as f64 * (bars.widest(value_size(layout)) + 6.0);
    if bars.lying || !bars.categories.iter().all(fits) || values > slot * 0.94 {
        lying(scene, layout, top, bars);
    } else {
        upright(scene, layout, top, bars, slot);
    }
}

fn reference() -> Pen {
    Pen { dashed: true, ..Pen::new(Color::Ink, 1.5) }
}

fn value_size(layout: &Layout) -> f64 {
    layout.text - 1.0
}

/// A text that is drawn when all else is.
type Text = (Place, String, Type);

fn upright(scene: &mut Scene, layout: &Layout, top: f64, bars: &Bars, slot: f64) {
    let (tick, size, written) = (layout.tick(), value_size(layout), bars.writer());
    let two_lines = bars.categories.iter().any(|c| width(c, tick.size, false) > slot - 10.0);
    let below = 10.0 + tick.size * if two_lines { 2.4 } else { 1.2 } + if bars.x_label.is_empty() { 6.0 } else { 24.0 };
    let bottom = (layout.height - below).max(top + 120.0);
    let mut top = top + 8.0;
    if layout.narrow && !bars.y_label.is_empty() {
        scene.text((layout.margin, top + 6.0), shorten(&bars.y_label, tick.size, false, layout.room()), tick);
        top += 16.0;
    }
    let (low, high) = bars.range();
    let room = size * 1.9 / (bottom - top) * (high - low); // for values above the bars
    let y = Scale::linear(if low < 0.0 { low - room } else { 0.0 }, high + room, ((bottom - top) / 50.0) as usize);
    let at = |v: f64| bottom - y.place(v) * (bottom - top);
    let widest = y.ticks.iter().map(|t| width(&t.1, tick.size, false)).fold(0.0, f64::max);
    let named = !bars.y_label.is_empty() && !layout.narrow;
    let left = layout.margin + if named { 22.0 } else { 0.0 } + widest + 10.0;
    let right = layout.width - layout.margin;
    for (value, label) in &y.ticks {
        scene.line(vec![(left, at(*value)), (right, at(*value))], Pen::new(Color::Grid, 1.0));
        scene.text((left - 7.0, at(*value) + 0.36 * tick.size), label.clone(), tick.anchor(Anchor::End));
    }
    let slot = (right - left) / bars.categories.len().max(1) as f64;
    let lanes = bars.lanes() as f64;
    let bar = (slot * 0.82 / lanes).min(64.0);
    let mut texts: Vec<Text> = Vec::new();
    for (i, category) in bars.categories.iter().enumerate() {
        let middle = left + (i as f64 + 0.5) * slot;
        let begin = middle - bar * lanes / 2.0;
        let value = |texts: &mut Vec<Text>, x: f64, v: f64, text: f64| {
            let y = if v < 0.0 { at(v) + size + 2.0 } else { at(v) - 5.0 };
            texts.push(((x, y), written(text), Type::new(size, Color::Ink).anchor(Anchor::Middle).rim()));
        };
        let mut sum = 0.0;
        for g in 0..bars.groups.len() {
            let lane = if bars.stacked { 0.0 } else { g as f64 };
            let (x0, x1) = (begin + lane * bar + 1.0, begin + (lane + 1.0) * bar - 1.0);
            let Some(v) = bars.value(g, i) else {
                if !bars.stacked {
                    value(&mut texts, (x0 + x1) / 2.0, 0.0, f64::NAN);
                }
                continue;
            };
            let from = if bars.stacked { sum } else { 0.0 };
            sum += v;
            let (y0, y1) = (at(from + v), at(from));
            scene.rectangle(x0, y0.min(y1), x1, y1.max(y0), Color::Series(g));
            if !bars.stacked {
                value(&mut texts, (x0 + x1) / 2.0, v, v);
            } else if (y1 - y0).abs() > size + 5.0 && width(&written(v), size, false) < x1 - x0 - 4.0 {
                let style = Type::new(size, Color::Upon(g)).anchor(Anchor::Middle);
                texts.push((((x0 + x1) / 2.0, (y0 + y1) / 2.0 + 0.36 * size), written(v), style));
            }
        }
        if bars.stacked {
            value(&mut texts, middle, sum, sum);
        }
        for (k, line) in wrap(category, tick.size, false, slot - 4.0, 2).into_iter().enumerate() {
            let y = bottom + 6.0 + tick.size * (1.0 + 1.2 * k as f64);
            scene.text((middle, y), line, Type { color: Color::Ink, ..tick }.anchor(Anchor::Middle));
        }
    }
    scene.line(vec![(left, at(0.0)), (right, at(0.0))], Pen::new(Color::Muted, 1.0));
    if let Some(rule) = bars.rule() {
        scene.line(vec![(left, at(rule.value)), (right, at(rule.value))], reference());
    }
    texts.into_iter().for_each(|(at, text, style)| scene.text(at, text, style));
    if !bars.x_label.is_empty() {
        let text = shorten(&bars.x_label, layout.text, false, right - left);
        scene.text(((left + right) / 2.0, bottom + below - 6.0), text, layout.label().anchor(Anchor::Middle));
    }
    if named {
        let text = shorten(&bars.y_label, layout.text, false, bottom - top + 20.0);
        let at = (layout.margin + layout.text, (top + bottom) / 2.0);
        scene.text(at, text, layout.label().anchor(Anchor::Middle).turned());
    }
    scene.height = bottom + below + 4.0;
}

fn lying(scene: &mut Scene, layout: &Layout, top: f64, bars: &Bars) {
    let (tick, size, written) = (layout.tick(), value_size(layout), bars.writer());
    let lanes = bars.lanes() as f64;
    let bar = if lanes > 1.0 { 16.0 } else { 20.0 };
    let longest = bars.categories.iter().map(|c| width(c, tick.size, false)).fold(0.0, f64::max);
    // On a phone the names stand above their bars.
    let above = layout.narrow && longest > 0.3 * layout.width;
    let names = if above { 0.0 } else { longest.min(0.36 * layout.width) };
    let left = layout.margin + names + if above { 0.0 } else { 8.0 };
    let row = bar * lanes + if above { tick.size + 16.0 } else { 12.0 };
    let bottom = top + 6.0 + row * bars.categories.len() as f64;
    let right = layout.width - layout.margin - 4.0;
    let (low, high) = bars.range();
    let room = (bars.widest(size) + 10.0) / (right - left) * (high - low) * 1.15;
    let wanted = ((right - left) / 90.0) as usize;
    let x = Scale::linear(if low < 0.0 { low - room } else { 0.0 }, high + room, wanted);
    let at = |v: f64| left + x.place(v) * (right - left);
    for (value, label) in &x.ticks {
        scene.line(vec![(at(*value), top), (at(*value), bottom)], Pen::new(Color::Grid, 1.0));
        let half = width(label, tick.size, false) / 2.0;
        let place = at(*value).min(layout.width - 4.0 - half).max(4.0 + half);
        scene.text((place, bottom + 6.0 + tick.size), label.clone(), tick.anchor(Anchor::Middle));
    }
    let ink = Type { color: Color::Ink, ..tick };
    let mut texts: Vec<Text> = Vec::new();
    for (i, category) in bars.categories.iter().enumerate() {
        let mut y = top + 6.0 + row * i as f64;
        if above {
            texts.push(((left, y + tick.size), shorten(category, tick.size, false, right - left), ink.rim()));
            y += tick.size + 5.0;
        } else {
            let middle = y + bar * lanes / 2.0;
            let lines = wrap(category, tick.size, false, names, if row > 30.0 { 2 } else { 1 });
            for (k, line) in lines.iter().enumerate() {
                let shift = (k as f64 - (lines.len() - 1) as f64 / 2.0) * tick.size * 1.15;
                let place = (left - 8.0, middle + shift + 0.36 * tick.size);
                texts.push((place, line.clone(), ink.anchor(Anchor::End)));
            }
        }
        let mut sum = 0.0;
        for g in 0..bars.groups.len() {
            let lane = if bars.stacked { 0.0 } else { g as f64 };
            let (y0, y1) = (y + lane * bar + 1.0, y + (lane + 1.0) * bar - 1.0);
            let middle = (y0 + y1) / 2.0 + 0.36 * size;
            let value = Type::new(size, Color::Ink).rim();
            let Some(v) = bars.value(g, i) else {
                if !bars.stacked {
                    texts.push(((at(0.0) + 5.0, middle), written(f64::NAN), value));
                }
                continue;
            };
            let from = if bars.stacked { sum } else { 0.0 };
            sum += v;
            let (x0, x1) = (at(from), at(from + v));
            scene.rectangle(x0.min(x1), y0, x1.max(x0), y1, Color::Series(g));
            if !bars.stacked {
                let (x, anchor) = if v < 0.0 { (x1 - 5.0, Anchor::End) } else { (x1 + 5.0, Anchor::Start) };
                texts.push(((x, middle), written(v), value.anchor(anchor)));
            } else if width(&written(v), size, false) < (x1 - x0).abs() - 6.0 {
                let style = Type::new(size, Color::Upon(g)).anchor(Anchor::Middle);
                texts.push((((x0 + x1) / 2.0, middle), written(v), style));
            }
        }
        if bars.stacked {
            texts.push(((at(sum) + 5.0, y + bar / 2.0 + 0.36 * size), written(sum), Type::new(size, Color::Ink).rim()));
        }
    }
    scene.line(vec![(at(0.0), top), (at(0.0), bottom)], Pen::new(Color::Muted, 1.0));
    if let Some(rule) = bars.rule() {
        scene.line(vec![(at(rule.value), top), (at(rule.value), bottom)], reference());
    }
    texts.into_iter().for_each(|(at, text, style)| scene.text(at, text, style));
    let mut end = bottom + tick.size + 14.0;
    if !bars.y_label.is_empty() {
        end += layout.text + 4.0;
        let text = shorten(&bars.y_label, layout.text, false, layout.room());
        let half = width(&text, layout.text, false) / 2.0;
        let middle = ((left + right) / 2.0).max(layout.margin + half).min(layout.width - layout.margin - half);
        scene.text((middle, end - 6.0), text, layout.label().anchor(Anchor::Middle));
    }
    scene.height = end + 4.0;
}
