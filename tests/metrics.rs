//! Agreement of the metrics with the packages that papers use: `tests/golden/metrics/README.md`.

use lora_host::engine::data::metrics::{Chrf, Normal, exact, gsm8k, porter, rouge};
use serde_json::Value as Json;

fn golden() -> Json {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics/metrics.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap()
}

fn close(got: f64, want: &Json, what: &str) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() < 1e-9, "{what}: {got}, not {want}");
}

/// Protects ROUGE-1, -2, -L and -Lsum, with and without stemming: precision, recall and F1 are `rouge-score`'s.
#[test]
fn rouge_is_that_of_rouge_score() {
    for pair in golden()["pairs"].as_array().unwrap() {
        let (answer, reference) = (text(pair, "answer"), text(pair, "reference"));
        for (how, stemming) in [("plain", false), ("stemmed", true)] {
            let ours = rouge::scores(answer, reference, stemming).unwrap();
            let all = [
                ("rouge1", ours.rouge_1),
                ("rouge2", ours.rouge_2),
                ("rougeL", ours.rouge_l),
                ("rougeLsum", ours.rouge_lsum),
            ];
            for (name, ours) in all {
                for (k, got) in [ours.precision, ours.recall, ours.f1].into_iter().enumerate() {
                    close(got, &pair["rouge"][how][name][k], &format!("{name} {how} [{k}] {answer:?} / {reference:?}"));
                }
            }
        }
    }
}

/// Protects chrF and chrF++ of a sentence and of a whole set: they are `sacrebleu`'s.
#[test]
fn chrf_is_that_of_sacrebleu() {
    let golden = golden();
    for (name, words) in [("chrf", 0), ("chrf_pp", 2)] {
        let mut corpus = Chrf::new(words);
        for pair in golden["pairs"].as_array().unwrap() {
            let (answer, reference) = (text(pair, "answer"), text(pair, "reference"));
            let mut one = Chrf::new(words);
            one.add(answer, reference);
            close(one.score(), &pair[name], &format!("{name} {answer:?} / {reference:?}"));
            corpus.add(answer, reference);
        }
        close(corpus.score(), &golden["corpus"][name], name);
    }
    assert_eq!(Chrf::default().score(), 0.0);
}

/// Protects exact match under each normalisation, and SQuAD's F1.
#[test]
fn exact_match_is_that_of_squad_and_evaluate() {
    for pair in golden()["pairs"].as_array().unwrap() {
        let (answer, reference) = (text(pair, "answer"), text(pair, "reference"));
        for name in ["trim", "case", "squad"] {
            let normal = Normal::named(name).unwrap();
            let same = normal.of(answer) == normal.of(reference);
            assert_eq!(same, pair["exact"][name].as_bool().unwrap(), "{name} {answer:?} / {reference:?}");
        }
        let normal = Normal::Squad.of(answer);
        assert_eq!(normal, pair["squad"][0].as_str().unwrap());
        // Where neither has a word, SQuAD 2's script says 1 and the older one says 0.
        if !(normal.is_empty() && Normal::Squad.of(reference).is_empty()) {
            close(exact::squad_f1(answer, reference), &pair["squad"][1], &format!("F1 {answer:?} / {reference:?}"));
        }
    }
    assert!(Normal::named("squat").unwrap_err().help().unwrap().contains("squad"));
}

/// Protects the stemmer: NLTK's stems of several hundred words.
#[test]
fn stems_are_those_of_nltk() {
    let golden = golden();
    let stems = golden["stems"].as_object().unwrap();
    assert!(stems.len() > 500, "{}", stems.len());
    for (word, stem) in stems {
        assert_eq!(porter::stem(word), stem.as_str().unwrap(), "{word}");
    }
}

/// Protects GSM8K's two ways of reading a number, and when it counts as right.
#[test]
fn gsm8k_is_that_of_the_harness() {
    for case in golden()["gsm8k"].as_array().unwrap() {
        let (answer, reference) = (text(case, "answer"), text(case, "reference"));
        for (name, extracted) in
            [("strict-match", gsm8k::strict(answer)), ("flexible-extract", gsm8k::flexible(answer))]
        {
            assert_eq!(extracted, case[name][0].as_str().unwrap(), "{name} of {answer:?}");
            let right = gsm8k::matches(extracted, reference);
            assert_eq!(right, case[name][1].as_bool().unwrap(), "{name} of {answer:?} for {reference:?}");
        }
    }
}
