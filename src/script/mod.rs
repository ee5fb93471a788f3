//! The Rhai host: engine assembly, module resolver, options, interrupts, diagnostics.
