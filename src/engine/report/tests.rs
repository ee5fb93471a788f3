//! The report in its three forms: escaping, shape, and what opens offline.

use super::*;
use serde_json::json;

const HOSTILE: &str = "</div><script>alert(1)</script><img src=x onerror=alert(1)> | `x` \u{1b}[31m \u{202e}txet\n# head\n![t](http://tracker/x.png) [a](javascript:alert(1)) \"'";

fn hostile() -> Report {
    let mut r = Report::new(HOSTILE, HOSTILE);
    r.section(HOSTILE);
    r.text(format!("{HOSTILE}\n\n- {HOSTILE}\n- `{HOSTILE}`"), false);
    r.table(Table {
        columns: vec![HOSTILE.into(), "n".into()],
        rows: vec![vec![HOSTILE.into(), json!(1)], vec![Value::Null, json!(2.5)]],
        caption: HOSTILE.into(),
        source: HOSTILE.into(),
        measured: vec![HOSTILE.into()],
    })
    .unwrap();
    let text = || HOSTILE.to_string();
    let item =
        Answer { label: text(), prompt: text(), reference: text(), before: (text(), text()), after: (text(), text()) };
    r.answers(Answers { items: vec![item], caption: text(), source: text() });
    r.figure(Figure { svg: "<svg></svg>".into(), caption: text(), source: text(), ..Figure::default() });
    r.data(HOSTILE, json!({ HOSTILE: HOSTILE }));
    r
}

/// Every tag of `html` by its name, as a browser would find them.
fn tags(html: &str) -> std::collections::BTreeSet<String> {
    html.split('<')
        .skip(1)
        .map(|rest| rest.trim_start_matches(['/', '!']).chars().take_while(char::is_ascii_alphanumeric).collect())
        .collect()
}

/// Protects whoever opens a report: what a model or a data set says is text in every place where it can stand, never
/// markup, and the page neither runs nor loads anything.
#[test]
fn html_holds_no_markup_but_its_own() {
    let html = html::write(&hostile());
    let own = [
        "a",
        "article",
        "body",
        "code",
        "details",
        "div",
        "doctype",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "head",
        "header",
        "html",
        "li",
        "main",
        "meta",
        "nav",
        "ol",
        "p",
        "section",
        "span",
        "style",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ];
    for tag in tags(&html) {
        assert!(own.contains(&tag.as_str()), "<{tag}>");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!html.contains('\u{1b}') && !html.contains('\u{202e}'));
    // Attributes are quoted, and nothing hostile ends one: each of them appears with its quotes escaped.
    assert!(!html.contains("(1)) \"'") && html.contains("(1)) &quot;&#39;"));
    assert!(html.contains("default-src 'none'"));
}

/// Protects a repository that shows the Markdown: no image of a stranger, no link, no heading of the model's own.
#[test]
fn markdown_holds_no_markup_but_its_own() {
    let text = markdown::write(&hostile());
    let code: Vec<&str> = text.lines().filter(|l| !l.contains('`')).collect();
    for line in &code {
        assert!(!line.contains("![t]") && !line.contains("[a](") && !line.contains("<script"), "{line}");
        assert!(!line.starts_with("# head"), "{line}");
    }
    assert_eq!(text.lines().filter(|l| l.starts_with('#')).count(), 2, "title and section:\n{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    // A row of the table is one line with its two cells, whatever stands in them.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(text.lines().filter(|l| l.starts_with("| ") && l.ends_with("| 1 |")).all(|l| cells(l) == 3), "{text}");
}

/// Protects programs that read the report: the data come back as they were given, and parts in their order.
#[test]
fn json_reads_back() {
    let json = json::write(&hostile());
    assert_eq!(json["data"][HOSTILE][HOSTILE], HOSTILE);
    let kinds: Vec<&str> =
        json["sections"][0]["parts"].as_array().unwrap().iter().map(|p| p["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["text", "table", "answers", "figure"]);
    assert_eq!(json["sections"][0]["parts"][3]["file"], "figures/1-div-script-alert-1-script-img-src-x.svg");
}

/// Protects the page's form: numbers to the right, long tables folded, a list of contents where it helps, measured columns
/// marked.
#[test]
fn tables_take_their_form() {
    let mut r = Report::new("t", "");
    for name in ["one", "two", "three"] {
        r.section(name);
        let rows = (0..30).map(|i| vec![json!(i), json!(format!("{i} %")), json!("word"), Value::Null]).collect();
        let columns = ["step", "share", "what", "none"].map(String::from).to_vec();
        let (caption, measured) = ("Steps.".to_string(), vec!["share".to_string()]);
        r.table(Table { columns, rows, caption, measured, ..Table::default() }).unwrap();
    }
    let html = html::write(&r);
    assert_eq!(html.matches("<details><summary>Steps (30 rows)</summary>").count(), 3);
    assert!(html.contains("<nav") && html.contains("<a href=\"#s2\">three</a>"));
    assert!(html.contains("<th scope=\"col\" class=\"number\">step</th>"));
    assert!(html.contains(&format!("<th scope=\"col\" class=\"number\">share{}</th>", html::MARK)));
    assert!(html.contains("<th scope=\"col\">what</th>") && html.contains("<td>\u{2013}</td>"));
    assert!(markdown::write(&r).contains("| ---: | ---: | --- | --- |"));
}

/// Protects the author of a report from tables that do not fit.
#[test]
fn tables_that_do_not_fit_are_named() {
    let table = |columns: &[&str], rows: Vec<Vec<Value>>, measured: &[&str]| Table {
        columns: columns.iter().map(ToString::to_string).collect(),
        rows,
        measured: measured.iter().map(ToString::to_string).collect(),
        ..Table::default()
    };
    let mut r = Report::new("t", "");
    let e = r.table(table(&["a", "b"], vec![vec![json!(1), json!(2)], vec![json!(1)]], &[])).unwrap_err();
    assert!(e.to_string().contains("row 2 has 1 cells"), "{e}");
    let e = r.table(table(&["seconds"], vec![], &["second"])).unwrap_err();
    assert!(e.help().unwrap().contains("seconds"), "{e}");
}

/// Protects what is written: four files, each whole, figures where the Markdown says they are.
#[test]
fn files_are_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/report");
    let mut r = Report::new("t", "");
    r.figure(Figure { svg: "<svg>1</svg>".into(), caption: "Held-out loss, by step.".into(), ..Figure::default() });
    let own = Figure { svg: "<svg>2</svg>".into(), file: Some("loss.svg".into()), ..Figure::default() };
    r.figure(own);
    assert_eq!(r.save(&dir).unwrap(), dir.join("report.html"));
    let markdown = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(markdown.contains("(figures/1-held-out-loss-by-step.svg)") && markdown.contains("(loss.svg)"));
    assert_eq!(std::fs::read_to_string(dir.join("figures/1-held-out-loss-by-step.svg")).unwrap(), "<svg>1</svg>");
    assert!(!dir.join("loss.svg").exists());
    assert!(std::fs::read_to_string(dir.join("report.html")).unwrap().contains("<svg>2</svg>"));
}

/// Protects every number of a report: exact enough to compare, short enough to read.
#[test]
fn values_as_people_read_them() {
    for (value, text) in [
        (json!(1234567), "1,234,567"),
        (json!(-1234), "-1,234"),
        (json!(2.5), "2.5"),
        (json!(0.00012345), "1.234e-4"),
        (json!(12345678.9), "1.235e7"),
        (json!(1e-4), "1e-4"),
        (json!(0.0), "0"),
        (json!("x"), "x"),
        (json!(true), "yes"),
        (Value::Null, "\u{2013}"),
    ] {
        assert_eq!(shown(&value), text);
    }
}
