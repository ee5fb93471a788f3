//! Run directories from outside: what survives a kill, what a resumed run repeats, what a second start does, and what
//! the figures are. The figures of the last test stay under `target/tmp/figures` to be looked at.

use candle_core::{Device, Tensor};
use lora_host::engine::run::{Policy, Run, RunState, log};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn fields(value: Value) -> log::Fields {
    value.as_object().unwrap().clone()
}

/// An empty place of this test's own.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// Steps per epoch of [`train`].
const EPOCH: u64 = 32;
/// Steps after which [`train`] saves.
const SAVES: &[u64] = &[32, 64, 90, 96];

/// A training run in small: a weight that decays, losses from it and from the step. Stops, as if killed, after `until`
/// steps; returns the weight.
fn train(run: &mut Run, until: u64) -> f64 {
    let mut weight = 4.0f64;
    if let Some(state) = run.take_saved() {
        weight = state.tensors[0].1.to_scalar::<f64>().unwrap();
        assert_eq!((&state.meta["step"], &state.meta["seed"]), (&json!(run.step()), &json!(u64::MAX - 1)));
    }
    for s in run.step()..until {
        let wave = |f: f64| (s as f64 * f).sin();
        for micro in 0..2u64 {
            run.log_micro(1.2 + weight / 3.0 + 0.4 * wave(1.9 + micro as f64), 20 + 7 * micro + s % 5, 64);
        }
        weight *= 1.0 - 1.0 / 30.0;
        run.log_fields(fields(json!({"grad_norm": 0.3 + weight * 0.2 + 0.1 * wave(0.7)}))).unwrap();
        let lr = 5e-4 * (1.0 + (s as f64 / 96.0 * std::f64::consts::PI).cos());
        run.log_step(fields(json!({"lr": lr}))).unwrap();
        if (s + 1) % EPOCH == 0 {
            run.log_epoch(fields(json!({"val_loss": 1.35 + weight / 3.0}))).unwrap();
        }
        if SAVES.contains(&(s + 1)) {
            let tensor = Tensor::new(weight, &Device::Cpu).unwrap();
            let meta = json!({"step": run.step(), "seed": u64::MAX - 1});
            run.save_state(vec![("w".into(), tensor)], meta).unwrap();
        }
    }
    weight
}

/// The log without what depends on the machine.
fn log_of(dir: &Path) -> Vec<log::Fields> {
    let mut lines = log::read(dir.join("log.jsonl")).unwrap();
    for line in &mut lines {
        line.retain(|name, _| !log::TIMING_FIELDS.contains(&name.as_str()));
    }
    lines
}

/// Protects the promise of `--resume`: stopped at any step, in the middle of a line, before the first save, the log and
/// the weight end as if never stopped.
#[test]
fn resumed_run_equals_the_uninterrupted_one() {
    let root = scratch("resume");
    let settings = json!({"lr": 1e-3, "epochs": 3});
    let mut whole = Run::create(root.join("whole"), settings.clone(), Policy::Number).unwrap();
    let expected = train(&mut whole, 96);
    let expected_log = log_of(whole.dir());
    assert_eq!(expected_log.len(), 99);

    let asked = root.join("killed");
    drop(Run::create(&asked, settings.clone(), Policy::Number).unwrap()); // stopped before its first step
    for (stop, from) in [(7, 0), (33, 0), (34, 32), (69, 32), (95, 64)] {
        let mut run = Run::create(&asked, settings.clone(), Policy::Resume).unwrap();
        assert_eq!(run.step(), from, "to be stopped at {stop}");
        train(&mut run, stop);
        drop(run);
        let mut torn = std::fs::OpenOptions::new().append(true).open(asked.join("log.jsonl")).unwrap();
        torn.write_all(b"{\"kind\":\"step\",\"st").unwrap();
        std::fs::write(asked.join(".host-tmp-1-1"), "half a state").unwrap();
    }
    let mut run = Run::create(&asked, settings, Policy::Resume).unwrap();
    assert_eq!((run.step(), run.resumed()), (90, true));
    assert!(!asked.join(".host-tmp-1-1").exists());
    assert_eq!(train(&mut run, 96).to_bits(), expected.to_bits());
    assert_eq!(log_of(&asked), expected_log);
}

/// The victim of the next test: saves states whose tensor, meta and log must agree, as fast as it can, until killed.
#[test]
#[ignore = "is started by `killed_process_leaves_a_whole_state`"]
fn victim() {
    let Some(dir) = std::env::var_os("VICTIM_DIR") else { return };
    let policy = if Path::new(&dir).join("run.json").exists() { Policy::Resume } else { Policy::Number };
    let mut run = Run::create(Path::new(&dir), json!({}), policy).unwrap();
    loop {
        run.log_micro(1.0, 1, 1);
        run.log_step(log::Fields::new()).unwrap();
        let tensor = Tensor::full(run.step() as i64, 50_000, &Device::Cpu).unwrap();
        run.save_state(vec![("t".into(), tensor)], json!(run.step())).unwrap();
    }
}

/// Protects from the real thing: a process killed at random moments while it saves leaves a state that is whole and fits
/// its log, which the next process goes on from.
#[test]
#[cfg(unix)]
fn killed_process_leaves_a_whole_state() {
    let dir = scratch("victim");
    let mut last = 0;
    for round in 0..8u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--ignored"])
            .env("VICTIM_DIR", &dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = std::fs::metadata(dir.join("state.safetensors")).and_then(|m| m.modified()).ok();
        let waiting = Instant::now();
        let saved = || std::fs::metadata(dir.join("state.safetensors")).and_then(|m| m.modified()).ok();
        while saved() == begun {
            assert!(waiting.elapsed() < Duration::from_secs(60), "the victim saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        if round == 0 {
            let e = Run::create(&dir, json!({}), Policy::Resume).unwrap_err();
            assert!(e.to_string().contains(&format!("process {}", victim.id())), "{e}");
        }
        std::thread::sleep(Duration::from_micros(1_300 * round));
        victim.kill().unwrap();
        victim.wait().unwrap();

        let mut run = Run::create(&dir, json!({}), Policy::Resume).unwrap();
        let state = run.take_saved().unwrap();
        assert!(run.step() > last, "round {round}: step {} after {last}", run.step());
        last = run.step();
        assert_eq!(state.meta, json!(last));
        let values = state.tensors[0].1.to_vec1::<i64>().unwrap();
        assert!(values.len() == 50_000 && values.iter().all(|&v| v == last as i64), "a mixed state");
        let log = log_of(&dir);
        assert_eq!((log.len() as u64, &log[log.len() - 1]["step"]), (last, &json!(last)));
    }
}

/// Protects from going on with the wrong thing: other settings, a damaged state, a cut log are errors that change nothing.
#[test]
fn misfits_are_refused_untouched() {
    let dir = scratch("misfits").join("r");
    let mut run = Run::create(&dir, json!({"lr": 1e-3, "rank": 8, "epochs": 1}), Policy::Number).unwrap();
    train(&mut run, 40);
    drop(run);
    let files = || {
        let mut all: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        all.retain(|path| !path.ends_with(".lock"));
        all.sort();
        all.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let resume = |settings: Value| Run::create(&dir, settings, Policy::Resume);
    let good = json!({"lr": 1e-3, "rank": 8, "epochs": 5}); // epochs may change

    let before = files();
    let e = resume(json!({"lr": 3e-3, "rank": 16, "epochs": 1})).unwrap_err().to_string();
    assert!(e.contains("lr: saved 0.001, now 0.003") && e.contains("rank: saved 8, now 16"), "{e}");
    assert_eq!(files(), before);

    let state = dir.join("state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 3]).unwrap();
    let e = resume(good.clone()).unwrap_err().to_string();
    assert!(e.contains("state.safetensors") && e.contains("damaged"), "{e}");
    std::fs::write(&state, &bytes).unwrap();

    let log = dir.join("log.jsonl");
    let lines = std::fs::read(&log).unwrap();
    std::fs::write(&log, &lines[..lines.len() / 4]).unwrap();
    assert!(resume(good.clone()).unwrap_err().to_string().contains("cut or replaced"));
    std::fs::write(&log, &lines).unwrap();

    assert_eq!(files(), before);
    let run = resume(good.clone()).unwrap();
    assert_eq!(run.step(), 32);
    let saved: Value = serde_json::from_slice(&std::fs::read(dir.join("settings.json")).unwrap()).unwrap();
    assert_eq!(saved, good);
}

/// Protects from a state that is no run's: valid as a file, without a log position, it is an error and not a panic.
#[test]
fn foreign_state_is_refused() {
    let dir = scratch("foreign");
    for meta in [json!([1, 2]), json!("text"), json!({"log": {"bytes": -1}}), json!({"log": null})] {
        drop(Run::create(&dir, json!({}), Policy::Number).unwrap());
        RunState { tensors: vec![], meta }.save(dir.join("state.safetensors")).unwrap();
        let e = Run::create(&dir, json!({}), Policy::Reopen).unwrap_err();
        assert!(e.to_string().contains("not the state of a run"), "{e}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

/// Protects saving in the wrong place: within a step it is refused, and the earlier state stays.
#[test]
fn saving_within_a_step_is_refused() {
    let mut run = Run::create(scratch("within"), json!({}), Policy::Number).unwrap();
    train(&mut run, 32);
    run.log_micro(1.0, 1, 1);
    let e = run.save_state(vec![], json!({})).unwrap_err();
    assert!(e.to_string().contains("belong to no step"), "{e}");
    assert!(run.finish().is_err());
    let state = RunState::load(run.dir().join("state.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(state.meta["script"]["step"], 32);
}

/// Protects the shipped result: figures and report of a short run, a long one with gaps and a spike, and an odd name.
#[test]
fn figures_and_reports_are_written() {
    let root = scratch("figures");
    let mut run = Run::create(root.join("three-epochs"), json!({"lr": 1e-3, "epochs": 3}), Policy::Number).unwrap();
    run.log_eval(fields(json!({"val_loss": 3.05}))).unwrap();
    run.note("model", json!({"name": "builtin:stories260K", "parameters": 292_800, "trainable": 10_240})).unwrap();
    let answers = |a: &str, b: &str| {
        json!([{"set": "train", "prompt": "Name three primary colors.", "reference": "Red, yellow and blue.", "answer": a},
               {"set": "val", "prompt": "<b>Who</b> wrote \"Faust\"?\nOne line.", "reference": "Goethe.", "answer": b}])
    };
    run.note("before", answers("Once upon a time, there was a little girl named Lily.\n\nShe", "One day, a boy"))
        .unwrap();
    run.note("after", answers("Red, yellow and blue.", "Goethe wrote it.")).unwrap();
    train(&mut run, 96);
    run.finish().unwrap();
    run.report().unwrap();

    let mut long = Run::create(root.join("long & <odd> \"name\""), json!({}), Policy::Number).unwrap();
    for s in 0..6000u64 {
        let noise = ((s * 7919 % 1009) as f64 / 1009.0 - 0.5) * (0.6 + 1.0 / (1.0 + s as f64 / 200.0));
        let loss = match s {
            2500 => 60.0,
            4000..4200 => f64::NAN,
            _ => 1.1 + 5.5 / (1.0 + s as f64 / 150.0).sqrt() + noise,
        };
        long.log_micro(loss, 10, 20);
        let lr = 3e-4 * (s as f64 / 500.0).min(1.0) * (1.0 - s as f64 / 6000.0).max(0.0);
        long.log_step(fields(json!({"lr": lr, "grad_norm": 0.4 + noise.abs()}))).unwrap();
        if (s + 1) % 250 == 0 {
            let val = 1.3 + 5.3 / (1.0 + s as f64 / 150.0).sqrt();
            long.log_epoch(fields(json!({"val_loss": val}))).unwrap();
        }
    }
    long.report().unwrap();

    for run in [&run, &long] {
        for name in ["loss", "optim"] {
            let png = std::fs::read(run.dir().join(format!("{name}.png"))).unwrap();
            assert!(
                png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\xf0"),
                "1520 pixels wide, twice the drawing"
            );
            let svg = std::fs::read_to_string(run.dir().join(format!("{name}.svg"))).unwrap();
            well_formed(&svg);
        }
        let html = std::fs::read_to_string(run.dir().join("report.html")).unwrap();
        assert!(html.contains("<svg") && !html.contains("<odd>") && !html.contains("<b>Who"));
        assert!(
            !html.contains("src=") && !html.contains("<script") && !html.contains("<link"),
            "a report loads nothing"
        );
    }
}

/// Every tag closed in its order, every attribute quoted, every `&` an entity.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a bare >");
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    for (at, _) in xml.match_indices('&') {
        let entity = xml[at..].split(';').next().unwrap();
        assert!(["&lt", "&gt", "&amp", "&quot", "&apos", "&#39"].contains(&entity), "{entity}");
    }
}
