//! Exact match: whether two texts are equal, after what the usual evaluations overlook.

use super::python_space;
use crate::engine::error::{Result, unknown_name};
use std::collections::HashMap;

/// What is overlooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normal {
    /// White space at both ends.
    #[default]
    Trim,
    /// That, and upper and lower case.
    Case,
    /// As SQuAD's script: case, ASCII punctuation, the articles a, an and the, and how much white space there is.
    Squad,
}

impl Normal {
    /// `"trim"`, `"case"` or `"squad"`.
    ///
    /// # Errors
    /// For another name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "trim" => Ok(Normal::Trim),
            "case" => Ok(Normal::Case),
            "squad" => Ok(Normal::Squad),
            _ => Err(unknown_name("normalisation", name, ["trim", "case", "squad"])),
        }
    }

    /// `text` without what is overlooked.
    pub fn of(self, text: &str) -> String {
        match self {
            Normal::Trim => text.trim_matches(python_space).to_string(),
            Normal::Case => text.trim_matches(python_space).to_lowercase(),
            Normal::Squad => squad_words(text).join(" "),
        }
    }
}

/// SQuAD's words: lower case, without ASCII punctuation and articles.
fn squad_words(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut without = String::with_capacity(plain.len());
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = plain.as_str();
    while let Some(c) = rest.chars().next() {
        let end = if inside(c) { rest.find(|c| !inside(c)).unwrap_or(rest.len()) } else { c.len_utf8() };
        let (part, later) = rest.split_at(end);
        without.push_str(if ["a", "an", "the"].contains(&part) { " " } else { part });
        rest = later;
    }
    without.split(python_space).filter(|w| !w.is_empty()).map(String::from).collect()
}

/// Whether the two texts are equal, white space at both ends aside.
pub fn exact_match(answer: &str, reference: &str) -> bool {
    Normal::Trim.of(answer) == Normal::Trim.of(reference)
}

/// SQuAD's F1: of the words that both have, each as often as both have it. Two texts without words are equal.
pub fn squad_f1(answer: &str, reference: &str) -> f64 {
    let (a, r) = (squad_words(answer), squad_words(reference));
    if a.is_empty() || r.is_empty() {
        return f64::from(u8::from(a == r));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    r.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut shared = 0.0;
    for word in &a {
        if let Some(left) = left.get_mut(word.as_str()).filter(|n| **n > 0) {
            *left -= 1;
            shared += 1.0;
        }
    }
    if shared == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (shared / a.len() as f64, shared / r.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects exact match: ends trimmed, case kept.
    #[test]
    fn exact_match_trims_ends_only() {
        assert!(exact_match(" 42\n", "42"));
        assert!(!exact_match("Yes", "yes") && !exact_match("4 2", "42"));
        assert_eq!(Normal::Case.of(" Yes\n"), "yes");
    }
}
