//! Files built into the program; README.md beside them names their sources and licences.

/// The 175 self-instruct seed tasks as a JSON array of `instruction`, `input`, `output` (Apache-2.0, a changed format).
pub static SEED_TASKS: &str = include_str!("seed_tasks_175_alpaca_format.json");

/// Names and licence texts of everything built in, for whoever redistributes the program.
pub static LICENSES: [(&str, &str); 2] = [
    ("stories260K.bin, tok512.bin", include_str!("LLAMA2C_LICENSE.txt")),
    ("seed_tasks_175_alpaca_format.json", include_str!("SELF_INSTRUCT_LICENSE.txt")),
];

/// The stories260K model in llama2.c's format (MIT).
pub(crate) static STORIES260K: &[u8] = include_bytes!("stories260K.bin");

/// Its tokenizer in llama2.c's format (MIT).
pub(crate) static TOK512: &[u8] = include_bytes!("tok512.bin");
