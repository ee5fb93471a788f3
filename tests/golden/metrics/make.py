#!/usr/bin/env python3
"""Writes metrics.json: what the packages that papers use say of the same texts.

    pip install rouge-score==0.1.2 sacrebleu==2.6.0 nltk==3.10.4 lm-eval==0.4.13
    python make.py ../../../src/builtin/seed_tasks_175_alpaca_format.json > metrics.json

The argument is the file of records whose words are stemmed. lm-eval's code for exact match and for its regex filter is
called with the settings of its task gsm8k, read from the task's own file.
"""
import json, pathlib, re, sys, types
import lm_eval, yaml
for absent in ("jieba", "fuzzywuzzy", "rouge"):  # longbench imports them for other languages
    sys.modules.setdefault(absent, types.ModuleType(absent))
sys.modules["fuzzywuzzy"].fuzz = sys.modules["rouge"].Rouge = None
from lm_eval.tasks.longbench.metrics import normalize_answer, qa_f1_score  # SQuAD's own functions
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF

PAIRS = [  # answer, reference
    ("The cat sat on the mat.", "the cat is on the mat"),
    ("", "something"),
    ("something", ""),
    ("", ""),
    (" \n\t", " "),
    ("no overlap here", "completely different words"),
    ("It's 3.14-ish, naïve café!", "its 3 14 ish naive cafe"),
    ("a b c d e f", "f e d c b a"),
    ("a a a b", "a b a b a"),
    ("The three primary colours are red, yellow and blue.", "Red, blue and yellow are the three primary colours"),
    ("KELVIN \u212a İstanbul ẞ", "kelvin k i stanbul ss"),
    ("x_y\tz\nw", "x y z w"),
    ("日本語 text", "text 日本語 ok"),
    ("今日は良い天気ですね。", "今日はとても良い天気です。"),
    ("police killed the gunman", "police kill the gunman"),
    ("The gunman police killed\nwas running", "police were killing gunmen\nthey ran"),
    ("first line is here\nsecond line follows\n\nthird", "second line is here\nfirst line follows"),
    ("one\ntwo\nthree", "three\ntwo\none"),
    ("The quick brown fox jumps over the lazy dog", "The quick brown fox jumps over the lazy dog"),
    ("The quick brown fox jumps over the lazy dog.", "the QUICK brown fox jumps over the lazy dog"),
    ("running runner runs ran easily fairly", "run runs runners ease fair"),
    ("generalizations of relational conditional rationality", "general relation condition rational"),
    ("happily hopping, they tried flying skies", "happy hop try fly sky"),
    ("!?...", "?!"),
    ("(hi) 'there' - \"quoted\"", "hi there quoted"),
    ("(hi) 'there' - \"quoted\"", "(hi) there' - quoted\""),
    ("ab", "abc"),
    ("abcdef", "abcdefg"),
    ("a", "a"),
    ("emoji 😀😀 test", "emoji 😀 test"),
    ("e\u0301 combining", "\u00e9 combining"),
    ("non\u00a0breaking\u2003space\u001cseparator", "non breaking space separator"),
    ("1. Eat a balanced diet.\n2. Exercise regularly.\n3. Sleep well.",
     "1.Eat a balanced diet and make sure to include plenty of fruits and vegetables. \n2. Exercise regularly to keep your body active and strong. \n3. Get enough sleep and maintain a consistent sleep schedule."),
    ("Paris is the capital of France, and France is in Europe.", "The capital of France is Paris."),
    ("The answer is 42", "42"),
    ("42.", "42"),
    ("An apple, the pear; a plum", "apple pear plum"),
    ("theatre an-other a.b", "the atre another ab"),
    ("ÄRGER über Straße", "ärger ÜBER strasse"),
    ("Привет, мир! Как дела?", "Привет мир, как твои дела?"),
    ("مرحبا بالعالم", "مرحبا يا عالم"),
    ("aaaaaaaaaa", "aaaaa"),
    ("word " * 60, "word other " * 20),
    ("the the the the", "the the"),
]
EXACT = [("trim", {}), ("case", dict(ignore_case=True))]
GSM8K = [  # answer of a model, whole answer of the set
    ("She has 5 + 3 = 8 eggs.\n#### 8", "..\n#### 8"),
    ("So the total is $1,234.50.\n#### 1,234.50", "..\n#### 1234.50"),
    ("#### -7", "a\n#### -7"),
    ("####8", "#### 8"),
    ("#### 12 apples\n#### 13", "#### 12"),
    ("The answer is 18.", "#### 18"),
    ("The answer is $18", "#### 18"),
    ("It costs 3 dollars, or 4.50 with tax", "#### 4.50"),
    ("no number at all", "#### 5"),
    ("", "#### 5"),
    ("minus -5 and --6", "#### -6"),
    ("1,000,000 people...", "#### 1000000"),
    ("a - 5", "#### 5"),
    ("#### .", "#### 1"),
    ("#### ,1", "#### 1"),
    ("$ 7 $", "#### 7"),
    ("x=-$20 then", "#### -20"),
    ("So 5 + 3 = 8. #### 8. Question: 4", "Natalia\n#### 8"),
    ("#### -\n#### 9", "#### 9"),
    ("Ends in 10 \u00bd and \u0665", "#### 10"),
    ("3.", "#### 3"),
    ("answer: 2-3", "#### -3"),
    ("#### 5 #### 6", "x #### 4 #### 5"),
]


def rouge(answer, reference):
    out = {}
    for stem in (False, True):
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stem)
        found = scorer.score(reference, answer)
        out["stemmed" if stem else "plain"] = {k: [s.precision, s.recall, s.fmeasure] for k, s in found.items()}
    return out


def main():
    answers, references = [a for a, _ in PAIRS], [r for _, r in PAIRS]
    pairs = []
    for a, r in PAIRS:
        exact = {n: bool(exact_match_hf_evaluate([a.strip()], [r.strip()], **how)["exact_match"]) for n, how in EXACT}
        exact["squad"] = normalize_answer(a) == normalize_answer(r)
        pairs.append(dict(answer=a, reference=r, rouge=rouge(a, r), exact=exact,
                          squad=[normalize_answer(a), qa_f1_score(a, r)],
                          chrf=CHRF().sentence_score(a, [r]).score,
                          chrf_pp=CHRF(word_order=2).sentence_score(a, [r]).score))
    corpus = dict(chrf=CHRF().corpus_score(answers, [references]).score,
                  chrf_pp=CHRF(word_order=2).corpus_score(answers, [references]).score)

    text = pathlib.Path(sys.argv[1]).read_text()
    words = sorted(set(re.findall(r"[a-z]{3,}", text.lower())))[::5]
    words += "dies died dying skies sky flies tying generalli logi geologi apologi yyyy syzygy enjoy enjoyed by ally".split()
    words += "fully hopefulli controlling rolls aed ing eed agreed feed oed x2s 1950s vietnamization fizzed falling".split()
    stemmer = PorterStemmer()
    stems = {w: stemmer.stem(w) for w in words}

    task = pathlib.Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml"
    task = yaml.safe_load(task.read_text())
    filters = {f["name"]: {k: v for k, v in f["filter"][0].items() if k != "function"} for f in task["filter_list"]}
    metric = {k: v for k, v in task["metric_list"][0].items() if k in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    gsm8k = []
    for answer, reference in GSM8K:
        case = dict(answer=answer, reference=reference)
        for name, settings in filters.items():
            found = RegexFilter(**settings).apply([[answer]], [{}])
            found = list(found)[0][0]
            right = bool(exact_match_hf_evaluate([found], [reference], **metric)["exact_match"])
            case[name] = [found, right]
        gsm8k.append(case)
    lines = lambda rows: "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
    parts = dict(pairs=lines(pairs), corpus=json.dumps(corpus), stems=json.dumps(stems), gsm8k=lines(gsm8k))
    print("{" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "}")


main()
