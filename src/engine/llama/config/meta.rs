//! Meta's `params.json`.
//!
//! Source: the `ModelArgs` and `FeedForward` of facebookresearch/llama and meta-llama/llama-models:
//! `hidden = multiple_of * ceil(ffn_dim_multiplier * floor(2/3 * 4 dim) / multiple_of)`.

use super::{LlamaConfig, RopeScaling};
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: Option<usize>,
    #[serde(default = "default_multiple_of")]
    multiple_of: usize,
    ffn_dim_multiplier: Option<f64>,
    #[serde(default = "default_norm_eps")]
    norm_eps: f64,
    /// -1 in the files of LLaMA 1 and 2: ask the tokenizer.
    vocab_size: Option<i64>,
    #[serde(default = "default_rope_theta")]
    rope_theta: f64,
    #[serde(default)]
    use_scaled_rope: bool,
    rope_scaling_factor: Option<f64>,
    max_seq_len: Option<usize>,
}

fn default_multiple_of() -> usize {
    256
}

fn default_norm_eps() -> f64 {
    1e-5
}

fn default_rope_theta() -> f64 {
    10_000.0
}

impl LlamaConfig {
    /// From the text of `params.json`. `embedding_rows` is the vocabulary size that the weights show; it decides where
    /// the file leaves the size open (`-1`), and must agree where it does not.
    ///
    /// # Errors
    /// A message naming the field, for the caller to put the file's name before.
    pub(crate) fn from_meta_params(text: &str, embedding_rows: usize) -> Result<Self, String> {
        let p: Params = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if let Some(given) = p.vocab_size.filter(|n| *n >= 0)
            && usize::try_from(given) != Ok(embedding_rows)
        {
            return Err(format!("`vocab_size` is {given}, but the weights' embedding has {embedding_rows} rows"));
        }
        if p.n_heads == 0 || !p.dim.is_multiple_of(p.n_heads) {
            return Err(format!("`dim` ({}) is not a multiple of `n_heads` ({})", p.dim, p.n_heads));
        }
        // Llama 2 was trained on 4096 tokens, 3 (the 128k vocabulary) on 8192; the file does not say.
        let context = match (p.max_seq_len, p.use_scaled_rope) {
            (Some(n), _) => n,
            (None, true) => 131_072,
            (None, false) if embedding_rows > 100_000 => 8192,
            (None, false) => 4096,
        };
        let config = LlamaConfig {
            vocab_size: embedding_rows,
            hidden_size: p.dim,
            intermediate_size: intermediate_size(p.dim, p.multiple_of, p.ffn_dim_multiplier)?,
            num_hidden_layers: p.n_layers,
            num_attention_heads: p.n_heads,
            num_key_value_heads: p.n_kv_heads.unwrap_or(p.n_heads),
            head_dim: p.dim / p.n_heads,
            max_position_embeddings: context,
            rms_norm_eps: p.norm_eps,
            rope_theta: p.rope_theta,
            // 8 is what Meta's reference code uses where the file gives no factor.
            rope_scaling: p.use_scaled_rope.then(|| RopeScaling::Llama3 {
                factor: p.rope_scaling_factor.unwrap_or(8.0),
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            }),
            tie_word_embeddings: false,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            bos_token_id: None,
            eos_token_ids: vec![],
            pad_token_id: None,
        };
        config.check()?;
        Ok(config)
    }
}

fn intermediate_size(dim: usize, multiple_of: usize, multiplier: Option<f64>) -> Result<usize, String> {
    let wide = dim.checked_mul(8).ok_or("`dim` is too large")? / 3;
    let wide = match multiplier {
        None => wide,
        Some(by) if by.is_finite() && by > 0.0 => (by * wide as f64) as usize,
        Some(by) => return Err(format!("`ffn_dim_multiplier` is {by}; it must be a positive number")),
    };
    if multiple_of == 0 {
        return Err("`multiple_of` is 0".into());
    }
    wide.div_ceil(multiple_of).checked_mul(multiple_of).ok_or_else(|| "`multiple_of` is too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects Meta checkpoints: the published params.json of Llama 2 7B and 70B and of Llama 3 8B give their shapes.
    #[test]
    fn published_files_give_the_known_shapes() {
        let seven =
            r#"{"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-05, "vocab_size": -1}"#;
        let config = LlamaConfig::from_meta_params(seven, 32_000).unwrap();
        assert_eq!(config.intermediate_size, 11_008);
        assert_eq!(config.num_params(), 6_738_415_616);
        let seventy = r#"{"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64, "n_kv_heads": 8, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1}"#;
        assert_eq!(LlamaConfig::from_meta_params(seventy, 32_000).unwrap().num_params(), 68_976_648_192);
        let three = r#"{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}"#;
        let config = LlamaConfig::from_meta_params(three, 128_256).unwrap();
        assert_eq!((config.intermediate_size, config.rope_theta), (14_336, 500_000.0));
        assert_eq!(config.num_params(), 8_030_261_248);
    }

    /// Protects the message for a damaged params.json.
    #[test]
    fn disagreements_are_named() {
        let text = r#"{"dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 100}"#;
        assert!(LlamaConfig::from_meta_params(text, 99).unwrap_err().contains("`vocab_size` is 100"));
        assert!(LlamaConfig::from_meta_params(r#"{"dim": 32}"#, 99).unwrap_err().contains("n_layers"));
    }
}
