//! Mean loss and perplexity over tokens.

/// Mean loss over tokens, gathered batch by batch: each batch counts by its tokens, not once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeanLoss {
    sum: f64,
    tokens: u64,
}

impl MeanLoss {
    /// Adds a batch: its mean loss over `tokens` predicted labels. A batch without any changes nothing.
    pub fn add(&mut self, mean: f64, tokens: usize) {
        self.add_sum(mean * tokens as f64, tokens);
    }

    /// Adds a batch by the sum of its losses over `tokens` predicted labels.
    pub fn add_sum(&mut self, sum: f64, tokens: usize) {
        if tokens > 0 {
            self.sum += sum;
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
        loss.add_sum(4.0, 1);
        assert_eq!((loss.mean(), loss.tokens()), (Some(2.0), 5));
    }
}
