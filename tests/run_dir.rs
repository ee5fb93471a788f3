//! Run directories from outside: what survives a kill, what a resumed run repeats, what a second start does.

use candle_core::{Device, Tensor};
use lora_host::engine::run::{Policy, Run, log};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn fields(value: Value) -> log::Fields {
    value.as_object().unwrap().clone()
}

/// A training run in small: a "weight" that is halved each step, `noise` as the data's doing, a save after each step
/// in `saves`. Stops, as if killed, after `until` steps.
fn train(run: &mut Run, until: u64, saves: &[u64]) -> f64 {
    let mut weight = 4.0f64;
    if let Some(state) = run.take_saved() {
        weight = state.tensors[0].1.to_scalar::<f64>().unwrap();
        assert_eq!(state.meta["step"], run.step());
        assert_eq!(state.meta["seed"], u64::MAX - 1);
    }
    for s in run.step()..until {
        for micro in 0..2u64 {
            let noise = ((s * 2 + micro) as f64 * 1.9).sin() * 0.4;
            run.log_micro(1.2 + weight / 3.0 + noise, 20 + 7 * micro + s % 5, 64);
        }
        weight *= 1.0 - 1.0 / 30.0;
        run.log_fields(fields(json!({"grad_norm": 0.3 + weight * 0.2 + (s as f64 * 0.7).cos() * 0.1}))).unwrap();
        run.log_step(fields(json!({"lr": 1e-3 * (1.0 + (s as f64 / 96.0 * 3.1415).cos()) / 2.0}))).unwrap();
        if (s + 1) % 32 == 0 {
            run.log_epoch(fields(json!({"val_loss": 1.35 + weight / 3.0}))).unwrap();
        }
        if saves.contains(&(s + 1)) {
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
        log::TIMING_FIELDS.iter().for_each(|name| drop(line.remove(*name)));
    }
    lines
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// Protects the promise of `--resume`: killed at any step, in any line, the log and the weights end as if never stopped.
#[test]
fn resumed_run_equals_the_uninterrupted_one() {
    let root = scratch("resume");
    let settings = json!({"lr": 1e-3, "epochs": 3});
    let saves: Vec<u64> = (1..=96).filter(|s| s % 10 == 0 || s % 32 == 0).collect();
    let mut whole = Run::create(root.join("whole"), settings.clone(), Policy::Number).unwrap();
    let expected = train(&mut whole, 96, &saves);
    let expected_log = log_of(whole.dir());
    assert_eq!(expected_log.len(), 99);

    let asked = root.join("killed");
    drop(Run::create(&asked, settings.clone(), Policy::Number).unwrap()); // killed before its first step
    for (kill, from) in [(7, 0), (33, 0), (34, 32), (69, 32), (95, 64)] {
        let mut run = Run::create(&asked, settings.clone(), Policy::Resume).unwrap();
        assert_eq!(run.step(), from, "killed at {kill}");
        train(&mut run, kill, &saves[..saves.iter().filter(|s| **s % 32 == 0 || kill > 90).count().min(saves.len())]
            .iter().copied().filter(|s| s % 32 == 0 || kill > 90).collect::<Vec<_>>());
        drop(run);
        let torn = std::fs::OpenOptions::new().append(true).open(asked.join("log.jsonl"));
        std::io::Write::write_all(&mut torn.unwrap(), b"{\"kind\":\"step\",\"st").unwrap();
        std::fs::write(asked.join(".host-tmp-1-1"), "half a state").unwrap();
    }
    let mut run = Run::create(&asked, settings, Policy::Resume).unwrap();
    assert_eq!((run.step(), run.resumed()), (90, true));
    assert!(!asked.join(".host-tmp-1-1").exists());
    assert_eq!(train(&mut run, 96, &saves).to_bits(), expected.to_bits());
    assert_eq!(log_of(&asked), expected_log);
}
