//! The training loss: next-token cross-entropy where a label counts, and nowhere else.

use super::model::Llama;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::cross_entropy::IGNORE_INDEX;
use crate::engine::ops::documents::Documents;
use crate::engine::ops::{head_loss::head_loss, rms_norm::rms_norm, rows::select_rows};
use candle_core::Tensor as Value;

/// Loss of one batch.
#[derive(Debug)]
pub struct Loss {
    /// Mean over the labels that count: a scalar.
    pub mean: Tensor,
    /// How many those are.
    pub count: usize,
    /// Negative log-likelihood of each, in nats, row-major.
    pub each: Vec<f64>,
}

impl Llama {
    /// Mean cross-entropy of predicting `labels[i][t + 1]` from `ids[i][..= t]`, over labels that are not -100.
    ///
    /// `ids` are `[batch, seq]`; `labels` has one entry per id (row-major; the shift by one happens here). Only the rows
    /// whose label counts go through the final norm and the vocabulary projection. The first token of a document is never
    /// predicted: what stands before it belongs to another.
    ///
    /// # Errors
    /// If no label counts, or the shapes do not fit.
    pub fn loss(&self, ids: &Value, labels: &[i64], documents: Option<&Documents>) -> Result<Loss> {
        let (batch, seq) = ids.dims2()?;
        documents.map_or(Ok(()), |d| d.check("loss", batch, seq))?;
        if labels.len() != batch * seq {
            return Err(Error::shape("loss", format!("{} labels for ids of shape {:?}", labels.len(), ids.dims()))
                .about("labels", labels.len())
                .about("ids", ids.dims()));
        }
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for b in 0..batch {
            for t in 1..seq {
                let label = labels[b * seq + t];
                if label != IGNORE_INDEX && !documents.is_some_and(|d| d.begins(b, t)) {
                    rows.push((b * seq + t - 1) as u32);
                    targets.push(label);
                }
            }
        }
        if rows.is_empty() {
            return Err(Error::config_help(
                "loss: no label of this batch counts (all are -100, or only the first position has one)",
                "look at the data: are the answers empty, or cut off by max_seq_len?",
            ));
        }
        let x = select_rows(&self.hidden(ids, documents, None)?, &rows)?; // [labels, hidden]
        let x = rms_norm(&x, self.norm.tensor()?, self.config.rms_norm_eps)?;
        let out = head_loss(&x, self.weight(self.head())?, &targets, targets.len() as f64)?;
        Ok(Loss { mean: out.loss, count: targets.len(), each: out.rows })
    }

    /// As [`Llama::loss`], without gradients and without dropout: the numbers alone.
    pub fn evaluate(&mut self, ids: &Value, labels: &[i64], documents: Option<&Documents>) -> Result<(f64, usize)> {
        let loss = self.inference(|model| model.loss(ids, labels, documents))?;
        Ok((loss.each.iter().sum(), loss.count))
    }
}
