//! What a model is worth: losses, likelihoods of given answers, and scores of its own answers over whole sets.
//!
//! ```text
//! tokens      log-likelihood of any tokens of many sequences, in batches that keep to a limit
//! likelihood  (context, continuation) pairs and multiple choice, as lm-evaluation-harness
//! strided     perplexity of a long text through overlapping windows, as transformers' documentation
//! score       mean loss, exact match, ROUGE, chrF, length and endings over a set of records
//! ```

pub mod likelihood;
pub mod score;
pub mod strided;
pub mod tokens;
