//! chrF as `sacrebleu` 2.6.0 computes it: the F-score of character n-grams, recall weighted `beta = 2`, in 0..100.
//!
//! Orders 1 to 6, white space removed, case kept. With `word_order: 2` words and pairs of words count as well: chrF++.
//! A set's score is made of the counts of all its texts, and is not the mean of their scores.
//! Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015.

use super::python_space;
use std::collections::HashMap;
use std::hash::Hash;

/// Longest character n-gram.
const CHARS: usize = 6;
/// Weight of recall against precision, squared.
const BETA_SQUARED: f64 = 4.0;
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// Counts of the n-grams of texts so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chrf {
    words: usize,
    /// For each order: in the answers, in the references, in both.
    counts: Vec<[u64; 3]>,
}

impl Default for Chrf {
    fn default() -> Self {
        Chrf::new(0)
    }
}

impl Chrf {
    /// Without texts yet. `word_order` 0 is chrF, 2 is chrF++.
    pub fn new(word_order: usize) -> Self {
        Chrf { words: word_order, counts: vec![[0; 3]; CHARS + word_order] }
    }

    /// Adds an answer and its reference.
    pub fn add(&mut self, answer: &str, reference: &str) {
        let letters = |text: &str| -> Vec<char> { text.chars().filter(|c| !python_space(*c)).collect() };
        let (a, r) = (letters(answer), letters(reference));
        for n in 1..=CHARS {
            add(&mut self.counts[n - 1], &a, &r, n);
        }
        if self.words > 0 {
            let (a, r) = (words(answer), words(reference));
            for n in 1..=self.words {
                add(&mut self.counts[CHARS + n - 1], &a, &r, n);
            }
        }
    }

    /// The score of all texts, 0..100; 0 without any.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for &[answer, reference, both] in &self.counts {
            if answer > 0 && reference > 0 {
                precision += both as f64 / answer as f64;
                recall += both as f64 / reference as f64;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    }
}

/// chrF of one answer against its reference, 0..100.
pub fn sentence(answer: &str, reference: &str) -> f64 {
    let mut chrf = Chrf::default();
    chrf.add(answer, reference);
    chrf.score()
}

fn add<T: Eq + Hash>(counts: &mut [u64; 3], answer: &[T], reference: &[T], n: usize) {
    let grams = |x: &[T]| (x.len() + 1).saturating_sub(n) as u64;
    let mut left: HashMap<&[T], u64> = HashMap::new();
    for gram in reference.windows(n) {
        *left.entry(gram).or_default() += 1;
    }
    // Without n-grams in the reference those of the answer do not count against it.
    if left.is_empty() {
        return;
    }
    counts[0] += grams(answer);
    counts[1] += grams(reference);
    for gram in answer.windows(n) {
        if let Some(left) = left.get_mut(gram).filter(|left| **left > 0) {
            *left -= 1;
            counts[2] += 1;
        }
    }
}

/// Words, with one sign of punctuation at the end or else at the beginning as a word of its own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(python_space).filter(|w| !w.is_empty()) {
        let (first, last) = (word.chars().next().unwrap_or(' '), word.chars().last().unwrap_or(' '));
        if word.chars().nth(1).is_none() {
            words.push(word.to_string());
        } else if PUNCTUATION.contains(last) {
            words.extend([word[..word.len() - 1].to_string(), last.to_string()]); // punctuation is ASCII
        } else if PUNCTUATION.contains(first) {
            words.extend([first.to_string(), word[1..].to_string()]);
        } else {
            words.push(word.to_string());
        }
    }
    words
}
