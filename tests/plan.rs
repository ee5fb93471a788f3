//! `host plan`, `plan()` and `measure_step` through the program.

mod cli_support;

use cli_support::{Dir, Ran};

fn plan(args: &[&str]) -> Ran {
    let args: Vec<&str> = std::iter::once("plan").chain(args.iter().copied()).collect();
    Dir::with(&[]).run(&args)
}

fn json(args: &[&str]) -> serde_json::Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let ran = plan(&args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}", ran.out))
}

const ORIGINAL: [&str; 12] = [
    "--model",
    "llama-2-7b",
    "--seq-len",
    "512",
    "--batch-size",
    "1",
    "--grad-accum-steps",
    "8",
    "--amp",
    "f16",
    "--checkpoint-every",
    "2",
];

/// Protects the numbers that a study reports: counts of the published model, parts that add up to the peak, and a peak that
/// is more than the weights and less than what the original needed.
#[test]
fn the_original_setting_is_foretold() {
    let p = json(&ORIGINAL);
    assert_eq!((p["params"].as_u64(), p["trainable"].as_u64()), (Some(6_738_415_616), Some(8_388_608)));
    let peak = p["peak_mib"].as_f64().unwrap();
    let parts: f64 = p["split"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
    assert!((parts - peak).abs() < 0.01, "{parts} and {peak}");
    assert_eq!(p["split"]["weights"].as_f64().unwrap(), 6_738_415_616.0 * 4.0 / 1_048_576.0);
    assert!(peak > 25_705.0 && peak < 35_821.0, "{peak}");
    assert!(p["run_seconds"].is_null() && p["step_seconds"].as_f64().unwrap() > 0.0);
    let said = plan(&ORIGINAL);
    assert!(said.out.contains("6,738,415,616 parameters, 8,388,608 trained (0.124 %)"), "{}", said.out);
}

/// Protects the table: each technique on top of the others takes less, and bf16 weights half of the weights.
#[test]
fn techniques_go_down() {
    let args: Vec<&str> = ORIGINAL.iter().copied().chain(["--table", "--fill", "0.5"]).collect();
    let table = json(&args);
    let rows = table.as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["technique"].as_str().unwrap()).collect();
    let wanted = [
        "full fine-tuning",
        "LoRA",
        "+ mixed precision",
        "+ checkpointing",
        "+ accumulation",
        "+ bf16 weights",
        "+ packing",
    ];
    assert_eq!(names, wanted);
    let peaks: Vec<f64> = rows.iter().map(|r| r["peak_mib"].as_f64().unwrap()).collect();
    assert!(peaks.windows(2).all(|p| p[1] < p[0]), "{peaks:?}");
    let weights = |row: usize| rows[row]["split"]["weights"].as_f64().unwrap();
    assert_eq!(weights(5) * 2.0, weights(4));
}

/// Protects `--fit`: what is chosen fits, is as fast as anything that does, keeps the sequences of a step, and is exactly what
/// a plan of those settings says; a budget that nothing fits fails and says what would be least.
#[test]
fn settings_are_fitted_to_a_budget() {
    let choices = json(&["--model", "smollm2-135m", "--seq-len", "256", "--fit", "900MiB"]);
    let choices = choices.as_array().unwrap();
    let peak = |c: &serde_json::Value| c["peak_mib"].as_f64().unwrap();
    let speed = |c: &serde_json::Value| c["tokens_per_s"].as_f64().unwrap();
    let fitting: Vec<_> = choices.iter().filter(|c| c["fits"] == true).collect();
    assert!(!fitting.is_empty() && fitting.len() < choices.len(), "{} of {}", fitting.len(), choices.len());
    assert!(fitting.iter().all(|c| peak(c) <= 900.0 && speed(c) <= 1.02 * speed(&choices[0])));
    assert!(choices.iter().filter(|c| c["fits"] == false).all(|c| peak(c) > 900.0));
    let s = &choices[0]["settings"];
    assert_eq!(s["batch_size"].as_u64().unwrap() * s["grad_accum_steps"].as_u64().unwrap(), 32);
    let [batch, accumulate, every] =
        ["batch_size", "grad_accum_steps", "checkpoint_every"].map(|key| s[key].to_string());
    let again = json(&[
        "--model",
        "smollm2-135m",
        "--seq-len",
        "256",
        "--batch-size",
        &batch,
        "--grad-accum-steps",
        &accumulate,
        "--checkpoint-every",
        &every,
        "--dtype",
        s["dtype"].as_str().unwrap(),
    ]);
    assert_eq!(peak(&again), peak(&choices[0]));

    let none = plan(&["--model", "llama-2-7b", "--fit", "8GiB"]);
    assert_eq!(none.code, Some(1));
    assert!(none.out.contains("nothing fits 8.00 GiB") && none.out.contains("bf16"), "{}", none.out);
}

/// Protects the promise of `--fit` for steps that are no power of two, and runs of any length.
#[test]
fn a_step_keeps_its_sequences() {
    let choices = json(&["--grad-accum-steps", "3", "--examples", "18446744073709551615", "--fit", "1GiB"]);
    for choice in choices.as_array().unwrap() {
        let s = &choice["settings"];
        assert_eq!(s["batch_size"].as_u64().unwrap() * s["grad_accum_steps"].as_u64().unwrap(), 12, "{s}");
        assert_eq!(choice["tokens"], 12.0 * 512.0);
    }
}

/// Protects packed rows: they may be longer than the model's positions, as in training; their documents may not.
#[test]
fn packed_rows_may_be_long() {
    let p = json(&["--data", "builtin:seed-tasks", "--pack", "1024", "--batch-size", "1"]);
    assert_eq!(p["widest"][0], 1);
    assert!(p["widest"][1].as_u64().unwrap() > 512, "{}", p["widest"]);
}

/// Protects planning with data: the longest record decides the peak, the record count the steps.
#[test]
fn data_is_planned_with() {
    let p = json(&["--data", "builtin:seed-tasks", "--batch-size", "2", "--grad-accum-steps", "4", "--epochs", "2"]);
    let same = json(&["--max-seq-len", "512", "--batch-size", "2", "--grad-accum-steps", "4"]);
    assert_eq!(p["widest"], serde_json::json!([2, 512]));
    assert!(p["peak_mib"].as_f64().unwrap() <= same["peak_mib"].as_f64().unwrap());
    let steps = p["steps"].as_u64().unwrap();
    assert!(steps > 2 * 10 && steps <= 2 * 22, "{steps}");
    assert!(p["run_seconds"].as_f64().unwrap() > p["step_seconds"].as_f64().unwrap());
}

/// Protects the person at the keyboard: what is wrong is named, and nothing is downloaded or read to find out.
#[test]
fn mistakes_are_named() {
    for (args, code, needle) in [
        (vec!["--model", "llama-2-7"], 2, "did you mean `llama-2-7b`"),
        (vec!["--model", "no/such-model"], 2, "planning downloads nothing"),
        (vec!["--model", "./no/file.gguf"], 2, "no such file"),
        (vec!["--seq-len", "4096"], 2, "512 positions"),
        (vec!["--target-modules", "q_porj"], 2, "did you mean `q_proj`"),
        (vec!["--batch-size", "0"], 2, "batch_size is 0"),
        (vec!["--batch-size", "0", "--fit", "1GiB"], 2, "batch_size is 0"),
        (vec!["--batch-size", "18446744073709551615", "--fit", "1GiB"], 2, "from 1 to 1048576"),
        (vec!["--grad-accum-steps", "1048576", "--table"], 2, "4 x 1048576 sequences"),
        (vec!["--seq-len", "18446744073709551615"], 2, "512 positions"),
        (vec!["--table", "--fill", "0"], 2, "fill is 0"),
        (vec!["--fit", "much"], 2, "is no size"),
        (vec!["--amp", "f8"], 2, "known: off, bf16, f16"),
        (vec!["--model", "llama-2-7b", "--data", "builtin:seed-tasks"], 2, "without a tokenizer"),
        (vec!["--dtype", "i64"], 2, "i64"),
    ] {
        let ran = plan(&args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.err.contains(needle), "{args:?}: {}", ran.err);
    }
}

/// Protects scripts: a step that is only measured leaves parameters, optimizer, gradients and random stream as they were, and
/// the plan of the same step foretells it.
#[test]
fn measuring_leaves_no_trace() {
    let script = r##"
        seed(3);
        let model = llama::load("builtin:stories260K");
        model.freeze();
        model.inject_lora(#{ rank: 4, dropout: 0.1 });
        let opt = optim::adamw(model.trainable());
        let data = data::load("builtin:seed-tasks").take(2).tokenize(model.tokenizer, #{ max_seq_len: 200 });
        let window = [];
        for w in data.batches(#{ size: 2, shuffle: false }) { window = w; }
        model.loss(window[0]).backward();
        let name = "model.layers.0.self_attn.q_proj.lora_B.weight";
        let before = [model.parameter(name).to_array(), model.parameter(name).grad.to_array()];
        let took = measure_step(model, opt, window, #{ update: false });
        let after = [model.parameter(name).to_array(), model.parameter(name).grad.to_array()];
        print(before == after && opt.steps == 0);
        let drawn = randn([3]).to_array();
        seed(3);
        model.remove_adapter();
        model.inject_lora(#{ rank: 4, dropout: 0.1 });
        let again = optim::adamw(model.trainable());
        model.loss(window[0]);
        print(drawn == randn([3]).to_array());
        let told = plan(#{
            model: model, batch_size: 2, grad_accum_steps: 1, seq_len: 200, labels: window[0].label_tokens / 2, amp: "off",
        });
        print((told.peak_mib / took.peak_mib - 1.0).abs() < 0.03);
        let sum = 0.0;
        for part in took.split.values() { sum += part; }
        print((sum - took.peak_mib).abs() < 1e-6);
        measure_step(model, again, window[0]);
        print(again.steps);
    "##;
    let ran = Dir::with(&[("t.rhai", script)]).run(&["run", "--quiet", "t.rhai"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "true\ntrue\ntrue\ntrue\n1\n"), "{ran:?}");
}

/// Protects planning from a file: GGUF's header and a lone config.json are enough.
#[test]
fn a_configuration_alone_is_enough() {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1000, "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}"#;
    let ran = Dir::with(&[("m/config.json", config)]).run(&["plan", "--model", "m", "--seq-len", "64", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let p: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(p["params"], 64_000 + 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128 + 128) + 64);
}
