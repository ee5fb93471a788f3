//! Container formats, with no idea of what a model is: memory maps, GGUF headers, pickles, protobuf messages.
//!
//! Every length in a file is checked against the file before it is believed.

pub mod bytes;
pub mod gguf;
pub mod pickle;
pub mod protobuf;
