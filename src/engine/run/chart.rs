//! A curve as lines of text, for terminals: braille dots, two by four in each character, between axes with numbers.
//!
//! ```text
//! 6 ┤⠑⢄
//!   │  ⠑⠢⣀   ◆
//! 4 ┤     ⠉⠒⠤⣀⣀
//!   └─────────────
//!    0    10    20
//! ```

use super::curve::{Point, thin};

/// A validation loss, or another value that is measured now and then.
const MARK: char = '◆';

/// `line` and the single values `marks` on `width` columns and `height` rows, axes and their numbers included.
///
/// Gaps (values that are not finite) interrupt the line. Nothing to draw gives no lines at all.
pub fn chart(line: &[Point], marks: &[Point], width: usize, height: usize) -> Vec<String> {
    let finite = |p: &&Point| p.0.is_finite() && p.1.is_finite();
    let all: Vec<Point> = line.iter().chain(marks).filter(finite).copied().collect();
    if all.is_empty() {
        return Vec::new();
    }
    let (low, high) = spread(all.iter().map(|p| p.1));
    let y_ticks = ticks(low, high, (height / 3).clamp(2, 6));
    let margin = y_ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 2).max(8);
    let rows = height.saturating_sub(2).max(3);
    let (first, last) = spread(all.iter().map(|p| p.0));
    let mut canvas = Canvas::new(columns, rows);
    let place = |p: &Point| {
        let x = (p.0 - first) / (last - first) * (columns * 2 - 1) as f64;
        let y = (high - p.1) / (high - low) * (rows * 4 - 1) as f64;
        (x.round() as i64, y.round() as i64)
    };
    for stretch in super::curve::stretches(&thin(line, columns * 2)) {
        let dots: Vec<(i64, i64)> = stretch.iter().map(place).collect();
        canvas.dot(dots[0]);
        dots.windows(2).for_each(|w| canvas.line(w[0], w[1]));
    }
    marks.iter().filter(finite).for_each(|p| canvas.mark(place(p)));

    let at = |y: f64| ((high - y) / (high - low) * (rows - 1) as f64).round() as usize;
    let mut lines = Vec::with_capacity(rows + 2);
    for (row, text) in canvas.rows().enumerate() {
        let label = y_ticks.iter().find(|(y, _)| at(*y) == row).map(|(_, text)| text.as_str());
        let axis = if label.is_some() { '┤' } else { '│' };
        lines.push(format!("{:>margin$} {axis}{text}", label.unwrap_or_default()).trim_end().to_string());
    }
    lines.push(format!("{:margin$} └{}", "", "─".repeat(columns)));
    let labels = ticks(first, last, (columns / 10).max(2));
    // Half a step is no step.
    let steps: Vec<_> =
        labels.into_iter().filter(|(x, _)| x.fract() == 0.0).map(|(x, _)| (x, format!("{x}"))).collect();
    let labels = below(&steps, first, last, columns);
    lines.push(format!("{:margin$}  {labels}", "").trim_end().to_string());
    lines
}

/// The least and the largest value, or a little around the only one.
fn spread(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if high - low > 1e-9 * high.abs().max(low.abs()).max(1e-300) {
        return (low, high);
    }
    let half = (0.1 * high.abs()).max(0.5);
    (low - half, high + half)
}

/// Round numbers in `low..=high`, about `wanted` of them, as text.
fn ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(1) as f64;
    let size = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * size).find(|s| *s >= rough).unwrap_or(rough);
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let large = high.abs().max(low.abs()) >= 1e7;
    let text = |y: f64| if large || step < 1e-6 { format!("{y:.2e}") } else { format!("{y:.digits$}") };
    let first = (low / step).ceil();
    let numbers = (0..100).map(|i| (first + f64::from(i)) * step).take_while(|y| *y <= high + 1e-9 * step);
    // A step that f64 cannot resolve would repeat one number.
    let mut ticks: Vec<(f64, String)> = numbers.map(|y| (y, text(y))).collect();
    ticks.dedup_by(|a, b| a.1 == b.1);
    ticks
}

/// The numbers under the horizontal axis, each centred below its place where there is room.
fn below(ticks: &[(f64, String)], first: f64, last: f64, columns: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (x, text) in ticks {
        let place = ((x - first) / (last - first) * (columns - 1) as f64).round() as usize;
        let start = place.saturating_sub(text.len() / 2).min(columns.saturating_sub(text.len()));
        if used > 0 && start < used + 2 {
            continue;
        }
        line.push_str(&" ".repeat(start - used));
        line.push_str(text);
        used = start + text.len();
    }
    line
}

/// Braille characters, two dots wide and four high.
struct Canvas {
    columns: usize,
    cells: Vec<u8>,
    marks: Vec<bool>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Self {
        Canvas { columns, cells: vec![0; columns * rows], marks: vec![false; columns * rows] }
    }

    fn cell(&self, (x, y): (i64, i64)) -> Option<usize> {
        let (x, y) = (usize::try_from(x).ok()? / 2, usize::try_from(y).ok()? / 4);
        let cell = y * self.columns + x;
        (x < self.columns && cell < self.cells.len()).then_some(cell)
    }

    fn dot(&mut self, at: (i64, i64)) {
        /// Bit of each dot in a braille character, by row and column.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if let Some(cell) = self.cell(at) {
            self.cells[cell] |= BITS[at.1 as usize % 4][at.0 as usize % 2];
        }
    }

    fn mark(&mut self, at: (i64, i64)) {
        if let Some(cell) = self.cell(at) {
            self.marks[cell] = true;
        }
    }

    /// Dots from `a` to `b`, as many as the longer way has.
    fn line(&mut self, a: (i64, i64), b: (i64, i64)) {
        let steps = (b.0 - a.0).abs().max((b.1 - a.1).abs()).max(1);
        let between = |from: i64, to: i64, i: i64| from + ((to - from) * i + (to - from).signum() * steps / 2) / steps;
        for i in 0..=steps {
            self.dot((between(a.0, b.0, i), between(a.1, b.1, i)));
        }
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        let braille = |dots: u8| char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ');
        let cells = self.cells.iter().zip(&self.marks).map(move |(dots, mark)| match (mark, dots) {
            (true, _) => MARK,
            (false, 0) => ' ',
            (false, dots) => braille(*dots),
        });
        let cells: Vec<char> = cells.collect();
        let columns = self.columns;
        (0..cells.len() / columns).map(move |row| cells[row * columns..(row + 1) * columns].iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(i, y)| ((i + 1) as f64, y)).collect()
    }

    /// Protects the reading of a curve: it falls where the values fall, its axes carry round numbers.
    #[test]
    fn a_falling_line() {
        let lines = chart(&steps((0..5).map(|i| 4.0 - f64::from(i))), &[(3.0, 3.5)], 20, 8);
        assert_eq!(
            lines,
            [
                "4 ┤⠑⠤⡀     ◆",
                "  │  ⠈⠒⢄⡀",
                "  │     ⠈⠒⢄⡀",
                "2 ┤        ⠈⠒⢄⡀",
                "  │           ⠈⠑⢄⡀",
                "0 ┤              ⠈⠢⢄",
                "  └─────────────────",
                "       2       4"
            ]
        );
    }

    /// Protects the session from odd logs: none, one, constant, gappy, huge and endless ones stay within the frame.
    #[test]
    fn odd_curves_stay_inside() {
        let odd = [
            steps([2.0]),
            steps([3.25; 40]),
            steps([2.0, f64::NAN, 1.0, f64::INFINITY, 1.5]),
            steps([1e300, -1e300, 1.0]),
            steps([1.0, 1.0 + 1e-15]),
            steps([0.0; 3]),
            steps((0..100_000).map(|i| (f64::from(i) * 0.37).sin())),
            vec![(1e12, 1.0), (1e12 + 1.0, 2.0)],
            steps([5e-324, 1e-323]),
        ];
        for points in odd {
            let lines = chart(&points, &points[..1], 40, 10);
            assert_eq!(lines.len(), 10, "{points:?}");
            assert!(lines.iter().all(|l| l.chars().count() <= 40), "{}", lines.join("\n"));
            assert!(lines.iter().any(|l| l.contains(MARK)), "{}", lines.join("\n"));
        }
        assert!(chart(&[], &[], 40, 10).is_empty());
        assert!(chart(&steps([f64::NAN]), &[], 40, 10).is_empty());
    }
}
