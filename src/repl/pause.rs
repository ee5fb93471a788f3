//! The prompt inside a paused script: its variables to read and change, where it stands, and how to go on.

use super::Report;
use super::commands::{ANYWHERE, Command, Completes, Next, anywhere, list, names, split, unknown};
use super::editor::{Reader, Typed, next_input};
use super::highlight::highlight;
use super::names::{Names, scripted};
use super::prompt::Prompt;
use super::show::{self, painted, table};
use crate::bindings::Context;
use crate::engine::{interrupt, pause};
use crate::script::catalog::{self, Signature};
use crate::script::debug::{Go, Level, Paused, Pauser, Why};
use crate::script::{Diagnostic, Place};
use rhai::{Dynamic, Engine, ImmutableString, Scope};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PROMPT: &str = "paused> ";

/// Lines of the script that are shown before and after the one it stands at.
const AROUND: usize = 2;

/// Opens a prompt wherever a script pauses: on the terminal, or from the lines of standard input.
pub struct PausePrompt {
    ctx: Context,
    report: Report,
    kept: Mutex<Kept>,
}

/// What lasts from one pause to the next.
#[derive(Default)]
struct Kept {
    catalog: Option<Arc<[Signature]>>,
    /// The last place that was shown: its function and file.
    shown: Option<(String, String)>,
    /// What an empty line does again.
    step: Option<Go>,
    /// Standard input has ended: nobody answers any more.
    deserted: bool,
}

impl PausePrompt {
    /// A prompt that prints on `ctx`'s output; `report` shows what goes wrong.
    pub fn new(ctx: Context, report: Report) -> Self {
        PausePrompt { ctx, report, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Conveniences, any of which may be stale.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PausePrompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PausePrompt").finish_non_exhaustive()
    }
}

impl Pauser for PausePrompt {
    fn ask(&self, paused: &mut Paused<'_, '_>) -> Go {
        let _bars = self.ctx.output.aside();
        let catalog = self.kept().catalog.get_or_insert_with(|| catalog::collect(paused.engine()).into()).clone();
        let mut at = AtPause { paused, ctx: &self.ctx, catalog };
        if self.kept().deserted {
            return at.pass();
        }
        self.arrive(&at);
        let go = if std::io::stdin().is_terminal() { self.terminal(&mut at) } else { self.piped(&mut at) };
        if self.kept().deserted {
            return go;
        }
        self.kept().step = matches!(go, Go::Step | Go::Over).then_some(go);
        match go {
            Go::Stop if interrupt::graceful() => at.note("going on to where the run saves its state, then stopping"),
            Go::Stop => at.note("stopping here: no run has a saved state to go on from"),
            Go::StopAtOnce => at.note("stopping here; what was saved before stays as it is"),
            _ => {}
        }
        go
    }
}

impl PausePrompt {
    /// Says where the script stands; after a step in the same function, the line is enough.
    fn arrive(&self, at: &AtPause) {
        let here = at.here();
        let (what, file) = (here.what.clone(), here.place.as_ref().map_or(String::new(), |p| p.file.clone()));
        let mut kept = self.kept();
        let first = kept.shown.is_none();
        let same = kept
            .shown
            .replace((what, file))
            .is_some_and(|(w, f)| w == here.what && here.place.as_ref().is_some_and(|p| p.file == f));
        drop(kept);
        if *at.paused.why() == Why::Stepped && same {
            at.listing(here, 0);
            return;
        }
        let place = here.place.as_ref().map_or(String::new(), |p| format!(" {}", at.line_of(p)));
        let why = match at.paused.why() {
            Why::Stepped => String::new(),
            why => format!(": {why}"),
        };
        at.line(&format!("paused at{place}, in {}{why}", here.what));
        at.listing(here, AROUND);
        if first {
            at.note("every variable can be read and changed; :help lists commands, :continue goes on");
        }
        if matches!(at.paused.why(), Why::Asked(pause::Reason::NotFinite { .. })) {
            at.note(":abort now keeps the state that was saved last; :abort would save this one");
        }
    }

    fn terminal(&self, at: &mut AtPause) -> Go {
        let mut reader = match Reader::new() {
            Ok(reader) => reader,
            Err(e) => {
                (self.report)(&Diagnostic::new("terminal", format!("the line editor cannot start: {e}")));
                return Go::On;
            }
        };
        let mut again = self.kept().step;
        loop {
            let commands = names(&ANYWHERE).chain(names(&OWN)).collect();
            match reader.read(PROMPT, Names::of(at, commands)) {
                Ok(Typed::Input(text)) if text.trim().is_empty() => {
                    if let Some(go) = again {
                        return go;
                    }
                }
                Ok(Typed::Input(text)) => {
                    again = None;
                    match at.input(&text) {
                        Ok(None) => {}
                        Ok(Some(go)) => return go,
                        Err(diagnostic) => (self.report)(&diagnostic),
                    }
                }
                Ok(Typed::Nothing) => {}
                // As at every other prompt Ctrl-D leaves it; the run is worth more than a slip of the hand.
                Ok(Typed::End) => {
                    at.note(":continue");
                    return Go::On;
                }
                Err(diagnostic) => {
                    (self.report)(&diagnostic);
                    return Go::Stop;
                }
            }
        }
    }

    /// As in a piped session the first error ends the work: what follows was written for another state of things.
    fn piped(&self, at: &mut AtPause) -> Go {
        loop {
            match next_input() {
                Ok(Some(text)) if text.trim().is_empty() => {}
                Ok(Some(text)) => match at.input(&text) {
                    Ok(None) => {}
                    Ok(Some(go)) => return go,
                    Err(diagnostic) => {
                        (self.report)(&diagnostic);
                        return Go::Stop;
                    }
                },
                Ok(None) => {
                    self.kept().deserted = true;
                    return at.pass();
                }
                Err(diagnostic) => {
                    (self.report)(&diagnostic);
                    return Go::Stop;
                }
            }
        }
    }
}

type OnPause = fn(&mut AtPause, &str) -> Result<Option<Go>, Box<Diagnostic>>;

macro_rules! command {
    ($name:literal $args:literal, $run:expr, $about:literal) => {
        Command { name: $name, args: $args, about: $about, completes: Completes::Nothing, run: $run }
    };
}

/// Commands of a pause.
const OWN: [Command<OnPause>; 8] = [
    command!("where" "", |at, rest| at.show_where(rest), "the calls that led here, with their lines"),
    command!("step" "", |_, _| Ok(Some(Go::Step)), "run to the next statement, into calls"),
    command!("next" "", |_, _| Ok(Some(Go::Over)), "run to the next statement, over calls"),
    command!("out" "", |_, _| Ok(Some(Go::Out)), "run to the end of this function"),
    command!("continue" "", |_, _| Ok(Some(Go::On)), "go on; so does Ctrl-D"),
    command!("abort" "[now]", |at, rest| at.abort(rest), "go on to the next saved state and stop; now: stop here"),
    command!("break-on" "nan|off", |at, rest| at.break_on(rest), "pause at a loss or logged number that is NaN or inf"),
    command!("help" "", |at, rest| at.help(rest), "this list"),
];

/// Short names, as debuggers have them.
const SHORT: [(&str, &str); 6] =
    [("s", "step"), ("n", "next"), ("c", "continue"), ("w", "where"), ("bt", "where"), ("h", "help")];

/// A paused script as a place for inputs.
struct AtPause<'p, 'a, 's> {
    paused: &'p mut Paused<'a, 's>,
    ctx: &'p Context,
    catalog: Arc<[Signature]>,
}

impl Prompt for AtPause<'_, '_, '_> {
    fn ctx(&self) -> &Context {
        self.ctx
    }

    fn engine(&self) -> &Engine {
        self.paused.engine()
    }

    fn scope(&self) -> &Scope<'_> {
        self.paused.scope()
    }

    fn catalog(&self) -> Arc<[Signature]> {
        self.catalog.clone()
    }

    fn functions(&self) -> Vec<Signature> {
        self.paused.functions().flat_map(|m| scripted("", m)).collect()
    }

    fn modules(&self) -> Vec<(String, Arc<[Signature]>)> {
        self.paused.modules().map(|(name, m)| (name.to_string(), scripted(name, m).into())).collect()
    }

    fn eval(&mut self, text: &str) -> Result<Dynamic, Box<Diagnostic>> {
        let result = self.paused.eval(text);
        // A Ctrl-C was meant for this input.
        interrupt::clear();
        result.map_err(|mut diagnostic| {
            diagnostic.relocate(|file, line| self.paused.sources().origin(file, line));
            diagnostic
        })
    }

    /// A text of several lines is for reading, such as a batch's.
    fn show(&self, value: &Dynamic) {
        let screen = self.ctx.output.screen();
        match value.read_lock::<ImmutableString>() {
            Some(text) if text.contains('\n') => {
                self.line(&if screen.color { painted(&text) } else { text.to_string() })
            }
            _ if value.is_unit() => {}
            _ => self.line(&show::value(self.engine(), value, screen)),
        }
    }
}

impl AtPause<'_, '_, '_> {
    /// Handles one input; `Some` leaves the prompt.
    fn input(&mut self, text: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        if let Some((name, rest)) = split(text) {
            return self.command(name, rest);
        }
        let word = text.trim();
        // Words of other prompts that are no script, or none that makes sense here.
        if ["continue", "help", "abort"].contains(&word) && !self.scope().contains(word) {
            return self.command(word, "");
        }
        if ["quit", "exit"].contains(&word) && !self.scope().contains(word) {
            return self.command(word, "");
        }
        let value = self.eval(text)?;
        self.show(&value);
        Ok(None)
    }

    fn command(&mut self, name: &str, rest: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long);
        if let Some(own) = OWN.iter().find(|c| c.name == name) {
            return (own.run)(self, rest);
        }
        match anywhere(self, name, rest) {
            Some(answer) => answer.map(|_: Next| None),
            None if ["quit", "exit", "q"].contains(&name) => Err(Box::new(
                Diagnostic::new("command", "the script is only paused")
                    .with_help(":abort saves its state and ends it, :continue goes on"),
            )),
            None => Err(unknown(name, names(&OWN))),
        }
    }

    /// Nobody answers: a script goes on, unless its numbers are no good.
    fn pass(&self) -> Go {
        let here = self.here().place.as_ref().map_or(String::new(), |p| format!("{}: ", self.line_of(p)));
        let why = self.paused.why();
        if matches!(why, Why::Asked(pause::Reason::NotFinite { .. })) {
            self.note(&format!("{here}{why}; stopping here, since standard input has ended"));
            return Go::StopAtOnce;
        }
        self.note(&format!("{here}{why}; going on, since standard input has ended"));
        Go::On
    }

    fn abort(&mut self, rest: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        match rest {
            "" => Ok(Some(Go::Stop)),
            "now" => Ok(Some(Go::StopAtOnce)),
            _ => Err(Box::new(Diagnostic::new("command", format!(":abort takes nothing or `now`, not `{rest}`")))),
        }
    }

    fn break_on(&mut self, rest: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        match rest {
            "nan" | "off" => pause::watch_numbers(rest == "nan"),
            _ => {
                return Err(Box::new(Diagnostic::new(
                    "command",
                    format!(":break-on takes `nan` or `off`, not `{rest}`"),
                )));
            }
        }
        Ok(None)
    }

    fn help(&mut self, _: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        let rows = [list(&OWN), list(&ANYWHERE)].concat();
        for line in table(&rows, &[], self.ctx.output.screen().width) {
            self.line(&line);
        }
        self.line("");
        self.line(
            "Anything else runs in the script's scope: its value is shown, assignments stay. What is declared here",
        );
        self.line("is kept for later pauses, and the script does not see it. Ctrl-C stops what runs at this prompt.");
        self.line(
            "Short: :s :n :c :w; an empty line steps again. Worth a look: model.grad_norms(), model.show(batch).",
        );
        Ok(None)
    }

    fn show_where(&mut self, _: &str) -> Result<Option<Go>, Box<Diagnostic>> {
        for (i, level) in self.paused.levels().iter().enumerate() {
            let place = level.place.as_ref().map_or("an unknown place".into(), |p| self.line_of(p));
            self.line(&format!("{} in {} at {place}", if i == 0 { ">" } else { " " }, level.what));
            if let Some(text) = level.place.as_ref().and_then(|p| self.paused.sources().line(&p.file, p.line)) {
                self.line(&format!("      {}", self.painted(text.trim(), 6)));
            }
        }
        Ok(None)
    }

    /// The innermost function.
    fn here(&self) -> &Level {
        &self.paused.levels()[0]
    }

    /// The lines around `level`'s place, that one marked.
    fn listing(&self, level: &Level, around: usize) {
        let Some(place) = &level.place else { return };
        let shown = self.real(place).line;
        let digits = (shown + around).to_string().len();
        for line in place.line.saturating_sub(around).max(1)..=place.line + around {
            // A loaded script is a part of the session's text: lines beyond it are another's.
            let real = self.real(&Place { line, ..place.clone() });
            if real.file != self.real(place).file {
                continue;
            }
            let Some(text) = self.paused.sources().line(&place.file, line) else { continue };
            let mark = if line == place.line { ">" } else { " " };
            self.line(format!("{mark} {:>digits$}  {}", real.line, self.painted(&text, digits + 4)).trim_end());
        }
    }

    /// `place` as the person knows it: in the file that its lines came from.
    fn real(&self, place: &Place) -> Place {
        match self.paused.sources().origin(&place.file, place.line) {
            Some((file, line)) => Place { file, line, column: place.column },
            None => place.clone(),
        }
    }

    /// `file:line`: the column that Rhai gives a statement may be that of its operator.
    fn line_of(&self, place: &Place) -> String {
        Place { column: 0, ..self.real(place) }.to_string()
    }

    /// A line of code that stands behind `indent` columns, cut where the screen ends.
    fn painted(&self, code: &str, indent: usize) -> String {
        let screen = self.ctx.output.screen();
        let code = show::cut(code, screen.width.saturating_sub(indent));
        if screen.color { highlight(&code, None) } else { code }
    }

    fn note(&self, text: &str) {
        self.ctx.output.note(text);
    }
}
