#!/usr/bin/env bash
# Ours against PyTorch + PEFT and llama.cpp, in turn: bash tests/bench/compare.sh --gguf .. --f32 .. --bf16 .. ; see compare.py.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
