//! The scripts inside the binary: the standard library (`import "std/..."`) and the shipped recipes (`host run NAME`).
//!
//! A new file in `stdlib/` or `scripts/` gets its line here; a test compares the tables with the folders.

/// Name without extension, and text.
type Table = &'static [(&'static str, &'static str)];

macro_rules! table {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../", $folder, "/", $name, ".rhai")))),*]
    };
}

/// `stdlib/*.rhai`.
pub const STDLIB: Table = table!["stdlib": "cli", "evaluate", "instruct", "log", "queue", "samples", "study", "study_report", "study_report_steps", "study_steps", "test", "train"];

/// `scripts/*.rhai`.
pub const RECIPES: Table = table!["scripts": "evaluate", "finetune", "generate", "pretrain_tiny", "quick", "study"];

/// The text of the standard library's module `name`, without the `std/`.
pub fn module(name: &str) -> Option<&'static str> {
    find(STDLIB, name)
}

/// The text of the shipped recipe `name`.
pub fn recipe(name: &str) -> Option<&'static str> {
    find(RECIPES, name)
}

fn find(table: Table, name: &str) -> Option<&'static str> {
    table.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the single-file promise: every script of the repository is in the binary, under its own name.
    #[test]
    fn tables_list_the_folders() {
        for (folder, table) in [("stdlib", STDLIB), ("scripts", RECIPES)] {
            let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            let mut files: Vec<String> = std::fs::read_dir(dir)
                .map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
                .unwrap_or_default();
            files.retain(|f| f.ends_with(".rhai") && !f.ends_with("_test.rhai"));
            files.sort();
            let listed: Vec<String> = table.iter().map(|(name, _)| format!("{name}.rhai")).collect();
            assert_eq!(files, listed, "{folder}/ and its table in src/script/embedded.rs differ");
        }
    }
}
