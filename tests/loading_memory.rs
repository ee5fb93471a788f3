//! Heap use while weights are read. A program of its own: the counters are the whole process's.

use candle_core::{DType, Device};
use lora_host::engine::llama::config::LlamaConfig;
use lora_host::engine::llama::weights::Checkpoint;
use lora_host::engine::memory;
use safetensors::tensor::{Dtype, TensorView};

/// Protects large models: opening one maps it and puts none of it on the heap; reading a tensor takes the tensor's own
/// size and little more, conversion included; a header that claims much allocates little.
#[test]
fn never_two_copies() {
    let config = LlamaConfig::from_json(&serde_json::json!({
        "vocab_size": 8192, "hidden_size": 1024, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 8, "tie_word_embeddings": true,
    }))
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    {
        let shapes = config.parameter_shapes();
        let data: Vec<Vec<u8>> = shapes.iter().map(|(_, s)| vec![1; 2 * s.iter().product::<usize>()]).collect();
        let views = shapes.iter().zip(&data);
        let views = views.map(|((name, shape), d)| (name, TensorView::new(Dtype::BF16, shape.clone(), d).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_hf_json().to_string()).unwrap();
    }
    let rise = |work: &mut dyn FnMut()| {
        memory::reset_peak();
        let before = memory::current();
        work();
        memory::peak() - before
    };
    let mut checkpoint = None;
    let opening = rise(&mut || checkpoint = Some(Checkpoint::open(dir.path().to_str().unwrap()).unwrap()));
    assert!(opening < 1 << 20, "opening took {opening} bytes");
    let checkpoint = checkpoint.unwrap();
    let n = 8192 * 1024;
    for (dtype, size) in [(DType::F32, 4 * n), (DType::BF16, 2 * n)] {
        let load = || checkpoint.load("model.embed_tokens.weight", &[8192, 1024], dtype, &Device::Cpu).unwrap();
        let loading = rise(&mut || drop(load()));
        assert!(loading >= size && loading < size + size / 4, "loading {size} bytes of {dtype:?} took {loading}");
    }
}
