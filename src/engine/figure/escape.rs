//! Text as text of SVG and HTML: whatever a model, a data set or a script wrote, it is neither markup nor control.

/// `text` for an element or a quoted attribute of SVG or HTML; see [`push`].
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// Adds `c` to `out` as text of SVG or HTML; see [`plain`].
pub fn push(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(plain(c)),
    }
}

/// `c`, or U+FFFD for controls (but for line break and tab), the marks that reorder what is read, and what XML cannot hold.
pub fn plain(c: char) -> char {
    if disguises(c) { '\u{fffd}' } else { c }
}

fn disguises(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects whoever opens a figure or a report: names from scripts and data stay text.
    #[test]
    fn names_stay_text() {
        assert_eq!(escape("</svg>\"'&\u{1b}\u{202e}\n"), "&lt;/svg&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\n");
    }
}
