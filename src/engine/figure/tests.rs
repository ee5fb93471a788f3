//! Figures as files: what a browser, a page and an image viewer get.

use super::raster::tests::decode;
use super::*;

fn lines(series: Vec<Series>) -> Figure {
    let panel = Panel { x_label: "x (tokens)".into(), y_label: "y (MiB)".into(), series, ..Panel::default() };
    Figure { title: "A title".into(), subtitle: String::new(), body: Body::Lines(vec![panel]) }
}

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.into(), points: points.to_vec(), ..Series::default() }
}

fn bars(categories: &[&str], groups: &[(&str, &[f64])]) -> Bars {
    Bars {
        y_label: "peak memory (MiB)".into(),
        categories: categories.iter().map(ToString::to_string).collect(),
        groups: groups.iter().map(|(name, values)| Group { name: name.to_string(), values: values.to_vec() }).collect(),
        ..Bars::default()
    }
}

fn of(bars: Bars) -> Figure {
    Figure { title: "Memory".into(), subtitle: String::new(), body: Body::Bars(bars) }
}

/// The places of all texts with `words` in them: (x, y).
fn places(svg: &str, words: &str) -> Vec<(f64, f64)> {
    let number = |line: &str, name: &str| -> f64 {
        let rest = line.split(&format!(" {name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let lines = svg.lines().filter(|l| l.starts_with("<text") && l.contains(&format!(">{words}<")));
    lines.map(|l| (number(l, "x"), number(l, "y"))).collect()
}

/// Protects the PNG: as large as it should be, with the light colours of what is drawn.
#[test]
fn png_shows_the_series() {
    let figure = lines(vec![series("a", &[(0.0, 1.0), (1.0, 2.0)]), series("b", &[(0.0, 2.0), (1.0, 1.0)])]);
    let (width, height, rgb) = decode(&figure.png().unwrap());
    assert_eq!(width, 1520);
    assert!((800..1000).contains(&height), "{height}");
    for color in [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)] {
        assert!(rgb.chunks_exact(3).any(|p| p == [color.0, color.1, color.2]), "{color:?}");
    }
}

/// Protects names beside their lines: there where the lines end apart, in a legend above the axes where they would collide.
#[test]
fn names_stand_beside_or_above() {
    let apart = lines(vec![series("first", &[(0.0, 1.0), (1.0, 2.0)]), series("second", &[(0.0, 2.0), (1.0, 1.0)])]);
    let at = places(&apart.svg(), "first")[0];
    assert!(at.0 > 640.0 && at.1 > 50.0, "{at:?}");
    let bundle: Vec<Series> =
        (0..5).map(|i| series("nearly the same", &[(0.0, 0.0), (1.0, 1.0 + f64::from(i) * 1e-3)])).collect();
    let above = places(&lines(bundle).svg(), "nearly the same");
    assert!(above.len() == 5 && above.iter().all(|p| p.1 < 90.0), "{above:?}");
}

/// Protects pages: one style for both themes and for a page's own switch, and no id that two figures could share.
#[test]
fn svg_follows_the_page() {
    let svg = lines(vec![series("a", &[(0.0, 1.0)])]).svg();
    for words in
        ["prefers-color-scheme:dark", ":root[data-theme=dark]", ":root[data-theme=light]", "aria-label=\"A title\""]
    {
        assert!(svg.contains(words), "{words}");
    }
    assert!(!svg.contains(" id="));
}

/// Protects bars: values on them, totals over stacks, the reference named above and never upon the data.
#[test]
fn bars_say_their_values() {
    let mut two = bars(&["full", "LoRA"], &[("weights", &[513.0, 513.0]), ("optimizer", &[1026.0, 7.0])]);
    let svg = of(two.clone()).svg();
    for (value, times) in [("513", 2), ("1,026", 1), ("7", 1)] {
        assert_eq!(places(&svg, value).len(), times, "{value}");
    }
    two.stacked = true;
    two.reference = Some(Rule { label: "the original".into(), value: 2000.0 });
    let svg = of(two.clone()).svg();
    assert_eq!(places(&svg, "1,539").len(), 1, "the total of a stack");
    assert!(places(&svg, "7").is_empty(), "no room in so thin a segment");
    assert!(places(&svg, "the original: 2,000")[0].1 < 70.0);
    two.categories = vec!["full fine-tuning of all parameters".into(); 2];
    two.categories.resize(9, "LoRA with autocast and checkpoints".into());
    let lying = of(two).svg();
    assert!(places(&lying, "1,539").len() == 1 && lying.contains("peak memory"));
}

/// Protects from odd values: missing, negative, none at all, hostile names.
#[test]
fn odd_bars_make_figures() {
    for values in [&[f64::NAN, f64::INFINITY][..], &[-3.0, 2.0], &[0.0, 0.0], &[1e300, 1.0], &[f64::MAX, f64::MIN], &[]]
    {
        for stacked in [false, true] {
            for lying in [false, true] {
                let odd = Bars { stacked, lying, ..bars(&["</text>", ""], &[("", values), ("g", values)]) };
                let figure = of(odd);
                let html = figure.html();
                assert!(
                    !html.contains("</text></text>") && !html.contains("NaN") && !html.contains("inf"),
                    "{values:?}"
                );
                decode(&figure.png().unwrap());
            }
        }
    }
    of(Bars::default()).html();
    let mut far = bars(&["a"], &[("g", &[1.0])]);
    far.reference = Some(Rule { label: "far".into(), value: f64::MIN });
    assert!(!of(far).svg().contains("NaN"));
}

/// Protects the memory: a figure of more bars than an image can show is an error as PNG, and an SVG.
#[test]
fn endless_bars_are_no_png() {
    let names = vec!["a name"; 2_000];
    let figure = of(Bars { lying: true, ..bars(&names, &[("g", &[1.0; 2_000])]) });
    assert!(figure.png().unwrap_err().help().unwrap().contains(".svg"));
    assert_eq!(places(&figure.svg(), "a name").len(), 2_000);
}

/// Protects log axes: values of 0 and below are gaps, not places.
#[test]
fn log_axes_leave_out_what_they_cannot_hold() {
    let mut figure = lines(vec![series("a", &[(0.0, 1.0), (1.0, 0.0), (10.0, 1e-4), (100.0, 1e-2)])]);
    if let Body::Lines(panels) = &mut figure.body {
        (panels[0].log_x, panels[0].log_y) = (true, true);
    }
    let svg = figure.svg();
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert_eq!((places(&svg, "0.001").len(), places(&svg, "10").len()), (1, 1));
    // Two ends without a finite quotient would have ticks without end.
    if let Body::Lines(panels) = &mut figure.body {
        panels[0].series[0].points = vec![(1e-300, 1e-300), (1e9, 1e9), (5e-324, 5e-324), (1.0, 1.0)];
    }
    assert!(!figure.svg().contains("NaN"));
}

/// Protects `save`: by its ending, and no other.
#[test]
fn saved_by_its_ending() {
    let dir = tempfile::tempdir().unwrap();
    let figure = lines(vec![]);
    figure.save(&dir.path().join("new/f.SVG")).unwrap();
    figure.save(&dir.path().join("f.png")).unwrap();
    let error = figure.save(&dir.path().join("f.pdf")).unwrap_err();
    assert!(error.to_string().contains(".svg or .png"), "{error}");
}
