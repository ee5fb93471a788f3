//! A run under way: one object that owns the directory, the log, the notes and the saved state.

use super::dir::{self, Policy};
use super::lock::Lock;
use super::log::{Fields, Log, LogPosition};
use super::meter::{Clock, Meter, SystemClock, peak_mib};
use super::open::Opened;
use super::record::{Record, Status, pretty, read_json};
use super::tensorboard::{self, Events};
use super::{
    CSV_FILE, LOG_FILE, NOTES_FILE, REPEAT_FILE, SETTINGS_FILE, STATE_FILE, atomic::write_atomic, curve::Curve, number,
    plot, report,
};
use super::{settings, state::RunState};
use crate::engine::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A run under way. Dropping it leaves it unfinished, to be resumed; [`Run::finish`] ends it.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    record: Record,
    log: Log,
    notes: Map<String, Value>,
    meter: Meter,
    epoch_seconds: f64,
    saved: Option<RunState>,
    notices: Vec<String>,
    events: Option<Events>,
    _lock: Lock,
}

impl Run {
    /// Begins a run asked for as directory `asked` with these `settings`, or goes on with one, as `policy` says.
    ///
    /// When a run is resumed, `settings` must equal the saved ones except for [`settings::MAY_CHANGE`], the log is cut
    /// back to the saved state, and [`Run::take_saved`] has that state; a run that was killed before its first save
    /// begins from its start.
    ///
    /// Errors: see [`dir::claim`]; settings that differ, each difference listed; a damaged state or a foreign log.
    pub fn create(asked: impl AsRef<Path>, settings: Value, policy: Policy) -> Result<Run> {
        Run::create_with(asked.as_ref(), settings, policy, settings::MAY_CHANGE, Box::<SystemClock>::default())
    }

    /// [`Run::create`] with its own list of settings that may change, and a clock.
    pub fn create_with(
        asked: &Path,
        settings: Value,
        policy: Policy,
        may_change: &[&str],
        clock: Box<dyn Clock>,
    ) -> Result<Run> {
        let dir::Claim { dir, lock, record, mut notices } = dir::claim(asked, policy)?;
        let mut saved = None;
        let mut position = LogPosition::default();
        let mut notes = Map::new();
        let record = match record {
            None => Record::new(asked.file_name().unwrap_or_default().to_string_lossy()),
            Some(mut record) => {
                // Everything is read and checked before anything is changed.
                let path = dir.join(SETTINGS_FILE);
                let missing = || Error::format(&path, "is missing: what the run was started with cannot be compared");
                let before: Value = read_json(&path)?.ok_or_else(missing)?;
                settings::check_same(&dir, &before, &settings, may_change)?;
                notes = read_json(&dir.join(NOTES_FILE))?.unwrap_or_default();
                match load_state(&dir)? {
                    Some((state, at)) => (saved, position) = (Some(state), at),
                    // A run that logs nothing, and keeps its results as notes, has lost nothing.
                    None if std::fs::metadata(dir.join(LOG_FILE)).is_ok_and(|log| log.len() == 0) => {}
                    None if record.status == Status::Finished => {}
                    None => notices.push(format!("{} had saved no state: it begins from its start", dir.display())),
                }
                record.resume(position.step);
                record
            }
        };
        let log = Log::open(dir.join(LOG_FILE), position)?;
        write_atomic(dir.join(SETTINGS_FILE), &pretty(&settings)?)?;
        record.write(&dir)?; // last: from here on the directory is a run
        let meter = Meter::new(clock);
        Ok(Run { dir, record, log, notes, meter, epoch_seconds: 0.0, saved, notices, events: None, _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `text` as the file of settings from which the host repeats this run.
    ///
    /// Errors: the file system.
    pub fn keep_settings(&self, text: &str) -> Result<()> {
        write_atomic(self.dir.join(REPEAT_FILE), text.as_bytes())
    }

    /// From now on writes what is logged and noted to a TensorBoard event file as well, beginning with the settings.
    ///
    /// Errors: the file system.
    pub fn write_events(&mut self) -> Result<()> {
        let mut events = Events::begin(&self.dir, self.log.step())?;
        let settings: Value = read_json(&self.dir.join(SETTINGS_FILE))?.unwrap_or_default();
        events.text("settings", &tensorboard::markdown(&settings), self.log.step())?;
        self.events = Some(events);
        Ok(())
    }

    /// A line that was logged, for TensorBoard.
    fn told(&mut self, line: Fields) -> Result<Fields> {
        if let Some(events) = &mut self.events {
            events.line(&line)?;
        }
        Ok(line)
    }

    /// What the person at the keyboard should know of how the directory was chosen, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The state to go on from, on the CPU; `None` for a run from its start, and after the first call.
    pub fn take_saved(&mut self) -> Option<RunState> {
        self.saved.take()
    }

    /// Whether this session goes on with an earlier one.
    pub fn resumed(&self) -> bool {
        self.record.sessions.len() > 1
    }

    /// Says how many optimizer steps the whole run has, for [`Run::eta`].
    pub fn set_total_steps(&mut self, total: u64) {
        self.meter.set_total_steps(total);
    }

    /// Adds one micro-batch to the current step: mean loss, the labels it is over, input tokens without padding.
    pub fn log_micro(&mut self, loss: f64, label_tokens: u64, tokens: u64) {
        self.log.micro(loss, label_tokens, tokens);
    }

    /// Adds fields, e.g. `grad_norm`, to the current step.
    pub fn log_fields(&mut self, fields: Fields) -> Result<()> {
        self.log.fields(fields)
    }

    /// Closes the current optimizer step with these last `fields`, writes its line and returns it.
    ///
    /// See [`Log::close_step`] for what the line holds and what is an error.
    pub fn log_step(&mut self, fields: Fields) -> Result<Fields> {
        // A step without micro-batches brings its tokens as a field.
        let tokens = fields.get("tokens").and_then(Value::as_u64).unwrap_or(0) + self.log.pending_tokens();
        let timing = self.meter.step(tokens);
        self.epoch_seconds += timing.seconds;
        let mut line = Fields::new();
        line.insert("seconds".into(), thousandths(timing.seconds));
        line.insert("tokens_per_s".into(), timing.tokens_per_s.map_or(Value::Null, thousandths));
        line.insert("peak_mib".into(), number::to_json(peak_mib()));
        let line = self.log.close_step(fields, line)?;
        self.told(line)
    }

    /// Writes a line, e.g. with `val_loss`, between two steps; the time it took is not charged to the next step.
    pub fn log_eval(&mut self, fields: Fields) -> Result<Fields> {
        let seconds = self.meter.mark().as_secs_f64();
        let line = self.log.eval(fields, Self::timing(seconds))?;
        self.told(line)
    }

    /// Closes the epoch with these `fields`, e.g. `val_loss`, writes its line with the epoch's `train_loss` and returns it.
    pub fn log_epoch(&mut self, fields: Fields) -> Result<Fields> {
        self.meter.mark();
        let seconds = std::mem::take(&mut self.epoch_seconds);
        let line = self.log.close_epoch(fields, Self::timing(seconds))?;
        self.told(line)
    }

    fn timing(seconds: f64) -> Fields {
        let mut line = Fields::new();
        line.insert("seconds".into(), thousandths(seconds));
        line.insert("peak_mib".into(), number::to_json(peak_mib()));
        line
    }

    /// Leaves the time since the last log line out of the next step's: called after sampling, loading and the like.
    pub fn mark(&mut self) {
        self.meter.mark();
    }

    /// Optimizer steps closed so far, earlier sessions included.
    pub fn step(&self) -> u64 {
        self.log.step()
    }

    /// Epochs closed so far, earlier sessions included.
    pub fn epochs(&self) -> u64 {
        self.log.epochs()
    }

    /// Input tokens of all closed steps, earlier sessions included.
    pub fn tokens(&self) -> u64 {
        self.log.tokens()
    }

    /// Input tokens per second over the steps of this session.
    pub fn tokens_per_s(&self) -> Option<f64> {
        self.meter.tokens_per_s()
    }

    /// Time left, once [`Run::set_total_steps`] and a step of this session give something to go by.
    pub fn eta(&self) -> Option<Duration> {
        self.meter.eta(self.log.step())
    }

    /// Keeps `value` under `name` for the report; a name given twice keeps the later value. See [`report`] for the
    /// names that it shows in a form of their own.
    pub fn note(&mut self, name: &str, value: Value) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.text(&format!("notes/{name}"), &tensorboard::markdown(&value), self.log.step())?;
        }
        self.notes.insert(name.to_string(), value);
        write_atomic(self.dir.join(NOTES_FILE), &pretty(&self.notes)?)?;
        self.meter.mark();
        Ok(())
    }

    /// Everything noted so far, earlier sessions included.
    pub fn notes(&self) -> &Map<String, Value> {
        &self.notes
    }

    /// Saves all that is needed to go on from here, atomically and durably; the previous state stays until then.
    ///
    /// Errors: in the middle of a step, whose micro-batches would be lost; see also [`RunState::save`].
    pub fn save_state(&mut self, tensors: Vec<(String, Tensor)>, meta: Value) -> Result<()> {
        let position = self.log.position()?;
        // First the lines, then the state that counts on them.
        self.log.sync()?;
        let meta = json!({"log": position, "script": meta});
        RunState { tensors, meta }.save(self.dir.join(STATE_FILE))?;
        self.meter.mark();
        Ok(())
    }

    /// Draws the curves from the log; returns the files written: SVG and PNG of the loss, and of learning rate and
    /// gradient norm where they were logged.
    pub fn plot(&mut self) -> Result<Vec<PathBuf>> {
        let files = plot::write_all(&self.dir, &Curve::read(&self.dir.join(LOG_FILE))?)?;
        self.meter.mark();
        Ok(files)
    }

    /// Writes the report in its three forms, the curves and `log.csv`; returns the path of `report.html`.
    pub fn report(&mut self) -> Result<PathBuf> {
        let run = Opened::read(&self.dir)?;
        let curve = Curve::from_log(&run.log);
        plot::write_all(&self.dir, &curve)?;
        write_atomic(self.dir.join(CSV_FILE), &super::table::csv(&run.log)?)?;
        let html = report::write(&run, &curve)?;
        self.meter.mark();
        Ok(html)
    }

    /// Ends the run: it is no longer taken for one to resume.
    pub fn finish(&mut self) -> Result<()> {
        self.log.position()?; // nothing half logged
        self.log.sync()?;
        self.record.finish();
        self.record.write(&self.dir)
    }
}

/// The saved state in `dir` with the log's position, if there is one.
fn load_state(dir: &Path) -> Result<Option<(RunState, LogPosition)>> {
    let path = dir.join(STATE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let RunState { tensors, mut meta } = RunState::load(&path, &Device::Cpu)?;
    let mut part = |name| meta.get_mut(name).map(Value::take).unwrap_or_default();
    let position = serde_json::from_value(part("log"))
        .map_err(|e| Error::format(&path, format!("not the state of a run: log position: {e}")))?;
    Ok(Some((RunState { tensors, meta: part("script") }, position)))
}

fn thousandths(x: f64) -> Value {
    number::to_json((x * 1000.0).round() / 1000.0)
}
