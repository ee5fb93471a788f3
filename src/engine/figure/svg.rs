//! A scene as SVG.

use super::color::{Color, LIGHT, hex, name, style};
use super::escape::escape;
use super::font::FAMILY;
use super::scene::{Anchor, DASH, FAINT, Place, RIM, Scene, Shape};
use std::fmt::Write;

/// A complete document. With `classes` behind its own, for pages that show one of several layouts.
pub(super) fn document(scene: &Scene, classes: &str) -> String {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"host-figure{classes}\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" font-family=\"{FAMILY}\" \
         stroke-linejoin=\"round\" stroke-linecap=\"round\" fill=\"none\">\n<style>{}</style>\n\
         <rect width=\"100%\" height=\"100%\" {}/>\n",
        escape(&scene.title),
        style(),
        filled(Color::Page),
    );
    for shape in &scene.shapes {
        // Writing to a string cannot fail.
        let _ = match shape {
            Shape::Line { points, pen } => {
                let faint = if pen.faint { format!(" stroke-opacity=\"{FAINT}\"") } else { String::new() };
                let dash = if pen.dashed {
                    format!(" stroke-dasharray=\"{} {}\" stroke-linecap=\"butt\"", DASH[0], DASH[1])
                } else {
                    String::new()
                };
                let (class, color) = (name(pen.color), hex(LIGHT.rgb(pen.color)));
                let width = number(pen.width);
                let path = path(points);
                writeln!(
                    out,
                    "<path class=\"s-{class}\" stroke=\"{color}\" stroke-width=\"{width}\"{faint}{dash} d=\"{path}\"/>"
                )
            }
            Shape::Area { corners, color } => writeln!(out, "<path {} d=\"{}Z\"/>", filled(*color), path(corners)),
            Shape::Dot { at, radius, color, faint } => {
                let faint = if *faint { format!(" fill-opacity=\"{FAINT}\"") } else { String::new() };
                let (x, y, r) = (number(at.0), number(at.1), number(*radius));
                writeln!(out, "<circle {}{faint} cx=\"{x}\" cy=\"{y}\" r=\"{r}\"/>", filled(*color))
            }
            Shape::Text { at, text, style } => {
                let (x, y) = (number(at.0), number(at.1));
                let anchor = match style.anchor {
                    Anchor::Start => "",
                    Anchor::Middle => " text-anchor=\"middle\"",
                    Anchor::End => " text-anchor=\"end\"",
                };
                let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
                let turn = if style.turned { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
                let rim = if style.rim {
                    let page = hex(LIGHT.rgb(Color::Page));
                    format!(" stroke=\"{page}\" stroke-width=\"{}\" paint-order=\"stroke\"", 2.0 * RIM)
                } else {
                    String::new()
                };
                let class = if style.rim { " s-page" } else { "" };
                let (fill, size) = (classed(style.color, class), number(style.size));
                let text = escape(text);
                writeln!(
                    out,
                    "<text {fill} x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{bold}{turn}{rim}>{text}</text>"
                )
            }
        };
    }
    out.push_str("</svg>\n");
    out
}

fn filled(color: Color) -> String {
    classed(color, "")
}

fn classed(color: Color, classes: &str) -> String {
    format!("class=\"f-{}{classes}\" fill=\"{}\"", name(color), hex(LIGHT.rgb(color)))
}

/// Relative moves in tenths of a pixel: a third of the length of absolute ones.
fn path(points: &[Place]) -> String {
    let tenths = |p: &Place| ((p.0 * 10.0).round() as i64, (p.1 * 10.0).round() as i64);
    let mut out = String::new();
    let mut at = (0, 0);
    for (i, p) in points.iter().map(tenths).enumerate() {
        let step = |d: i64| number(d as f64 / 10.0);
        let (x, y) = (step(p.0 - at.0), step(p.1 - at.1));
        let command = match i {
            0 => "M",
            1 => "l",
            _ => " ",
        };
        let comma = if y.starts_with('-') { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(out, "{command}{x}{comma}{y}");
        at = p;
    }
    if points.len() == 1 {
        out.push_str("h0"); // with round ends: a dot
    }
    out
}

/// As short as a tenth of a pixel is written.
fn number(x: f64) -> String {
    let text = format!("{x:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the drawing: relative moves add up, without the drift of rounding each of them.
    #[test]
    fn relative_moves_do_not_drift() {
        let points: Vec<Place> = (0..1000).map(|i| (f64::from(i) * 0.333, 100.04 - f64::from(i) * 0.07)).collect();
        let text = path(&points).replace(['M', 'l'], " ").replace('-', " -");
        let moves: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let end = moves.chunks(2).fold((0.0, 0.0), |at, m| (at.0 + m[0], at.1 + m[1]));
        assert!((end.0 - points[999].0).abs() < 0.06 && (end.1 - points[999].1).abs() < 0.06, "{end:?}");
        assert_eq!(path(&[(1.0, 2.5), (0.5, 2.5), (0.5, 1.0)]), "M1 2.5l-0.5 0 0-1.5");
    }
}
