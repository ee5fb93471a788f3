//! The two orders in which checkpoints keep the rows of `q_proj` and `k_proj`.
//!
//! RoPE turns pairs of a head's values. Meta, llama2.c and GGUF's llama architecture pair neighbours, `(0,1) (2,3) ..`
//! (interleaved); Hugging Face pairs the halves, `(0, d/2) (1, d/2+1) ..`. The same model in the other layout has its
//! rows permuted within each head. Everything in this program computes with halves, so interleaved rows are sorted into
//! halves as they are read.
//!
//! Source: `permute` in transformers' `convert_llama_weights_to_hf.py` and in llama.cpp's `convert_hf_to_gguf.py`.

/// Order of a tensor's rows in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As Hugging Face has them.
    Same,
    /// Interleaved pairs within each head.
    Interleaved {
        /// Width of a head; even.
        head_dim: usize,
    },
}

impl RowOrder {
    /// The row of the file that is row `row` in Hugging Face's order.
    #[inline]
    pub fn source(self, row: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Interleaved { head_dim } => {
                let (head, i, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + if i < half { 2 * i } else { 2 * (i - half) + 1 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects every model that is not from Hugging Face: rows of two heads of width 6, sorted by hand.
    #[test]
    fn pairs_become_halves() {
        let order = RowOrder::Interleaved { head_dim: 6 };
        let rows: Vec<usize> = (0..12).map(|r| order.source(r)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
