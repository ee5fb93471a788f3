//! `host ls`: the recipes that can be run by name.

use super::{Exit, printer::Printer};
use crate::bindings::Output;
use crate::script::recipes::{self, Listed, Shelf};

/// List the recipes: the project's, yours, and those inside the program
#[derive(Debug, clap::Args)]
#[command(after_help = "Recipes lie in ./recipes (the project's) and in $XDG_DATA_HOME/host/recipes, by default \
                        ~/.local/share/host/recipes (yours): NAME.rhai, a folder NAME, or a pack NAME.tar.zst.")]
pub(super) struct Args {
    /// As a JSON array
    #[arg(long)]
    json: bool,
    /// The names alone, one to a line
    #[arg(long, conflicts_with = "json")]
    names: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let all = recipes::list();
    if args.json {
        // Plain data with string keys: there is nothing in it that JSON cannot hold.
        printer.line(&serde_json::to_string_pretty(&all).unwrap_or_default());
    } else if args.names {
        all.iter().filter(|l| !l.hidden).for_each(|l| printer.line(&l.name));
    } else {
        printer.line(&table(&all));
    }
    Exit::Success
}

fn table(all: &[Listed]) -> String {
    let name = |l: &Listed| match &l.version {
        Some(version) => format!("{} {version}", l.name),
        None => l.name.clone(),
    };
    let width = all.iter().map(|l| name(l).chars().count()).max().unwrap_or(0);
    let (project, user) = recipes::looked_in();
    let mut sections = Vec::new();
    for shelf in [Shelf::Project, Shelf::User, Shelf::BuiltIn] {
        let heading = match (shelf, &user) {
            (Shelf::Project, _) => format!("project (./{})", project.display()),
            (Shelf::User, Some(user)) => format!("yours ({})", user.display()),
            (Shelf::User, None) => "yours".to_string(),
            (Shelf::BuiltIn, _) => "built in".to_string(),
        };
        let rows = all.iter().filter(|l| l.from == shelf).map(|l| {
            let mut about = vec![l.description.clone()];
            about.extend(l.problem.iter().map(|p| format!("cannot be run: {p}")));
            about.extend(l.hidden.then(|| "(hidden by the one above)".to_string()));
            about.retain(|a| !a.is_empty());
            format!("  {:width$}  {}", name(l), about.join(" ")).trim_end().to_string()
        });
        let rows: Vec<String> = rows.collect();
        if !rows.is_empty() {
            sections.push(format!("{heading}\n{}", rows.join("\n")));
        }
    }
    sections.join("\n\n")
}
