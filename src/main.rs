//! `host`: see [`lora_host::cli`].

fn main() -> std::process::ExitCode {
    lora_host::cli::main()
}
