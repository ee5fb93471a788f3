//! Naming devices: `"cpu"`, `"cuda"`, `"cuda:1"`.

use super::error::{Error, Result};
use candle_core::Device;

/// The device called `name`. Never falls back to another one.
pub fn parse(name: &str) -> Result<Device> {
    match name.split_once(':').map_or((name, None), |(kind, n)| (kind, Some(n))) {
        ("cpu", None) => Ok(Device::Cpu),
        ("cuda", ordinal) => {
            let ordinal = ordinal.unwrap_or("0");
            let n = ordinal
                .parse()
                .map_err(|_| Error::config(format!("device `{name}`: `{ordinal}` is not a device number")))?;
            cuda(n)
        }
        _ => {
            Err(Error::config_help(format!("unknown device `{name}`"), "devices are \"cpu\", \"cuda\" and \"cuda:N\""))
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Device> {
    Device::new_cuda(ordinal).map_err(|e| Error::device(format!("cuda:{ordinal} cannot be used: {}", Error::from(e))))
}

#[cfg(not(feature = "cuda"))]
fn cuda(ordinal: usize) -> Result<Device> {
    Err(Error::device(format!("cuda:{ordinal}: this binary was built without CUDA"))
        .advise("build it with `cargo build --release --features cuda`"))
}

/// The names of the devices that can be used: the CPU, then each GPU.
pub fn all() -> Vec<String> {
    let gpus = (0..).map_while(|n| cuda(n).ok().map(|_| format!("cuda:{n}")));
    std::iter::once("cpu".to_string()).chain(gpus).collect()
}

/// The name that [`parse`] takes back to `device`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
