//! GGUF files whose weights stay quantized: `dtype: "auto"` beside the same file in f32.

use crate::gguf::{Writer, writer};
use crate::tiny::tensors;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor as Value};
use lora_host::engine::Result;
use lora_host::engine::generate::GenerateConfig;
use lora_host::engine::llama::config::LlamaConfig;
use lora_host::engine::llama::init::WeightDtype;
use lora_host::engine::llama::{Llama, cache::KvCache};
use lora_host::engine::lora::LoraConfig;
use lora_host::engine::rng;
use std::path::{Path, PathBuf};
use std::process::Command;

fn config() -> LlamaConfig {
    LlamaConfig::from_json(&serde_json::json!({
        "vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }))
    .unwrap()
}

/// A file that mixes formats as llama.cpp's do, one of them (Q5_0) without a kernel.
fn mixed() -> Writer {
    let all = tensors(&config());
    let mut w = writer(&config(), &all);
    for (name, shape, number, data) in &mut w.tensors {
        let (kind, dtype) = match name.as_str() {
            "token_embd.weight" => (8, GgmlDType::Q8_0),
            n if n.contains("norm") => continue,
            n if n.contains("attn_v") => (6, GgmlDType::Q5_0),
            n if n.contains("attn") => (2, GgmlDType::Q4_0),
            _ => (3, GgmlDType::Q4_1),
        };
        let values: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let values = Value::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
        (*number, *data) = (kind, QTensor::quantize(&values, dtype).unwrap().data().unwrap().to_vec());
    }
    w
}

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        let file = File(tempfile::tempdir().unwrap());
        std::fs::write(file.path(), mixed().bytes()).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("m.gguf")
    }

    fn load(&self, dtype: impl Into<WeightDtype>) -> Llama {
        load(&self.path(), dtype).unwrap()
    }
}

fn load(path: &Path, dtype: impl Into<WeightDtype>) -> Result<Llama> {
    Llama::load(path.to_str().unwrap(), dtype, &Device::Cpu, &mut |_, _| ())
}

fn numbers(v: &Value) -> Vec<f32> {
    v.flatten_all().unwrap().to_vec1().unwrap()
}

fn distance(got: &Value, want: &Value) -> f32 {
    let (got, want) = (numbers(got), numbers(want));
    let square = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
    (square(&mut got.iter().zip(&want).map(|(g, w)| g - w)) / square(&mut want.iter().copied())).sqrt()
}

fn ids(n: u32) -> Value {
    Value::from_vec((0..n).map(|i| (i * 7 + 3) % 50).collect::<Vec<u32>>(), (1, n as usize), &Device::Cpu).unwrap()
}

/// Protects what `auto` promises: blocks with a kernel stay, others become floats as ever, and nothing else of the model is
/// another one.
#[test]
fn blocks_stay_where_there_is_a_kernel() {
    let (file, progress) = (File::new(), std::cell::Cell::new((0, 0)));
    let path = file.path();
    let report = &mut |done, total| progress.set((done, total));
    let auto = Llama::load(path.to_str().unwrap(), WeightDtype::Auto, &Device::Cpu, report).unwrap();
    let f32 = file.load(DType::F32);
    let (mine, theirs) = (auto.parameters(), f32.parameters());
    assert_eq!(progress.get(), (mine.len(), mine.len()));
    assert_eq!((auto.num_params(), auto.num_trainable()), (f32.num_params(), 0));
    let bytes = |all: &[(String, lora_host::engine::param::Param)]| all.iter().map(|(_, p)| p.bytes()).sum::<usize>();
    assert!(bytes(&mine) * 3 < bytes(&theirs));
    for ((name, p), (other, q)) in mine.iter().zip(&theirs) {
        assert_eq!((name, p.dims()), (other, q.dims()));
        let want = match name.as_str() {
            "model.embed_tokens.weight" => "q8_0",
            n if n.contains("norm") || n.contains("v_proj") => "f32",
            n if n.contains("self_attn") => "q4_0",
            _ => "q4_1",
        };
        assert_eq!(p.dtype_name(), want, "{name}");
    }
    assert_eq!((auto.dtype_name(), auto.dtype, f32.dtype_name()), ("q4_1", DType::F32, "f32"));
    // A file of floats is loaded in the float that it has.
    assert_eq!(load(Path::new("builtin:stories260K"), WeightDtype::Auto).unwrap().dtype_name(), "f32");
}

/// Protects the numbers: in training logits are those of the dequantized model to the bit; token by token they agree to three
/// digits, so that greedy answers are the same; a prompt is read in bf16.
#[test]
fn logits_are_the_dequantized_models() -> Result<()> {
    let file = File::new();
    let (mut auto, mut f32) = (file.load(WeightDtype::Auto), file.load(DType::F32));
    for n in [1, 8, 9, 30] {
        let (got, want) = (auto.forward(&ids(n), None)?, f32.forward(&ids(n), None)?);
        assert!(numbers(got.value()) == numbers(want.value()), "{n} tokens, exact");
        auto.training = false;
        let error = distance(auto.forward(&ids(n), None)?.value(), want.value());
        auto.training = true;
        assert!(error < if n <= 8 { 1e-3 } else { 3e-2 }, "{n} tokens, quick: {error}");
    }
    let (mut a, mut b) = (KvCache::new(2), KvCache::new(2));
    for id in 0..20u32 {
        let id = Value::from_vec(vec![id], (1, 1), &Device::Cpu)?;
        let step = |m: &mut Llama, cache: &mut KvCache| m.inference(|m| m.next_logits(&id, cache));
        let error = distance(&step(&mut auto, &mut a)?, &step(&mut f32, &mut b)?);
        assert!(error < 1e-3, "a token behind the cache: {error}");
    }
    let how = GenerateConfig { max_new_tokens: 30, stop_at_eos: false, ..Default::default() };
    let answer = |m: &mut Llama| m.generate(&[5, 6, 7], &how, &mut |_| Ok(())).map(|g| g.ids);
    assert_eq!(answer(&mut auto)?, answer(&mut f32)?);
    Ok(())
}

/// Protects training on a quantized base: loss and the adapter's gradients are those on the dequantized one, to the bit, with
/// checkpoints and without, and evaluation agrees.
#[test]
fn an_adapter_trains_as_on_the_dequantized_base() -> Result<()> {
    let file = File::new();
    let run = |dtype: WeightDtype, every: usize| -> Result<(f64, f64, Vec<Vec<f32>>)> {
        let mut model = file.load(dtype);
        rng::seed(3);
        model.freeze()?;
        model.inject_lora(LoraConfig { rank: 4, dropout: 0.2, ..LoraConfig::default() })?;
        for (i, (_, t)) in model.trainable()?.iter().enumerate() {
            let noise: Vec<f32> = (0..t.len()).map(|j| ((i * 31 + j * 17) % 13) as f32 / 50.0 - 0.12).collect();
            t.assign(&Value::from_vec(noise, t.dims(), &Device::Cpu)?)?;
        }
        model.checkpoint_every = every;
        let labels: Vec<i64> = numbers(&ids(20).to_dtype(DType::F32)?).into_iter().map(|x| x as i64).collect();
        rng::seed(9);
        let loss = model.loss(&ids(20), &labels, None)?.mean;
        loss.backward()?;
        let grads = model.trainable()?.iter().map(|(_, t)| numbers(&t.grad().unwrap())).collect();
        Ok((loss.item()?, model.evaluate(&ids(20), &labels, None)?.0, grads))
    };
    let (loss, held_out, grads) = run(DType::F32.into(), 0)?;
    for every in [0, 1] {
        let (other, other_held_out, others) = run(WeightDtype::Auto, every)?;
        assert!(loss.to_bits() == other.to_bits() && grads == others, "checkpoint_every({every})");
        assert!((held_out / other_held_out - 1.0).abs() < 5e-3, "{held_out} {other_held_out}");
    }
    Ok(())
}

/// Protects people from what quantized weights cannot do: each is refused before anything is changed, with a way out.
#[test]
fn what_needs_floats_is_refused() -> Result<()> {
    let file = File::new();
    let mut model = file.load(WeightDtype::Auto);
    let refused = |e: lora_host::engine::Error, needles: &[&str]| {
        let text = format!("{e}: {}", e.help().unwrap_or(""));
        needles.iter().for_each(|n| assert!(text.contains(n), "{text}"));
    };
    refused(model.unfreeze("*").unwrap_err(), &["embed_tokens", "q8_0", "dtype: \"f32\"", "inject_lora"]);
    assert_eq!(model.num_trainable(), 0);
    assert_eq!(model.unfreeze("norm")?, 5);
    model.freeze()?;
    refused(model.save(file.0.path()).unwrap_err(), &["save", "q8_0", "dtype: \"f32\""]);
    refused(model.state(true).unwrap_err(), &["q8_0", "dtype: \"f32\""]);
    model.inject_lora(LoraConfig::default())?;
    refused(model.merge_adapter().unwrap_err(), &["q_proj", "q4_0", "load_adapter"]);
    // The adapter is still there, and can be carried to a model that can take it in.
    model.save_adapter(&file.0.path().join("adapter"))?;
    let mut wide = file.load(DType::F32);
    wide.load_adapter(&file.0.path().join("adapter"))?;
    wide.merge_adapter()?;
    // A file that ends too early is named as ever.
    let bytes = mixed().bytes();
    std::fs::write(file.path(), &bytes[..bytes.len() - 100]).unwrap();
    let e = load(&file.path(), WeightDtype::Auto).unwrap_err();
    assert!(e.to_string().contains("cut short"), "{e}");
    Ok(())
}

/// Protects the way that people go: a training step on a quantized base, an answer and the errors, in a script.
#[test]
fn a_script_trains_on_a_quantized_base() {
    let file = File::new();
    let script = r#"
        let m = llama::load(args()[0], #{ dtype: "auto" });
        print(`${m.dtype} ${m.weight_mib < 0.1} ${m.parameters()[0].dtype} ${m.parameters()[7].dtype}`);
        m.freeze();
        m.inject_lora(#{ rank: 4 });
        let opt = optim::adamw(m.trainable(), #{ lr: 0.05 });
        let loss = || m.forward([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).pow(2.0).mean();
        let before = loss.call().item();
        for i in 0..5 { loss.call().backward(); opt.step(); opt.zero_grad(); }
        print(loss.call().item() < before);
        print(m.complete([1, 2, 3], #{ max_new_tokens: 4, stop_at_eos: false }).ids.len);
        for f in [|| m.unfreeze("*"), || m.merge_adapter(), || llama::load(args()[0], #{ dtype: "q4_1" }),
            || llama::from_config("llama-2-7b", #{ init: "shapes", dtype: "auto" }), || plan(#{ model: m })] {
            try { f.call(); print("no error"); } catch (e) { print(e.message + " | " + e.help); }
        }
    "#;
    let path = file.0.path().join("t.rhai");
    std::fs::write(&path, script).unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_host")).arg("run").arg(&path).arg(file.path()).output().unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success(), "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], ["q4_1 true q8_0 q4_1", "true", "4"], "{out}{err}");
    let needles = ["inject_lora", "load_adapter(dir)", "\"auto\" keeps", "name one", "measure_step"];
    assert_eq!(lines.len(), 8, "{out}");
    lines[3..].iter().zip(needles).for_each(|(line, needle)| assert!(line.contains(needle), "{line}: {needle}"));
}
