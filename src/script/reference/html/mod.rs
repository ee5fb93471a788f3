//! The reference as a folder of HTML pages with search: no network, no server, one style sheet, one script.

mod markup;

use super::super::catalog::{Origin, Signature};
use super::super::doc_comment::{self, Section};
use super::markdown::{file_name, slugs};
use super::{Chapter, Entry, chapters};
use markup::{Links, blocks, escape, highlight, inline};
use serde_json::json;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("search.js");

/// Who provides the chapters, in order, and the headings above them.
const PARTS: [(Origin, &str); 3] =
    [(Origin::Host, "The host's API"), (Origin::Std, "The standard library"), (Origin::Rhai, "Rhai's own library")];

/// Files of the reference: name and text. `index.html` is the first.
pub fn html(catalog: &[Signature]) -> Vec<(String, String)> {
    let chapters = chapters(catalog);
    let links = Links::new(chapters.iter().flat_map(|c| {
        let file = file_name(c, "html");
        c.entries.iter().zip(slugs(c)).map(move |(e, slug)| (e.key.clone(), format!("{file}#{slug}")))
    }));
    let mut files = vec![("index.html".to_string(), overview(&chapters, &links))];
    files.extend(chapters.iter().map(|c| (file_name(c, "html"), page(c, &chapters, &links))));
    files.push(("style.css".to_string(), STYLE.to_string()));
    files.push(("search.js".to_string(), format!("{}{SCRIPT}", index(&chapters))));
    files
}

/// What the search looks through: name, kind, summary, link.
fn index(chapters: &[Chapter]) -> String {
    let of = |c: &Chapter| -> Vec<_> {
        let file = file_name(c, "html");
        let row = |(e, slug): (&Entry, String)| {
            json!([e.key, e.kind(), e.doc().summary(), format!("{file}#{slug}"), c.origin])
        };
        c.entries.iter().zip(slugs(c)).map(row).collect()
    };
    let rows: Vec<_> = chapters.iter().flat_map(of).collect();
    format!("const INDEX = {};\n", json!(rows))
}

fn shell(title: &str, current: &str, chapters: &[Chapter], main: &str) -> String {
    let mut nav = String::new();
    for (origin, heading) in PARTS {
        let of_it: Vec<&Chapter> = chapters.iter().filter(|c| c.origin == origin).collect();
        if of_it.is_empty() {
            continue;
        }
        nav += &format!("<h2>{}</h2>\n<ul>\n", escape(heading));
        for chapter in of_it {
            let here = if chapter.name == current { " aria-current=\"page\"" } else { "" };
            nav +=
                &format!("<li><a href=\"{}\"{here}>{}</a></li>\n", file_name(chapter, "html"), escape(&chapter.title));
        }
        nav += "</ul>\n";
    }
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · host reference</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
<a class="home" href="index.html">host <span>{version}</span></a>
<div class="search"><input id="search" type="search" placeholder="Search: adamw, shape, std/train  ( / )" aria-label="Search" autocomplete="off" spellcheck="false"><ol id="found" hidden></ol></div>
</header>
<details class="menu"><summary>Contents</summary><nav>
{nav}</nav></details>
<nav class="side">
{nav}</nav>
<main>
{main}</main>
<script src="search.js"></script>
</body>
</html>
"##,
        title = escape(title)
    )
}

fn overview(chapters: &[Chapter], links: &Links) -> String {
    let mut main = String::from(
        "<h1>Reference</h1>\n<p>Everything a script can name. <code>host doc NAME</code> shows the same in the terminal, \
         <code>?NAME</code> in the session.</p>\n",
    );
    for (origin, heading) in PARTS {
        let of_it: Vec<&Chapter> = chapters.iter().filter(|c| c.origin == origin).collect();
        if of_it.is_empty() {
            continue;
        }
        main += &format!("<h2>{}</h2>\n", escape(heading));
        for chapter in of_it {
            let file = file_name(chapter, "html");
            main += &format!("<section class=\"chapter\"><h3><a href=\"{file}\">{}</a></h3>\n", escape(&chapter.title));
            let first = doc_comment::summary(&chapter.intro);
            if !first.is_empty() {
                main += &format!("<p>{}</p>\n", inline(first, links));
            }
            main += "<p class=\"names\">";
            for (entry, slug) in chapter.entries.iter().zip(slugs(chapter)) {
                main += &format!("<a href=\"{file}#{slug}\"><code>{}</code></a> ", escape(chapter.listed(entry)));
            }
            main += "</p></section>\n";
        }
    }
    shell("Overview", "", chapters, &main)
}

fn page(chapter: &Chapter, chapters: &[Chapter], links: &Links) -> String {
    let mut main = format!("<h1>{}</h1>\n{}", escape(&chapter.title), blocks(&chapter.intro, links));
    let slugs = slugs(chapter);
    main += "<ul class=\"toc\">\n";
    for (entry, slug) in chapter.entries.iter().zip(&slugs) {
        let name = escape(chapter.listed(entry));
        let summary = inline(entry.doc().summary(), &Links::default());
        main += &format!("<li><a href=\"#{slug}\"><code>{name}</code></a> <span>{summary}</span></li>\n");
    }
    main += "</ul>\n";
    for (entry, slug) in chapter.entries.iter().zip(&slugs) {
        main += &article(entry, slug, links);
    }
    shell(&chapter.title, &chapter.name, chapters, &main)
}

fn article(entry: &Entry, slug: &str, links: &Links) -> String {
    let (key, kind) = (escape(&entry.key), entry.kind());
    let mut text = format!("<article id=\"{slug}\">\n<h2><a href=\"#{slug}\">{key}</a> <small>{kind}</small></h2>\n");
    for (usages, signature) in entry.parts() {
        let usages: Vec<String> = usages.iter().map(|u| escape(u)).collect();
        text += &format!("<pre class=\"usage\"><code>{}</code></pre>\n", usages.join("\n"));
        for section in doc_comment::sections(&signature.doc).iter().filter(|s| !s.body.is_empty()) {
            if !section.title.is_empty() {
                text += &format!("<h3>{}</h3>\n", escape(section.title));
            }
            text += &match section.title {
                "Options" => options(section, signature, links),
                _ => blocks(section.body, links),
            };
        }
    }
    text + "</article>\n"
}

fn options(section: &Section, doc: &Signature, links: &Links) -> String {
    let rows = doc.options();
    if rows.is_empty() {
        return blocks(section.body, links);
    }
    let mut text = String::from("<dl>\n");
    for o in rows {
        let default = match o.default.as_str() {
            "" => String::new(),
            default => format!(" <span class=\"default\">{}</span>", highlight(default)),
        };
        text += &format!("<dt><code>{}</code>{default}</dt><dd>{}</dd>\n", escape(&o.name), inline(&o.about, links));
    }
    text + "</dl>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::catalog::collect;

    /// Protects readers without a network: every page links only into the folder, and to places that are there.
    #[test]
    fn links_stay_in_the_folder() {
        let mut engine = rhai::Engine::new();
        let ctx = crate::bindings::HostContext::new(std::sync::Arc::new(crate::engine::progress::Silent));
        crate::bindings::register(&mut engine, &std::sync::Arc::new(ctx));
        let files = html(&collect(&engine));
        let named = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, text)| text);
        let mut seen = 0;
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".html")) {
            for target in text.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                seen += 1;
                // A link that a reader may follow; nothing is loaded from it.
                if target.starts_with("https://") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let page = if file.is_empty() { Some(text) } else { named(file) };
                let page = page.unwrap_or_else(|| panic!("{name} links to {target}"));
                assert!(anchor.is_empty() || page.contains(&format!("id=\"{anchor}\"")), "{name} links to {target}");
            }
            assert!(!text.contains("src=\"http"), "{name} loads from the network");
        }
        assert!(seen > 500, "only {seen} links");
    }
}
