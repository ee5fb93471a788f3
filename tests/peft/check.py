"""The other side of tests/peft/check.sh: the real peft package on the adapter that host saved, and the way back.

usage: check.py DIR    DIR holds base/, adapter/ and ours.json; writes peft_saved/ for host to load
       check.py DIR --back    compares back.json, host's logits with peft's own file
"""
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

folder, back = sys.argv[1], len(sys.argv) > 2
model = AutoModelForCausalLM.from_pretrained(f"{folder}/base", dtype=torch.float32)
model = PeftModel.from_pretrained(model, f"{folder}/adapter").eval()
ours = json.load(open(f"{folder}/{'back' if back else 'ours'}.json"))
with torch.inference_mode():
    theirs = model(torch.tensor([ours["ids"]])).logits[0, -1]
    with model.disable_adapter():
        base = model(torch.tensor([ours["ids"]])).logits[0, -1]
error = (theirs - torch.tensor(ours["logits"])).abs().max().item()
effect = (theirs - base).abs().max().item()
which = "saved by peft, loaded by host" if back else "saved by host, loaded by peft"
print(f"{which}: largest difference of a logit {error:.2e} (the adapter itself moves logits by up to {effect:.2f})")
assert error < 2e-3 and effect > 0.1
if not back:
    model.save_pretrained(f"{folder}/peft_saved", save_embedding_layers=False)
