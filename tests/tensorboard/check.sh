#!/usr/bin/env bash
# Trains the built-in model for three steps and reads the event file back with the real `tensorboard` package: every number
# must be the log's (as f32), and settings and notes must be there as text. Needs python3 with pip, and the network.
# `HOST` names the program [default: target/release/host]; `PYTHON` one that has the package already.
set -euo pipefail
cd "$(dirname "$0")/../.."
host=$(realpath "${HOST:-target/release/host}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --quiet install tensorboard
    PYTHON="$work/venv/bin/python"
fi
cp tests/tensorboard/three_steps.rhai "$work"
(cd "$work" && "$host" run --quiet three_steps.rhai)
"$PYTHON" tests/tensorboard/check.py "$work/runs/three"
