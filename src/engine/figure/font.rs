//! The embedded fonts: how wide a text is, and its letters as coverage.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

/// Roboto, cut down; see `assets/README.md`.
pub(super) const REGULAR: &[u8] = include_bytes!("assets/Roboto-Regular.ttf");
/// Roboto Bold, cut down.
pub(super) const BOLD: &[u8] = include_bytes!("assets/Roboto-Bold.ttf");
/// What a browser is asked for.
pub(super) const FAMILY: &str = "Roboto, 'Helvetica Neue', Helvetica, Arial, sans-serif";

// Both files are inside the program, and a test loads them.
static FACES: LazyLock<[Option<FontRef<'static>>; 2]> =
    LazyLock::new(|| [REGULAR, BOLD].map(|bytes| FontRef::try_from_slice(bytes).ok()));

fn face(bold: bool) -> Option<&'static FontRef<'static>> {
    FACES[usize::from(bold)].as_ref()
}

fn scale(font: &FontRef<'_>, size: f64) -> PxScale {
    PxScale::from(size as f32 * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0))
}

/// Width of `text` in units of `size`, the em.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let Some(font) = face(bold) else { return 0.0 };
    let scaled = font.as_scaled(scale(font, size));
    text.chars().map(|c| f64::from(scaled.h_advance(scaled.glyph_id(c)))).sum()
}

/// `text`, with its end left out if it is wider than `room`.
pub(super) fn shorten(text: &str, size: f64, bold: bool, room: f64) -> String {
    let mut shown = text.to_string();
    let mut kept = text.chars().count().min(300);
    while kept > 1 && width(&shown, size, bold) > room {
        kept -= 1;
        shown = text.chars().take(kept).collect::<String>().trim_end().to_string() + "\u{2026}";
    }
    shown
}

/// Calls `dot` with the place of each pixel of `text`, whose baseline starts at (0, 0), and how much of it is covered.
pub(super) fn outline(text: &str, size: f64, bold: bool, mut dot: impl FnMut(i32, i32, f32)) {
    let Some(font) = face(bold) else { return };
    let scale = scale(font, size);
    let scaled = font.as_scaled(scale);
    let mut x = 0.0;
    for c in text.chars() {
        let id = scaled.glyph_id(c);
        let glyph = Glyph { id, scale, position: point(x, 0.0) };
        x += scaled.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else { continue }; // a blank
        let origin = outline.px_bounds().min;
        outline.draw(|gx, gy, coverage| dot(origin.x as i32 + gx as i32, origin.y as i32 + gy as i32, coverage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the PNG: every sign that a figure can use has a letter in the embedded fonts.
    #[test]
    fn fonts_have_the_signs() {
        for bytes in [REGULAR, BOLD] {
            let font = FontRef::try_from_slice(bytes).unwrap();
            for c in (' '..='~').chain("\u{3b1}\u{2212}\u{2026}\u{b7}\u{d7}\u{2013}".chars()) {
                assert_ne!(font.glyph_id(c).0, 0, "{c:?}");
            }
        }
    }

    /// Protects the layout: a shortened text fits and says that it was cut.
    #[test]
    fn shortened_text_fits() {
        let text = "a name that is far too long for the place that it is given";
        let short = shorten(text, 12.0, false, 100.0);
        assert!(width(&short, 12.0, false) <= 100.0 && short.ends_with('\u{2026}') && short.len() > 8, "{short}");
        assert_eq!(shorten("fits", 12.0, true, 100.0), "fits");
    }
}
