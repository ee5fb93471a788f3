//! Instruction data.
