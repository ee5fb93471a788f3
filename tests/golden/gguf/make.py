"""What the `gguf` package makes of ggml's blocks; writes the .json files beside this one.

usage: pip install gguf==0.19.0
       python make.py SmolLM2-135M-Instruct.Q4_1.gguf

blocks.json: per type, the bytes of 256 values (random quants, moderate scales) and the values.
smollm2.json: per tensor, after q and k rows are sorted into halves: sum in float64, first and last 8 values.
"""
import json, os, sys
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFReader, dequantize

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(1)
# Where each type keeps its float16 scales, so that random bytes do not give infinities.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
rows = []
for kind, scales in SCALES.items():
    block, size = GGML_QUANT_SIZES[kind]
    n = 256 // block
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in scales:
        raw[:, at:at + 2] = rng.normal(0, 0.05, (n, 1)).astype(np.float16).view(np.uint8)
    values = dequantize(raw.reshape(1, -1), kind).reshape(-1).astype(np.float32)
    rows.append(dict(type=kind.name, number=int(kind), hex=raw.tobytes().hex(), values=[float(v) for v in values]))
json.dump(rows, open(f"{here}/blocks.json", "w"))

r = GGUFReader(sys.argv[1])
F = {k: f.contents() for k, f in r.fields.items()}
heads, kv = F["llama.attention.head_count"], F["llama.attention.head_count_kv"]
def halves(w, n):
    return w.reshape(n, w.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)
NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
         "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight", "blk.7.attn_k.weight": "model.layers.7.self_attn.k_proj.weight",
         "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight", "blk.3.attn_output.weight": "model.layers.3.self_attn.o_proj.weight",
         "blk.12.ffn_down.weight": "model.layers.12.mlp.down_proj.weight", "blk.5.ffn_norm.weight": "model.layers.5.post_attention_layernorm.weight"}
out = []
for t in r.tensors:
    if t.name not in NAMES: continue
    w = dequantize(t.data, t.tensor_type).astype(np.float32).reshape(tuple(int(x) for x in reversed(t.shape)))
    if "attn_q" in t.name: w = halves(w, heads)
    if "attn_k" in t.name: w = halves(w, kv)
    flat = w.reshape(-1)
    out.append(dict(name=NAMES[t.name], shape=list(w.shape), sum=float(flat.astype(np.float64).sum()),
                    head=[float(v) for v in flat[:8]], tail=[float(v) for v in flat[-8:]]))
json.dump(out, open(f"{here}/smollm2.json", "w"), indent=0)
