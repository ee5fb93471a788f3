//! What a model's path may be.

use crate::tiny::assert_refused;
use lora_host::engine::llama::weights::{Checkpoint, Format};

/// Protects a mistyped path: the message says that nothing is there, the help what would be a model.
#[test]
fn a_missing_path_says_what_would_be_accepted() {
    let error = Checkpoint::open("no/such/model.gguf").unwrap_err();
    assert!(error.to_string().contains("no/such/model.gguf"), "{error}");
    let help = error.help().unwrap();
    for word in ["config.json", "params.json", ".gguf", ".bin", "builtin:stories260K"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(Checkpoint::open("builtin:stories").unwrap_err().help().unwrap().contains("stories260K"));
}

/// Protects the way without a download: the built-in model is whole and has the published number of parameters.
#[test]
fn the_builtin_model_opens() {
    let checkpoint = Checkpoint::open("builtin:stories260K").unwrap();
    assert_eq!(checkpoint.format, Format::Builtin);
    assert_eq!(checkpoint.config.num_params(), 260_032);
    assert_eq!(checkpoint.stored_dtype(), "f32");
    let tokenizer = checkpoint.tokenizer.unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos_id(), tokenizer.eos_id()), (512, Some(1), Some(2)));
    let text = "Once upon a time, there was a little girl named Lily.\n";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
}

/// Protects against a wrong directory or file: the message says what was looked for.
#[test]
fn things_that_are_no_model_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(dir.path(), &["config.json", "params.json", "GGUF"]);
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "a text of more than twenty-eight bytes, and no model").unwrap();
    assert_refused(&file, &["not a model"]);
    std::fs::write(&file, "short").unwrap();
    assert_refused(&file, &["missing"]);
    std::fs::write(&file, "").unwrap();
    assert_refused(&file, &["missing"]);
    let lonely = dir.path().join("model.safetensors");
    std::fs::write(&lonely, [0; 64]).unwrap();
    assert_refused(&lonely, &["config.json"]);
    let zip = dir.path().join("pytorch_model.bin");
    std::fs::write(&zip, [&b"PK\x03\x04"[..], &[0; 60]].concat()).unwrap();
    assert_refused(&zip, &["safetensors"]);
}
