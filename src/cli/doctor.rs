//! `host doctor`: what the program finds on this machine; and the facts behind `host --version`.

use super::{Exit, printer::Printer};
use crate::bindings::Output;
use crate::engine::machine;
use crate::script::doctor::{self, Findings};
use std::io::IsTerminal;
use std::sync::LazyLock;

/// Show what host finds on this machine: processor, memory, CUDA, folders
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all is well, 2 something is damaged or cannot be used.")]
pub(super) struct Args {
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let found = doctor::examine();
    if args.json {
        let terminal = serde_json::json!({
            "stdin": std::io::stdin().is_terminal(),
            "stdout": std::io::stdout().is_terminal(),
            "stderr": std::io::stderr().is_terminal(),
            "term": std::env::var("TERM").ok(),
            "no_color": no_color(),
        });
        let mut all = serde_json::to_value(&found).unwrap_or_default();
        all["terminal"] = terminal;
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        printer.line(&serde_json::to_string_pretty(&all).unwrap_or_default());
    } else {
        printer.line(&text(&found));
    }
    if found.problems.is_empty() { Exit::Success } else { Exit::Usage }
}

/// The lines behind `host VERSION` in `host --version`.
pub(super) fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(version_text);
    &TEXT
}

fn version_text() -> String {
    let cuda = if cfg!(feature = "cuda") { "cuda" } else { "none (built without cuda)" };
    let features = machine::features();
    let matters: Vec<&str> =
        features.iter().copied().filter(|f| f.contains("bf16") || f.contains("fp16") || *f == "f16c").collect();
    let besides = if matters.is_empty() { String::new() } else { format!(", with {}", matters.join(", ")) };
    format!(
        "{}\nfeatures: {cuda}\ncpu:      {} on {}{besides}\nsystem:   {} {}",
        env!("CARGO_PKG_VERSION"),
        machine::dispatch(),
        machine::cpu().name,
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
}

fn text(found: &Findings) -> String {
    let mut rows: Vec<(&str, String)> = vec![("host", format!("{} on {}", found.version, found.system))];
    let cpu = &found.cpu;
    rows.push(("processor", cpu.name.clone()));
    rows.push(("", cpu.features.join(" ")));
    rows.push(("", format!("matrix products run on {}, with {} threads", cpu.dispatch, cpu.threads)));
    if let Some(gflops) = found.gflops {
        rows.push(("", format!("{gflops:.0} GFLOP/s in f32")));
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    let memory = &found.memory;
    let mut parts: Vec<String> = memory.total.iter().map(|b| gib(*b)).collect();
    parts.extend(memory.available.map(|b| format!("{} available", gib(b))));
    parts.extend(memory.limit.map(|b| format!("limited to {} by a control group", gib(b))));
    rows.push(("memory", if parts.is_empty() { "unknown".into() } else { parts.join(", ") }));

    let cuda = &found.cuda;
    let driver = match &cuda.driver {
        Some(version) => format!("driver {version}"),
        None => "no NVIDIA driver".into(),
    };
    let devices = match cuda.devices.len() {
        0 => "no device".to_string(),
        1 => "1 device".to_string(),
        n => format!("{n} devices"),
    };
    let built = if cuda.compiled { "built in" } else { "not built in" };
    rows.push(("CUDA", format!("{built}; {driver}, {devices}")));
    rows.push(("", cuda.problem.clone().unwrap_or("cuda:0 works".into())));

    for (i, folder) in found.folders.iter().enumerate() {
        let path = folder.path.as_ref().map_or("nowhere".into(), |p| p.display().to_string());
        let state = match (folder.exists, folder.writable) {
            (_, false) => " (cannot be written)",
            (false, true) => " (made when needed)",
            (true, true) => "",
        };
        rows.push((if i == 0 { "folders" } else { "" }, format!("{}: {path}{state}", folder.what)));
    }
    for (i, asset) in found.built_in.iter().enumerate() {
        rows.push((if i == 0 { "inside" } else { "" }, format!("{}: {}", asset.name, asset.holds)));
    }
    let stream = |name: &str, is: bool| format!("{name} {}", if is { "terminal" } else { "piped" });
    rows.push((
        "terminal",
        format!(
            "{}, {}, {}; TERM={}{}",
            stream("input", std::io::stdin().is_terminal()),
            stream("output", std::io::stdout().is_terminal()),
            stream("errors", std::io::stderr().is_terminal()),
            std::env::var("TERM").unwrap_or_default(),
            if no_color() { ", NO_COLOR" } else { "" },
        ),
    ));
    let mut lines: Vec<String> = rows.iter().map(|(left, right)| format!("{left:10} {right}")).collect();
    lines.push(String::new());
    match found.problems.as_slice() {
        [] => lines.push("all is well".into()),
        problems => lines.extend(problems.iter().map(|p| format!("problem: {p}"))),
    }
    lines.join("\n")
}
