//! What a set looks like: an example with its learned part marked, lengths as a histogram, the counts in words.

use super::record::Dataset;
use super::stats::{Stats, list, plural};
use super::tokenize::Tokenized;
use std::fmt::Write;

/// Text in runs that are learned or only read, as one text: learned between `⟦` and `⟧`, or green and the rest dim.
///
/// Control characters are shown as Unicode's pictures of them: a data set may hold what moves a terminal's cursor.
pub fn marked(parts: &[(String, bool)], color: bool) -> String {
    let mut out = String::new();
    for (text, learned) in parts {
        let text: String = text.chars().map(picture).collect();
        let (before, after) = match (color, learned) {
            (false, true) => ("⟦", "⟧"),
            (false, false) => ("", ""),
            (true, true) => ("\x1b[32m", "\x1b[0m"),
            (true, false) => ("\x1b[2m", "\x1b[0m"),
        };
        out.extend([before, &text, after]);
    }
    out
}

/// `c` as it may go to a terminal.
pub fn picture(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{FFFD}'),
        '\x7f' => '\u{2421}',
        // The second set of control characters, and those that turn the direction of writing.
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        _ => c,
    }
}

/// Most rows of a histogram.
const ROWS: usize = 8;

/// How often lengths occur, as lines `from-to ██████ count`; bars are at most `width` columns wide.
pub fn histogram(lengths: &[usize], width: usize) -> Vec<String> {
    let (Some(&min), Some(&max)) = (lengths.iter().min(), lengths.iter().max()) else { return Vec::new() };
    let step = (max - min + 1).div_ceil(ROWS).max(1);
    let mut counts = vec![0usize; (max - min) / step + 1];
    for length in lengths {
        counts[(length - min) / step] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1);
    let digits = max.to_string().len();
    let row = |(i, &count): (usize, &usize)| {
        let (from, to) = (min + i * step, (min + (i + 1) * step - 1).min(max));
        // Eighths of a column: what is there at all is seen.
        let eighths = (count * width * 8).div_ceil(most);
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        let range = if from == to { format!("{from:>digits$}") } else { format!("{from:>digits$}-{to}") };
        format!("{range:>pad$} {}{rest} {count}", "█".repeat(eighths / 8), pad = 2 * digits + 1)
    };
    counts.iter().enumerate().map(row).collect()
}

/// The counts of a tokenized set and of the records behind it, a page for the terminal.
pub fn summary(records: &Dataset, set: &Tokenized, width: usize) -> String {
    let stats = set.stats();
    let lengths: Vec<usize> = set.examples().iter().map(|e| e.ids.len()).collect();
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = writeln!(out, "lengths     {} (in tokens)", lengths_line(&stats));
    for line in histogram(&lengths, width.saturating_sub(36).clamp(10, 48)) {
        let _ = writeln!(out, "            {line}");
    }
    let share = 100.0 * stats.label_tokens as f64 / stats.tokens.max(1) as f64;
    let tokens = stats.tokens;
    let _ = writeln!(out, "examples    {} of {}", stats.examples, plural(records.records().len(), "record"));
    let _ = writeln!(out, "tokens      {tokens}, {} of them learned ({share:.1} %)", stats.label_tokens);
    let indices =
        |found: &[usize]| if found.is_empty() { "none".into() } else { format!("{}: {}", found.len(), list(found)) };
    let lost = match stats.tokens_lost {
        0 => String::new(),
        n => format!(" ({} lost)", plural(n, "token")),
    };
    let _ = writeln!(out, "truncated   {}{lost}", indices(&stats.truncated));
    let _ = writeln!(out, "duplicated  {}", indices(&stats.duplicated));
    let _ = writeln!(out, "empty       {}", indices(&stats.empty));
    let _ = write!(out, "all masked  {}", indices(&stats.all_masked));
    out
}

fn lengths_line(stats: &Stats) -> String {
    let Stats { min_len, median_len, p95_len, max_len, mean_len, .. } = stats;
    format!("min {min_len}, median {median_len}, mean {mean_len:.1}, 95 % up to {p95_len}, max {max_len}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the terminal from the data it shows, and the marks in both of their forms.
    #[test]
    fn learned_parts_are_marked() {
        let parts = [("ask\x1b[2J\n".to_string(), false), ("yes\u{202e}".to_string(), true)];
        assert_eq!(marked(&parts, false), "ask␛[2J\n⟦yes\u{FFFD}⟧");
        assert_eq!(marked(&parts, true), "\x1b[2mask␛[2J\n\x1b[0m\x1b[32myes\u{FFFD}\x1b[0m");
    }

    /// Protects the picture of lengths: every example counted once, in ranges of one width; a single one is seen.
    #[test]
    fn histograms_count_everything() {
        assert_eq!(histogram(&[3, 3, 3, 4], 4), ["  3 ████ 3", "  4 █▍ 1"]);
        let rows = histogram(&(0..1000).chain([8000]).collect::<Vec<_>>(), 10);
        assert_eq!((rows.len(), rows[0].as_str()), (8, "   0-1000 ██████████ 1000"));
        assert_eq!(rows[7], "7007-8000 ▏ 1");
        assert_eq!((histogram(&[], 10).len(), histogram(&[7], 5)), (0, vec!["  7 █████ 1".to_string()]));
    }
}
