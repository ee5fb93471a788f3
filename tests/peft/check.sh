#!/usr/bin/env bash
# An adapter saved by host loads in the real peft package and gives the same logits, and the other way round:
#
#   bash tests/peft/check.sh MODEL ADAPTER_DIR
#
# Installs torch, transformers and peft into a virtual environment of its own on the first run (several gigabytes, which
# is why this is no part of tests/run.sh). PEFT_VENV names another one; HOST names the binary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${1:?usage: check.sh MODEL ADAPTER_DIR}
adapter=${2:?usage: check.sh MODEL ADAPTER_DIR}
host=${HOST:-$here/../../target/release/host}
venv=${PEFT_VENV:-$HOME/.cache/lora-host-tests/peft-venv}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet torch transformers peft
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$host" run --quiet "$here/logits.rhai" --model "$model" --adapter "$adapter" --save "$dir" > "$dir/ours.json"
"$venv/bin/python" "$here/check.py" "$dir"
"$host" run --quiet "$here/logits.rhai" --model "$dir/base" --adapter "$dir/peft_saved" > "$dir/back.json"
"$venv/bin/python" "$here/check.py" "$dir" --back
