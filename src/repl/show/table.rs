//! Rows of cells below one another.

use unicode_width::UnicodeWidthStr;

/// `rows` with their columns aligned, those in `right` to the right; no line is wider than `width`.
///
/// A column that is empty in every row takes no room.
pub(in crate::repl) fn table<const N: usize>(rows: &[[String; N]], right: &[usize], width: usize) -> Vec<String> {
    let widths: Vec<usize> = (0..N).map(|c| rows.iter().map(|r| r[c].width()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate().filter(|(c, _)| widths[*c] > 0) {
            let blank = " ".repeat(widths[column] - cell.width());
            let gap = if line.is_empty() { "" } else { "  " };
            match right.contains(&column) {
                true => line.extend([gap, &blank, cell]),
                false => line.extend([gap, cell, &blank]),
            }
        }
        cut(line.trim_end(), width)
    };
    rows.iter().map(line).collect()
}

/// `text` on at most `width` columns.
pub(in crate::repl) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let room = width.saturating_sub(3);
    let mut used = 0;
    let fits = |c: &char| {
        used += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
        used <= room
    };
    format!("{}...", text.chars().take_while(fits).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the columns: wide characters count twice, empty columns vanish, long lines are cut.
    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(String::from);
        let rows = [row(["a", "", "1.0 MiB"]), row(["日本", "", "12 B"])];
        assert_eq!(table(&rows, &[2], 80), ["a     1.0 MiB", "日本     12 B"]);
        assert_eq!(table(&[row(["abcdef", "", ""])], &[], 5), ["ab..."]);
    }
}
