//! The dashboard's layout. Every size of screen gets what fits: first the curve, then the answer and the lines.

use super::state::State;
use crate::cli::bars::{MIB, clock};
use crate::engine::figure::series::{smooth, smoothing_alpha, thin};
use crate::engine::memory;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LineGauge, Paragraph, Wrap};

const FAINT: Style = Style::new().fg(Color::DarkGray);

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let below = if area.height >= 26 {
        9
    } else if area.height >= 16 {
        5
    } else {
        0
    };
    let rows = [Constraint::Length(2), Constraint::Min(3), Constraint::Length(2), Constraint::Length(below)];
    let [head, curve, facts, texts] = Layout::vertical(rows).areas(area);
    draw_head(frame, head, state);
    draw_curve(frame, curve, state);
    draw_facts(frame, facts, state);
    if below == 0 {
        return;
    }
    if area.width < 90 || state.sample.is_none() {
        return draw_lines(frame, texts, state);
    }
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(texts);
    draw_sample(frame, left, state);
    draw_lines(frame, right, state);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let [title, bar] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let mut words = vec![Span::styled(state.name.clone(), Style::new().add_modifier(Modifier::BOLD))];
    if state.epoch > 0 {
        words.push(format!("   epoch {}", state.epoch).into());
    }
    if state.step > 0 {
        words.push(format!("   step {}", state.step).into());
    }
    words.push(Span::styled(format!("   {} so far", clock(state.since.elapsed().as_secs_f64())), FAINT));
    frame.render_widget(Line::from(words), title);
    let Some(work) = state.work.last() else { return };
    let left = work.left().map_or(String::new(), |s| format!("  {} left", clock(s)));
    let count = if work.total == 0 { work.done.to_string() } else { format!("{}/{}", work.done, work.total) };
    let ratio = if work.total == 0 { 0.0 } else { (work.done as f64 / work.total as f64).clamp(0.0, 1.0) };
    let gauge = LineGauge::default()
        .ratio(ratio)
        .label(format!("{} {count}{left} ", work.label))
        .filled_symbol("━")
        .unfilled_symbol("─")
        .filled_style(Style::new().fg(Color::Cyan))
        .unfilled_style(FAINT);
    frame.render_widget(gauge, bar);
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let columns = usize::from(area.width).max(10) * 2;
    let finite = |points: &[(f64, f64)]| points.iter().copied().filter(|p| p.1.is_finite()).collect::<Vec<_>>();
    let raw = finite(&thin(&state.loss, columns));
    let mean = finite(&thin(&smooth(&state.loss, smoothing_alpha(state.loss.len())), columns));
    let held = finite(&state.held_out);
    let block = Block::bordered().border_style(FAINT).title(legend(state));
    let all = || raw.iter().chain(&held);
    if all().next().is_none() {
        let text = Paragraph::new("no loss was logged yet").style(FAINT).block(block);
        return frame.render_widget(text, area);
    }
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let low = all().map(of).fold(f64::INFINITY, f64::min);
        let high = all().map(of).fold(f64::NEG_INFINITY, f64::max);
        if high > low { [low, high] } else { [low - 0.5, high + 0.5] }
    };
    let (x, y) = (ends(|p| p.0), ends(|p| p.1));
    let (x, y) = ([x[0].max(0.0), x[1]], [y[0] - 0.03 * (y[1] - y[0]), y[1] + 0.03 * (y[1] - y[0])]);
    let line =
        |points, style, marker| Dataset::default().data(points).style(style).marker(marker).graph_type(GraphType::Line);
    let mut sets = vec![line(&raw[..], FAINT, Marker::Braille)];
    if raw.len() > 2 {
        sets.push(line(&mean[..], Style::new().fg(Color::Cyan), Marker::Braille));
    }
    let dots = Dataset::default().data(&held).style(Style::new().fg(Color::Yellow)).marker(Marker::Dot);
    sets.push(dots.graph_type(GraphType::Scatter));
    let labels = |ends: [f64; 2], digits: usize| {
        [ends[0], (ends[0] + ends[1]) / 2.0, ends[1]].map(|v| Line::from(format!("{v:.digits$}"))).to_vec()
    };
    let digits = if y[1] - y[0] < 0.2 { 3 } else { 2 };
    let chart = Chart::new(sets)
        .block(block)
        .x_axis(Axis::default().bounds(x).labels(labels(x, 0)).style(FAINT))
        .y_axis(Axis::default().bounds(y).labels(labels(y, digits)).style(FAINT))
        .legend_position(None);
    frame.render_widget(chart, area);
}

fn legend(state: &State) -> Line<'static> {
    let mut words = vec![" loss".into()];
    if let Some(loss) = state.loss.last() {
        words.push(Span::styled(format!(" {:.4}", loss.1), Style::new().fg(Color::Cyan)));
    }
    if let Some(held) = state.held_out.last() {
        words.push(Span::styled(format!("   \u{2022} held out {:.4}", held.1), Style::new().fg(Color::Yellow)));
        let best = state.held_out.iter().filter(|p| p.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(best) = best {
            words.push(Span::styled(format!(", best {:.4} at {}", best.1, best.0), Style::new().fg(Color::Yellow)));
        }
    }
    words.push(" ".into());
    Line::from(words)
}

fn draw_facts(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let mut words = Vec::new();
    let mut fact = |name: &str, value: String| {
        words.push(Span::styled(format!(" {name} "), FAINT));
        words.push(Span::raw(format!("{value}  ")));
    };
    let number = |x: f64| if x != 0.0 && x.abs() < 1e-3 { format!("{x:.2e}") } else { format!("{x:.4}") };
    if let Some(lr) = state.value("lr") {
        fact("lr", number(lr));
    }
    if let Some(norm) = state.value("grad_norm") {
        fact("grad norm", number(norm));
    }
    if let Some(speed) = state.value("tokens_per_s") {
        fact("tokens/s", format!("{speed:.0}"));
    }
    let mib = |bytes: usize| format!("{:.0}", bytes as f64 / MIB);
    let limit = match memory::limit() {
        usize::MAX => String::new(),
        limit => format!(" of {}", mib(limit)),
    };
    fact("memory", format!("{}, peak {}{limit} MiB", mib(memory::current()), mib(memory::peak())));
    frame.render_widget(Paragraph::new(Line::from(words)).wrap(Wrap { trim: true }), area);
}

fn draw_sample(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some((prompt, answer)) = &state.sample else { return };
    let text = vec![Line::styled(clean(prompt), FAINT), Line::from(clean(answer))];
    let block = Block::bordered().border_style(FAINT).title(" last answer ");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), area);
}

fn draw_lines(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let room = usize::from(area.height.saturating_sub(2));
    // From the end: of thousands of lines, a few are seen.
    let newest = state.lines.iter().rev().flat_map(|l| l.text.lines().rev());
    let mut shown: Vec<Line<'_>> = newest.take(room).map(|l| Line::from(clean(l))).collect();
    shown.reverse();
    let block = Block::bordered().border_style(FAINT).title(" output ");
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

/// One line without what could move the cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
