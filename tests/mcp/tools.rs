//! What each tool answers.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, manual};
use crate::server::text;
use crate::session::{Session, picture, said, with_file, with_pump};
use crate::support::pdf;

/// Whether a picture has a tinted place: yellow to red.
fn is_tinted(picture: &image::RgbImage) -> bool {
    picture
        .pixels()
        .any(|p| i32::from(p[0]) - i32::from(p[2]) > 60)
}

#[test]
fn search_finds_the_page_and_says_the_same_in_both_ways() {
    let mut session = Session::shaken(with_pump());
    let result = session.call("search_manuals", json!({"query": "purge nitrogen"}));
    let answer = &result["structuredContent"];
    assert_eq!(
        &serde_json::from_str::<Value>(said(&result)).unwrap(),
        answer
    );
    let first = &answer["hits"][0];
    assert_eq!(
        (&first["manual"], &first["page"]),
        (&json!("pump.pdf"), &json!(2))
    );
    assert_eq!(first["snippet"], "purge with nitrogen");
    assert!(first["score"].as_f64().unwrap() > 0.5, "{first}");
    for mode in ["visual", "text", "meaning", "hybrid"] {
        let arguments =
            json!({"query": "alarm E-108", "count": 1, "manual": "pump.pdf", "mode": mode});
        let result = session.call("search_manuals", arguments);
        let hits = result["structuredContent"]["hits"].as_array().unwrap();
        assert_eq!((hits.len(), &hits[0]["page"]), (1, &json!(3)), "{mode}");
    }
}

#[test]
fn pages_are_shown_with_and_without_their_matches() {
    let mut session = Session::shaken(with_pump());
    let plain = session.call("show_page", json!({"manual": "pump.pdf", "page": 1}));
    assert_eq!(said(&plain), "\"pump.pdf\", page 1 of 3.");
    let plain = picture(&plain);
    assert_eq!(plain.dimensions(), (1000, 1294));
    assert!(!is_tinted(&plain));
    let arguments = json!({"manual": "pump.pdf", "page": 1, "question": "relief valve"});
    let marked = session.call("show_page", arguments);
    assert!(said(&marked).ends_with("are tinted."), "{}", said(&marked));
    assert!(is_tinted(&picture(&marked)));
}

#[test]
fn pages_are_read_between_marks() {
    let mut session = Session::shaken(with_file("labelled.pdf", &pdf::labelled()));
    let one = session.call("read_page", json!({"manual": "labelled.pdf", "page": 3}));
    assert_eq!(
        said(&one),
        "<page manual=\"labelled.pdf\" number=\"3\" label=\"1\" section=\"Alarms\">\n1\n</page>"
    );
    let arguments = json!({"manual": "labelled.pdf", "page": 2, "last": 6});
    let all = session.call("read_page", arguments);
    assert_eq!(said(&all).matches("</page>").count(), 3);
    assert!(said(&all).ends_with("[page 6 of 4 is not stored]"));
}

#[test]
fn manuals_are_listed_with_the_sections_of_one() {
    let mut session = Session::shaken(with_file("labelled.pdf", &pdf::labelled()));
    let all = session.call("list_manuals", json!({}));
    let all = &all["structuredContent"];
    let name = &all["manuals"][0];
    assert_eq!(
        (&name["name"], &name["pages"], &all["sections"]),
        (&json!("labelled.pdf"), &json!(4), &json!([]))
    );
    let one = session.call("list_manuals", json!({"manual": "labelled.pdf"}));
    let sections = &one["structuredContent"]["sections"];
    assert_eq!(
        *sections,
        json!([
            {"title": "Preface", "page": 1},
            {"title": "Alarms", "page": 3},
            {"title": "Wiring", "page": 4},
        ])
    );
}

#[test]
fn pages_are_resources() {
    let mut session = Session::shaken(with_file("deep/Käse & pump.pdf", &pdf::labelled()));
    let listed = session.ask("resources/list", json!({}));
    let uri = text(&listed["resources"][0]["uri"]);
    assert_eq!(uri, "manual:///K%C3%A4se%20%26%20pump.pdf/page/1");
    let uri = uri.replace("/page/1", "/page/4");
    let read = session.ask("resources/read", json!({"uri": uri}));
    let (words, drawn) = (&read["contents"][0], &read["contents"][1]);
    assert!(
        text(&words["text"]).contains("section=\"Wiring\">\n2\n"),
        "{words}"
    );
    assert_eq!(drawn["mimeType"], "image/jpeg");
    let drawn = crate::session::decoded(text(&drawn["blob"]));
    assert_eq!(drawn.dimensions(), (1000, 1294));
}

#[test]
fn everything_is_bounded() {
    let many: Vec<String> = (1..=40)
        .map(|n| format!("valve {n} {}", "very ".repeat(60)))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut session = Session::shaken(with_file("many.pdf", &pdf::good(&many)));
    let found = session.call("search_manuals", json!({"query": "valve", "count": 20}));
    assert!(said(&found).len() <= 8 << 10);
    assert!(found["structuredContent"]["hits"].as_array().unwrap().len() > 5);
    for (tool, arguments) in [
        ("search_manuals", json!({"query": "valve", "count": 21})),
        ("search_manuals", json!({"query": "valve", "count": 0})),
        ("search_manuals", json!({"query": "v".repeat(10_001)})),
        ("search_manuals", json!({"query": "   "})),
        ("search_manuals", json!({"query": "valve", "mode": "all"})),
        ("search_manuals", json!({"query": "valve", "limit": 3})),
        (
            "read_page",
            json!({"manual": "many.pdf", "page": 1, "last": 6}),
        ),
        (
            "read_page",
            json!({"manual": "many.pdf", "page": 3, "last": 2}),
        ),
        ("read_page", json!({"manual": "many.pdf", "page": -1})),
        ("show_page", json!({"manual": "many.pdf"})),
        ("show_page", json!({"manual": 1, "page": 1})),
    ] {
        let said = session.failure(tool, arguments.clone());
        assert!(said.contains("Call"), "{tool} {arguments}: {said}");
    }
    for (arguments, why) in [
        (
            json!({"query": "valve", "count": "x"}),
            "`count` must be a whole number from 1 to 20, not `x`",
        ),
        (
            json!({"query": "valve", "mode": "all"}),
            "`mode` must be one of `hybrid`, `visual`, `text`, `meaning`, not `all`",
        ),
        (json!({"count": 3}), "`query` is missing: a text"),
    ] {
        let said = session.failure("search_manuals", arguments);
        let expected = format!("Invalid arguments: {why}. Call the tool again");
        assert!(said.starts_with(&expected), "{said}");
    }
}

/// A page full of noise, which makes a large JPEG.
#[test]
fn pictures_fit_whatever_is_on_them() {
    let noise = pdf::random(1500 * 2000 * 3);
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::write_image(encoder, &noise, 1500, 2000, image::ExtendedColorType::Rgb8)
        .unwrap();
    let mut session = Session::shaken(with_file("noise.png", &png));
    let shown = session.call("show_page", json!({"manual": "noise.png", "page": 1}));
    let size = picture(&shown).dimensions();
    assert!(size.0 >= 400 && size.1 <= 1568, "{size:?}");
}

#[test]
fn wide_pages_and_scans_are_shown_large_enough() {
    let mut session = Session::shaken(with_file("wide.pdf", &pdf::sized(1400, 700)));
    let shown = session.call("show_page", json!({"manual": "wide.pdf", "page": 1}));
    assert_eq!(picture(&shown).dimensions(), (1568, 784));
    let read = session.call("read_page", json!({"manual": "wide.pdf", "page": 1}));
    assert!(said(&read).contains("look at it with show_page"), "{read}");
}

#[test]
fn the_sample_manuals_answer() {
    let sandbox = Sandbox::built_in();
    let done = sandbox.run(&[&manual("heat-pump-service-manual.pdf")]);
    assert_eq!(done.code, 0, "{}", done.err);
    let mut session = Session::shaken(sandbox);
    let question = "Which gas was used in the pressure test record?";
    let found = session.call("search_manuals", json!({"query": question}));
    let answer = &found["structuredContent"];
    assert_eq!(answer["hits"][0]["page"], 25, "{answer}");
    assert!(text(&answer["note"]).contains("show_page"), "{answer}");
    let arguments =
        json!({"manual": "heat-pump-service-manual.pdf", "page": 25, "question": question});
    let shown = session.call("show_page", arguments);
    assert!(is_tinted(&picture(&shown)));
    assert!(said(&shown).contains("(labelled \"22\"), section \"13.7 Pressure test record\""));
}
