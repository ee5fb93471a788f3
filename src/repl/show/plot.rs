//! `:plot`: numbers as a curve.

use crate::bindings::Screen;
use crate::bindings::runs::RunHandle;
use crate::engine::autograd::Tensor;
use crate::engine::run::chart::chart;
use candle_core::DType;
use rhai::{Array, Dynamic, Map};

/// Rows of a curve.
const HEIGHT: usize = 14;

/// The curve of an array of numbers (or of maps with a `loss`), of a tensor's elements, or of a run's losses.
///
/// # Errors
/// In words, if `value` holds no numbers.
pub(in crate::repl) fn plot(value: &Dynamic, screen: Screen) -> Result<String, String> {
    if let Some(run) = value.read_lock::<RunHandle>() {
        return run.chart(screen.width).ok_or_else(|| "this run has logged no loss yet".to_string());
    }
    let numbers = match value.read_lock::<Tensor>() {
        Some(t) => elements(&t).map_err(|e| e.to_string())?,
        None => array(value)?,
    };
    let points: Vec<(f64, f64)> = numbers.into_iter().enumerate().map(|(i, y)| (i as f64, y)).collect();
    let lines = chart(&points, &[], screen.width.min(100), HEIGHT);
    if lines.is_empty() { Err("there is no number to draw".into()) } else { Ok(lines.join("\n")) }
}

fn elements(t: &Tensor) -> crate::engine::Result<Vec<f64>> {
    let flat = t.value().flatten_all().and_then(|v| v.to_dtype(DType::F64)).and_then(|v| v.to_vec1::<f64>());
    Ok(flat?)
}

fn array(value: &Dynamic) -> Result<Vec<f64>, String> {
    let Some(array) = value.read_lock::<Array>() else {
        return Err(format!("a {} cannot be drawn: give an array of numbers, a tensor, or a run", value.type_name()));
    };
    let number = |(i, v): (usize, &Dynamic)| {
        let loss = v.read_lock::<Map>().and_then(|m| m.get("loss").cloned());
        let v = loss.as_ref().unwrap_or(v);
        let x = v.as_float().ok().or_else(|| v.as_int().ok().map(|n| n as f64));
        x.ok_or_else(|| format!("element {i} is no number: {} ({})", v, v.type_name()))
    };
    array.iter().enumerate().map(number).collect()
}
