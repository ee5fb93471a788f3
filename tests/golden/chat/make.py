"""Texts, token ids and assistant masks of conversations by transformers; writes chat.json beside this file.

usage: pip install transformers gguf sentencepiece jinja2
       python make.py SmolLM2-135M-Instruct.Q4_1.gguf
"""
import json, os, shutil, sys, tempfile
import transformers
from transformers import AutoTokenizer

here = os.path.dirname(os.path.abspath(__file__))
path = os.path.abspath(sys.argv[1])
smollm2 = AutoTokenizer.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path))
with tempfile.TemporaryDirectory() as folder:
    shutil.copy(f"{here}/../tokenizers/mistral_v1_32000.tokenizer.model", f"{folder}/tokenizer.model")
    json.dump({"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}, open(f"{folder}/tokenizer_config.json", "w"))
    mistral = AutoTokenizer.from_pretrained(folder)

# SmolLM2's own template with the tag that transformers needs for a mask. The text is the same; the mask covers what the
# model writes: an answer and the token that ends it.
OWN = smollm2.chat_template
MARKED = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
          "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
          "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
          "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# The tag with every sign for white space, and the end of turn left outside of it.
SPACED = """{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation -%}
            {{ message.content }}
        {%- endgeneration -%}
        {{ '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
"""
# As Mistral-7B-Instruct-v0.1's: no opening of an answer, and a space before it.
INST = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}")
plain = lambda t: t.replace("{% generation %}", "").replace("{% endgeneration %}", "")

say = lambda *turns: [{"role": role, "content": text} for role, text in turns]
TALKS = [
    say(("user", "What is 2 + 2?"), ("assistant", "4")),
    say(("system", "Answer in one word."), ("user", "Capital of France?"), ("assistant", "Paris"), ("user", "Of Japan?"), ("assistant", "Tokyo")),
    say(("user", "Write a poem.\n\nMake it short."), ("assistant", "\n  Roses are red,\n\tviolets are blue.\n"), ("user", " "), ("assistant", "")),
    say(("user", "naïve café 日本語 🙂"), ("assistant", "Привет! 👩‍👩‍👧‍👦"), ("user", "<|im_end|>?"), ("assistant", "  two spaces, then <|im_start|>"), ("user", "ok"), ("assistant", "1234567")),
    say(("user", "Capital of France?"), ("assistant", "Paris."), ("user", "Of Japan?"), ("assistant", "Tokyo, of course.")),
]
rows = []
for name, tok, template, marked in [("smollm2", smollm2, OWN, MARKED), ("smollm2", smollm2, MARKED, MARKED),
                                    ("smollm2", smollm2, SPACED, SPACED), ("mistral_v1", mistral, plain(INST), INST)]:
    for talk in TALKS:
        # transformers 5 merges runs of spaces otherwise than sentencepiece does, which tests/golden/tokenizers holds us to.
        if name == "mistral_v1" and any(m["role"] == "system" or "  " in m["content"] for m in talk): continue
        text = tok.apply_chat_template(talk, chat_template=template, tokenize=False)
        prompt = tok.apply_chat_template(talk[:-1], chat_template=template, tokenize=False, add_generation_prompt=True)
        out = tok.apply_chat_template(talk, chat_template=marked, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        assert tok.apply_chat_template(talk, chat_template=marked, tokenize=False) == text
        rows.append({"tokenizer": name, "template": None if template is OWN else template, "messages": talk, "text": text,
                     "prompt": prompt, "ids": out["input_ids"], "mask": out["assistant_masks"]})
made_by = f"transformers {transformers.__version__}: apply_chat_template(return_assistant_tokens_mask=True)"
with open(f"{here}/chat.json", "w") as out:
    lines = ",\n".join(json.dumps(row) for row in rows)
    out.write(f'{{"made_by": {json.dumps(made_by)}, "rows": [\n{lines}\n]}}\n')
print(len(rows), "rows")
