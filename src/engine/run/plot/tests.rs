//! The figures of a run: what is drawn for ordinary, tiny, constant, gappy and huge curves.

use super::*;

fn check(figure: &Figure) -> String {
    let svg = figure.svg();
    assert!(svg.starts_with("<svg xmlns") && svg.trim_end().ends_with("</svg>") && svg.contains("optimizer step"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "a place that is none");
    assert_eq!(figure.html().matches("<svg").count(), 2);
    svg
}

fn steps(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
    values.into_iter().enumerate().map(|(i, y)| ((i + 1) as f64, y)).collect()
}

/// Protects the figure's contents: each series is drawn in a colour of its own, and only where there is one.
#[test]
fn every_series_is_drawn() {
    let loss = steps((0..120).map(|i| 3.0 - f64::from(i) / 60.0 + (f64::from(i) * 1.7).sin() / 5.0));
    let epoch = |n: u64| Epoch { epoch: n, from: 60.0 * (n - 1) as f64, to: 60.0 * n as f64, train_loss: Some(2.0) };
    let all = Curve {
        val_loss: vec![(60.0, 1.5), (120.0, 1.6)],
        epochs: vec![epoch(1), epoch(2)],
        loss,
        ..Default::default()
    };
    let svg = check(&loss_figure(&all, "x"));
    for words in ["held out (best 1.5000 at step 60)", "epoch 2", "\u{3b1} = 0.17", "120 steps, 2 epochs", "Loss of x"]
    {
        assert!(svg.contains(words), "{words}");
    }
    let drawn = |svg: &str, class: &str| svg.contains(&format!("class=\"{class}\""));
    assert!(drawn(&svg, "s-c0") && drawn(&svg, "f-c1") && drawn(&svg, "s-c2"));
    let svg = check(&loss_figure(&Curve { loss: all.loss, ..Default::default() }, "x"));
    assert!(drawn(&svg, "s-c0") && !drawn(&svg, "f-c1") && !drawn(&svg, "s-c2"));
}

/// Protects the optimizer's figure: a panel for each series that was logged, the loss scale only where it moved.
#[test]
fn panels_for_what_was_logged() {
    let scale = steps([65536.0, 65536.0, 32768.0]);
    let curve = Curve { lr: steps([0.1, 0.1, 0.1]), loss_scale: scale.clone(), ..Default::default() };
    let svg = check(&optim_figure(&curve, "x"));
    assert!(svg.contains("learning rate") && svg.contains("loss scale") && !svg.contains("gradient norm"));
    let still = Curve { lr: steps([0.1]), loss_scale: scale[..2].to_vec(), ..Default::default() };
    assert!(!check(&optim_figure(&still, "x")).contains("loss scale"));
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
        vec![(MAX_STEP as f64, 1.0)],
    ];
    for points in odd {
        let curve = Curve {
            loss: points.clone(),
            lr: points.clone(),
            grad_norm: points.clone(),
            loss_scale: points.clone(),
            val_loss: points,
            epochs: vec![],
        };
        check(&loss_figure(&curve, "</svg><script>&\"'"));
        check(&optim_figure(&curve, ""));
        compare_figure(&[("a".into(), curve.clone()), ("b".into(), curve)]).html();
    }
    let svg = loss_figure(&Curve::default(), "</svg><script>").svg();
    assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;"));
    check(&loss_figure(&Curve::default(), &"wide ".repeat(100)));
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
    let figure = loss_figure(&Curve { loss, epochs: epochs.collect(), ..Default::default() }, "x");
    let (svg, png) = (check(&figure), figure.png().unwrap());
    assert!(svg.len() < 100_000 && png.len() < 1_000_000, "{} {}", svg.len(), png.len());
    assert!(!svg.contains(">500<"));
}
