//! Choosing the next token from the model's scores.
//!
//! In the order of transformers' `generate`, with its meanings:
//!
//! 1. repetition penalty `r`: the score `x` of every token seen before becomes `x / r` if positive, else `x * r`;
//! 2. greedy (`temperature: 0`) ends here: the first of the largest scores;
//! 3. temperature `T`: `x / T`;
//! 4. top-k: scores below the k-th largest are out (ties with it stay);
//! 5. top-p: of the rest, the fewest tokens, likeliest first, whose probabilities reach `p`, the one that crosses included;
//! 6. min-p: tokens less likely than `min_p` times the likeliest are out;
//! 7. one draw from what is left.
//!
//! Probabilities are computed in f64. Draws come from a stream of their own, so sampling neither depends on what else
//! used random numbers nor disturbs a training run.

use crate::engine::rng::Stream;
use crate::engine::{Error, Result};
use std::cmp::Ordering;

/// How the next token is chosen. The default is greedy.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SamplingConfig {
    /// 0 is greedy; 1 samples from the model's own distribution; below 1 sharpens it, above 1 flattens it.
    pub temperature: f64,
    /// Sample among this many of the likeliest tokens; `None` or 0: among all.
    pub top_k: Option<usize>,
    /// Sample among the fewest likeliest tokens that reach this probability, from 0 to 1.
    pub top_p: Option<f64>,
    /// Sample among tokens at least this fraction as likely as the likeliest, from 0 to 1.
    pub min_p: Option<f64>,
    /// Above 1 discourages tokens that were there before; 1 is off.
    pub repetition_penalty: f64,
    /// How many of the last tokens count as "before"; `None`: all, prompt included.
    pub repetition_window: Option<usize>,
    /// Decides the draws.
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        SamplingConfig {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            repetition_window: None,
            seed: 0,
        }
    }
}

impl SamplingConfig {
    /// Whether the choice is greedy.
    pub fn greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Refuses values that make no sense.
    pub fn validate(&self) -> Result<()> {
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(Error::config_help(
                format!("temperature is {}, but must be 0 or more", self.temperature),
                "0 is greedy, 1 samples from the model's own distribution",
            ));
        }
        for (name, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(Error::config(format!("{name} is {value}, but is a probability: from 0 to 1")));
            }
        }
        if !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0 {
            return Err(Error::config_help(
                format!("repetition_penalty is {}, but must be more than 0", self.repetition_penalty),
                "1 is off; 1.1 discourages repetition a little",
            ));
        }
        if self.repetition_window == Some(0) {
            return Err(Error::config_help(
                "repetition_window is 0, which would make the penalty do nothing",
                "leave it out to look at everything, or set repetition_penalty: 1",
            ));
        }
        Ok(())
    }
}

/// Chooses tokens one after the other; draw `n` is a function of the seed and `n` alone.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    stream: Stream,
    drawn: u64,
}

/// A token that may still be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: usize,
    score: f64,
    /// Not normalised: relative to the likeliest token's 1.
    p: f64,
}

impl Sampler {
    /// A sampler at the beginning of its stream.
    pub fn new(config: SamplingConfig) -> Result<Self> {
        config.validate()?;
        Ok(Sampler { stream: Stream::new(config.seed), config, drawn: 0 })
    }

    /// The next token, given the `logits` of the whole vocabulary and the tokens so far (`history`, prompt included).
    ///
    /// A logit of minus infinity rules its token out.
    ///
    /// # Errors
    /// [`Error::Config`] for NaN or plus infinity, for no logits, and where every token is ruled out.
    pub fn next(&mut self, logits: &[f32], history: &[u32]) -> Result<u32> {
        check(logits)?;
        let mut scores: Vec<f64> = logits.iter().copied().map(f64::from).collect();
        self.penalise(&mut scores, history);
        let best = first_largest(&scores);
        if self.config.greedy() {
            return Ok(best as u32);
        }
        let candidates = self.candidates(&scores, scores[best]);
        let total: f64 = candidates.iter().map(|c| c.p).sum();
        let mut left = self.draw() * total;
        for candidate in &candidates {
            left -= candidate.p;
            if left < 0.0 {
                return Ok(candidate.id as u32);
            }
        }
        // Rounding can leave a last crumb of `left`: it belongs to the last token that is possible at all.
        Ok(candidates.iter().rfind(|c| c.p > 0.0).map_or(best, |c| c.id) as u32)
    }

    /// Uniform in [0, 1), with all 53 bits that an f64 has there.
    fn draw(&mut self) -> f64 {
        let high = u64::from(self.stream.bits(2 * self.drawn));
        let low = u64::from(self.stream.bits(2 * self.drawn + 1));
        self.drawn += 1;
        ((high << 32 | low) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    fn penalise(&self, scores: &mut [f64], history: &[u32]) {
        let penalty = self.config.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let window = self.config.repetition_window.unwrap_or(history.len());
        let mut seen: Vec<u32> = history[history.len().saturating_sub(window)..].to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }

    /// The tokens that pass top-k, top-p and min-p, by ascending id. `largest` is the largest score.
    fn candidates(&self, scores: &[f64], largest: f64) -> Vec<Candidate> {
        let floor = match self.config.top_k {
            Some(k) if (1..scores.len()).contains(&k) => kth_largest(scores, k),
            _ => f64::NEG_INFINITY,
        };
        // The largest score is subtracted before dividing, so a tiny temperature sharpens instead of overflowing.
        let p = |score: f64| ((score - largest) / self.config.temperature).exp();
        let all = scores.iter().enumerate();
        let kept = all.filter(|(_, score)| **score >= floor && **score > f64::NEG_INFINITY);
        let mut candidates: Vec<Candidate> = kept.map(|(id, &score)| Candidate { id, score, p: p(score) }).collect();
        if let Some(top_p) = self.config.top_p {
            keep_top_p(&mut candidates, top_p);
        }
        if let Some(min_p) = self.config.min_p {
            candidates.retain(|c| c.p >= min_p);
        }
        candidates
    }
}

/// Keeps the fewest candidates, likeliest first and lower id first among equals, whose share of the mass reaches `top_p`;
/// always at least one. Leaves them by ascending id.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f64) {
    if top_p >= 1.0 {
        return;
    }
    let total: f64 = candidates.iter().map(|c| c.p).sum();
    // All tokens below this share together hold less than 1 - top_p: none can be among the kept. Saves sorting a whole
    // vocabulary. The likeliest has at least the mean share, so it always stays.
    let negligible = total * (1.0 - top_p) / candidates.len() as f64;
    candidates.retain(|c| c.p >= negligible);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    let mut before = 0.0;
    let kept = candidates.iter().take_while(|c| {
        let keep = before < top_p * total;
        before += c.p;
        keep
    });
    let kept = kept.count().max(1);
    candidates.truncate(kept);
    candidates.sort_by_key(|c| c.id);
}

fn check(logits: &[f32]) -> Result<()> {
    if let Some(id) = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
        return Err(Error::config_help(
            format!("the model's score of token {id} is {}: no next token can be chosen", logits[id]),
            "training has diverged, or a low-precision dtype overflowed: lower lr, or compute in bf16 or f32",
        ));
    }
    if logits.iter().all(|x| *x == f32::NEG_INFINITY) {
        return Err(Error::config(match logits.len() {
            0 => "no scores to choose a token from".to_string(),
            n => format!("all {n} scores are minus infinity: no next token can be chosen"),
        }));
    }
    Ok(())
}

/// First index of the maximum, as `torch.argmax`. `scores` holds at least one number and no NaN.
fn first_largest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best
}

/// The k-th largest of `scores`, `1 <= k <= len`.
fn kth_largest(scores: &[f64], k: usize) -> f64 {
    let mut sorted = scores.to_vec();
    let descending = |a: &f64, b: &f64| b.partial_cmp(a).unwrap_or(Ordering::Equal);
    *sorted.select_nth_unstable_by(k - 1, descending).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(config: SamplingConfig) -> Sampler {
        Sampler::new(config).unwrap()
    }

    fn warm() -> SamplingConfig {
        SamplingConfig { temperature: 1.0, seed: 11, ..SamplingConfig::default() }
    }

    /// Logits whose softmax is `p`.
    fn logits(p: &[f64]) -> Vec<f32> {
        p.iter().map(|p| p.ln() as f32).collect()
    }

    /// Shares of `n` draws, and the chi-square statistic against `expected` (tokens of probability 0 must not come).
    fn chi_square(config: SamplingConfig, logits: &[f32], expected: &[f64]) -> f64 {
        const N: usize = 40_000;
        let mut sampler = sampler(config);
        let mut count = vec![0usize; logits.len()];
        for _ in 0..N {
            count[sampler.next(logits, &[]).unwrap() as usize] += 1;
        }
        let term = |(&count, &p): (&usize, &f64)| {
            assert!(p > 0.0 || count == 0, "a token of probability 0 was drawn {count} times");
            let want = p * N as f64;
            if p > 0.0 { (count as f64 - want).powi(2) / want } else { 0.0 }
        };
        count.iter().zip(expected).map(term).sum()
    }

    /// The ids that can be drawn at all.
    fn support(config: SamplingConfig, logits: &[f32]) -> Vec<usize> {
        let scores: Vec<f64> = logits.iter().copied().map(f64::from).collect();
        sampler(config).candidates(&scores, scores[first_largest(&scores)]).iter().map(|c| c.id).collect()
    }

    /// Protects the distribution itself. The bound is the 99.99 % quantile of chi-square with 4 degrees of freedom.
    #[test]
    fn frequencies_match_probabilities() {
        let p = [0.05, 0.4, 0.15, 0.3, 0.1];
        let plain = chi_square(warm(), &logits(&p), &p);
        assert!(plain < 23.5, "{plain}");
        // Temperature 0.5 squares the probabilities.
        let total: f64 = p.iter().map(|p| p * p).sum();
        let squared: Vec<f64> = p.iter().map(|p| p * p / total).collect();
        let sharp = chi_square(SamplingConfig { temperature: 0.5, ..warm() }, &logits(&p), &squared);
        assert!(sharp < 23.5, "{sharp}");
        // And the test can tell: the wrong distribution fails by far.
        assert!(chi_square(warm(), &logits(&p), &squared) > 1000.0);
    }

    /// Protects renormalisation after filtering: what is left keeps its proportions.
    #[test]
    fn filtered_frequencies_are_renormalised() {
        let p = [0.05, 0.4, 0.15, 0.3, 0.1];
        let expected = [0.0, 0.4 / 0.85, 0.15 / 0.85, 0.3 / 0.85, 0.0];
        for config in [
            SamplingConfig { top_k: Some(3), ..warm() },
            SamplingConfig { top_p: Some(0.8), ..warm() },
            SamplingConfig { min_p: Some(0.3), ..warm() },
        ] {
            let statistic = chi_square(config.clone(), &logits(&p), &expected);
            assert!(statistic < 18.4, "{config:?}: {statistic}"); // 99.99 %, 2 degrees of freedom
        }
    }

    /// Protects transformers' rule for top-p: the token that crosses p is kept, nothing after it.
    #[test]
    fn top_p_keeps_the_crossing_token() {
        let p = logits(&[0.1, 0.5, 0.15, 0.25]);
        let kept = |top_p| support(SamplingConfig { top_p: Some(top_p), ..warm() }, &p);
        assert_eq!(kept(0.0), [1]);
        assert_eq!(kept(0.3), [1]);
        assert_eq!(kept(0.6), [1, 3]);
        assert_eq!(kept(0.8), [1, 2, 3]);
        assert_eq!(kept(0.95), [0, 1, 2, 3]);
        assert_eq!(kept(1.0), [0, 1, 2, 3]);
        // Reached exactly: 4 equal tokens, p = 0.5 keeps two, the lower ids.
        assert_eq!(support(SamplingConfig { top_p: Some(0.5), ..warm() }, &[0.0; 4]), [0, 1]);
    }

    /// Protects the shortcut in top-p: with it and without it the same tokens are kept, over many random vocabularies.
    #[test]
    fn top_p_equals_its_definition() {
        for seed in 0..200 {
            let random = Stream::new(seed);
            let scores: Vec<f32> = (0..50).map(|i| (4.0 * random.normal(i)) as f32).collect();
            let top_p = random.uniform(1000);
            let mut order: Vec<usize> = (0..50).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let exp: Vec<f64> = scores.iter().map(|x| f64::from(*x).exp()).collect();
            let total: f64 = exp.iter().sum();
            let mass_before = |rank: usize| order[..rank].iter().map(|&i| exp[i]).sum::<f64>() / total;
            let mut want: Vec<usize> =
                (0..50).filter(|&r| r == 0 || mass_before(r) < top_p).map(|r| order[r]).collect();
            want.sort_unstable();
            assert_eq!(support(SamplingConfig { top_p: Some(top_p), ..warm() }, &scores), want, "seed {seed}");
        }
    }

    /// Protects transformers' rule for top-k: ties with the k-th stay; 0 and more than there are mean all.
    #[test]
    fn top_k_keeps_ties() {
        let kept = |k| support(SamplingConfig { top_k: Some(k), ..warm() }, &[1.0, 3.0, 2.0, 2.0, f32::NEG_INFINITY]);
        assert_eq!(kept(1), [1]);
        assert_eq!(kept(2), [1, 2, 3]);
        assert_eq!(kept(0), [0, 1, 2, 3]);
        assert_eq!(kept(99), [0, 1, 2, 3]);
    }

    /// Protects the order of the filters: top-p counts the mass that top-k has left.
    #[test]
    fn top_k_comes_before_top_p() {
        let p = logits(&[0.4, 0.3, 0.2, 0.1]);
        // Alone, 0.55 needs two tokens; of the two that top-k leaves, the first has 4/7 of the mass.
        assert_eq!(support(SamplingConfig { top_p: Some(0.55), ..warm() }, &p), [0, 1]);
        assert_eq!(support(SamplingConfig { top_p: Some(0.55), top_k: Some(2), ..warm() }, &p), [0]);
    }

    /// Protects greedy decoding: first of equals, whatever the seed, and no random number spent.
    #[test]
    fn greedy_is_the_first_maximum() {
        let mut sampler = sampler(SamplingConfig::default());
        assert_eq!(sampler.next(&[1.0, 5.0, 5.0, -1.0], &[]).unwrap(), 1);
        assert_eq!(sampler.next(&[f32::NEG_INFINITY, -7.0], &[]).unwrap(), 1);
        assert_eq!(sampler.drawn, 0);
    }

    /// Protects transformers' repetition penalty: once per token, sign-aware, within the window, greedy included.
    #[test]
    fn repetition_penalty_is_transformers() {
        let config = SamplingConfig { repetition_penalty: 2.0, ..SamplingConfig::default() };
        let mut scores = vec![4.0, -4.0, 1.0, 0.0];
        sampler(config.clone()).penalise(&mut scores, &[0, 0, 1, 3, 99]);
        assert_eq!(scores, [2.0, -8.0, 1.0, 0.0]);
        let mut all = sampler(config.clone());
        assert_eq!(all.next(&[4.0, 3.0], &[0, 1, 1]).unwrap(), 0);
        assert_eq!(all.next(&[4.0, 3.0], &[0]).unwrap(), 1);
        let mut last = sampler(SamplingConfig { repetition_window: Some(1), ..config });
        assert_eq!(last.next(&[4.0, 3.0], &[0, 7]).unwrap(), 0);
    }

    /// Protects against a diverged model answering with confident nonsense.
    #[test]
    fn non_finite_scores_are_errors() {
        for config in [SamplingConfig::default(), warm()] {
            let mut sampler = sampler(config);
            let error = sampler.next(&[0.0, f32::NAN, 1.0], &[]).unwrap_err();
            assert!(error.to_string().contains("score of token 1 is NaN"), "{error}");
            assert!(sampler.next(&[f32::INFINITY, 1.0], &[]).is_err());
            assert!(sampler.next(&[f32::NEG_INFINITY; 3], &[]).unwrap_err().to_string().contains("all 3 scores"));
            assert!(sampler.next(&[], &[]).is_err());
        }
    }

    /// Protects extremes: a tiny temperature is greedy, a huge one is uniform, neither overflows.
    #[test]
    fn extreme_temperatures() {
        let scores = [1.0, 3.0e38, -3.0e38, 2.0];
        assert_eq!(sampler(SamplingConfig { temperature: 1e-300, ..warm() }).next(&scores, &[]).unwrap(), 1);
        let flat = chi_square(SamplingConfig { temperature: 1e300, ..warm() }, &[1.0, 2.0, 3.0, 4.0], &[0.25; 4]);
        assert!(flat < 21.1, "{flat}"); // 99.99 %, 3 degrees of freedom
    }

    /// Protects reproducibility: the same seed gives the same tokens, another seed others, and neither uses the session's
    /// stream.
    #[test]
    fn seeds_decide() {
        let session = crate::engine::rng::state();
        let run = |seed| -> Vec<u32> {
            let mut sampler = sampler(SamplingConfig { seed, ..warm() });
            (0..50).map(|_| sampler.next(&[0.0; 100], &[]).unwrap()).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(crate::engine::rng::state(), session);
    }

    /// Protects the messages for values out of range.
    #[test]
    fn bad_settings_are_refused() {
        let base = SamplingConfig::default;
        for (config, name) in [
            (SamplingConfig { temperature: -1.0, ..base() }, "temperature is -1"),
            (SamplingConfig { temperature: f64::NAN, ..base() }, "temperature is NaN"),
            (SamplingConfig { top_p: Some(1.5), ..base() }, "top_p is 1.5"),
            (SamplingConfig { min_p: Some(f64::NAN), ..base() }, "min_p is NaN"),
            (SamplingConfig { repetition_penalty: 0.0, ..base() }, "repetition_penalty is 0"),
            (SamplingConfig { repetition_window: Some(0), ..base() }, "repetition_window is 0"),
        ] {
            let error = Sampler::new(config).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
