//! The figures: what is drawn for ordinary, tiny, constant, gappy and huge curves.

use super::super::raster::tests::decode;
use super::*;
use ab_glyph::{Font, FontRef};

fn check(figure: &Figure) -> Vec<u8> {
    let (width, height, rgb) = decode(&figure.png);
    assert_eq!((width, height), (2 * SIZE.0, 2 * SIZE.1));
    assert!(figure.svg.starts_with("<svg width=\"900\" height=\"540\" role=\"img\" viewBox=\"0 0 3600 2160\""));
    assert!(figure.svg.trim_end().ends_with("</svg>") && figure.svg.contains("optimizer step"));
    rgb
}

fn has(rgb: &[u8], color: RGBColor) -> bool {
    rgb.chunks_exact(3).any(|p| p == [color.0, color.1, color.2])
}

fn steps(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
    values.into_iter().enumerate().map(|(i, y)| ((i + 1) as f64, y)).collect()
}

/// Protects the PNG: every sign that a figure can use has a letter in the embedded fonts.
#[test]
fn fonts_have_the_signs() {
    for bytes in [REGULAR, BOLD] {
        let font = FontRef::try_from_slice(bytes).unwrap();
        for c in (' '..='~').chain("\u{3b1}\u{2212}\u{2026}\u{b7}\u{d7}".chars()) {
            assert_ne!(font.glyph_id(c).0, 0, "{c:?}");
        }
    }
}

/// Protects the figure's contents: each series leaves its own colour, and only where there is one.
#[test]
fn every_series_is_drawn() {
    let loss = steps((0..120).map(|i| 3.0 - f64::from(i) / 60.0 + (f64::from(i) * 1.7).sin() / 5.0));
    let epoch = |n: u64| Epoch { epoch: n, from: 60.0 * (n - 1) as f64, to: 60.0 * n as f64, train_loss: Some(2.0) };
    let all = Curve {
        val_loss: vec![(60.0, 2.2), (120.0, 1.6)],
        epochs: vec![epoch(1), epoch(2)],
        loss,
        ..Default::default()
    };
    let figure = loss_figure(&all, "x").unwrap();
    let rgb = check(&figure);
    for color in [FAINT_BLUE, BLUE, ORANGE, VERMILLION, INK] {
        assert!(has(&rgb, color), "{color:?}");
    }
    for words in ["validation", "epoch 2", "\u{3b1} = 0.17", "120 steps, 2 epochs"] {
        assert!(figure.svg.contains(words), "{words}");
    }
    let rgb = check(&loss_figure(&Curve { loss: all.loss, ..Default::default() }, "x").unwrap());
    assert!(!has(&rgb, ORANGE) && !has(&rgb, VERMILLION) && has(&rgb, BLUE));
}

/// Protects odd runs: none, one or two points, constants, gaps, absurd values and hostile names still make a figure.
#[test]
fn odd_runs_make_figures() {
    let odd: Vec<Vec<Point>> = vec![
        vec![],
        steps([2.0]),
        steps([2.0, 1.0]),
        steps([0.0; 40]),
        steps([3.25; 40]),
        steps([2.0, f64::NAN, 1.0, f64::INFINITY, 1.5, f64::NEG_INFINITY]),
        steps([f64::NAN; 5]),
        steps([1e300, -1e300, 1.0, 2.0]),
        steps([1.0, 1.0 + 1e-15]),
        vec![(super::super::curve::MAX_STEP as f64, 1.0)],
    ];
    for points in odd {
        let curve = Curve {
            loss: points.clone(),
            lr: points.clone(),
            grad_norm: points.clone(),
            val_loss: points,
            epochs: vec![],
        };
        check(&loss_figure(&curve, "</svg><script>&\"'").unwrap());
        check(&optim_figure(&curve, "").unwrap());
    }
    let figure = loss_figure(&Curve::default(), "</svg><script>").unwrap();
    assert!(!figure.svg.contains("<script>") && figure.svg.contains("&lt;script&gt;"));
    check(&loss_figure(&Curve::default(), &"wide ".repeat(100)).unwrap());
}

/// Protects long runs: the file stays small, and a spike neither flattens the curve nor vanishes.
#[test]
fn long_run_stays_small() {
    let mut loss =
        steps((0..100_000).map(|i| 1.0 + 3.0 / (1.0 + f64::from(i) / 9e3) + (f64::from(i) * 0.77).sin() / 3.0));
    loss[60_000].1 = 500.0;
    let epochs = (0..200).map(|i| Epoch {
        epoch: i + 1,
        from: 500.0 * i as f64,
        to: 500.0 * (i + 1) as f64,
        train_loss: Some(2.0),
    });
    let figure = loss_figure(&Curve { loss, epochs: epochs.collect(), ..Default::default() }, "x").unwrap();
    check(&figure);
    assert!(figure.svg.len() < 200_000 && figure.png.len() < 1_000_000, "{} {}", figure.svg.len(), figure.png.len());
    assert!(!figure.svg.contains(">500<"));
}

/// Protects the axes' labels.
#[test]
fn ticks_are_readable() {
    for (y, span, label) in [
        (2.5, 3.0, "2.5"),
        (3.0, 30.0, "3"),
        (0.0, 1.0, "0"),
        (1e-17, 1.0, "0"),
        (5e-5, 3e-4, "5e\u{2212}5"),
        (-0.25, 0.5, "\u{2212}0.25"),
        (2e7, 3e7, "2e7"),
    ] {
        assert_eq!(tick(y, span), label);
    }
    assert_eq!([12_345.0, 1000.0, 7.0].map(thousands), ["12,345", "1000", "7"]);
}
