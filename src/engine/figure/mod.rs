//! Figures: lines over a number, bars over names; as SVG for light and dark pages, and as PNG.
//!
//! A [`Figure`] is what is to be shown. It is laid out anew for each place: wide ([`Figure::svg`], [`Figure::png`]), or
//! narrow, with the same size of text on the width of a phone; [`Figure::html`] holds both and lets the page choose.
//!
//! | file | what |
//! | --- | --- |
//! | [`series`] | points, smoothed and thinned |
//! | `scale` | axes and their ticks |
//! | `frame` | title, legend, the sizes of a layout |
//! | `lines`, `bars` | the two kinds of figure, as shapes |
//! | `scene`, `color`, `font` | shapes, themes, the embedded letters |
//! | `svg`, `raster` | shapes as a file |
//! | [`escape`] | text as text of SVG and HTML |

pub mod escape;
pub mod series;
mod color;
mod font;
mod scale;
mod scene;
mod frame;
mod lines;
mod bars;
mod svg;
mod raster;

pub use bars::{Bars, Group};
pub use lines::{Panel, Rule, Series, Stage};

use crate::engine::atomic::write_atomic;
use crate::engine::{Error, Result};
use frame::Layout;
use scene::Scene;
use std::path::Path;

/// Something to look at. What cannot be drawn (values that are not finite, or no values at all) is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its heading; empty for none.
    pub title: String,
    /// Lesser words beside the title.
    pub subtitle: String,
    /// What is drawn.
    pub body: Body,
}

/// The kinds of figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One or more pairs of axes, one below the other, over the same x.
    Lines(Vec<Panel>),
    /// Bars over names.
    Bars(Bars),
}

impl Figure {
    /// A complete SVG document in the wide layout. It follows the reader's preference for light or dark, and on a page whose
    /// root element says `data-theme="light"` or "dark" that.
    pub fn svg(&self) -> String {
        svg::document(&self.scene(Layout::WIDE), "")
    }

    /// The figure for a page: an element with both layouts, of which the page shows the one that fits.
    pub fn html(&self) -> String {
        // `:where` weighs nothing: the page may size its drawings otherwise.
        format!(
            "<div class=\"host-figure-box\"><style>:where(.host-figure-box svg){{max-width:100%;height:auto;display:block}}\
             .host-figure-box .host-narrow{{display:none}}@media(max-width:{}px){{.host-figure-box .host-wide{{display:\
             none}}.host-figure-box .host-narrow{{display:block}}}}</style>\n{}{}</div>\n",
            Layout::WIDE.width as u32 - 80,
            svg::document(&self.scene(Layout::WIDE), " host-wide"),
            svg::document(&self.scene(Layout::NARROW), " host-narrow"),
        )
    }

    /// A PNG file of the wide layout in light colours, two pixels for each CSS pixel.
    ///
    /// # Errors
    /// If the figure is so high, of hundreds of bars, that its pixels would take gigabytes.
    pub fn png(&self) -> Result<Vec<u8>> {
        let scene = self.scene(Layout::WIDE);
        if scene.height > raster::HIGHEST {
            return Err(Error::config_help(
                format!("a figure of {:.0} pixels in height is too large for a PNG", scene.height),
                "save it as .svg, or show less in it",
            ));
        }
        Ok(raster::png(&scene))
    }

    /// Writes `path`, which ends in `.svg` or `.png`.
    ///
    /// # Errors
    /// Another ending; a figure too high for a PNG; the file system.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => self.svg().into_bytes(),
            Some("png") => self.png()?,
            _ => {
                return Err(Error::config_help(
                    format!("{}: a figure is saved as .svg or .png", path.display()),
                    "choose a name that ends in one of them",
                ));
            }
        };
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        }
        write_atomic(path, &bytes)
    }

    fn scene(&self, layout: Layout) -> Scene {
        let mut scene =
            Scene { width: layout.width, height: layout.height, title: self.title.clone(), shapes: Vec::new() };
        let top = frame::header(&mut scene, &layout, &self.title, &self.subtitle);
        match &self.body {
            Body::Lines(panels) => lines::draw(&mut scene, &layout, top, panels),
            Body::Bars(bars) => bars::draw(&mut scene, &layout, top, bars),
        }
        scene
    }
}

#[cfg(test)]
mod tests;
