//! `scripts/study.rhai` through the real binary, on a tiny model: what its report holds, and that a study which is killed
//! again and again, whatever of it runs side by side, ends with the same one.

mod cli_support;

use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A model that takes milliseconds, with the built-in model's tokenizer.
const TINY: &str = r#"
    seed(7);
    let model = llama::from_config(#{
        vocab_size: 512, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 3, num_attention_heads: 2,
        num_key_value_heads: 1, max_position_embeddings: 128, rms_norm_eps: 1e-5, tie_word_embeddings: true,
    }, #{ init: "random" });
    model.tokenizer = llama::load("builtin:stories260K").tokenizer;
    model.save("tiny");
"#;

const SMALL: [&str; 29] = [
    "--model=tiny",
    "--out=study",
    "--limit=14",
    "--val-fraction=0.3",
    "--max-seq-len=112",
    "--template={instruction} {input}\nAnswer: ",
    "--epochs=3",
    "--grad-accum-steps=2",
    "--save-every=2",
    "--rank=4",
    "--alpha=8",
    "--lr=0.01",
    "--sweep-steps=2",
    "--ranks=[2]",
    "--alphas=[]",
    "--dropouts=[]",
    "--score-limit=2",
    "--samples=1",
    "--max-new-tokens=4",
    "--repeats=1",
    "--batch-size=1",
    "--eval-batch-size=8",
    "--checkpoint-every=2",
    "--dropout=0.1",
    "--full=true",
    "--amp=off",
    "--max-norm=0.5",
    "--seed=3",
    "--dtype=f32",
];

fn prepare() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made =
        Command::new(env!("CARGO_BIN_EXE_host")).current_dir(dir.path()).args(["run", "-e", TINY]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
}

fn study(dir: &Path, jobs: usize) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_host"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/study.rhai");
    c.current_dir(dir).arg("run").arg(script).args(SMALL).arg(format!("--jobs={jobs}")).stdin(Stdio::null());
    c
}

fn finish(mut c: Command) -> String {
    let out = c.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{text}");
    text
}

fn report(dir: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(dir.join("study/report.json")).unwrap()).unwrap()
}

/// The report without what it marks as measured.
fn lasting(mut report: Json) -> Json {
    fn strip(value: &mut Json) {
        match value {
            Json::Object(map) => {
                map.remove("measured");
                map.values_mut().for_each(strip);
            }
            Json::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    for section in report["sections"].as_array_mut().unwrap() {
        for part in section["parts"].as_array_mut().unwrap() {
            if part["measured"] == true {
                part["text"] = Json::Null;
            }
            let measured = part["measured"].as_array().cloned().unwrap_or_default();
            let columns = part["columns"].as_array().cloned().unwrap_or_default();
            for row in part["rows"].as_array_mut().into_iter().flatten() {
                for (i, column) in columns.iter().enumerate() {
                    if measured.contains(column) {
                        row[i] = Json::Null;
                    }
                }
            }
        }
    }
    strip(&mut report["data"]);
    report
}

/// Where two reports differ first, as a path; reading a whole report beside another is no help.
fn difference(path: &str, a: &Json, b: &Json) -> Option<String> {
    match (a, b) {
        (Json::Object(x), Json::Object(y)) if x.keys().eq(y.keys()) => {
            x.iter().find_map(|(k, v)| difference(&format!("{path}.{k}"), v, &y[k]))
        }
        (Json::Array(x), Json::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (v, w))| difference(&format!("{path}[{i}]"), v, w))
        }
        _ => (a != b).then(|| format!("{path}: {a} and {b}")),
    }
}

/// Lets `c` run until it says that job `job` begins and for `more` on, then kills it; whether it was killed.
fn kill_in(mut c: Command, job: usize, more: Duration) -> bool {
    let mut child = c.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        let number = line.strip_prefix("job ").and_then(|rest| rest.split_once(' ')).and_then(|(n, _)| n.parse().ok());
        if number.is_some_and(|n: usize| n >= job) {
            // Whoever writes to a pipe that nobody reads waits.
            let reader = std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
            std::thread::sleep(more);
            let killed = child.try_wait().unwrap().is_none();
            let _ = child.kill();
            child.wait().unwrap();
            reader.join().unwrap().unwrap();
            return killed;
        }
        line.clear();
    }
    child.wait().unwrap();
    false
}

/// Protects the study's main promises: all six sections with their figures and tables, gradients compared and equal, and
/// a study that is killed up to six times at random points and started again, now with jobs side by side and now without,
/// ends with the same report as one that ran through one job at a time, measured times and sizes aside. No worker outlives the
/// process that started it.
#[test]
fn a_killed_study_ends_with_the_same_report() {
    let (whole, killed) = (prepare(), prepare());
    let said = finish(study(whole.path(), 1));
    let wanted = report(whole.path());
    check(&wanted, &said);

    // The same points in every run of this test; the machine's speed moves them a little.
    let mut random = 0x9E37_79B9_u64;
    let mut next = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let mut kills = 0;
    // The fifth job is the training run, which goes on from its saved state. When the ninth begins, two workers run.
    let jobs = [2, 5, 9, 10 + next(3) as usize, 14 + next(4) as usize, 19 + next(4) as usize];
    for (job, lanes) in jobs.into_iter().zip([1, 2, 2, 3, 1, 2]) {
        kills += usize::from(kill_in(study(killed.path(), lanes), job, Duration::from_millis(2 + next(30))));
        let left = cli_support::workers_left(killed.path());
        assert!(left.is_empty(), "killed in job {job}, workers live on: {left:?}");
    }
    assert!(kills >= 1, "the study ended before it could be killed: {kills}");
    let mut last = study(killed.path(), 2);
    last.arg("--resume");
    let said = finish(last);
    assert!(said.contains("jobs are done"), "{said}");
    let found = difference("report", &lasting(report(killed.path())), &lasting(wanted));
    assert!(found.is_none(), "after {kills} kills: {}", found.unwrap_or_default());
}

/// Protects results from how they were come by: with jobs side by side a study has the report that it has without, to the last
/// digit, and says which jobs shared the machine; nothing that it calls measured was measured meanwhile.
#[test]
fn jobs_side_by_side_give_the_same_report() {
    let (one, two) = (prepare(), prepare());
    finish(study(one.path(), 1));
    let said = finish(study(two.path(), 2));
    assert!(said.contains("2 jobs side by side, as asked") && said.contains(": done in "), "{said}");
    let (one, two) = (report(one.path()), report(two.path()));
    let how = |report: &Json| report["sections"].as_array().unwrap().last().unwrap().to_string();
    assert!(how(&one).contains("each uses every core") && how(&two).contains("up to 2 side by side"), "{}", how(&two));
    let results = two["data"]["results"].as_object().unwrap();
    let settings = results.iter().filter(|(name, _)| name.starts_with("setting: "));
    assert!(
        settings.clone().count() > 3 && settings.clone().all(|(_, job)| job.get("measured").is_none()),
        "{results:?}"
    );
    for (name, _) in settings {
        let step = &results[&name.replace("setting: ", "step: ")]["measured"];
        assert!(step["peak_mib"].as_f64().unwrap() > 0.0 && step["seconds"].as_f64().unwrap() > 0.0, "{name}: {step}");
    }
    let found = difference("report", &lasting(two), &lasting(one));
    assert!(found.is_none(), "{}", found.unwrap_or_default());
}

/// What a study's report must hold.
fn check(report: &Json, said: &str) {
    let titles: Vec<&str> =
        report["sections"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    for (i, word) in ["Training", "Answers", "Parameters", "checkpoints", "Memory", "technique"].iter().enumerate() {
        let title =
            titles.iter().find(|t| t.starts_with(&format!("{}.", i + 1))).unwrap_or_else(|| panic!("{titles:?}"));
        assert!(title.contains(word), "{title}");
    }
    let parts: Vec<&Json> =
        report["sections"].as_array().unwrap().iter().flat_map(|s| s["parts"].as_array().unwrap()).collect();
    let count = |kind: &str| parts.iter().filter(|p| p["kind"] == kind).count();
    assert!(count("figure") >= 7 && count("table") >= 9 && count("answers") == 1, "{said}");
    for part in parts.iter().filter(|p| p["kind"] == "figure" || p["kind"] == "table") {
        assert!(!part["caption"].as_str().unwrap().is_empty(), "{part}");
    }
    // What quotes a text stood in decides whether it knows escapes.
    let escaped = parts.iter().filter_map(|p| p["text"].as_str()).find(|text| text.contains("\\n"));
    assert!(escaped.is_none(), "{escaped:?}");
    let results = &report["data"]["results"];
    let number = |path: [&str; 2]| results[path[0]][path[1]].as_f64().unwrap_or_else(|| panic!("{path:?}: {results}"));
    assert!(number(["after: train", "loss"]) < number(["before: train", "loss"]), "nothing was learned");
    let digests: std::collections::BTreeSet<&str> = results
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("checkpoints: "))
        .map(|(_, job)| job["digest"].as_str().unwrap())
        .collect();
    assert_eq!(digests.len(), 1, "checkpoints changed the gradient: {results}");
    let peak = |name: &str| results[&format!("memory: {name}")]["measured"]["peak_mib"].as_f64().unwrap();
    assert!(peak("LoRA") < peak("full fine-tuning") && peak("+ accumulation") < peak("+ AMP (bf16)"), "{results}");
}

/// Protects data that may not be passed on: with `--no-texts` none of its texts, and no answer, is in any form of the report.
#[test]
fn texts_can_be_left_out() {
    let dir = prepare();
    let mut c = study(dir.path(), 1);
    c.arg("--no-texts");
    finish(c);
    let report = report(dir.path());
    for part in ["before: train", "before: held out", "after: train", "after: held out"] {
        let answers = report["data"]["results"][part]["answers"].as_array().unwrap();
        let texts = answers.iter().flat_map(|a| ["prompt", "reference", "answer"].map(|key| a[key].as_str().unwrap()));
        assert!(!answers.is_empty() && texts.clone().all(str::is_empty), "{part}: {answers:?}");
    }
    let html = std::fs::read_to_string(dir.path().join("study/report.html")).unwrap();
    let markdown = std::fs::read_to_string(dir.path().join("study/report.md")).unwrap();
    assert!(html.contains("left out of this report") && markdown.contains("left out of this report"));
    let parts = report["sections"].as_array().unwrap().iter().flat_map(|s| s["parts"].as_array().unwrap());
    assert!(parts.clone().count() > 10 && parts.clone().all(|p| p["kind"] != "answers"));
}
