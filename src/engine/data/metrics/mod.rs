//! Measures of answers against references, and of losses. Each is what the package that papers use computes, so that
//! figures can be compared: `rouge-score`, `sacrebleu`, SQuAD's and `evaluate`'s exact match, lm-evaluation-harness.

pub mod chrf;
pub mod exact;
pub mod gsm8k;
mod loss;
pub mod porter;
pub mod rouge;

pub use chrf::Chrf;
pub use exact::Normal;
pub use loss::MeanLoss;
pub use rouge::Rouge;

/// Whether Python's `str.split()` and `str.strip()` take `c` for white space.
pub fn python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
