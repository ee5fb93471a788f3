//! The dashboard on screens of several sizes.

use super::state::State;
use super::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

fn trained() -> State {
    let mut state = State::new("finetune");
    let bar = state.begin(200, "training");
    for step in 1..=50u64 {
        let loss = 1.0 + 3.0 / step as f64;
        let line = json!({"kind": "step", "step": step, "epoch": 2, "loss": loss, "lr": 5e-5, "grad_norm": 0.25,
            "tokens_per_s": 1234.0});
        state.logged(line.as_object().unwrap());
        state.update(bar, step);
    }
    state.logged(json!({"kind": "eval", "step": 50, "epoch": 2, "val_loss": 1.75}).as_object().unwrap());
    state.noted("samples", &json!([{"prompt": "Name a colour.", "answer": "Blue."}]));
    state.line("epoch 1 is over\u{1b}[2J", false);
    state.text("a line in ");
    state.text("pieces\nand");
    state
}

/// Protects the dashboard: what the run is asked for is on the screen, and control characters of a model are not.
#[test]
fn everything_is_on_the_screen() {
    let text = screen(&trained(), 120, 34);
    for words in [
        "finetune",
        "epoch 2",
        "step 50",
        "training 50/200",
        "left",
        "loss 1.0600",
        "held out 1.7500, best 1.7500 at 50",
        "lr 5.00e-5",
        "grad norm 0.2500",
        "tokens/s 1234",
        "peak",
        "last answer",
        "Blue.",
        "epoch 1 is over",
        "a line in pieces",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}') && text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)));
}

/// Protects small terminals and the first second of a run: less is shown, nothing panics.
#[test]
fn every_size_is_drawn() {
    for state in [State::new("x"), trained()] {
        for (width, height) in [(1, 1), (20, 5), (40, 12), (80, 24), (300, 100)] {
            screen(&state, width, height);
        }
    }
    let mut odd = State::new("odd");
    odd.logged(json!({"kind": "step", "step": 1, "loss": "NaN"}).as_object().unwrap());
    odd.logged(json!({"kind": "eval", "step": 1, "val_loss": "Infinity"}).as_object().unwrap());
    assert!(screen(&odd, 80, 24).contains("no loss was logged yet"));
}

/// Protects what was printed: all of it comes back when the run is over, an unfinished line too.
#[test]
fn lines_come_back() {
    let mut state = trained();
    let lines: Vec<String> = state.take_lines().into_iter().map(|l| l.text).collect();
    assert_eq!(lines[1..], ["a line in pieces", "and"]);
    for i in 0..10_007 {
        state.line(&i.to_string(), false);
    }
    let lines = state.take_lines();
    assert!(lines.len() == 10_001 && lines[0].note && lines[0].text.contains("7 earlier lines"));
    assert_eq!(lines[1].text, "7");
}

/// Protects a script of several runs: the curve is that of the run under way.
#[test]
fn another_run_begins_anew() {
    let mut state = trained();
    state.logged(json!({"kind": "eval", "step": 0, "epoch": 1, "val_loss": 3.5}).as_object().unwrap());
    state.logged(json!({"kind": "step", "step": 1, "epoch": 1, "loss": 3.0}).as_object().unwrap());
    assert_eq!((state.loss.as_slice(), state.held_out.as_slice()), (&[(1.0, 3.0)][..], &[(0.0, 3.5)][..]));
    assert_eq!((state.value("lr"), state.step, state.epoch), (None, 1, 1));
}
