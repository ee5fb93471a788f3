//! `host doctor`: what this program finds on this machine, and whether it is whole.

use super::{
    embedded,
    host::Script,
    options::Declared,
    recipes::{self, places},
};
use crate::engine::{Error, data, hub::Hub, llama, machine};
use candle_core::{DType, Device};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Side of the matrices that the speed is measured on.
const MATRIX: usize = 768;
/// Time for it.
const TIME: Duration = Duration::from_millis(200);

/// What was found; as JSON, what `host doctor --json` prints.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// The host's version.
    pub version: &'static str,
    /// Operating system and architecture.
    pub system: String,
    /// The processor.
    pub cpu: machine::Cpu,
    /// The memory.
    pub memory: machine::Memory,
    /// The GPU.
    pub cuda: machine::Cuda,
    /// f32 matrix products, in GFLOP/s; `None` if they failed.
    pub gflops: Option<f64>,
    /// Folders of ours.
    pub folders: Vec<Folder>,
    /// What is inside the program.
    pub built_in: Vec<Asset>,
    /// Faults, one sentence each: nothing that is merely absent.
    pub problems: Vec<String>,
}

/// A folder that we use.
#[derive(Debug, Serialize)]
pub struct Folder {
    /// What for.
    pub what: &'static str,
    /// Where; `None` if the system has no home for us.
    pub path: Option<PathBuf>,
    /// Whether it is there.
    pub exists: bool,
    /// Whether we may write there, or make it.
    pub writable: bool,
}

/// Something inside the program.
#[derive(Debug, Serialize)]
pub struct Asset {
    /// Its name.
    pub name: &'static str,
    /// What it holds, in words.
    pub holds: String,
}

/// Looks at everything. Takes under a second.
pub fn examine() -> Findings {
    let mut problems = Vec::new();
    let built_in = assets(&mut problems);
    let folders = vec![
        folder("your recipes", places::user_recipes()),
        folder("state (history of the session)", places::state()),
        folder("models of the hub", Some(Hub::from_env().cache)),
        folder("temporary files", Some(std::env::temp_dir())),
    ];
    problems.extend(folders.iter().filter(|f| !f.writable).map(|f| match &f.path {
        Some(path) => format!("{} cannot be written, for {}", path.display(), f.what),
        None => format!("no home directory is known, for {}", f.what),
    }));
    let cuda = machine::cuda();
    if cuda.compiled
        && let Some(problem) = &cuda.problem
    {
        problems.push(problem.clone());
    }
    let gflops = machine::gflops(MATRIX, TIME).map_err(|e| problems.push(format!("a matrix product failed: {e}"))).ok();
    for recipe in recipes::list() {
        if let Some(problem) = recipe.problem {
            problems.push(format!("the recipe {} cannot be run: {problem}", recipe.name));
        }
    }
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: machine::cpu(),
        memory: machine::memory(),
        cuda,
        gflops,
        folders,
        built_in,
        problems,
    }
}

/// Every part of the program that is not code, opened as a script would.
fn assets(problems: &mut Vec<String>) -> Vec<Asset> {
    let mut found = Vec::new();
    let mut add = |name: &'static str, holds: Result<String, String>| match holds {
        Ok(holds) => found.push(Asset { name, holds }),
        Err(e) => problems.push(format!("{name}, inside the program, is damaged: {e}")),
    };
    add("builtin:stories260K", model().map_err(|e| e.to_string()));
    let tasks = data::source::load("builtin:seed-tasks", &data::source::ReadOptions::default());
    add("builtin:seed-tasks", tasks.map(|d| format!("{} records", d.records().len())).map_err(|e| e.to_string()));
    for (name, table) in [("recipes", embedded::RECIPES), ("standard library", embedded::STDLIB)] {
        let wrong = table.iter().find_map(|(name, text)| {
            let script = Script { name: format!("{name}.rhai"), text: text.to_string(), folder: None };
            Declared::read(&script).err().map(|d| format!("{name}: {}", d.message))
        });
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        add(name, wrong.map_or(Ok(names.join(", ")), Err));
    }
    found
}

/// The model with all its weights, and a text that its tokenizer gives back.
fn model() -> crate::engine::Result<String> {
    const TEXT: &str = "Once upon a time there was a host.";
    let name = "builtin:stories260K";
    let model = llama::Llama::load(name, DType::F32, &Device::Cpu, &mut |_, _| {})?;
    let missing = || Error::format(name, "there is no tokenizer");
    let tokenizer = llama::weights::Checkpoint::open(name)?.tokenizer.ok_or_else(missing)?;
    let back = tokenizer.decode(&tokenizer.encode(TEXT)?)?;
    if back.trim() != TEXT {
        return Err(Error::format(name, format!("its tokenizer makes {back:?} of {TEXT:?}")));
    }
    let layers = model.config.num_hidden_layers;
    Ok(format!("a model of {layers} layers, a tokenizer of {} pieces", tokenizer.vocab_size()))
}

fn folder(what: &'static str, path: Option<PathBuf>) -> Folder {
    let exists = path.as_ref().is_some_and(|p| p.is_dir());
    // The nearest folder that is there is the one that would have to take us.
    let there = path.as_deref().and_then(|p| p.ancestors().find(|a| a.exists()));
    Folder { what, exists, writable: there.is_some_and(writable), path }
}

/// Tried, because modes and mounts both have their say.
fn writable(folder: &Path) -> bool {
    folder.is_dir() && tempfile::Builder::new().prefix(".host-doctor-").tempfile_in(folder).is_ok()
}
