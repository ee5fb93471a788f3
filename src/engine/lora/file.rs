//! Adapter files in PEFT's layout: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Keys are `base_model.model.<module>.lora_A.weight` `[rank, in]` and `..lora_B.weight` `[out, rank]`. Reading is strict:
//! a key that does not fit the base, or a module without its pair, is an error and never skipped.

use super::config::{LoraConfig, Targets, scale};
use super::linear::{Adapter, Linear};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::cpu::accumulator;
use candle_core::{DType, Device, Tensor as Value};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const PREFIX: &str = "base_model.model.";
const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes the adapters of `modules` (full name, layer) into the directory `dir`, which is made if missing.
///
/// # Errors
/// If no module carries an adapter, or the directory cannot be written.
pub fn save(dir: &Path, modules: &[(String, &Linear)], config: &LoraConfig, base: &str) -> Result<()> {
    let mut tensors: Vec<(String, Value)> = Vec::new();
    for (name, linear) in modules {
        if let Some(adapter) = &linear.adapter {
            tensors.push((format!("{PREFIX}{name}.lora_A.weight"), adapter.a.tensor()?.value().clone()));
            tensors.push((format!("{PREFIX}{name}.lora_B.weight"), adapter.b.tensor()?.value().clone()));
        }
    }
    if tensors.is_empty() {
        return Err(Error::config_help("the model carries no adapter to save", "call inject_lora first"));
    }
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let cpu: Vec<(String, Value)> = tensors
        .into_iter()
        .map(|(name, t)| Ok((name, t.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_>>()?;
    let metadata = Some(HashMap::from([("format".to_string(), "pt".to_string())]));
    let bytes = safetensors::serialize(cpu.iter().map(|(n, t)| (n.as_str(), t)), metadata)
        .map_err(|e| Error::format(dir.join(WEIGHTS), e.to_string()))?;
    write(&dir.join(WEIGHTS), &bytes)?;
    let json = serde_json::to_vec_pretty(&to_json(config, base))
        .map_err(|e| Error::format(dir.join(CONFIG), e.to_string()))?;
    write(&dir.join(CONFIG), &json)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes).map_err(Error::io(&temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::io(path))
}

fn to_json(config: &LoraConfig, base: &str) -> Json {
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": config.targets.names(),
        "use_rslora": config.rslora,
        "use_dora": false,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "layers_to_transform": null,
        "layers_pattern": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "exclude_modules": null,
    })
}

/// The adapter in the directory `dir`, ready to be put on the layers of a base: by module name.
#[derive(Debug)]
pub struct AdapterFile {
    /// Settings, as `adapter_config.json` gives them.
    pub config: LoraConfig,
    /// The factors, by full module name.
    pub adapters: BTreeMap<String, Adapter>,
}

/// Reads the adapter in `dir` for a base whose linear layers are `modules` (full name, layer), into `device`.
///
/// # Errors
/// If a file is missing or broken, the adapter needs something that is not supported (DoRA, trained biases, saved
/// modules), or any key or shape does not fit the base.
pub fn load(dir: &Path, modules: &[(String, &Linear)], device: &Device) -> Result<AdapterFile> {
    let path = dir.join(CONFIG);
    let text = std::fs::read(&path).map_err(Error::io(&path))?;
    let json: Json = serde_json::from_slice(&text).map_err(|e| Error::format(&path, e.to_string()))?;
    let Json::Object(json) = json else {
        return Err(Error::format(&path, "must be a JSON object"));
    };
    let settings = Settings::read(&path, &json)?;

    let path = dir.join(WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound if dir.join("adapter_model.bin").exists() => Error::format(
            dir.join("adapter_model.bin"),
            "is a pickle; save the adapter with safe_serialization=True (PEFT's default) to get adapter_model.safetensors",
        ),
        _ => Error::io(&path)(e),
    })?;
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| Error::format(&path, e.to_string()))?;
    let known: HashMap<&str, &Linear> = modules.iter().map(|(n, l)| (n.as_str(), *l)).collect();
    let mut pairs: BTreeMap<String, [Option<Value>; 2]> = BTreeMap::new();
    for (key, view) in file.tensors() {
        let parsed = key.strip_prefix(PREFIX).and_then(|k| {
            [".lora_A.weight", ".lora_B.weight"].iter().enumerate().find_map(|(i, s)| Some((k.strip_suffix(s)?, i)))
        });
        let Some((module, which)) = parsed else {
            return Err(Error::format(
                &path,
                format!("key `{key}` is not a LoRA factor of this layout ({PREFIX}<module>.lora_A.weight)"),
            ));
        };
        let Some(linear) = known.get(module) else {
            return Err(Error::format(
                &path,
                format!(
                    "key `{key}`: the base has no linear layer `{module}`; was the adapter trained on another model?"
                ),
            ));
        };
        let (dims, shape) = (linear.weight.dims(), view.shape());
        let fits = shape.len() == 2 && shape[1 - which] == dims[1 - which] && shape[which] > 0;
        if !fits {
            return Err(Error::format(
                &path,
                format!(
                    "key `{key}` has shape {shape:?}, which does not fit the base's `{module}` {dims:?} (expected {})",
                    if which == 0 { format!("[rank, {}]", dims[1]) } else { format!("[{}, rank]", dims[0]) }
                ),
            ));
        }
        let dtype: DType = view
            .dtype()
            .try_into()
            .map_err(|_| Error::format(&path, format!("key `{key}` has dtype {:?}", view.dtype())))?;
        let value =
            Value::from_raw_buffer(view.data(), dtype, shape, device)?.to_dtype(accumulator(linear.weight.dtype()))?;
        pairs.entry(module.to_string()).or_default()[which] = Some(value);
    }
    if pairs.is_empty() {
        return Err(Error::format(&path, "holds no LoRA factor at all"));
    }
    let mut adapters = BTreeMap::new();
    for (module, pair) in pairs {
        let [Some(a), Some(b)] = pair else {
            return Err(Error::format(&path, format!("module `{module}` has only one of lora_A and lora_B")));
        };
        let rank = a.dim(0)?;
        if b.dim(1)? != rank {
            return Err(Error::format(
                &path,
                format!("module `{module}`: lora_A {:?} and lora_B {:?} differ in rank", a.dims(), b.dims()),
            ));
        }
        let (want, alpha) = (settings.rank(&module), settings.alpha(&module));
        if rank != want {
            return Err(Error::format(&path, format!("module `{module}` has rank {rank}, {CONFIG} says {want}")));
        }
        let scale = scale(alpha, rank, settings.config.rslora);
        let dropout = settings.config.dropout;
        adapters.insert(
            module,
            Adapter { a: Tensor::parameter(a)?.into(), b: Tensor::parameter(b)?.into(), scale, dropout },
        );
    }
    let names: Vec<String> = modules.iter().map(|(n, _)| n.clone()).collect();
    if let Ok(expected) = settings.config.targets.select(&names)
        && let Some(missing) = expected.iter().map(|i| &names[*i]).find(|n| !adapters.contains_key(*n))
        && settings.every_layer
    {
        return Err(Error::format(
            &path,
            format!("{CONFIG} names `{missing}` as a target, but its factors are missing"),
        ));
    }
    Ok(AdapterFile { config: settings.config, adapters })
}

struct Settings {
    config: LoraConfig,
    rank_pattern: Vec<(String, f64)>,
    alpha_pattern: Vec<(String, f64)>,
    every_layer: bool,
}

impl Settings {
    fn read(path: &Path, json: &Map<String, Json>) -> Result<Self> {
        let unsupported = |what: &str| Error::format(path, format!("{what} is not supported"));
        if let Some(kind) = json.get("peft_type").and_then(Json::as_str)
            && kind != "LORA"
        {
            return Err(unsupported(&format!("peft_type \"{kind}\"")));
        }
        for flag in ["use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias"] {
            if json.get(flag).and_then(Json::as_bool) == Some(true) {
                return Err(unsupported(&format!("\"{flag}\": true")));
            }
        }
        if let Some(bias) = json.get("bias").and_then(Json::as_str)
            && bias != "none"
        {
            return Err(unsupported(&format!("\"bias\": \"{bias}\"")));
        }
        for list in ["modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication"] {
            if json.get(list).is_some_and(|v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty())) {
                return Err(unsupported(&format!("\"{list}\"")));
            }
        }
        let number = |key: &str| {
            json.get(key)
                .and_then(Json::as_f64)
                .ok_or_else(|| Error::format(path, format!("field `{key}` is missing or not a number")))
        };
        let targets = match json.get("target_modules") {
            Some(Json::Array(names)) => {
                Targets::Names(names.iter().filter_map(Json::as_str).map(str::to_string).collect())
            }
            Some(Json::String(name)) if name == "all-linear" => Targets::AllLinear,
            // PEFT takes a single string as a regular expression over module names; the factors in the file tell.
            _ => Targets::AllLinear,
        };
        let every_layer = matches!(json.get("target_modules"), Some(Json::Array(_)))
            && json.get("layers_to_transform").is_none_or(Json::is_null)
            && json.get("exclude_modules").is_none_or(Json::is_null);
        let pattern = |key: &str| {
            let map = json.get(key).and_then(Json::as_object);
            map.map(|m| m.iter().filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect()).unwrap_or_default()
        };
        let config = LoraConfig {
            rank: number("r")? as usize,
            alpha: number("lora_alpha")?,
            dropout: json.get("lora_dropout").and_then(Json::as_f64).unwrap_or(0.0),
            targets,
            rslora: json.get("use_rslora").and_then(Json::as_bool).unwrap_or(false),
        };
        config.validate().map_err(|e| Error::format(path, e.to_string()))?;
        Ok(Settings {
            config,
            rank_pattern: pattern("rank_pattern"),
            alpha_pattern: pattern("alpha_pattern"),
            every_layer,
        })
    }

    fn rank(&self, module: &str) -> usize {
        matching(&self.rank_pattern, module).map_or(self.config.rank, |r| r as usize)
    }

    fn alpha(&self, module: &str) -> f64 {
        matching(&self.alpha_pattern, module).unwrap_or(self.config.alpha)
    }
}

/// The value whose key is the module's name or its last parts.
fn matching(pattern: &[(String, f64)], module: &str) -> Option<f64> {
    let hit = |key: &str| module == key || module.strip_suffix(key).is_some_and(|p| p.ends_with('.'));
    pattern.iter().find(|(key, _)| hit(key)).map(|(_, v)| *v)
}
