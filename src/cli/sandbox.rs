//! The flags before a script's name that say how far it may go; behind the name they are read with its own options.

use crate::script::{Diagnostic, sandbox::Sandbox};

/// See [`Sandbox`].
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What the script may do")]
pub(super) struct Flags {
    /// Let the script read this too: files, or folders with all below; repeat it, or give a list with commas
    #[arg(long, value_name = "PATH")]
    allow_read: Vec<String>,
    /// Let the script write this too; likewise
    #[arg(long, value_name = "PATH")]
    allow_write: Vec<String>,
    /// Let the script use the network
    #[arg(long)]
    allow_net: bool,
    /// Let the script read and write everything
    #[arg(long)]
    allow_all: bool,
    /// Most memory, such as 8GiB [default: the machine's]
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<String>,
    /// Most operations of the script itself, native work not counted [default: no limit]
    #[arg(long, value_name = "N")]
    max_ops: Option<String>,
    /// Most time, such as 30s, 10m or 2h [default: no limit]
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
}

impl Flags {
    /// The flags, understood.
    ///
    /// # Errors
    /// A size, count or time that is none.
    pub(super) fn flags(self) -> Result<Sandbox, Box<Diagnostic>> {
        let mut flags = Sandbox::default();
        let each = |name: &'static str, values: Vec<String>| values.into_iter().map(move |v| (name, v));
        let truth = |on: bool| if on { vec!["true".to_string()] } else { Vec::new() };
        let given = each("allow_read", self.allow_read)
            .chain(each("allow_write", self.allow_write))
            .chain(each("allow_net", truth(self.allow_net)))
            .chain(each("allow_all", truth(self.allow_all)))
            .chain(each("max_memory", self.max_memory.into_iter().collect()))
            .chain(each("max_ops", self.max_ops.into_iter().collect()))
            .chain(each("timeout", self.timeout.into_iter().collect()));
        for (name, text) in given {
            flags.set(name, &text)?;
        }
        Ok(flags)
    }
}
