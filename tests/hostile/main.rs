//! Other people's scripts, through the real binary in a child process with a small address space: each ends as an error
//! with a message of its own, within its time and memory, by exit code and not by a signal.

#![cfg(target_os = "linux")]

#[path = "../cli_support/mod.rs"]
mod cli_support;
mod bombs;
mod child;
mod escapes;
