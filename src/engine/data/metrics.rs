//! Measures of answers and of losses: exact match, ROUGE-L, mean loss and perplexity.

/// Whether the two texts are equal, white space at both ends aside.
pub fn exact_match(answer: &str, reference: &str) -> bool {
    answer.trim() == reference.trim()
}

/// ROUGE-L: how long a common subsequence of words two texts have.
///
/// With `LCS` its length, `P = LCS / words of the answer`, `R = LCS / words of the reference`, `F1 = 2 P R / (P + R)`.
/// As Google's `rouge-score` package computes `rougeL` without stemming.
/// Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct RougeL {
    /// Share of the answer's words that are in the subsequence.
    pub precision: f64,
    /// Share of the reference's words that are in the subsequence.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where they have no word in common.
    pub f1: f64,
}

/// ROUGE-L of `answer` against `reference`. Time is the product of their word counts.
pub fn rouge_l(answer: &str, reference: &str) -> RougeL {
    let (answer, reference) = (words(answer), words(reference));
    let common = longest_common_subsequence(&answer, &reference) as f64;
    if common == 0.0 {
        return RougeL::default();
    }
    let precision = common / answer.len() as f64;
    let recall = common / reference.len() as f64;
    RougeL { precision, recall, f1: 2.0 * precision * recall / (precision + recall) }
}

/// `rouge-score`'s words: lower case, then every run of ASCII letters and digits.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let split = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    split.filter(|word| !word.is_empty()).map(String::from).collect()
}

fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
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

/// Mean loss over tokens, gathered batch by batch: each batch counts by its tokens, not once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeanLoss {
    sum: f64,
    tokens: u64,
}

impl MeanLoss {
    /// Adds a batch: its mean loss over `tokens` predicted labels. A batch without any changes nothing.
    pub fn add(&mut self, mean: f64, tokens: usize) {
        if tokens > 0 {
            self.sum += mean * tokens as f64;
            self.tokens += tokens as u64;
        }
    }

    /// Tokens added so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Mean loss per token, in nats; `None` before the first token.
    pub fn mean(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.sum / self.tokens as f64)
    }

    /// `exp(mean)`; `None` before the first token.
    pub fn perplexity(&self) -> Option<f64> {
        self.mean().map(f64::exp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects agreement with the package that papers use.
    #[test]
    fn rouge_l_equals_rouge_score() {
        // rouge-score 0.1.2: RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)
        let cases = [
            (
                "The cat sat on the mat.",
                "the cat is on the mat",
                0.8333333333333334,
                0.8333333333333334,
                0.8333333333333334,
            ),
            ("", "something", 0.0, 0.0, 0.0),
            ("something", "", 0.0, 0.0, 0.0),
            ("no overlap here", "completely different words", 0.0, 0.0, 0.0),
            ("It's 3.14-ish, naïve café!", "its 3 14 ish naive cafe", 0.375, 0.5, 0.42857142857142855),
            ("a b c d e f", "f e d c b a", 0.16666666666666666, 0.16666666666666666, 0.16666666666666666),
            ("a a a b", "a b a b a", 0.75, 0.6, 0.6666666666666665),
            (
                "The three primary colours are red, yellow and blue.",
                "Red, blue and yellow are the three primary colours",
                0.4444444444444444,
                0.4444444444444444,
                0.4444444444444444,
            ),
            ("KELVIN K İstanbul ẞ", "kelvin k i stanbul ss", 1.0, 0.8, 0.888888888888889),
            ("x_y\tz\nw", "x y z w", 1.0, 1.0, 1.0),
            ("日本語 text", "text 日本語 ok", 1.0, 0.5, 0.6666666666666666),
            ("police killed the gunman", "police kill the gunman", 0.75, 0.75, 0.75),
        ];
        for (answer, reference, precision, recall, f1) in cases {
            let got = rouge_l(answer, reference);
            for (got, want) in [(got.precision, precision), (got.recall, recall), (got.f1, f1)] {
                assert!((got - want).abs() < 1e-12, "{answer:?} / {reference:?}: {got}, not {want}");
            }
        }
    }

    /// Protects token weighting: a short batch must not count as much as a long one, an empty one not at all.
    #[test]
    fn mean_is_by_token() {
        let mut loss = MeanLoss::default();
        assert_eq!((loss.mean(), loss.perplexity()), (None, None));
        loss.add(1.0, 3);
        loss.add(3.0, 1);
        loss.add(f64::NAN, 0);
        assert_eq!((loss.mean(), loss.tokens()), (Some(1.5), 4));
        assert_eq!(loss.perplexity(), Some(1.5f64.exp()));
    }

    /// Protects exact match: ends trimmed, case kept.
    #[test]
    fn exact_match_trims_ends_only() {
        assert!(exact_match(" 42\n", "42"));
        assert!(!exact_match("Yes", "yes") && !exact_match("4 2", "42"));
    }
}
