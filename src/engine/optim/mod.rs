//! Optimizers.

pub mod schedule;
