//! The machine that we run on: what its processor can do, how much memory there is for us, whether a GPU could be used.

use super::device;
use super::error::Result;
use super::memory::machine::{control_group, kib};
use candle_core::{Device, Tensor};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Facts about the processor.
#[derive(Debug, Clone, Serialize)]
pub struct Cpu {
    /// Its name; the architecture's where the system does not tell.
    pub name: String,
    /// What it can do that matters to us, detected at run time.
    pub features: Vec<&'static str>,
    /// The instructions that matrix products are dispatched to.
    pub dispatch: &'static str,
    /// Threads that this process may use at once.
    pub threads: usize,
}

/// Facts about the memory, in bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    /// The machine's.
    pub total: Option<u64>,
    /// What could be had now.
    pub available: Option<u64>,
    /// The least limit of the control groups that we are in.
    pub limit: Option<u64>,
}

/// Whether CUDA can be used.
#[derive(Debug, Clone, Serialize)]
pub struct Cuda {
    /// Whether this binary can use it at all.
    pub compiled: bool,
    /// Version of the driver, where one is loaded.
    pub driver: Option<String>,
    /// Device nodes of GPUs.
    pub devices: Vec<PathBuf>,
    /// Why `cuda:0` cannot be used; `None` if it can.
    pub problem: Option<String>,
}

/// The features of this processor, in the names that Rust has for them.
pub fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt)*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
        }
        look!("sse4.2" "avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512bf16" "avx512fp16");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt)*) => { $(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })* };
        }
        look!("neon" "fp16" "bf16" "dotprod" "i8mm" "sve");
    }
    found.shrink_to_fit();
    found
}

/// The instructions that the `gemm` crate takes on this processor; it asks for the same features.
pub fn dispatch() -> &'static str {
    let features = features();
    let has = |name: &str| features.contains(&name);
    match () {
        () if has("avx512f") => "avx512",
        () if has("avx2") && has("fma") => "avx2",
        () if has("neon") => "neon",
        () => "scalar",
    }
}

/// The processor.
pub fn cpu() -> Cpu {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    Cpu {
        name: name.unwrap_or(std::env::consts::ARCH).to_string(),
        features: features(),
        dispatch: dispatch(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The memory.
pub fn memory() -> Memory {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| kib(&info, name).map(|bytes| bytes as u64);
    let total = field("MemTotal:");
    // No limit is written as the word `max`, or as a number larger than any memory.
    let limit = control_group().map(|bytes| bytes as u64).filter(|l| total.is_none_or(|total| *l < total));
    Memory { total, available: field("MemAvailable:"), limit }
}

/// Whether CUDA can be used, and why not.
pub fn cuda() -> Cuda {
    let version = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let words = version.lines().next().unwrap_or_default().split_whitespace();
    let driver = words.into_iter().find(|w| w.contains('.') && w.starts_with(|c: char| c.is_ascii_digit()));
    let mut devices: Vec<PathBuf> =
        std::fs::read_dir("/dev").into_iter().flatten().flatten().map(|e| e.path()).collect();
    devices.retain(|p| {
        let number = p.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("nvidia"));
        number.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
    });
    devices.sort();
    Cuda {
        compiled: cfg!(feature = "cuda"),
        driver: driver.map(str::to_string),
        devices,
        problem: device::parse("cuda").err().map(|e| e.to_string().trim_start_matches("device: ").to_string()),
    }
}

/// Billions of floating-point operations per second in an f32 product of two `size` x `size` matrices on the CPU: the best
/// of what fits into `time`.
///
/// # Errors
/// Out of memory.
pub fn gflops(size: usize, time: Duration) -> Result<f64> {
    let a = Tensor::rand(-1f32, 1f32, (size, size), &Device::Cpu)?;
    let began = Instant::now();
    let mut best = Duration::MAX;
    // The first product also starts the threads.
    std::hint::black_box(a.matmul(&a)?);
    while best == Duration::MAX || began.elapsed() < time {
        let start = Instant::now();
        std::hint::black_box(a.matmul(&a)?);
        best = best.min(start.elapsed());
    }
    Ok(2.0 * (size as f64).powi(3) / best.as_secs_f64() / 1e9)
}
