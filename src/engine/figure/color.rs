//! The colours of figures, for light and dark pages.
//!
//! Series have the colours of Okabe & Ito, "Color Universal Design", 2008, told apart by every common kind of colour
//! vision. On a dark page the dark ones are lightened; their order stays, so that a series is known by its hue on both.

/// What a shape is drawn in: a part that it plays, which each theme has a colour for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    /// The page.
    Page,
    /// Text.
    Ink,
    /// Lesser text, axes.
    Muted,
    /// Grid lines.
    Grid,
    /// The series of this number.
    Series(usize),
    /// Text upon a bar of this series.
    Upon(usize),
}

/// Colours for series; a figure with more of them tells the others apart by dashes.
pub(super) const COUNT: usize = 7;

type Rgb = (u8, u8, u8);

/// One theme.
pub(super) struct Theme {
    page: Rgb,
    ink: Rgb,
    muted: Rgb,
    grid: Rgb,
    series: [Rgb; COUNT],
}

/// For light pages, and for PNG.
pub(super) const LIGHT: Theme = Theme {
    page: (0xFF, 0xFF, 0xFF),
    ink: (0x22, 0x22, 0x22),
    muted: (0x66, 0x66, 0x66),
    grid: (0xE4, 0xE4, 0xE4),
    series: [
        (0x00, 0x72, 0xB2), // blue
        (0xD5, 0x5E, 0x00), // vermillion
        (0x00, 0x9E, 0x73), // green
        (0xE6, 0x9F, 0x00), // orange
        (0xCC, 0x79, 0xA7), // purple
        (0x56, 0xB4, 0xE9), // sky
        (0x55, 0x55, 0x55), // for black, which is the text's
    ],
};

/// For dark pages.
pub(super) const DARK: Theme = Theme {
    page: (0x16, 0x18, 0x1D),
    ink: (0xE8, 0xE8, 0xE8),
    muted: (0xA3, 0xA8, 0xB0),
    grid: (0x31, 0x35, 0x3D),
    series: [
        (0x4F, 0xA8, 0xE6),
        (0xF0, 0x7D, 0x35),
        (0x22, 0xC0, 0x94),
        (0xF0, 0xB4, 0x2A),
        (0xE0, 0x93, 0xBE),
        (0xA6, 0xD8, 0xF7),
        (0xBB, 0xBB, 0xBB),
    ],
};

impl Theme {
    /// The colour of a part.
    pub(super) fn rgb(&self, color: Color) -> Rgb {
        match color {
            Color::Page => self.page,
            Color::Ink => self.ink,
            Color::Muted => self.muted,
            Color::Grid => self.grid,
            Color::Series(i) => self.series[i % COUNT],
            Color::Upon(i) => upon(self.series[i % COUNT]),
        }
    }

    /// The colour mixed with the page's: `share` of 1 is the colour itself.
    pub(super) fn mixed(&self, color: Color, share: f64) -> Rgb {
        let (top, below) = (self.rgb(color), self.page);
        let mix = |a: u8, b: u8| (f64::from(b) + (f64::from(a) - f64::from(b)) * share).round() as u8;
        (mix(top.0, below.0), mix(top.1, below.1), mix(top.2, below.2))
    }

    /// The theme as declarations of CSS variables.
    fn variables(&self) -> String {
        parts().map(|(name, color)| format!("--{name}:{};", hex(self.rgb(color)))).collect()
    }
}

/// Black or white, whichever stands out more: WCAG 2.2, "contrast ratio".
fn upon(color: Rgb) -> Rgb {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    let light = 0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2);
    if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) { (0x11, 0x11, 0x11) } else { (0xFF, 0xFF, 0xFF) }
}

/// `#0072b2`
pub(super) fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Every part with its name in a figure's style.
fn parts() -> impl Iterator<Item = (String, Color)> {
    let plain = [Color::Page, Color::Ink, Color::Muted, Color::Grid];
    plain.into_iter().chain((0..COUNT).flat_map(|i| [Color::Series(i), Color::Upon(i)])).map(|c| (name(c), c))
}

/// The name of a part in a figure's style: its class is `s-NAME` where it is a line, `f-NAME` where it is filled.
pub(super) fn name(color: Color) -> String {
    match color {
        Color::Page => "page".into(),
        Color::Ink => "ink".into(),
        Color::Muted => "muted".into(),
        Color::Grid => "grid".into(),
        Color::Series(i) => format!("c{}", i % COUNT),
        Color::Upon(i) => format!("u{}", i % COUNT),
    }
}

/// The style of every figure. It follows the reader's preference, unless the page says `data-theme="light"` or "dark" on
/// its root element, as a page with a switch of its own does; `--figure-page` on the page replaces the background.
///
/// The shapes carry the light colours as attributes too, for programs that do not know CSS variables.
pub(super) fn style() -> String {
    let (light, dark) = (LIGHT.variables(), DARK.variables());
    let mut css = format!(
        ".host-figure{{{light}}}@media(prefers-color-scheme:dark){{.host-figure{{{dark}}}}}\
         :root[data-theme=light] .host-figure{{{light}}}:root[data-theme=dark] .host-figure{{{dark}}}"
    );
    for (name, color) in parts() {
        let value =
            if color == Color::Page { "var(--figure-page,var(--page))".into() } else { format!("var(--{name})") };
        css += &format!(".s-{name}{{stroke:{value}}}.f-{name}{{fill:{value}}}");
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects readers: text has WCAG's contrast of 4.5 in both themes, lines at least 2 and most of them 3.
    #[test]
    fn colours_stand_out() {
        let light = |c: Rgb| {
            let l = |c: u8| (f64::from(c) / 255.0).powf(2.2);
            0.2126 * l(c.0) + 0.7152 * l(c.1) + 0.0722 * l(c.2)
        };
        let contrast = |a: Rgb, b: Rgb| {
            let (a, b) = (light(a) + 0.05, light(b) + 0.05);
            a.max(b) / a.min(b)
        };
        for theme in [LIGHT, DARK] {
            for text in [Color::Ink, Color::Muted] {
                assert!(contrast(theme.rgb(text), theme.page) > 4.5);
            }
            for i in 0..COUNT {
                let series = theme.rgb(Color::Series(i));
                assert!(contrast(series, theme.page) > 2.0, "series {i}");
                assert!(contrast(theme.rgb(Color::Upon(i)), series) > 4.5, "upon {i}");
            }
        }
    }
}
