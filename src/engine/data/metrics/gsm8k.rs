//! GSM8K's answers as lm-evaluation-harness reads them (task `gsm8k`, version 3): the number behind `####`, or the last
//! number of any text, and whether it is the reference's.

use super::python_space;

/// What an answer without a number counts as.
pub const INVALID: &str = "[invalid]";

/// `strict-match`: what follows the first `#### ` and looks like a number: `#### (\-?[0-9\.\,]+)`.
pub fn strict(answer: &str) -> &str {
    let mut rest = answer;
    while let Some(at) = rest.find("#### ") {
        let number = &rest[at + 5..];
        let digits = number.strip_prefix('-').unwrap_or(number);
        let end = digits.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(digits.len());
        if end > 0 {
            return &number[..number.len() - digits.len() + end];
        }
        rest = &rest[at + 1..];
    }
    INVALID
}

/// `flexible-extract`: the last of `(-?[$0-9.,]{2,})|(-?[0-9]+)`.
pub fn flexible(answer: &str) -> &str {
    let bytes = answer.as_bytes();
    let part = |c: &u8| matches!(c, b'$' | b'0'..=b'9' | b'.' | b',');
    let (mut i, mut found) = (0, INVALID);
    while i < bytes.len() {
        let start = i + usize::from(bytes[i] == b'-');
        let run = bytes[start..].iter().take_while(|c| part(c)).count();
        if run >= 2 || run == 1 && bytes[start].is_ascii_digit() {
            found = &answer[i..start + run]; // ASCII on both sides
            i = start + run;
        } else {
            i += 1;
        }
    }
    found.trim_matches(python_space)
}

/// Whether an extracted number is that of `reference`, GSM8K's whole answer: commas, dollar signs, what stands before
/// `#### `, and a point at the end aside.
pub fn matches(extracted: &str, reference: &str) -> bool {
    plain(extracted) == plain(reference)
}

fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !matches!(c, ',' | '$')).collect();
    let text = text.rfind("#### ").map_or(text.as_str(), |at| &text[at + 5..]);
    // Python's `$` stands before a line end at the end too.
    let (body, end) = text.strip_suffix('\n').map_or((text, ""), |body| (body, "\n"));
    let text = match text.strip_suffix('.') {
        Some(text) => text.to_string(),
        None => format!("{}{end}", body.strip_suffix('.').unwrap_or(body)),
    };
    text.to_lowercase()
}
