#!/usr/bin/env python3
"""Ours against what a user would otherwise pick, in turn on this machine: medians of several rounds, as a Markdown table.

  python3 tests/bench/compare.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --f32 HF_DIR --bf16 HF_DIR [--python venv/bin/python]
      [--data alpaca_data.json.gz] [--llama-bench PATH] [--host target/release/host] [--rounds 3] [--only step,infer]

--f32 and --bf16 are the same weights as Hugging Face directories (tests/bench/baselines/gguf_to_hf.py makes them). PyTorch,
transformers and peft are those of --python. Two threads each. Run it with nothing else on the machine.
"""
import argparse, json, os, re, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
THREADS = "2"

def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--gguf", required=True)
    ap.add_argument("--f32", required=True)
    ap.add_argument("--bf16", required=True)
    ap.add_argument("--python", default=sys.executable)
    ap.add_argument("--data")
    ap.add_argument("--llama-bench")
    ap.add_argument("--host", default="target/release/host")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--only", default="step,alpaca,infer")
    return ap.parse_args()

def run(command):
    """Output, seconds, seconds to the line `first step`, and the peak resident set in MiB of one process."""
    start = time.perf_counter()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines, first = [], None
    for line in p.stdout:
        lines.append(line)
        if "first step" in line:
            first = time.perf_counter() - start
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return "".join(lines), time.perf_counter() - start, first, usage.ru_maxrss / 1024

def ours(a, script, *options):
    out, seconds, first, rss = run([a.host, "run", "--quiet", "--threads", THREADS, HERE / script, *options])
    found = lambda pattern: (lambda m: float(m[1]) if m else None)(re.search(pattern, out))
    return dict(speed=found(r"([0-9.]+) tokens/s, peak"), prompt=found(r"prompt ([0-9.]+)"), decode=found(r"decode ([0-9.]+)"),
                seconds=seconds, first=first, rss=rss)

def torch(a, script, *options):
    out, seconds, _, rss = run([a.python, HERE / "baselines" / script, "--threads", THREADS, *options])
    r = json.loads(out)
    return dict(speed=r.get("tokens_per_s") or r.get("useful_tokens_per_s"), prompt=r.get("prompt512_tok_s"),
                decode=r.get("decode_loop_tok_s"), seconds=seconds, first=r.get("first_step_after_start_s"), rss=rss)

def llama(a):
    out, *_ = run([a.llama_bench, "-m", a.gguf, "-t", THREADS, "-p", "512", "-n", "128", "-r", "3", "-o", "jsonl"])
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    speed = lambda key: next(r["avg_ts"] for r in rows if r[key] > 0)
    return dict(prompt=speed("n_prompt"), decode=speed("n_gen"), rss=None)

def cases(a):
    """Name, ours, theirs, and what is compared: key, title, whether more is better."""
    only = a.only.split(",")
    speed, rss = ("speed", "tokens/s", True), ("rss", "peak RSS, MiB", False)
    wall, first = ("seconds", "whole process, s", False), ("first", "first step after start, s", False)
    step = ["--model", a.gguf, "--seq-len", "512", "--dropout", "0.0"]
    if "step" in only:
        f32 = ["--model", a.f32, "--seq", "512"]
        bf16 = ["--model", a.bf16, "--dtype", "bf16", "--seq", "512"]
        yield "step, f32", lambda: ours(a, "step.rhai", *step), lambda: torch(a, "torch_lora.py", *f32), [speed, rss]
        yield ("step, f32, checkpointing every 2 blocks (theirs: every block)",
               lambda: ours(a, "step.rhai", *step, "--checkpoint-every", "2"),
               lambda: torch(a, "torch_lora.py", *f32, "--checkpointing"), [speed, rss])
        yield ("step, bf16 weights", lambda: ours(a, "step.rhai", *step, "--dtype", "bf16"),
               lambda: torch(a, "torch_lora.py", *bf16), [speed, rss])
        yield ("step, f32 weights, bf16 autocast", lambda: ours(a, "step.rhai", *step, "--amp", "bf16"),
               lambda: torch(a, "torch_lora.py", *f32, "--autocast"), [speed, rss])
    if "alpaca" in only and a.data:
        mine, theirs = ["--model", a.gguf, "--data", a.data], ["--model", a.f32, "--data", a.data]
        yield ("200 records of Alpaca, f32, packed (theirs: batches of 4, padded)", lambda: ours(a, "alpaca.rhai", *mine, "--pack", "--grad-accum-steps", "2"),
               lambda: torch(a, "torch_alpaca.py", *theirs, "--batch", "4", "--accumulation", "2"), [wall, rss, first])
        yield ("200 records of Alpaca, f32, batch 1, accumulation 8, checkpointing every 2, 128 MiB kept (theirs: every block)",
               lambda: ours(a, "alpaca.rhai", *mine, "--checkpoint-every", "2", "--activation-budget", "128MiB"),
               lambda: torch(a, "torch_alpaca.py", *theirs, "--checkpointing"), [wall, rss, first])
    if "infer" in only:
        both = [("prompt", "prompt of 512, tokens/s", True), ("decode", "decode, tokens/s", True)]
        yield ("f32", lambda: ours(a, "infer.rhai", "--model", a.gguf), lambda: torch(a, "torch_infer.py", "--model", a.f32), both)
        yield ("bf16", lambda: ours(a, "infer.rhai", "--model", a.gguf, "--dtype", "bf16"),
               lambda: torch(a, "torch_infer.py", "--model", a.bf16, "--dtype", "bf16"), both)
        if a.llama_bench:
            yield ("bf16 weights from the Q4_1 file, against llama.cpp on the file",
                   lambda: ours(a, "infer.rhai", "--model", a.gguf, "--dtype", "auto"), lambda: llama(a), both)

def main():
    a = arguments()
    print(f"| work | what | host | theirs | ratio |\n| --- | --- | ---: | ---: | ---: |", flush=True)
    for name, mine, theirs, what in cases(a):
        rounds = [(mine(), theirs()) for _ in range(a.rounds)]
        for key, title, _ in what:
            x, y = ([r[i][key] for r in rounds] for i in (0, 1))
            if None in x or None in y:
                continue
            ratio = statistics.median(p / q for p, q in zip(x, y))
            print(f"| {name} | {title} | {statistics.median(x):.4g} | {statistics.median(y):.4g} | {ratio:.3g}x |", flush=True)

main()
