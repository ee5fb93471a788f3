//! What integration tests share.

use std::path::PathBuf;

/// SmolLM2-135M-Instruct's GGUF, from `HOST_TEST_SMOLLM2`. `None` only where `HOST_TEST_SKIP_SMOLLM2=1` says so.
pub fn smollm2() -> Option<PathBuf> {
    if std::env::var("HOST_TEST_SKIP_SMOLLM2").is_ok_and(|v| v == "1") {
        eprintln!("skipped: HOST_TEST_SKIP_SMOLLM2=1");
        return None;
    }
    match std::env::var_os("HOST_TEST_SMOLLM2") {
        Some(path) => Some(path.into()),
        None => panic!("HOST_TEST_SMOLLM2 is not set: run the tests with `bash tests/run.sh`, which fetches the model"),
    }
}
