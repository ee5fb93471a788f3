//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum as Google's `rouge-score` 0.1.2 computes them, with and without stemming.
//!
//! Of `n`-grams that two texts share (each as often as both have it), or of a longest common subsequence of words, with
//! `c` its length: `P = c / words of the answer`, `R = c / words of the reference`, `F1 = 2 P R / (P + R)`. Lsum takes the
//! union of the subsequences of each reference line with every answer line.
//! Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.

use super::porter::stem;
use crate::engine::{Result, memory};
use std::collections::HashMap;

/// One of the measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Rouge {
    /// Share of the answer that is in the reference.
    pub precision: f64,
    /// Share of the reference that is in the answer.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where nothing is shared.
    pub f1: f64,
}

impl Rouge {
    fn new(shared: usize, answer: usize, reference: usize) -> Self {
        let (precision, recall) = (shared as f64 / answer.max(1) as f64, shared as f64 / reference.max(1) as f64);
        let f1 = if shared > 0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        Rouge { precision, recall, f1 }
    }
}

/// All four.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Scores {
    /// By words.
    pub rouge_1: Rouge,
    /// By pairs of words.
    pub rouge_2: Rouge,
    /// By a longest common subsequence of the whole texts.
    pub rouge_l: Rouge,
    /// By longest common subsequences of lines.
    pub rouge_lsum: Rouge,
}

/// All four of `answer` against `reference`. Time is the product of their word counts, and for two lines memory, too, four
/// bytes for each.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::engine::Error) if two lines are too long for that.
pub fn scores(answer: &str, reference: &str, stemming: bool) -> Result<Scores> {
    let (a, r) = (words(answer, stemming), words(reference, stemming));
    Ok(Scores {
        rouge_1: ngrams(&a, &r, 1),
        rouge_2: ngrams(&a, &r, 2),
        rouge_l: Rouge::new(common(&a, &r), a.len(), r.len()),
        rouge_lsum: lsum(answer, reference, stemming)?,
    })
}

/// `rouge-score`'s words: lower case, then every run of ASCII letters and digits, those of more than three letters
/// without their endings if asked.
fn words(text: &str, stemming: bool) -> Vec<String> {
    let lower = text.to_lowercase();
    let split = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let word = |w: &str| if stemming && w.len() > 3 { stem(w) } else { w.to_string() };
    split.filter(|w| !w.is_empty()).map(word).collect()
}

fn ngrams(answer: &[String], reference: &[String], n: usize) -> Rouge {
    let mut counts: HashMap<&[String], usize> = HashMap::new();
    for gram in reference.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    let mut shared = 0;
    for gram in answer.windows(n) {
        if let Some(left) = counts.get_mut(gram).filter(|left| **left > 0) {
            *left -= 1;
            shared += 1;
        }
    }
    let grams = |words: &[String]| (words.len() + 1).saturating_sub(n);
    Rouge::new(shared, grams(answer), grams(reference))
}

/// Length of the longest common subsequence of `a` and `b`, from one row of the table at a time.
fn common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Lengths of the longest common subsequences of all beginnings of `a` and `b`: `[a + 1, b + 1]`.
fn table(a: &[String], b: &[String]) -> Result<Vec<u32>> {
    let width = b.len() + 1;
    let cells = (a.len() + 1).checked_mul(width);
    let bytes = cells.and_then(|n| n.checked_mul(size_of::<u32>()));
    memory::check(|| format!("ROUGE-Lsum of lines of {} and {} words", a.len(), b.len()), bytes)?;
    let mut table = vec![0u32; cells.unwrap_or(0)]; // `check` refuses what has no number
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let at = i * width + j;
            table[at + width + 1] = if x == y { table[at] + 1 } else { table[at + 1].max(table[at + width]) };
        }
    }
    Ok(table)
}

fn lsum(answer: &str, reference: &str, stemming: bool) -> Result<Rouge> {
    let lines = |text: &str| -> Vec<Vec<String>> {
        text.split('\n').filter(|line| !line.is_empty()).map(|line| words(line, stemming)).collect()
    };
    let (answer, reference) = (lines(answer), lines(reference));
    let mut left = [&answer, &reference].map(|lines| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        lines.iter().flatten().for_each(|word| *counts.entry(word).or_default() += 1);
        counts
    });
    let mut shared = 0;
    for line in &reference {
        let mut in_common = vec![false; line.len()];
        for other in &answer {
            mark_common(line, other, &mut in_common)?;
        }
        for (word, _) in line.iter().zip(in_common).filter(|(_, common)| *common) {
            if left.iter().all(|counts| counts.get(word.as_str()).is_some_and(|n| *n > 0)) {
                shared += 1;
                left.iter_mut().for_each(|counts| *counts.entry(word).or_default() -= 1);
            }
        }
    }
    let total = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    Ok(Rouge::new(shared, total(&answer), total(&reference)))
}

/// Marks the words of `reference` that are in the common subsequence with `answer` which `rouge-score` reads out: of
/// several equally long ones, which one matters to the union.
fn mark_common(reference: &[String], answer: &[String], marks: &mut [bool]) -> Result<()> {
    let (table, width) = (table(reference, answer)?, answer.len() + 1);
    let (mut i, mut j) = (reference.len(), answer.len());
    while i > 0 && j > 0 {
        if reference[i - 1] == answer[j - 1] {
            marks[i - 1] = true;
            i -= 1;
            j -= 1;
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    Ok(())
}
