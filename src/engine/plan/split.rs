//! Where the bytes of a step's peak are. One rule for what is measured and for what is foretold, so that both can be
//! compared line by line.

use serde::Serialize;

/// Heap bytes of one step, phase by phase. Levels are the whole heap of the step: weights and all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// Base weights, in their dtype.
    pub weights: usize,
    /// The adapters' factors.
    pub adapter: usize,
    /// Gradients that a whole window leaves behind.
    pub gradients: usize,
    /// What the optimizer remembers.
    pub optimizer: usize,
    /// What the last forward pass left for its backward.
    pub activations: usize,
    /// Most at once in a forward pass.
    pub forward: usize,
    /// Most at once in a backward pass.
    pub backward: usize,
    /// Most at once while gradients are clipped and parameters updated.
    pub update: usize,
}

impl Phases {
    /// Most at once.
    pub fn peak(&self) -> usize {
        self.forward.max(self.backward).max(self.update)
    }
}

/// The peak, taken apart: the parts add up to it.
///
/// Where gradients take the place of activations as a backward pass goes on, `activations` is what the peak leaves of
/// them beside the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Base weights.
    pub weights: usize,
    /// The adapters' factors.
    pub adapter: usize,
    /// Gradients of the trainable parameters.
    pub gradients: usize,
    /// What the optimizer remembers.
    pub optimizer: usize,
    /// What forward left for backward.
    pub activations: usize,
    /// All else: results and gradients on their way, copies in another dtype, logits.
    pub temporary: usize,
}

impl Split {
    /// Takes the peak of `phases` apart.
    pub fn of(phases: &Phases) -> Self {
        let mut left = phases.peak();
        let mut take = |bytes: usize| {
            let taken = bytes.min(left);
            left -= taken;
            taken
        };
        Split {
            weights: take(phases.weights),
            adapter: take(phases.adapter),
            optimizer: take(phases.optimizer),
            gradients: take(phases.gradients),
            activations: take(phases.activations),
            temporary: left,
        }
    }

    /// The parts by name, in the order of a table.
    pub fn parts(&self) -> [(&'static str, usize); 6] {
        [
            ("weights", self.weights),
            ("adapter", self.adapter),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("temporary", self.temporary),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the tables: the parts add up to the peak, also where gradients replace activations.
    #[test]
    fn parts_add_up() {
        let usual = Phases {
            weights: 100,
            adapter: 10,
            gradients: 10,
            optimizer: 20,
            activations: 50,
            forward: 180,
            backward: 200,
            update: 140,
        };
        let split = Split::of(&usual);
        assert_eq!((split.activations, split.temporary), (50, 10));
        let full = Phases { gradients: 100, optimizer: 0, backward: 230, ..usual };
        let split = Split::of(&full);
        assert_eq!((split.gradients, split.activations, split.temporary), (100, 20, 0));
        for phases in [usual, full] {
            assert_eq!(Split::of(&phases).parts().iter().map(|(_, n)| n).sum::<usize>(), phases.peak());
        }
    }
}
