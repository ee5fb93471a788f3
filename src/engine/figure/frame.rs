//! What surrounds the data: the sizes of a layout, title and legend.

use super::color::Color;
use super::font::{shorten, width};
use super::scene::{Anchor, Pen, Scene, Type};

/// Sizes, in CSS pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    /// Of a figure with one pair of axes.
    pub(super) height: f64,
    /// Left and right of everything.
    pub(super) margin: f64,
    /// Of ticks and legend.
    pub(super) text: f64,
    pub(super) title: f64,
    /// Whether there is no room beside the axes.
    pub(super) narrow: bool,
}

impl Layout {
    /// For a desktop, a document, a file.
    pub(super) const WIDE: Layout =
        Layout { width: 760.0, height: 440.0, margin: 16.0, text: 12.5, title: 16.0, narrow: false };
    /// For a phone: shown at its own size where the page leaves 356 px.
    pub(super) const NARROW: Layout =
        Layout { width: 356.0, height: 340.0, margin: 8.0, text: 12.0, title: 15.0, narrow: true };

    pub(super) fn label(&self) -> Type {
        Type::new(self.text, Color::Ink)
    }

    pub(super) fn tick(&self) -> Type {
        Type::new(self.text - 0.5, Color::Muted)
    }

    /// Room between the margins.
    pub(super) fn room(&self) -> f64 {
        self.width - 2.0 * self.margin
    }
}

/// Draws title and subtitle; returns where the rest begins.
pub(super) fn header(scene: &mut Scene, layout: &Layout, title: &str, subtitle: &str) -> f64 {
    let mut y = 10.0;
    let style = Type::new(layout.title, Color::Ink).bold();
    let lines = wrap(title, layout.title, true, layout.room(), 2);
    for line in &lines {
        y += layout.title * 1.25;
        scene.text((layout.margin, y - 2.0), line.clone(), style);
    }
    if !subtitle.is_empty() {
        let lesser = Type::new(layout.text, Color::Muted);
        let used = lines.last().map_or(0.0, |l| width(l, layout.title, true)) + 24.0;
        if lines.len() == 1 && used + width(subtitle, layout.text, false) < layout.room() {
            scene.text((layout.width - layout.margin, y - 2.0), subtitle, lesser.anchor(Anchor::End));
        } else {
            for line in wrap(subtitle, layout.text, false, layout.room(), 2) {
                y += layout.text * 1.35;
                scene.text((layout.margin, y), line, lesser);
            }
        }
    }
    y + 8.0
}

/// `text` in at most `most` lines of `room`, the last one shortened if it must be.
pub(super) fn wrap(text: &str, size: f64, bold: bool, room: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = lines.len() == most;
        match lines.last_mut() {
            Some(line) if full || width(&format!("{line} {word}"), size, bold) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines.iter().map(|line| shorten(line, size, bold, room)).collect()
}

/// What stands before a name in the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Swatch {
    Line(Pen),
    /// A mean over its faint raw data.
    Smoothed(Pen),
    Marks(Pen),
    Block(Color),
}

const SWATCH: f64 = 22.0;

/// Draws a legend in as many rows as it needs, from `top` on; returns where the rest begins.
pub(super) fn legend(scene: &mut Scene, layout: &Layout, left: f64, top: f64, items: &[(Swatch, String)]) -> f64 {
    if items.is_empty() {
        return top;
    }
    let right = layout.width - layout.margin;
    let row = layout.text * 1.5;
    let (mut x, mut y) = (left, top);
    for (swatch, name) in items {
        let name = shorten(name, layout.text, false, right - left - SWATCH - 6.0);
        let length = SWATCH + 6.0 + width(&name, layout.text, false);
        if x > left && x + length > right {
            (x, y) = (left, y + row);
        }
        let middle = y + row / 2.0;
        let ends = |from: f64, to: f64| vec![(x + from, middle), (x + to, middle)];
        match *swatch {
            Swatch::Line(pen) => scene.line(ends(1.0, SWATCH - 1.0), Pen { width: pen.width.max(2.0), ..pen }),
            Swatch::Smoothed(pen) => {
                scene.line(ends(3.0, SWATCH - 3.0), Pen { width: 7.0, faint: true, ..pen });
                scene.line(ends(1.0, SWATCH - 1.0), pen);
            }
            Swatch::Marks(pen) => {
                scene.line(ends(1.0, SWATCH - 1.0), pen);
                scene.diamond((x + SWATCH / 2.0, middle), 4.5, pen.color);
            }
            Swatch::Block(color) => scene.rectangle(x + 6.0, middle - 6.0, x + 18.0, middle + 6.0, color),
        }
        scene.text((x + SWATCH + 6.0, middle + layout.text * 0.36), name, layout.label());
        x += length + 18.0;
    }
    y + row + 4.0
}
