//! A drawing surface in memory for plotters, and its PNG.
//!
//! Why not plotters' own bitmap: its wide lines have hard edges and broken joins, its text loses the letters' side
//! bearings, and it brings an image library along. Here a line is the set of pixels within half its width of the
//! segment (round ends and joins, soft edges), and text is set with the embedded fonts, on any machine alike.

use super::plot::{BOLD, REGULAR};
use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use flate2::{Compression, write::ZlibEncoder};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};
use std::convert::Infallible;
use std::io::Write;

type Drawn = std::result::Result<(), DrawingErrorKind<Infallible>>;

/// A white RGB image that plotters draws on.
#[derive(Debug)]
pub struct Canvas {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A white image of `width` x `height` pixels.
    pub fn new(width: u32, height: u32) -> Canvas {
        Canvas { width, height, rgb: vec![255; width as usize * height as usize * 3] }
    }

    /// The image at half its width and height, each pixel the mean of four.
    pub fn halved(&self) -> Canvas {
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
    pub fn to_png(&self) -> Vec<u8> {
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

    fn blend(&mut self, x: i32, y: i32, color: BackendColor, coverage: f32) {
        if x < 0 || y < 0 || x >= self.width as i32 || y >= self.height as i32 {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        let alpha = (color.alpha as f32 * coverage).clamp(0.0, 1.0);
        let (r, g, b) = color.rgb;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * alpha).round() as u8;
        }
    }

    /// Every pixel whose centre lies within `radius` of the segment, with one pixel of soft edge.
    fn stroke(&mut self, from: BackendCoord, to: BackendCoord, radius: f32, color: BackendColor) {
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

impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.blend(x, y, color, 1.0);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.stroke(from, to, style.stroke_width() as f32 / 2.0, style.color());
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let mut from = None;
        for to in path {
            self.draw_line(from.unwrap_or(to), to, style)?;
            from = Some(to);
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, _fill: bool) -> Drawn {
        self.stroke(center, center, radius as f32, style.color());
        Ok(())
    }

    /// Anchored as plotters' SVG anchors it, so that both files look alike.
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x0, y0): BackendCoord) -> Drawn {
        let bytes = if matches!(style.style(), FontStyle::Bold) { BOLD } else { REGULAR };
        let Ok(font) = FontRef::try_from_slice(bytes) else { return Ok(()) }; // embedded, and loaded by a test
        let em = (style.size() / 1.24) as f32;
        let scale = PxScale::from(em * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0));
        let scaled = font.as_scaled(scale);
        let width: f32 = text.chars().map(|c| scaled.h_advance(scaled.glyph_id(c))).sum();
        let anchor = style.anchor();
        let mut x = match anchor.h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let half_ex = 0.264 * em; // Roboto's x-height is 1082/2048 em
        let baseline = match anchor.v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => half_ex,
            VPos::Bottom => -half_ex,
        };
        let turn = style.transform();
        for c in text.chars() {
            let id = scaled.glyph_id(c);
            let glyph = Glyph { id, scale, position: point(x, baseline) };
            x += scaled.h_advance(id);
            let Some(outline) = font.outline_glyph(glyph) else { continue }; // a blank
            let origin = outline.px_bounds().min;
            outline.draw(|gx, gy, coverage| {
                let (dx, dy) = turn.transform(origin.x as i32 + gx as i32, origin.y as i32 + gy as i32);
                self.blend(x0 + dx, y0 + dy, style.color(), coverage);
            });
        }
        Ok(())
    }
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

    const BLACK: BackendColor = BackendColor { alpha: 1.0, rgb: (0, 0, 0) };

    /// Protects the PNG file: it decodes to the pixels drawn.
    #[test]
    fn png_holds_the_pixels() {
        let mut canvas = Canvas::new(6, 4);
        (&mut canvas).draw_pixel((4, 2), BackendColor { alpha: 1.0, rgb: (10, 20, 30) }).unwrap();
        let (width, height, rgb) = decode(&canvas.to_png());
        assert_eq!((width, height), (6, 4));
        assert_eq!(rgb[(2 * 6 + 4) * 3..][..3], [10, 20, 30]);
        assert_eq!(rgb.iter().filter(|&&b| b != 255).count(), 3);
        assert_eq!(canvas.halved().rgb[(3 + 2) * 3..][..3], [194, 196, 199]);
    }

    /// Protects lines: as wide as asked in every direction, and a point far outside is cut, not a hang or a panic.
    #[test]
    fn strokes_have_their_width() {
        for (from, to) in [((10, 50), (90, 50)), ((50, 10), (50, 90)), ((20, 20), (80, 80))] {
            let mut canvas = Canvas::new(100, 100);
            canvas.stroke(from, to, 3.0, BLACK);
            let ink: f64 = canvas.rgb.iter().map(|&b| 1.0 - f64::from(b) / 255.0).sum::<f64>() / 3.0;
            let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
            let area = 6.0 * dx.hypot(dy) + std::f64::consts::PI * 9.0;
            assert!((ink / area - 1.0).abs() < 0.03, "{ink} of {area}");
        }
        let mut canvas = Canvas::new(100, 100);
        canvas.stroke((50, 50), (i32::MAX, i32::MIN), 3.0, BLACK);
        assert!(canvas.rgb.contains(&0));
    }
}
