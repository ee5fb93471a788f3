//! How long native work reports where it stands, without knowing who shows it.

/// What a bar counts, for the rate behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Steps, records, tensors: shown as plain numbers.
    Items,
    /// Bytes: shown as MiB.
    Bytes,
}

/// One piece of work in progress. Dropping it without [`Progress::finish`] means that the work was given up.
pub trait Progress: Send + Sync {
    /// `done` of the total is finished; `metrics` are names with values ready for printing, e.g. `("loss", "1.234")`.
    fn update(&self, done: u64, metrics: &[(String, String)]);

    /// The work is complete. Later calls change nothing.
    fn finish(&self);
}

/// Whoever shows progress: the command line's printer, or nobody ([`Silent`]).
pub trait Reporter: Send + Sync {
    /// Starts showing work of `total` units (0: unknown) under `label`.
    fn start(&self, total: u64, label: &str, unit: Unit) -> Box<dyn Progress>;
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _: u64, _: &[(String, String)]) {}
    fn finish(&self) {}
}

impl Reporter for Silent {
    fn start(&self, _: u64, _: &str, _: Unit) -> Box<dyn Progress> {
        Box::new(Silent)
    }
}
