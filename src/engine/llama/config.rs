//! Hyper-parameters of a LLaMA model, what they imply (parameter names, shapes, counts), and whether they agree.
//!
//! Every format is read into the one [`LlamaConfig`]: Hugging Face's `config.json` ([`LlamaConfig::from_json`]), Meta's
//! `params.json` (`LlamaConfig::from_meta_params`), GGUF metadata and the llama2.c header (see `weights`).

mod hf;
mod meta;
mod presets;
mod rope;

pub use rope::RopeScaling;

use crate::engine::{Error, Result};

/// Shape and constants of a LLaMA model. Sizes are counts of elements; field names are Hugging Face's.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Rows of the embedding; a tokenizer may know fewer tokens than this, never more.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads per block.
    pub num_attention_heads: usize,
    /// Key and value heads per block; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even, since RoPE turns pairs.
    pub head_dim: usize,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of RoPE's frequencies.
    pub rope_theta: f64,
    /// How RoPE's frequencies are stretched for long contexts, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output projection is the embedding itself.
    pub tie_word_embeddings: bool,
    /// Whether `q_proj`, `k_proj` and `v_proj` have biases.
    pub qkv_bias: bool,
    /// Whether `o_proj` has a bias.
    pub o_bias: bool,
    /// Whether `gate_proj`, `up_proj` and `down_proj` have biases.
    pub mlp_bias: bool,
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text, the main one first.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills a batch up.
    pub pad_token_id: Option<u32>,
}

/// Upper bounds on each size. Far above any model there is, and low enough that no product of them overflows.
const LIMITS: [(&str, usize); 8] = [
    ("vocab_size", 1 << 24),
    ("hidden_size", 1 << 20),
    ("intermediate_size", 1 << 24),
    ("num_hidden_layers", 1 << 12),
    ("num_attention_heads", 1 << 13),
    ("num_key_value_heads", 1 << 13),
    ("head_dim", 1 << 13),
    ("max_position_embeddings", 1 << 30),
];

impl LlamaConfig {
    /// Checks that the sizes are possible and agree with each other.
    ///
    /// # Errors
    /// [`Error::Config`] that names the fields and their values.
    pub fn validate(&self) -> Result<()> {
        self.check().map_err(|message| {
            Error::config_help(
                format!("model configuration: {message}"),
                "correct the model's configuration, or convert the model again",
            )
        })
    }

    /// [`LlamaConfig::validate`] as a bare message, for callers that know the file it came from.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.num_key_value_heads,
            self.head_dim,
            self.max_position_embeddings,
        ];
        for ((name, limit), size) in LIMITS.into_iter().zip(sizes) {
            if size == 0 || size > limit {
                return Err(format!("`{name}` is {size}; it must lie between 1 and {limit}"));
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "`num_attention_heads` ({heads}) is not a multiple of `num_key_value_heads` ({kv_heads})"
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim` is {}, but RoPE needs an even one", self.head_dim));
        }
        for (name, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)] {
            if !value.is_finite() || value <= 0.0 {
                return Err(format!("`{name}` is {value}; it must be a positive number"));
            }
        }
        if let Some(scaling) = &self.rope_scaling {
            scaling.check(self.head_dim)?;
        }
        for id in self.bos_token_id.iter().chain(&self.eos_token_ids) {
            if *id as usize >= self.vocab_size {
                return Err(format!(
                    "a BOS or EOS token id is {id}, but `vocab_size` is {} (ids count from 0)",
                    self.vocab_size
                ));
            }
        }
        Ok(())
    }

    /// Every parameter's Hugging Face name and shape, in the order of Hugging Face's state dict.
    ///
    /// A tied output projection is not listed: it is the embedding.
    pub fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let q = self.num_attention_heads * self.head_dim;
        let kv = self.num_key_value_heads * self.head_dim;
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let linears = [
                ("self_attn.q_proj", q, hidden, self.qkv_bias),
                ("self_attn.k_proj", kv, hidden, self.qkv_bias),
                ("self_attn.v_proj", kv, hidden, self.qkv_bias),
                ("self_attn.o_proj", hidden, q, self.o_bias),
                ("mlp.gate_proj", inner, hidden, self.mlp_bias),
                ("mlp.up_proj", inner, hidden, self.mlp_bias),
                ("mlp.down_proj", hidden, inner, self.mlp_bias),
            ];
            for (name, rows, cols, bias) in linears {
                all.push((format!("model.layers.{layer}.{name}.weight"), vec![rows, cols]));
                if bias {
                    all.push((format!("model.layers.{layer}.{name}.bias"), vec![rows]));
                }
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                all.push((format!("model.layers.{layer}.{name}.weight"), vec![hidden]));
            }
        }
        all.push(("model.norm.weight".to_string(), vec![hidden]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_string(), vec![self.vocab_size, hidden]));
        }
        all
    }

    /// Number of parameters; a tied embedding counts once.
    pub fn num_params(&self) -> usize {
        self.parameter_shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// RoPE's angular frequencies, `head_dim / 2` of them, scaling included:
    /// `inv_freq[i] = rope_theta^(-2 i / head_dim)`, then [`RopeScaling::apply`].
    ///
    /// Pair `i` of a head at position `p` turns by `p * inv_freq[i]`.
    pub fn inv_freq(&self) -> Vec<f64> {
        let mut freqs = rope::plain_frequencies(self.rope_theta, self.head_dim);
        if let Some(scaling) = &self.rope_scaling {
            scaling.apply(&mut freqs);
        }
        freqs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects every reported parameter count: the published totals of real models.
    #[test]
    fn counts_match_the_published_models() {
        for (name, count) in [
            ("llama-2-7b", 6_738_415_616),
            ("llama-2-13b", 13_015_864_320),
            ("llama-2-70b", 68_976_648_192),
            ("llama-3-8b", 8_030_261_248),
            ("llama-3.2-1b", 1_235_814_400),
            ("llama-3.2-3b", 3_212_749_824),
            ("tinyllama-1.1b", 1_100_048_384),
            ("smollm2-135m", 134_515_008),
        ] {
            let config = LlamaConfig::preset(name).unwrap();
            config.validate().unwrap();
            assert_eq!(config.num_params(), count, "{name}");
        }
    }

    /// Protects loading: biases appear exactly where the configuration says.
    #[test]
    fn biases_are_listed() {
        let mut config = LlamaConfig::preset("stories260k").unwrap();
        config.qkv_bias = true;
        let shapes = config.parameter_shapes();
        let biases: Vec<_> = shapes.iter().filter(|(n, _)| n.ends_with(".bias")).collect();
        assert_eq!(biases.len(), 3 * config.num_hidden_layers);
        assert_eq!(biases[1], &("model.layers.0.self_attn.k_proj.bias".to_string(), vec![32]));
    }

    /// Protects against nonsense sizes reaching an allocation.
    #[test]
    fn inconsistent_sizes_are_refused() {
        let good = LlamaConfig::preset("stories260k").unwrap();
        let says = |change: fn(&mut LlamaConfig), needle: &str| {
            let mut config = good.clone();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(needle), "{message}");
        };
        says(|c| c.num_key_value_heads = 3, "not a multiple");
        says(|c| c.head_dim = 7, "even");
        says(|c| c.hidden_size = 0, "`hidden_size` is 0");
        says(|c| c.vocab_size = usize::MAX, "`vocab_size`");
        says(|c| c.rope_theta = f64::NAN, "rope_theta");
        says(|c| c.eos_token_ids = vec![512], "512");
    }
}
