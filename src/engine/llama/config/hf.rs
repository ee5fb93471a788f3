//! Hugging Face's `config.json`, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) and of
//! transformers 5 (`rope_parameters`); and the same keys as options of a script.

use super::{LlamaConfig, RopeScaling};
use crate::engine::{Error, Result, error::unknown_name};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Fields that a model cannot be built without.
const REQUIRED: [&str; 5] =
    ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"];

/// Fields that have a default.
const OPTIONAL: [&str; 17] = [
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "attention_bias",
    "attention_out_bias",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "hidden_act",
    "model_type",
    "sliding_window",
];

type Parse<T> = std::result::Result<T, String>;

impl LlamaConfig {
    /// Reads Hugging Face's `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] naming the file and the field otherwise.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let value: Value = serde_json::from_str(&text).map_err(|e| Error::format(path, format!("not JSON: {e}")))?;
        parse(&value).map_err(|message| Error::format(path, message))
    }

    /// From the keys of `config.json`; keys that say nothing about the shape are ignored.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is missing, of the wrong type, or inconsistent.
    pub fn from_json(value: &Value) -> Result<Self> {
        parse(value).map_err(|message| Error::config(format!("model configuration: {message}")))
    }

    /// As [`LlamaConfig::from_json`], but for what a person typed: an unknown key is an error. The key `preset` names a
    /// [`LlamaConfig::preset`] that the other keys change.
    ///
    /// # Errors
    /// As for [`LlamaConfig::from_json`], and for unknown keys with the nearest known one suggested.
    pub fn from_options(value: &Value) -> Result<Self> {
        let Some(options) = value.as_object() else {
            return Err(Error::config(format!("model configuration: expected a map, found {}", kind(value))));
        };
        let known = || REQUIRED.iter().chain(&OPTIONAL).copied().chain(["preset"]);
        if let Some(unknown) = options.keys().find(|k| !known().any(|name| name == k.as_str())) {
            return Err(unknown_name("key of a model configuration", unknown, known()));
        }
        let Some(preset) = options.get("preset") else { return Self::from_json(value) };
        let Some(name) = preset.as_str() else {
            return Err(Error::config(format!("`preset` must be a string, found {}", kind(preset))));
        };
        let mut base = Self::preset(name)?.to_hf_json();
        if let Some(base) = base.as_object_mut() {
            // Sizes that follow from others must follow the changed ones.
            if options.contains_key("hidden_size") || options.contains_key("num_attention_heads") {
                base.remove("head_dim");
            }
            if options.contains_key("num_attention_heads") {
                base.remove("num_key_value_heads");
            }
            if options.contains_key("rope_theta") || options.contains_key("rope_scaling") {
                base.remove("rope_parameters");
            }
            base.extend(options.iter().filter(|(k, _)| *k != "preset").map(|(k, v)| (k.clone(), v.clone())));
        }
        Self::from_json(&base)
    }

    /// The `config.json` of this model; transformers 4 and 5 both read it, and so does [`LlamaConfig::from_json`].
    pub fn to_hf_json(&self) -> Value {
        let scaling = self.rope_scaling.as_ref().map(|s| scaling_json(s, self.max_position_embeddings));
        let mut parameters = scaling.clone().unwrap_or_else(|| json!({ "rope_type": "default" }));
        parameters["rope_theta"] = json!(self.rope_theta);
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        let mut out = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": scaling,
            "rope_parameters": parameters,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.qkv_bias,
            "mlp_bias": self.mlp_bias,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
        });
        if self.o_bias != self.qkv_bias {
            // transformers has one flag for all four projections; this key is ours.
            out["attention_out_bias"] = json!(self.o_bias);
        }
        out
    }
}

/// Written as Hugging Face's `config.json`.
impl serde::Serialize for LlamaConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_hf_json().serialize(serializer)
    }
}

/// Read from Hugging Face's `config.json`.
impl<'de> serde::Deserialize<'de> for LlamaConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        parse(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn parse(value: &Value) -> Parse<LlamaConfig> {
    let Some(map) = value.as_object() else { return Err(format!("expected an object, found {}", kind(value))) };
    let fields = Fields(map);
    check_architecture(&fields)?;
    for name in REQUIRED {
        if fields.get(name).is_none() {
            return Err(format!("the field `{name}` is missing"));
        }
    }
    let size = |name: &str, default: usize| Ok::<_, String>(fields.size(name)?.unwrap_or(default));
    let (hidden_size, heads) = (size("hidden_size", 0)?, size("num_attention_heads", 0)?);
    let head_dim = match fields.size("head_dim")? {
        Some(given) => given,
        None if heads == 0 || !hidden_size.is_multiple_of(heads) => {
            return Err(format!(
                "`hidden_size` ({hidden_size}) is not a multiple of `num_attention_heads` ({heads}), and no `head_dim` \
                 is given"
            ));
        }
        None => hidden_size / heads,
    };
    let max_position_embeddings = size("max_position_embeddings", 2048)?;
    let (rope_theta, rope_scaling) = rope(&fields, max_position_embeddings)?;
    let vocab_size = size("vocab_size", 0)?;
    let attention_bias = fields.flag("attention_bias")?;
    let config = LlamaConfig {
        vocab_size,
        hidden_size,
        intermediate_size: size("intermediate_size", 0)?,
        num_hidden_layers: size("num_hidden_layers", 0)?,
        num_attention_heads: heads,
        num_key_value_heads: size("num_key_value_heads", heads)?,
        head_dim,
        max_position_embeddings,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: attention_bias.unwrap_or(false),
        o_bias: fields.flag("attention_out_bias")?.or(attention_bias).unwrap_or(false),
        mlp_bias: fields.flag("mlp_bias")?.unwrap_or(false),
        bos_token_id: fields.ids("bos_token_id")?.first().copied(),
        eos_token_ids: fields.ids("eos_token_id")?,
        // Many published configs name a padding token that the embedding has no row for (-1, or vocab_size itself).
        pad_token_id: fields.ids("pad_token_id")?.first().copied().filter(|id| (*id as usize) < vocab_size),
    };
    config.check()?;
    Ok(config)
}

fn check_architecture(fields: &Fields) -> Parse<()> {
    let model_type = fields.get("model_type").and_then(Value::as_str).unwrap_or("llama");
    if !["llama", "mistral"].contains(&model_type) {
        return Err(format!("`model_type` is \"{model_type}\"; only \"llama\" and \"mistral\" are supported"));
    }
    if let Some(window) = fields.size("sliding_window")? {
        let context = fields.size("max_position_embeddings")?.unwrap_or(2048);
        if window < context {
            return Err(format!(
                "`sliding_window` is {window}, below the context length of {context}; windowed attention is not supported"
            ));
        }
    }
    match fields.get("hidden_act").map(|v| v.as_str().unwrap_or("?")) {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(format!("`hidden_act` is \"{other}\"; only \"silu\" is supported")),
    }
}

/// Theta and scaling. transformers 5 keeps both in `rope_parameters`; 4 has `rope_theta` and `rope_scaling`.
fn rope(fields: &Fields, context: usize) -> Parse<(f64, Option<RopeScaling>)> {
    let parameters = match fields.get("rope_parameters") {
        None => None,
        Some(Value::Object(map)) => Some(Fields(map)),
        Some(other) => return Err(format!("`rope_parameters` must be an object, found {}", kind(other))),
    };
    let inner_theta = parameters.as_ref().map_or(Ok(None), |p| p.number("rope_theta"))?;
    let theta = inner_theta.or(fields.number("rope_theta")?).unwrap_or(10_000.0);
    let scaling = match (&parameters, fields.get("rope_scaling")) {
        (Some(p), _) => scaling(p, context)?,
        (None, None) => None,
        (None, Some(Value::Object(map))) => scaling(&Fields(map), context)?,
        (None, Some(other)) => return Err(format!("`rope_scaling` must be an object or null, found {}", kind(other))),
    };
    Ok((theta, scaling))
}

fn scaling(fields: &Fields, context: usize) -> Parse<Option<RopeScaling>> {
    let name = fields.get("rope_type").or(fields.get("type"));
    let name = name.map_or("default", |v| v.as_str().unwrap_or("?"));
    let need = |key: &str| fields.number(key)?.ok_or(format!("RoPE scaling \"{name}\": the field `{key}` is missing"));
    match name {
        "default" => Ok(None),
        "linear" => Ok(Some(RopeScaling::Linear { factor: need("factor")? })),
        "llama3" => Ok(Some(RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_max_position_embeddings: fields
                .size("original_max_position_embeddings")?
                .ok_or("RoPE scaling \"llama3\": the field `original_max_position_embeddings` is missing")?,
        })),
        "longrope" => longrope(fields, context).map(Some),
        other => Err(format!("RoPE scaling \"{other}\" is not supported; supported are default, linear and llama3")),
    }
}

/// The one kind of longrope that is a fixed divisor per frequency: what [`scaling_json`] writes for such divisors.
fn longrope(fields: &Fields, context: usize) -> Parse<RopeScaling> {
    let unsupported = || "RoPE scaling \"longrope\" is supported only with one fixed set of factors".to_string();
    let (short, long) = (fields.get("short_factor"), fields.get("long_factor"));
    let fixed = short == long
        && fields.number("attention_factor")? == Some(1.0)
        && fields.size("original_max_position_embeddings")?.is_none_or(|n| n == context);
    let values = short.and_then(Value::as_array).filter(|_| fixed).ok_or_else(unsupported)?;
    let factors: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
    factors.map(RopeScaling::Factors).ok_or_else(unsupported)
}

fn scaling_json(scaling: &RopeScaling, context: usize) -> Value {
    match scaling {
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Factors(factors) => json!({
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": factors,
            "attention_factor": 1.0,
            "original_max_position_embeddings": context,
        }),
    }
}

/// Typed access to a JSON object; absent and null are the same.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn typed<T>(&self, name: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Parse<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| format!("`{name}` must be {wanted}, found {value}"))
    }

    fn size(&self, name: &str) -> Parse<Option<usize>> {
        self.typed(name, "a count", |v| {
            // Some writers store whole numbers as 32.0.
            let whole =
                v.as_u64().or_else(|| v.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64))?;
            usize::try_from(whole).ok()
        })
    }

    fn number(&self, name: &str) -> Parse<Option<f64>> {
        self.typed(name, "a number", Value::as_f64)
    }

    fn flag(&self, name: &str) -> Parse<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A token id, a list of them, or nothing; a negative id means none.
    fn ids(&self, name: &str) -> Parse<Vec<u32>> {
        let one = |v: &Value| match v.as_i64() {
            Some(id) if id < 0 => Some(None),
            Some(id) => u32::try_from(id).ok().map(Some),
            None => None,
        };
        let ids = self.typed(name, "a token id or a list of them", |v| match v {
            Value::Array(all) => all.iter().map(one).collect::<Option<Vec<_>>>(),
            single => one(single).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default().into_iter().flatten().collect())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Value {
        json!({ "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
                "num_attention_heads": 4 })
    }

    fn with(changes: Value) -> Result<LlamaConfig> {
        let mut value = minimal();
        value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        LlamaConfig::from_json(&value)
    }

    /// Protects against the silent theta of 10000: all spellings of the same RoPE are read alike.
    #[test]
    fn both_spellings_of_rope() {
        let llama3 = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 8192 });
        let four = with(json!({ "rope_theta": 500000.0, "rope_scaling": llama3 })).unwrap();
        let mut parameters = llama3;
        parameters["rope_theta"] = json!(500000.0);
        let five = with(json!({ "rope_parameters": parameters })).unwrap();
        assert_eq!(four, five);
        assert_eq!(five.rope_theta, 500_000.0);
        let old = with(json!({ "rope_scaling": { "type": "linear", "factor": 2 } })).unwrap();
        assert_eq!(old.rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
        let plain = with(json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 1e5 } })).unwrap();
        assert_eq!((plain.rope_theta, plain.rope_scaling), (1e5, None));
    }

    /// Protects saved models: what is written is read back as it was, for every preset and every kind of scaling.
    #[test]
    fn survives_a_round_trip() {
        let mut all: Vec<LlamaConfig> = LlamaConfig::preset_names().map(|n| LlamaConfig::preset(n).unwrap()).collect();
        let mut odd = all[0].clone();
        odd.rope_scaling = Some(RopeScaling::Factors(vec![1.5; odd.head_dim / 2]));
        odd.qkv_bias = true;
        odd.eos_token_ids = vec![2, 7];
        all.push(odd);
        for config in all {
            assert_eq!(LlamaConfig::from_json(&config.to_hf_json()).unwrap(), config);
        }
    }

    /// Protects the messages that a person sees for a damaged config.json: the field is named.
    #[test]
    fn bad_fields_are_named() {
        let mut missing = minimal();
        missing.as_object_mut().unwrap().remove("intermediate_size");
        let says = |r: Result<LlamaConfig>, needle: &str| {
            let message = r.unwrap_err().to_string();
            assert!(message.contains(needle), "{message}");
        };
        says(LlamaConfig::from_json(&missing), "`intermediate_size` is missing");
        says(with(json!({ "hidden_size": "big" })), "`hidden_size` must be a count");
        says(with(json!({ "hidden_size": 18 })), "not a multiple");
        says(with(json!({ "rope_scaling": { "rope_type": "yarn", "factor": 2.0 } })), "\"yarn\"");
        says(with(json!({ "rope_scaling": { "rope_type": "linear" } })), "`factor` is missing");
        says(with(json!({ "model_type": "qwen2" })), "\"qwen2\"");
        says(with(json!({ "hidden_act": "gelu" })), "\"gelu\"");
        says(with(json!({ "vocab_size": -3 })), "`vocab_size` must be a count");
    }

    /// Protects stop conditions: eos as a number, a list, null or -1.
    #[test]
    fn eos_in_every_spelling() {
        assert_eq!(with(json!({ "eos_token_id": 2 })).unwrap().eos_token_ids, [2]);
        assert_eq!(with(json!({ "eos_token_id": [2, 3] })).unwrap().eos_token_ids, [2, 3]);
        assert!(with(json!({ "eos_token_id": null, "pad_token_id": -1 })).unwrap().eos_token_ids.is_empty());
    }

    /// Protects scripts: a misspelled key is refused with a suggestion, and a preset can be changed.
    #[test]
    fn options_are_strict() {
        let error = LlamaConfig::from_options(&json!({ "hiden_size": 16 })).unwrap_err();
        assert!(error.help().unwrap().contains("hidden_size"));
        let small =
            LlamaConfig::from_options(&json!({ "preset": "llama-2-7b", "num_hidden_layers": 2, "hidden_size": 512 }));
        let small = small.unwrap();
        assert_eq!((small.num_hidden_layers, small.head_dim, small.vocab_size), (2, 16, 32_000));
    }
}
