//! What a training run must remember to go on bit for bit: trained parameters, optimizer moments, scaler, random stream,
//! and the position in the data order. The order itself is a function of seed and epoch, and the learning rate of the
//! step, so neither is stored; a learning rate that was set by hand is.

use super::state::RunState;
use crate::engine::error::{Error, Result};
use crate::engine::llama::Llama;
use crate::engine::optim::schedule::ByHand;
use crate::engine::optim::{GradScaler, GradScalerState, Optimizer, OptimizerState};
use crate::engine::rng::{self, RngState};
use candle_core::Tensor as Value;
use serde::{Deserialize, Serialize};

/// Where in the data a run stands: how much of it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs done.
    pub epoch: u64,
    /// Optimizer windows done in the epoch after those.
    pub window: u64,
    /// Optimizer steps done in all.
    pub step: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    position: Position,
    rng: RngState,
    optimizer: String,
    optimizer_steps: u64,
    scaler: Option<GradScalerState>,
    /// What the script wanted to keep; null if nothing, and in states from before there was this.
    #[serde(default)]
    extra: serde_json::Value,
    #[serde(default)]
    by_hand: Option<ByHand>,
}

const PARAM: &str = "param/";
const OPTIM: &str = "optim/";

/// Collects the state of a run at `position`: tensors by name, and JSON for the rest, `extra` of the script's included.
///
/// # Errors
/// If the model has nothing trainable.
pub fn collect(
    model: &Llama,
    optimizer: &dyn Optimizer,
    scaler: Option<&GradScaler>,
    by_hand: Option<ByHand>,
    position: Position,
    extra: serde_json::Value,
) -> Result<(Vec<(String, Value)>, serde_json::Value)> {
    let OptimizerState { steps, tensors: moments } = optimizer.state()?;
    let mut tensors: Vec<(String, Value)> =
        model.trainable()?.into_iter().map(|(name, t)| (format!("{PARAM}{name}"), t.value().clone())).collect();
    tensors.extend(moments.into_iter().map(|(name, t)| (format!("{OPTIM}{name}"), t)));
    let meta = Meta {
        position,
        rng: rng::state(),
        optimizer: optimizer.name().to_string(),
        optimizer_steps: steps,
        scaler: scaler.map(GradScaler::state),
        extra,
        by_hand,
    };
    let meta = serde_json::to_value(meta).map_err(|e| Error::config(format!("saved state: {e}")))?;
    Ok((tensors, meta))
}

/// What [`restore`] found besides what it put back.
#[derive(Debug)]
pub struct Restored {
    /// Where to go on from.
    pub position: Position,
    /// The learning rate that was set by hand.
    pub by_hand: Option<ByHand>,
    /// What the script kept.
    pub extra: serde_json::Value,
}

/// Puts model, optimizer, scaler and random stream where `state` left them.
///
/// # Errors
/// If the state is of another model, adapter or optimizer; each misfit is named.
pub fn restore(
    state: RunState,
    model: &Llama,
    optimizer: &mut dyn Optimizer,
    scaler: Option<&mut GradScaler>,
) -> Result<Restored> {
    let meta: Meta = serde_json::from_value(state.meta)
        .map_err(|e| Error::config(format!("the saved state is not one of a training run: {e}")))?;
    if meta.optimizer != optimizer.name() {
        let (saved, now) = (&meta.optimizer, optimizer.name());
        return Err(Error::config(format!("the saved state is of optimizer `{saved}`, this run uses `{now}`")));
    }
    let mut moments = Vec::new();
    let mut params = std::collections::HashMap::new();
    for (name, tensor) in state.tensors {
        if let Some(name) = name.strip_prefix(PARAM) {
            params.insert(name.to_string(), tensor);
        } else if let Some(name) = name.strip_prefix(OPTIM) {
            moments.push((name.to_string(), tensor.to_device(&model.device)?));
        }
    }
    let trainable = model.trainable()?;
    for (name, t) in &trainable {
        match params.get(name) {
            None => return Err(Error::config(format!("the saved state has no `{name}`, which this run trains"))),
            Some(saved) if saved.dims() != t.dims() || saved.dtype() != t.dtype() => {
                return Err(Error::config(format!(
                    "the saved `{name}` is {:?} {}, this run's is {:?} {}",
                    saved.dims(),
                    saved.dtype().as_str(),
                    t.dims(),
                    t.dtype().as_str()
                )));
            }
            Some(_) => {}
        }
    }
    if params.len() != trainable.len() {
        let extra = params.keys().find(|n| !trainable.iter().any(|(m, _)| m == *n));
        return Err(Error::config(format!("the saved state holds {extra:?}, which this run does not train")));
    }
    optimizer.load_state(&OptimizerState { steps: meta.optimizer_steps, tensors: moments })?;
    for (name, t) in &trainable {
        t.assign(&params[name])?;
    }
    if let (Some(scaler), Some(saved)) = (scaler, meta.scaler) {
        scaler.load_state(saved)?;
    }
    rng::restore(meta.rng);
    Ok(Restored { position: meta.position, by_hand: meta.by_hand, extra: meta.extra })
}
