//! A scene as PNG: drawn in memory at four times its size and halved, which leaves two soft-edged pixels for each of CSS.
//!
//! A line is the set of pixels within half its width of the segment (round ends and joins), and text is set with the
//! embedded fonts, on any machine alike.

use super::color::{Color, LIGHT};
use super::font;
use super::scene::{Anchor, DASH, FAINT, Place, RIM, Scene, Shape, Type};
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write;

type Rgb = (u8, u8, u8);

/// Pixels of the canvas per CSS pixel.
const S: f64 = 4.0;

/// The highest scene that is drawn, in CSS pixels: its canvas takes 300 MB.
pub(super) const HIGHEST: f64 = 8_000.0;

/// A PNG file of `scene` in the light theme, two pixels per CSS pixel.
pub(super) fn png(scene: &Scene) -> Vec<u8> {
    let mut canvas = Canvas::new((scene.width * S) as u32, (scene.height * S) as u32);
    for shape in &scene.shapes {
        canvas.draw(shape);
    }
    canvas.halved().to_png()
}

/// A white RGB image.
#[derive(Debug)]
struct Canvas {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Canvas {
        Canvas { width, height, rgb: vec![255; width as usize * height as usize * 3] }
    }

    fn draw(&mut self, shape: &Shape) {
        let up = |p: &Place| (p.0 * S, p.1 * S);
        // Mixed, not blended: the joints of a line are drawn twice.
        let mixed = |color: Color, faint: bool| LIGHT.mixed(color, if faint { FAINT } else { 1.0 });
        match shape {
            Shape::Line { points, pen } => {
                let (radius, color) = ((pen.width * S / 2.0) as f32, mixed(pen.color, pen.faint));
                let pieces = if pen.dashed { dashes(points) } else { vec![points.clone()] };
                for piece in pieces {
                    let piece: Vec<Place> = piece.iter().map(up).collect();
                    if let [one] = piece[..] {
                        self.stroke(one, one, radius, color);
                    }
                    piece.windows(2).for_each(|w| self.stroke(w[0], w[1], radius, color));
                }
            }
            Shape::Area { corners, color } => {
                self.fill(&corners.iter().map(up).collect::<Vec<_>>(), LIGHT.rgb(*color));
            }
            Shape::Dot { at, radius, color, faint } => {
                self.stroke(up(at), up(at), (radius * S) as f32, mixed(*color, *faint));
            }
            Shape::Text { at, text, style } => self.text(up(at), text, style),
        }
    }

    /// Every pixel whose centre lies within the polygon.
    fn fill(&mut self, corners: &[Place], color: Rgb) {
        let ends = corners.iter().zip(corners.iter().cycle().skip(1));
        let (low, high) = corners.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.1), h.max(p.1)));
        for y in low.max(0.0) as i32..=high.min(f64::from(self.height)) as i32 {
            let middle = f64::from(y) + 0.5;
            let crossed = ends.clone().filter(|(a, b)| (a.1 <= middle) != (b.1 <= middle));
            let mut at: Vec<f64> = crossed.map(|(a, b)| a.0 + (middle - a.1) / (b.1 - a.1) * (b.0 - a.0)).collect();
            at.sort_unstable_by(f64::total_cmp);
            for pair in at.chunks_exact(2) {
                let (left, right) = (pair[0].max(0.0), pair[1].min(f64::from(self.width)));
                for x in (left - 0.5).ceil() as i32..=(right - 0.5).floor() as i32 {
                    self.blend(x, y, color, 1.0);
                }
            }
        }
    }

    fn text(&mut self, (x0, y0): Place, text: &str, style: &Type) {
        let (size, color) = (style.size * S, LIGHT.rgb(style.color));
        let start = match style.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -font::width(text, size, style.bold) / 2.0,
            Anchor::End => -font::width(text, size, style.bold),
        };
        let start = start.round() as i32;
        let mut letters = |shift: (i32, i32), color: Rgb| {
            font::outline(text, size, style.bold, |x, y, coverage| {
                let (dx, dy) = if style.turned { (y, -(x + start)) } else { (x + start, y) };
                self.blend(x0.round() as i32 + dx + shift.0, y0.round() as i32 + dy + shift.1, color, coverage);
            });
        };
        if style.rim {
            let around = (0..16).map(|i| f64::from(i) * std::f64::consts::TAU / 16.0);
            let rim = |a: f64| ((RIM * S * a.cos()).round() as i32, (RIM * S * a.sin()).round() as i32);
            around.for_each(|a| letters(rim(a), LIGHT.rgb(Color::Page)));
        }
        letters((0, 0), color);
    }

    /// The image at half its width and height, each pixel the mean of four.
    fn halved(&self) -> Canvas {
        let mut half = Canvas::new(self.width / 2, self.height / 2);
        let row = self.width as usize * 3;
        for y in 0..half.height as usize {
            for x in 0..half.width as usize {
                let from = 2 * y * row + 2 * x * 3;
                for c in 0..3 {
                    let four = [from + c, from + c + 3, from + c + row, from + c + row + 3];
                    let sum: u16 = four.iter().map(|&i| u16::from(self.rgb[i])).sum();
                    half.rgb[(y * half.width as usize + x) * 3 + c] = ((sum + 2) / 4) as u8;
                }
            }
        }
        half
    }

    /// The image as a PNG file: 8-bit RGB, one IDAT chunk (W3C, "Portable Network Graphics", third edition).
    fn to_png(&self) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend([8, 2, 0, 0, 0]); // bits, colour type RGB, deflate, adaptive filters, not interlaced
        chunk(&mut out, b"IHDR", &header);
        let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.rgb.chunks_exact(self.width as usize * 3) {
            // Writing to memory cannot fail; a filter byte of 0 says: bytes as they are.
            let _ = rows.write_all(&[0]).and_then(|()| rows.write_all(row));
        }
        chunk(&mut out, b"IDAT", &rows.finish().unwrap_or_default());
        chunk(&mut out, b"IEND", &[]);
        out
    }

    fn blend(&mut self, x: i32, y: i32, (r, g, b): Rgb, coverage: f32) {
        if x < 0 || y < 0 || x >= self.width as i32 || y >= self.height as i32 {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        let alpha = coverage.clamp(0.0, 1.0);
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * alpha).round() as u8;
        }
    }

    /// Every pixel whose centre lies within `radius` of the segment, with one pixel of soft edge.
    fn stroke(&mut self, from: Place, to: Place, radius: f32, color: Rgb) {
        let (ax, ay, bx, by) = (from.0 as f32, from.1 as f32, to.0 as f32, to.1 as f32);
        let (dx, dy) = (bx - ax, by - ay);
        let length2 = dx * dx + dy * dy;
        let reach = radius + 1.0;
        // Clamped first: a point far outside costs no more than the canvas has rows.
        let rows = (ay.min(by) - reach).max(0.0) as i32..=(ay.max(by) + reach).min(self.height as f32) as i32;
        for y in rows {
            // The part of the segment that this row can see, as parameters of it.
            let (mut s, mut t) = (0.0, 1.0);
            if dy != 0.0 {
                let (u, v) = ((y as f32 - reach - ay) / dy, (y as f32 + reach - ay) / dy);
                (s, t) = (u.min(v).clamp(0.0, 1.0), u.max(v).clamp(0.0, 1.0));
            }
            let (left, right) = ((ax + s * dx).min(ax + t * dx) - reach, (ax + s * dx).max(ax + t * dx) + reach);
            for x in left.max(0.0) as i32..=right.min(self.width as f32) as i32 {
                let (px, py) = (x as f32 - ax, y as f32 - ay);
                let along = if length2 > 0.0 { ((px * dx + py * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (px - along * dx).hypot(py - along * dy);
                let coverage = radius + 0.5 - distance;
                if coverage > 0.0 {
                    self.blend(x, y, color, coverage);
                }
            }
        }
    }
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    out.extend((data.len() as u32).to_be_bytes()); // a figure is far below 4 GiB
    let start = out.len();
    out.extend(kind);
    out.extend(data);
    let sum = crc32fast::hash(&out[start..]);
    out.extend(sum.to_be_bytes());
}

/// `points` cut into dashes.
fn dashes(points: &[Place]) -> Vec<Vec<Place>> {
    let mut pieces = Vec::new();
    let (mut on, mut left) = (true, DASH[0]);
    let mut piece: Vec<Place> = points.first().copied().into_iter().collect();
    for w in points.windows(2) {
        let length = (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let at = (w[0].0 + share * (w[1].0 - w[0].0), w[0].1 + share * (w[1].1 - w[0].1));
            if on {
                piece.push(at);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![at];
            }
            on = !on;
            left = DASH[usize::from(!on)];
        }
        left -= length - done;
        if on {
            piece.push(w[1]);
        }
    }
    if on {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Read;

    /// Width, height and RGB bytes of a PNG as [`Canvas::to_png`] writes it, every checksum verified.
    pub fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let word = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        let (mut at, mut chunks) = (8, vec![]);
        while at < png.len() {
            let length = word(at) as usize;
            assert_eq!(word(at + 8 + length), crc32fast::hash(&png[at + 4..at + 8 + length]));
            chunks.push((&png[at + 4..at + 8], &png[at + 8..at + 8 + length]));
            at += 12 + length;
        }
        assert_eq!(chunks.iter().map(|c| c.0).collect::<Vec<_>>(), [b"IHDR", b"IDAT", b"IEND"]);
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(chunks[1].1).read_to_end(&mut rows).unwrap();
        let (width, height) = (word(16), word(20));
        assert_eq!(rows.len(), (width as usize * 3 + 1) * height as usize);
        let rgb = rows.chunks_exact(width as usize * 3 + 1).flat_map(|row| &row[1..]).copied().collect();
        (width, height, rgb)
    }

    const BLACK: Rgb = (0, 0, 0);

    /// Protects the PNG file: it decodes to the pixels drawn.
    #[test]
    fn png_holds_the_pixels() {
        let mut canvas = Canvas::new(6, 4);
        canvas.blend(4, 2, (10, 20, 30), 1.0);
        let (width, height, rgb) = decode(&canvas.to_png());
        assert_eq!((width, height), (6, 4));
        assert_eq!(rgb[(2 * 6 + 4) * 3..][..3], [10, 20, 30]);
        assert_eq!(rgb.iter().filter(|&&b| b != 255).count(), 3);
        assert_eq!(canvas.halved().rgb[(3 + 2) * 3..][..3], [194, 196, 199]);
    }

    /// Protects lines: as wide as asked in every direction, and a point far outside is cut, not a hang or a panic.
    #[test]
    fn strokes_have_their_width() {
        for (from, to) in [((10.0, 50.0), (90.0, 50.0)), ((50.0, 10.0), (50.0, 90.0)), ((20.0, 20.0), (80.0, 80.0))] {
            let mut canvas = Canvas::new(100, 100);
            canvas.stroke(from, to, 3.0, BLACK);
            let ink: f64 = canvas.rgb.iter().map(|&b| 1.0 - f64::from(b) / 255.0).sum::<f64>() / 3.0;
            let (dx, dy): (f64, f64) = (to.0 - from.0, to.1 - from.1);
            let area = 6.0 * dx.hypot(dy) + std::f64::consts::PI * 9.0;
            assert!((ink / area - 1.0).abs() < 0.03, "{ink} of {area}");
        }
        let mut canvas = Canvas::new(100, 100);
        canvas.stroke((50.0, 50.0), (f64::from(i32::MAX), f64::from(i32::MIN)), 3.0, BLACK);
        assert!(canvas.rgb.contains(&0));
    }

    /// Protects bars and diamonds: as large as they should be, cut at the edge, never a panic.
    #[test]
    fn polygons_are_filled() {
        for (corners, area) in [
            (vec![(10.0, 20.0), (60.0, 20.0), (60.0, 50.0), (10.0, 50.0)], 1500.0),
            (vec![(50.0, 10.0), (90.0, 50.0), (50.0, 90.0), (10.0, 50.0)], 3200.0),
            (vec![(-50.0, 90.0), (20.0, 90.0), (20.0, 500.0), (-50.0, 500.0)], 200.0),
            (vec![], 0.0),
        ] {
            let mut canvas = Canvas::new(100, 100);
            canvas.fill(&corners, BLACK);
            let ink = canvas.rgb.iter().filter(|&&b| b == 0).count() as f64 / 3.0;
            assert!((ink - area).abs() <= 0.03 * area, "{ink} of {area}");
        }
    }

    /// Protects dashed lines: dashes and gaps go on around corners.
    #[test]
    fn dashes_go_around_corners() {
        let pieces = dashes(&[(0.0, 0.0), (8.0, 0.0), (8.0, 12.0)]);
        assert_eq!(
            pieces,
            [vec![(0.0, 0.0), (6.0, 0.0)], vec![(8.0, 2.0), (8.0, 8.0)], vec![(8.0, 12.0), (8.0, 12.0)][..0].to_vec()]
                [..2]
        );
    }
}
