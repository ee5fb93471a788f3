//! RoPE's tables: `cos` and `sin` of `position * inv_freq`, one row per position.

use super::config::LlamaConfig;
use crate::engine::error::Result;
use candle_core::{Device, Tensor as Value};
use std::sync::{Mutex, PoisonError};

/// Tables that grow with the longest sequence seen.
#[derive(Debug)]
pub struct Positions {
    inv_freq: Vec<f64>,
    device: Device,
    tables: Mutex<Option<(Value, Value)>>,
}

impl Positions {
    /// For `config`, on `device`. Nothing is computed yet.
    pub fn new(config: &LlamaConfig, device: &Device) -> Self {
        Positions { inv_freq: config.inv_freq(), device: device.clone(), tables: Mutex::new(None) }
    }

    /// `(cos, sin)`, each `[count, head_dim / 2]` in f32, for positions `start .. start + count`.
    pub fn rows(&self, start: usize, count: usize) -> Result<(Value, Value)> {
        let (cos, sin) = self.up_to(start + count)?;
        Ok((cos.narrow(0, start, count)?, sin.narrow(0, start, count)?))
    }

    /// `(cos, sin)`, each `[positions, head_dim / 2]` in f32, for any positions.
    pub fn at(&self, positions: &[usize]) -> Result<(Value, Value)> {
        let (cos, sin) = self.up_to(positions.iter().max().map_or(0, |p| p + 1))?;
        let at: Vec<u32> = positions.iter().map(|p| *p as u32).collect();
        let at = Value::new(at.as_slice(), &self.device)?;
        Ok((cos.index_select(&at, 0)?, sin.index_select(&at, 0)?))
    }

    /// The tables for at least `need` positions from 0.
    fn up_to(&self, need: usize) -> Result<(Value, Value)> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &*tables {
            Some((cos, sin)) if cos.dims()[0] >= need => (cos.clone(), sin.clone()),
            _ => {
                let rows = need.next_power_of_two().max(64);
                let angles = (0..rows).flat_map(|p| self.inv_freq.iter().map(move |f| p as f64 * f));
                let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.sin() as f32, a.cos() as f32)).unzip();
                let table = |v| Value::from_vec(v, (rows, self.inv_freq.len()), &self.device);
                let grown = (table(cos)?, table(sin)?);
                *tables = Some(grown.clone());
                grown
            }
        })
    }
}
