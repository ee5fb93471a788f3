#!/usr/bin/env python3
"""Writes smollm2.json: what lm-eval and transformers say of SmolLM2-135M-Instruct, dequantized from the tests' GGUF to f32.

    pip install torch==2.15.0 transformers==5.23.0 lm-eval==0.4.13
    python make.py MODEL_DIR > smollm2.json

MODEL_DIR is a Hugging Face directory with the GGUF's dequantized weights. Log-likelihoods come from lm-eval's HFLM, the
accuracies are counted from them as its `process_results` does, and the perplexities are the loop of "Perplexity of
fixed-length models" in transformers' documentation.
"""
import json, sys
import numpy as np, torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

ITEMS = [  # context, choices, answer
    ("Question: What is the capital of France?\nAnswer:", ["London", "Paris", "Rome, the eternal city", "Berlin"], 1),
    ("The sun rises in the", ["west and sets in the east", "east", "north", "south"], 1),
    ("Water freezes at 0 degrees ", ["Fahrenheit", "Celsius", "Kelvin", "Rankine"], 1),
    ("Which animal barks?\n", ["cat", "dog", "fish", "bird"], 1),
    ("2 + 2 =", ["3", "4", "5", "twenty-two"], 1),
    ("Les enfants jouent dans le", ["jardin d'été près de l'école", "jardin", "naïveté", "日本語"], 1),
]
PAIRS = [
    ("", "Hello world"),
    ("Once upon a time", ", there was a little girl"),
    ("Trailing space ", "moves over"),
    ("Two spaces  ", "and a\nline"),
    ("The capital of France is", " Paris"),
    ("café", " au lait"),
]
TEXT = " ".join(
    f"Chapter {i}. The river ran past the old mill, and on day {i} the miller counted {7 * i + 3} sacks of flour. "
    f"His daughter, who was {i + 9} years old, wrote the number into a book."
    for i in range(1, 4)
)


def strided(model, ids, window, stride):
    """As in the documentation, and by token."""
    nll_sum, n_tokens, exact, count, prev_end = 0.0, 0, 0.0, 0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + window, ids.size(1))
        trg_len = end - prev_end
        input_ids = ids[:, begin:end]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        with torch.no_grad():
            loss = model(input_ids, labels=target_ids).loss.double().item()
        num_valid = (target_ids != -100).sum().item()
        num_loss = num_valid - target_ids.size(0)
        nll_sum += loss * num_loss
        n_tokens += num_loss
        predicted = (target_ids[:, 1:] != -100).sum().item()
        exact += loss * predicted
        count += predicted
        prev_end = end
        if end == ids.size(1):
            break
    return dict(window=window, stride=stride, windows_loss=nll_sum / n_tokens, tokens_loss=exact / count, tokens=count)


def main():
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)

    def likelihoods(pairs):
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        return lm.loglikelihood(requests, disable_tqdm=True)

    pairs = [dict(context=c, continuation=t, loglikelihood=ll, greedy=bool(g), tokens=len(lm._encode_pair(c, t)[1]) if c else None)
             for (c, t), (ll, g) in zip(PAIRS, likelihoods(PAIRS))]
    items = []
    for context, choices, answer in ITEMS:
        lls = np.array([ll for ll, _ in likelihoods([(context, f" {c}") for c in choices])])
        length = lambda of: np.array([float(len(of(c))) for c in choices])
        items.append(dict(context=context, choices=choices, answer=answer, loglikelihoods=lls.tolist(),
                          pick=int(lls.argmax()), pick_norm=int((lls / length(str)).argmax()),
                          pick_bytes=int((lls / length(lambda c: c.encode())).argmax())))
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    texts = [strided(model, ids, w, s) for w, s in [(2048, 512), (64, 32), (64, 64)]]
    json.dump(dict(pairs=pairs, items=items, text=TEXT, text_tokens=ids.size(1), strided=texts), sys.stdout, indent=1)


main()
