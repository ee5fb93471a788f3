//! Reading weights from every format LLaMA models are shipped in.
