//! RoPE frequencies and the ways of stretching them for long contexts.
//!
//! Sources: Su et al., "RoFormer", arXiv 2104.09864; transformers, `modeling_rope_utils.py` (linear, llama3, longrope).

use std::f64::consts::TAU;

/// How RoPE's frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by `factor` (position interpolation).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` count as low.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` count as high.
        high_freq_factor: f64,
        /// Context length of the model before stretching.
        original_max_position_embeddings: usize,
    },
    /// One divisor per frequency (GGUF's `rope_freqs.weight`, `head_dim / 2` of them).
    Factors(Vec<f64>),
}

/// `theta^(-2 i / head_dim)` for each pair `i`.
pub(super) fn plain_frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2).map(|i| theta.powf(-((2 * i) as f64) / head_dim as f64)).collect()
}

impl RopeScaling {
    /// Stretches `freqs` in place.
    pub fn apply(&self, freqs: &mut [f64]) {
        match self {
            RopeScaling::Linear { factor } => freqs.iter_mut().for_each(|f| *f /= factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let original = *original_max_position_embeddings as f64;
                for f in freqs {
                    // Turns that this pair makes within the original context.
                    let turns = original * *f / TAU;
                    if turns < *low_freq_factor {
                        *f /= factor;
                    } else if turns <= *high_freq_factor {
                        let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        *f *= (1.0 - smooth) / factor + smooth;
                    }
                }
            }
            RopeScaling::Factors(factors) => freqs.iter_mut().zip(factors).for_each(|(f, by)| *f /= by),
        }
    }

    /// Llama 3.1's scaling with these divisors, if the divisors are Llama 3.1's; else the divisors themselves.
    ///
    /// GGUF stores only the result of the formula; naming the formula again lets the model be saved for other tools.
    pub fn recognise(factors: Vec<f64>, theta: f64, head_dim: usize) -> Self {
        let largest = factors.iter().copied().fold(1.0, f64::max);
        let llama3 = RopeScaling::Llama3 {
            factor: largest,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let plain = plain_frequencies(theta, head_dim);
        let mut scaled = plain.clone();
        llama3.apply(&mut scaled);
        let same = factors.len() == plain.len()
            && factors.iter().zip(plain.iter().zip(&scaled)).all(|(f, (p, s))| (p / s - f).abs() <= 1e-4 * f.abs());
        if same { llama3 } else { RopeScaling::Factors(factors) }
    }

    pub(super) fn check(&self, head_dim: usize) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!("RoPE scaling: `{name}` is {value}; it must be a positive number"))
            }
        };
        match self {
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("original_max_position_embeddings", *original_max_position_embeddings as f64)?;
                if high_freq_factor.is_nan() || high_freq_factor <= low_freq_factor {
                    return Err(format!(
                        "RoPE scaling: `high_freq_factor` ({high_freq_factor}) must exceed `low_freq_factor` \
                         ({low_freq_factor})"
                    ));
                }
                Ok(())
            }
            RopeScaling::Factors(factors) => {
                if factors.len() != head_dim / 2 {
                    return Err(format!(
                        "RoPE scaling: {} factors for a head of width {head_dim}, which has {} pairs",
                        factors.len(),
                        head_dim / 2
                    ));
                }
                factors.iter().try_for_each(|f| positive("factors", *f))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama32() -> RopeScaling {
        RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        }
    }

    /// Protects Llama 3's long context: ends of the spectrum and one blended value worked out by hand.
    #[test]
    fn llama3_blends_the_middle() {
        let mut freqs = [1.0, 1e-9, TAU * 2.5 / 8192.0];
        llama32().apply(&mut freqs);
        assert_eq!(freqs[0], 1.0);
        assert_eq!(freqs[1], 1e-9 / 32.0);
        // 2.5 turns lie halfway between 1 and 4: half of each.
        let expected = TAU * 2.5 / 8192.0 * (0.5 / 32.0 + 0.5);
        assert!((freqs[2] - expected).abs() < 1e-15);
    }

    /// Protects models that go GGUF -> Hugging Face: the formula is found again from its divisors alone.
    #[test]
    fn llama3_is_recognised_from_divisors() {
        let plain = plain_frequencies(500_000.0, 64);
        let mut scaled = plain.clone();
        llama32().apply(&mut scaled);
        let divisors: Vec<f64> = plain.iter().zip(&scaled).map(|(p, s)| f64::from((p / s) as f32)).collect();
        assert_eq!(RopeScaling::recognise(divisors.clone(), 500_000.0, 64), llama32());
        let mut other = divisors;
        other[20] *= 1.5;
        assert!(matches!(RopeScaling::recognise(other, 500_000.0, 64), RopeScaling::Factors(_)));
    }
}
