//! `host completions`: the script that teaches a shell to complete verbs, options, files and the names of recipes.
//!
//! Verbs and options come from the command line's definition. Names of recipes are asked of `host ls --names` at the time,
//! by a few lines of our own for each shell; a script's own options are those that its `--help` shows.

use super::{Exit, printer::Printer};
use crate::bindings::Output;
use clap::CommandFactory;
use clap_complete::Shell;

/// The verbs whose first word may be a recipe's name.
const VERBS: [&str; 5] = ["run", "repl", "cp", "check", "test"];

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "bash:  host completions bash > ~/.local/share/bash-completion/completions/host\n\
                        zsh:   host completions zsh > DIR/_host, DIR being in $fpath\n\
                        fish:  host completions fish > ~/.config/fish/completions/host.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let (shell, of_recipes) = match args.shell.as_str() {
        "bash" => (Shell::Bash, BASH),
        "zsh" => (Shell::Zsh, ZSH),
        _ => (Shell::Fish, FISH),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "host", &mut script);
    let script = String::from_utf8_lossy(&script);
    let of_recipes = of_recipes.replace("VERBS", &VERBS.join(if shell == Shell::Fish { " " } else { "|" }));
    let whole = match shell {
        // Before clap's function, whose last lines call it.
        Shell::Zsh => with_recipes(&script).replacen("\n_host() {", &format!("\n{of_recipes}\n_host() {{"), 1),
        _ => format!("{script}\n{of_recipes}"),
    };
    printer.text(whole.trim_end());
    printer.text("\n");
    Exit::Success
}

/// The zsh `script`, with recipes offered where a script or recipe is wanted.
fn with_recipes(script: &str) -> String {
    let line = |line: &str| {
        let argument = line.trim_start();
        let wanted = ["'*::script ", "':recipe "].into_iter().find(|start| argument.starts_with(start));
        match wanted {
            Some(start) => format!("{}:_host_scripts' \\\n", start.trim_end()),
            None => format!("{line}\n"),
        }
    };
    script.lines().map(line).collect()
}

/// Clap's function first; names of recipes where the first word behind the verb is wanted, the script's options behind it.
const BASH: &str = r#"_host_with_recipes() {
    _host "$@"
    local word="${COMP_WORDS[COMP_CWORD]}"
    case "${COMP_WORDS[1]}" in
        VERBS)
            if [[ "$word" != -* && "$COMP_CWORD" -eq 2 ]]; then
                COMPREPLY=($(compgen -W "$(host ls --names 2>/dev/null)" -- "$word") $(compgen -f -- "$word"))
            elif [[ "$word" == --* && "$COMP_CWORD" -gt 2 && "${COMP_WORDS[2]}" != -* ]]; then
                COMPREPLY=($(compgen -W "$(host run "${COMP_WORDS[2]}" --help 2>/dev/null | grep -o -- '^  --[a-z0-9-]*')" -- "$word"))
            fi
            ;;
    esac
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _host_with_recipes -o nosort -o bashdefault -o default host
else
    complete -F _host_with_recipes -o bashdefault -o default host
fi
"#;

/// `words` and `CURRENT` count from the script here: clap's `*::` has cut off what stands before it.
const ZSH: &str = r#"_host_scripts() {
    local -a found
    if (( CURRENT > 1 )); then
        found=(${(f)"$(host run ${words[1]} --help 2>/dev/null | grep -o -- '^  --[a-z0-9-]*' | tr -d ' ')"})
        _alternative 'options:option:compadd -a found' 'files:file:_files'
    else
        found=(${(f)"$(host ls --names 2>/dev/null)"})
        _alternative 'recipes:recipe:compadd -a found' 'files:file:_files'
    fi
}
"#;

const FISH: &str = r#"function __host_script_options
    set -l words (commandline -opc)
    if test (count $words) -gt 2
        host run $words[3] --help 2>/dev/null | string match -r '^  --[a-z0-9-]+' | string trim
    end
end
complete -c host -n "__fish_seen_subcommand_from VERBS" -a "(host ls --names 2>/dev/null)" -d "recipe"
complete -c host -n "__fish_seen_subcommand_from run repl" -a "(__host_script_options)"
"#;
