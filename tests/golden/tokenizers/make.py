"""Token ids of varied texts by the reference implementations; writes the .json files beside this one.

usage: pip install sentencepiece==0.2.3 tokenizers==0.23.3 gguf==0.19.0
       python make.py SmolLM2-135M-Instruct.Q4_1.gguf
"""
import importlib.metadata as md
import json, os, sys
import sentencepiece as spm
from gguf import GGUFReader
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, AddedToken
here = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["Hello world", "Hello", " Hello", "", " ", "  ", "a", "Once upon a time, there was a little girl named Lily.",
 "two  spaces   three    four", "  leading and trailing  ", "line one\nline two\n\n\nline five", "\ttabs\tand\r\ncrlf",
 "naïve café Zürich Ångström", "日本語のテキスト、中文和한국어", "Привет, мир! Γειά σου", "emoji 😀👩‍👩‍👧‍👦🇫🇷 end", "numbers 1 12 123 1234 3.14159 2024-01-22",
 "x = foo(bar[0], 'baz') + 1; // comment", "don't I'll we've SHE'S they'd", "!!!??? ... --- ***", "\u00a0nbsp\u200bzero width", "ﬁ ligature ½ ① Ⅳ",
 "CamelCaseIdentifier snake_case_identifier SCREAMING_CASE", "### Instruction:\nName three primary colors.\n\n### Response:\n",
 "The quick brown fox jumps over the lazy dog. " * 4, "aaaaaaaaaaaaaaaa", "\x00\x01 control", "עברית وعربي हिन्दी ไทย", "e\u0301 combining", "🙂"]
def save(name, source, tool, enc, dec):
    rows = [{"text": t, "ids": enc(t)} for t in TEXTS]
    for r in rows: r["decoded"] = dec(r["ids"])
    json.dump({"source": source, "made_by": tool, "rows": rows}, open(f"{here}/{name}.json","w"), ensure_ascii=True, indent=0)
for name, p in [("mistral_v1", "mistral_v1_32000.tokenizer.model"), ("tok512", "tok512.model"), ("meta_tiny_m", "../meta_tiny/m.model")]:
    sp = spm.SentencePieceProcessor(model_file=os.path.join(here, p))
    save(name, os.path.basename(p), f"sentencepiece {md.version('sentencepiece')}: encode_as_ids, decode", sp.encode_as_ids, sp.decode)
r = GGUFReader(sys.argv[1])
F = {k: f.contents() for k, f in r.fields.items()}
toks, types = F["tokenizer.ggml.tokens"], F["tokenizer.ggml.token_type"]
tk = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(toks)}, merges=[tuple(m.split(" ")) for m in F["tokenizer.ggml.merges"]]))
tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
tk.decoder = decoders.ByteLevel()
tk.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(toks, types) if k == 3])
TEXTS.append("<|im_start|>user\nHi<|im_end|>\n")
save("smollm2", "SmolLM2-135M-Instruct GGUF", f"tokenizers {md.version('tokenizers')} (Digits + ByteLevel, as the model's own tokenizer.json)", lambda t: tk.encode(t, add_special_tokens=False).ids, lambda i: tk.decode(i))
