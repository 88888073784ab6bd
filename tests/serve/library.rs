//! What reads the library: search, pages, pictures, heat, files, probes and metrics.

use serde_json::{Value, json};

use crate::http::Answer;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump, text};
use crate::support::pdf;

/// A sandbox with a cache of pictures of its own.
fn with_cache() -> Sandbox {
    let sandbox = Sandbox::built_in();
    let cache = sandbox.path("cache").display().to_string();
    sandbox.with("XDG_CACHE_HOME", &cache)
}

fn first(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/api/v1/search?{query}")).json(200);
    answer["hits"][0].clone()
}

#[test]
fn questions_are_answered_in_every_mode() {
    let server = Server::with_pump(Sandbox::built_in());
    for mode in ["hybrid", "visual", "text"] {
        let hit = first(&server, &format!("q=nitrogen&mode={mode}"));
        assert_eq!(hit["page"], 2, "{mode}: {hit}");
    }
    let hit = first(&server, "q=purge+with+nitrogen&mode=meaning");
    assert_eq!(hit["page"], 2, "{hit}");
    let hit = first(&server, "q=nitrogen");
    assert_eq!(hit["snippet"], "purge with nitrogen");
    assert_eq!(hit["marks"], json!([[11, 19]]));
    let long = server.post("/api/v1/search", &json!({"q": "alarm E-108", "count": 1}));
    let long = long.json(200);
    assert_eq!(long["hits"].as_array().unwrap().len(), 1);
    assert_eq!(long["hits"][0]["page"], 3);
    assert_eq!(long["degraded"], Value::Null);
}

#[test]
fn words_that_are_nowhere_have_near_ones() {
    let server = Server::with_pump(Sandbox::built_in());
    let meant = |query: &str| {
        let answer = server.get(&format!("/api/v1/search?q={query}")).json(200);
        answer["did_you_mean"].clone()
    };
    for mode in ["hybrid", "text"] {
        assert_eq!(meant(&format!("nitrogn&mode={mode}")), json!(["nitrogen"]));
    }
    let whole = meant("How+is+the+presure%2C+relieve+vlave%3F");
    assert_eq!(whole, json!(["How is the pressure, relief valve?"]));
    for known in ["nitrogen", "nitro", "PURGES", "E-109", "zebra", "the+of+in"] {
        assert_eq!(meant(known), json!([]), "{known}");
    }
}

#[test]
fn filters_narrow_the_search_and_bad_values_have_hints() {
    let server = Server::with_pump(Sandbox::built_in());
    server.add(
        "gas.pdf",
        &pdf::good(&["nitrogen bottle", "empty nitrogen bottle"]),
    );
    server.add("oil.pdf", &pdf::good(&["oil and nitrogen"]));
    let names = |query: &str| -> Vec<String> {
        let answer = server
            .get(&format!("/api/v1/search?q=nitrogen&{query}"))
            .json(200);
        let hits = answer["hits"].as_array().unwrap().iter();
        let mut names: Vec<_> = hits
            .map(|hit| {
                format!(
                    "{}:{}",
                    text(&hit["manual"]).rsplit('/').next().unwrap(),
                    hit["page"]
                )
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("mode=text").len(), 4);
    assert_eq!(
        names("manual=gas.pdf&mode=text"),
        ["gas.pdf:1", "gas.pdf:2"]
    );
    let both = names("manual=gas.pdf&manual=oil.pdf&mode=text");
    assert_eq!(both, ["gas.pdf:1", "gas.pdf:2", "oil.pdf:1"]);
    assert_eq!(names("pages=2&mode=text"), ["gas.pdf:2", "pump.pdf:2"]);
    assert_eq!(
        names("manual=gas.pdf&mode=text&per_manual=1&exact=true").len(),
        1
    );
    for bad in [
        "q=",
        "count=5",
        "q=a&count=0",
        "q=a&count=101",
        "q=a&mode=none",
        "q=a&pages=9-1",
        "q=a&per_manual=0",
        "q=a&unknown=1",
        "q=a&count=many",
        "q=a&exact=perhaps",
        "q=%20%20",
    ] {
        server.get(&format!("/api/v1/search?{bad}")).problem(400);
    }
    let missing = server.get("/api/v1/search?q=a&manual=none.pdf");
    assert_eq!(missing.problem(404), "no-such-manual");
    let long = "a".repeat(10_001);
    server
        .post("/api/v1/search", &json!({"q": long}))
        .problem(400);
    for bad in [
        json!({}),
        json!({"q": 1}),
        json!({"q": "a", "other": 1}),
        json!([]),
    ] {
        server.post("/api/v1/search", &bad).problem(400);
    }
    let no_json = server.send(("POST", "/api/v1/search"), &[], b"{\"q\":\"a\"}");
    assert_eq!(no_json.problem(415), "wrong-type");
    let cut = server.send(
        ("POST", "/api/v1/search"),
        &[("Content-Type", "application/json")],
        b"{\"q\":",
    );
    cut.problem(400);
}

#[test]
fn pages_thumbnails_and_pictures() {
    let server = Server::with_pump(with_cache());
    let page = server.page(2);
    assert_eq!((&page["page"], &page["of"]), (&json!(2), &json!(3)));
    assert_eq!(text(&page["text"]).trim(), "purge with nitrogen");
    assert_eq!(page["previous"], server.page(1)["id"]);
    assert_eq!(page["next"], server.page(3)["id"]);
    let id = text(&page["id"]);
    assert_eq!(server.get(&format!("/api/v1/pages/{id}")).json(200), page);
    let manual = server.manuals()[0].replace('/', "%2F");
    for none in [
        format!("pages?manual={manual}&page=9"),
        "pages/none".to_owned(),
        format!("pages/{id}/nothing"),
    ] {
        server.get(&format!("/api/v1/{none}")).problem(404);
    }
    let missing = server.get(&format!("/api/v1/pages?manual={manual}&page=9"));
    let told = missing.text();
    assert!(told.contains(", page 9 is not stored"), "{told}");
    assert!(told.contains("the manual has 3 pages"), "{told}");
    let none = "00000000-0000-0000-0000-000000000000";
    for part in ["", "/thumbnail", "/picture", "/heat?q=a"] {
        server
            .get(&format!("/api/v1/pages/{none}{part}"))
            .problem(404);
    }
    let small = server.get(&format!("/api/v1/pages/{id}/thumbnail?v=x"));
    assert!(size_of(&small).0 <= 320);
    fresh(&server, &format!("/api/v1/pages/{id}/thumbnail"), &small);
    for width in [200, 1000, 2000] {
        let target = format!("/api/v1/pages/{id}/picture?width={width}");
        let picture = server.get(&target);
        assert_eq!(size_of(&picture).0, width);
        fresh(&server, &target, &picture);
        assert_eq!(server.get(&target).body, picture.body);
    }
    for bad in ["199", "3001", "-1", "wide"] {
        server
            .get(&format!("/api/v1/pages/{id}/picture?width={bad}"))
            .problem(400);
    }
    let wide = server.get(&format!("/api/v1/pages/{id}/picture?width=wide"));
    let why = "`width` must be a whole number from 200 to 3000, not `wide`";
    assert!(wide.text().contains(why), "{}", wide.text());
    let counters = server.get("/metrics").text();
    assert!(
        counters.contains("ingest_pictures_total{from=\"cached\"}"),
        "{counters}"
    );
}

#[test]
fn the_words_of_a_page_have_their_places() {
    let server = Server::with_pump(with_cache());
    let id = server.page(2);
    let target = format!("/api/v1/pages/{}/words", text(&id["id"]));
    let words = server.get(&target).json(200);
    let words = words["words"].as_array().unwrap();
    let texts: Vec<&str> = words.iter().map(|word| text(&word["text"])).collect();
    assert_eq!(texts, ["purge", "with", "nitrogen"]);
    // 72 points from the left of 612, and 792 - 700 from the top of 792.
    let place = words[0]["place"].as_array().unwrap();
    let place: Vec<f64> = place.iter().map(|share| share.as_f64().unwrap()).collect();
    assert!((place[0] - 72.0 / 612.0).abs() < 0.01, "{place:?}");
    assert!(
        place[1] < 92.0 / 792.0 && place[3] > 92.0 / 792.0,
        "{place:?}"
    );
    std::fs::remove_file(server.sandbox.path("pump.pdf")).unwrap();
    assert_eq!(server.get(&target).problem(410), "file-moved");
}

/// Width and height of the JPEG of an answer.
fn size_of(answer: &Answer) -> (u32, u32) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("image/jpeg"));
    let image = image::load_from_memory(&answer.body).unwrap();
    (image.width(), image.height())
}

/// Whether a client that has the answer gets 304, and one that has another gets it anew.
fn fresh(server: &Server, target: &str, answer: &Answer) {
    let tag = answer.header("etag").unwrap();
    let again = |tag: &str| server.send(("GET", target), &[("If-None-Match", tag)], b"");
    let known = again(tag);
    assert_eq!((known.status, known.body.len()), (304, 0), "{target}");
    assert_eq!(known.header("etag"), Some(tag));
    assert_eq!(again("\"other\"").status, 200);
}

#[test]
fn heat_has_a_map_for_each_word() {
    use base64::Engine as _;
    let server = Server::with_pump(Sandbox::built_in());
    let id = server.page(2);
    let id = text(&id["id"]);
    let heat = server.get(&format!(
        "/api/v1/pages/{id}/heat?q=%C3%A9%F0%9F%94%A5+nitrogen+purge"
    ));
    let heat = heat.json(200);
    let cells = heat["columns"].as_u64().unwrap() * heat["rows"].as_u64().unwrap();
    let words = heat["words"].as_array().unwrap();
    let nitrogen = words
        .iter()
        .find(|word| word["text"] == "nitrogen")
        .unwrap();
    // One unit for é, two for the flame, one for the space.
    assert_eq!(
        (&nitrogen["from"], &nitrogen["to"]),
        (&json!(4), &json!(12))
    );
    for word in words {
        let map = base64::engine::general_purpose::STANDARD
            .decode(text(&word["map"]))
            .unwrap();
        assert_eq!(map.len() as u64, cells, "{word}");
        let best = f64::from(*map.iter().max().unwrap()) / 255.0;
        assert!(
            (best - word["best"].as_f64().unwrap()).abs() < 0.01,
            "{word}"
        );
    }
    assert!(nitrogen["best"].as_f64().unwrap() > 0.4, "{nitrogen}");
    for bad in ["q=", "q=%20", "", "q=a&x=1"] {
        server
            .get(&format!("/api/v1/pages/{id}/heat?{bad}"))
            .problem(400);
    }
}

#[test]
fn the_file_is_served_in_parts_until_it_moves_or_changes() {
    let server = Server::with_pump(with_cache());
    let name = server.manuals()[0].replace('/', "%2F");
    let target = format!("/api/v1/manuals/{name}/pdf");
    let whole = server.get(&target);
    assert_eq!((whole.status, &whole.body), (200, &pump()));
    assert_eq!(whole.header("content-type"), Some("application/pdf"));
    assert!(
        whole
            .header("content-disposition")
            .unwrap()
            .starts_with("inline")
    );
    fresh(&server, &target, &whole);
    let part = |range: &str| server.send(("GET", &target), &[("Range", range)], b"");
    let some = part("bytes=1-3");
    assert_eq!((some.status, some.text().as_str()), (206, "PDF"));
    let end = part("bytes=-6");
    assert_eq!((end.status, end.text().as_str()), (206, "%%EOF\n"));
    assert_eq!(part("bytes=999999-").status, 416);
    let id = server.page(1);
    let picture = format!("/api/v1/pages/{}/picture", text(&id["id"]));
    let file = server.sandbox.path("pump.pdf");
    std::fs::rename(&file, server.sandbox.path("away.pdf")).unwrap();
    assert_eq!(server.get(&target).problem(410), "file-moved");
    assert_eq!(server.get(&picture).problem(410), "file-moved");
    assert_eq!(server.page(1)["file"], "moved");
    std::fs::write(&file, pdf::good(&["another manual"])).unwrap();
    assert_eq!(server.get(&target).problem(410), "file-changed");
    assert_eq!(server.get(&picture).problem(410), "file-changed");
    assert_eq!(server.page(1)["file"], "changed");
    let small = format!("/api/v1/pages/{}/thumbnail", text(&id["id"]));
    assert_eq!(server.get(&small).status, 200);
    std::fs::write(&file, pump()).unwrap();
    assert_eq!(server.get(&target).status, 200);
    assert_eq!(
        server.get("/api/v1/manuals/none.pdf/pdf").problem(404),
        "no-such-manual"
    );
}

#[test]
fn an_empty_library_says_so_and_the_server_tells_how_it_is() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let none = "00000000-0000-0000-0000-000000000000";
    for target in [
        "/api/v1/search?q=a".to_owned(),
        format!("/api/v1/pages/{none}"),
        "/api/v1/manuals/a.pdf".to_owned(),
    ] {
        assert_eq!(
            server.get(&target).problem(404),
            "empty-library",
            "{target}"
        );
    }
    assert_eq!(
        server.get("/api/v1/manuals").json(200),
        json!({"manuals": [], "pages": 0})
    );
    let about = server.get("/api/v1/about").json(200);
    assert_eq!(
        (&about["pages"], &about["suggestions"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(server.get("/healthz").text(), "ok\n");
    server.ready();
    let counters = server.get("/metrics");
    assert!(
        counters
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    assert!(
        counters.text().contains("\ningest_pages 0\n"),
        "{}",
        counters.text()
    );
    assert_eq!(server.get("/nothing").problem(404), "no-such-address");
    assert_eq!(
        server.get("/api/v1/nothing").problem(404),
        "no-such-address"
    );
    assert_eq!(server.delete("/api/v1/about").problem(405), "wrong-method");
    assert_eq!(server.send(("HEAD", "/api/v1/about"), &[], b"").status, 200);
    server.add("pump.pdf", &pump());
    server.ready();
    assert_eq!(first(&server, "q=nitrogen")["page"], 2);
    let zipped = server.send(
        ("GET", "/api/v1/manuals"),
        &[("Accept-Encoding", "gzip")],
        b"",
    );
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
}
