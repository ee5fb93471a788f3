//! A figure as shapes in CSS pixels, before it is an SVG or a PNG.

use super::color::Color;

/// A place, in CSS pixels from the left and from the top.
pub(super) type Place = (f64, f64);

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pen {
    pub(super) color: Color,
    pub(super) width: f64,
    /// Only a share of the colour, for raw data under their mean.
    pub(super) faint: bool,
    pub(super) dashed: bool,
}

impl Pen {
    pub(super) fn new(color: Color, width: f64) -> Pen {
        Pen { color, width, faint: false, dashed: false }
    }
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Type {
    pub(super) size: f64,
    pub(super) color: Color,
    pub(super) bold: bool,
    pub(super) anchor: Anchor,
    /// Reads from below upwards.
    pub(super) turned: bool,
    /// With a rim in the page's colour, for text that a line may cross.
    pub(super) rim: bool,
}

impl Type {
    pub(super) fn new(size: f64, color: Color) -> Type {
        Type { size, color, bold: false, anchor: Anchor::Start, turned: false, rim: false }
    }

    pub(super) fn bold(self) -> Type {
        Type { bold: true, ..self }
    }

    pub(super) fn anchor(self, anchor: Anchor) -> Type {
        Type { anchor, ..self }
    }

    pub(super) fn rim(self) -> Type {
        Type { rim: true, ..self }
    }

    pub(super) fn turned(self) -> Type {
        Type { turned: true, ..self }
    }
}

/// Width of a text's rim.
pub(super) const RIM: f64 = 2.0;
/// How much of its colour a faint line keeps.
pub(super) const FAINT: f64 = 0.32;
/// Lengths of a dash and the gap behind it.
pub(super) const DASH: [f64; 2] = [6.0, 4.0];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Line {
        points: Vec<Place>,
        pen: Pen,
    },
    /// A polygon, its corners in order.
    Area {
        corners: Vec<Place>,
        color: Color,
    },
    Dot {
        at: Place,
        radius: f64,
        color: Color,
        faint: bool,
    },
    /// `at` is on the baseline.
    Text {
        at: Place,
        text: String,
        style: Type,
    },
}

/// One layout of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    /// What a reader who does not see the figure is told.
    pub(super) title: String,
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    pub(super) fn line(&mut self, points: Vec<Place>, pen: Pen) {
        self.shapes.push(Shape::Line { points, pen });
    }

    pub(super) fn area(&mut self, corners: Vec<Place>, color: Color) {
        self.shapes.push(Shape::Area { corners, color });
    }

    pub(super) fn rectangle(&mut self, left: f64, top: f64, right: f64, bottom: f64, color: Color) {
        self.area(vec![(left, top), (right, top), (right, bottom), (left, bottom)], color);
    }

    pub(super) fn dot(&mut self, at: Place, radius: f64, color: Color, faint: bool) {
        self.shapes.push(Shape::Dot { at, radius, color, faint });
    }

    /// A diamond with a rim in the page's colour, which sets it off from what it lies on.
    pub(super) fn diamond(&mut self, (x, y): Place, radius: f64, color: Color) {
        for (r, color) in [(radius + 1.3, Color::Page), (radius, color)] {
            self.area(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], color);
        }
    }

    pub(super) fn text(&mut self, at: Place, text: impl Into<String>, style: Type) {
        self.shapes.push(Shape::Text { at, text: text.into(), style });
    }
}
