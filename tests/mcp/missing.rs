//! What is not there: manuals, pages, files, the library. Tools say what to do next.

use serde_json::json;

use crate::sandbox::{Sandbox, TINY};
use crate::server::{pump, text};
use crate::session::{Session, picture, said, with_pump};

#[test]
fn unknown_manuals_and_pages_are_named_with_the_way_on() {
    let mut session = Session::shaken(with_pump());
    for name in ["pump", "PUMP.PDF", "punp.pdf"] {
        for tool in ["show_page", "read_page"] {
            let said = session.failure(tool, json!({"manual": name, "page": 1}));
            assert!(said.contains("The nearest name is \"pump.pdf\"."), "{said}");
            assert!(said.contains("list_manuals"), "{said}");
        }
        let said = session.failure("search_manuals", json!({"query": "valve", "manual": name}));
        assert!(said.contains("\"pump.pdf\""), "{said}");
    }
    for number in [0, 4, u32::MAX] {
        for tool in ["show_page", "read_page"] {
            let said = session.failure(tool, json!({"manual": "pump.pdf", "page": number}));
            assert!(said.contains("has 3 pages"), "{said}");
        }
    }
    for uri in [
        "manual:///other.pdf/page/1",
        "manual:///pump.pdf/page/9",
        "manual://pump.pdf/page/1",
        "manual:///pump.pdf",
        "file:///etc/passwd",
        "",
    ] {
        let answer = session.request("resources/read", json!({"uri": uri}));
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
}

#[test]
fn nothing_outside_the_library_can_be_read() {
    let sandbox = with_pump();
    let copy = sandbox.write("copy.pdf", &pump()).display().to_string();
    let path = sandbox.path("pump.pdf").display().to_string();
    let mut session = Session::shaken(sandbox);
    for name in [
        &copy,
        &path,
        "copy.pdf",
        "./pump.pdf",
        "../pump.pdf",
        "/etc/passwd",
        "file:///etc/passwd",
        "pump.pdf\0",
    ] {
        for tool in ["show_page", "read_page"] {
            let said = session.failure(tool, json!({"manual": name, "page": 1}));
            assert!(said.starts_with("There is no manual"), "{name}: {said}");
        }
    }
    for uri in [
        "manual:///..%2Fcopy.pdf/page/1",
        "manual:////etc/passwd/page/1",
    ] {
        let answer = session.request("resources/read", json!({"uri": uri}));
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
}

#[test]
fn a_library_that_is_not_there_yet_is_used_when_it_is() {
    let sandbox = Sandbox::built_in();
    sandbox.write("pump.pdf", &pump());
    let mut session = Session::shaken(sandbox);
    for (tool, arguments) in [
        ("search_manuals", json!({"query": "valve"})),
        ("show_page", json!({"manual": "pump.pdf", "page": 1})),
        ("read_page", json!({"manual": "pump.pdf", "page": 1})),
        ("list_manuals", json!({})),
    ] {
        let said = session.failure(tool, arguments);
        assert!(
            said.contains("empty") && said.contains("`ingest FILE…`"),
            "{said}"
        );
    }
    let listed = session.ask("resources/list", json!({}));
    assert_eq!(listed["resources"], json!([]));
    assert!(!session.sandbox.path("library.db").exists());
    assert_eq!(session.sandbox.run(&["pump.pdf"]).code, 0);
    let found = session.call("search_manuals", json!({"query": "relief valve"}));
    assert_eq!(found["structuredContent"]["hits"][0]["page"], 1);
    assert_eq!(session.sandbox.run(&["remove", "pump.pdf"]).code, 0);
    let left = session.call("list_manuals", json!({}));
    assert_eq!(left["structuredContent"]["manuals"], json!([]));
}

#[test]
fn a_library_that_cannot_be_opened_is_no_end() {
    let sandbox = Sandbox::built_in();
    sandbox.write("library.db", b"this is no library");
    let mut session = Session::shaken(sandbox);
    let said = session.failure("list_manuals", json!({}));
    assert!(said.contains("ingest check"), "{said}");
    assert!(!said.contains('/'), "a path: {said}");
}

#[test]
fn a_library_without_its_model_is_searched_by_words() {
    let sandbox = Sandbox::tiny().with("INGEST_EMBED_MODEL", "model");
    for file in std::fs::read_dir(TINY).unwrap() {
        let file = file.unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        sandbox.write(&format!("model/{}", file.file_name().display()), &bytes);
    }
    sandbox.write("pump.pdf", &pump());
    let done = sandbox.run(&["pump.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    std::fs::rename(sandbox.path("model"), sandbox.path("away")).unwrap();
    let mut session = Session::shaken(sandbox);
    let found = session.call("search_manuals", json!({"query": "relief valve"}));
    let answer = &found["structuredContent"];
    assert_eq!(answer["hits"][0]["page"], 1, "{found}");
    assert!(text(&answer["note"]).starts_with("Only words"), "{answer}");
    let only = json!({"query": "relief valve", "mode": "text"});
    let found = session.call("search_manuals", only);
    assert_eq!(found["structuredContent"]["note"], "", "{found}");
    let images = json!({"query": "relief valve", "mode": "visual"});
    let why = session.failure("search_manuals", images);
    assert!(why.contains("`mode` text"), "{why}");
    let page = json!({"manual": "pump.pdf", "page": 1, "question": "relief valve"});
    let shown = session.call("show_page", page);
    picture(&shown);
    assert!(
        said(&shown).contains("cannot be tinted"),
        "{}",
        said(&shown)
    );
}

#[test]
fn a_file_that_moved_or_changed_is_read_but_not_shown() {
    let mut session = Session::shaken(with_pump());
    let show = json!({"manual": "pump.pdf", "page": 2});
    picture(&session.call("show_page", show.clone()));
    let (file, away) = (
        session.sandbox.path("pump.pdf"),
        session.sandbox.path("away"),
    );
    std::fs::rename(&file, &away).unwrap();
    let why = session.failure("show_page", show.clone());
    assert!(
        why.contains("no longer where it was") && why.contains("read_page"),
        "{why}"
    );
    assert!(!why.contains('/'), "a path: {why}");
    let read = session.call("read_page", show.clone());
    assert!(said(&read).contains("purge with nitrogen"));
    let uri = json!({"uri": "manual:///pump.pdf/page/2"});
    let contents = session.ask("resources/read", uri)["contents"].clone();
    assert_eq!(contents.as_array().unwrap().len(), 1);
    assert!(text(&contents[0]["text"]).contains("purge with nitrogen"));
    let other = crate::support::pdf::good(&["another", "file", "now"]);
    std::fs::write(&file, other).unwrap();
    let why = session.failure("show_page", show.clone());
    assert!(why.contains("has changed"), "{why}");
    std::fs::rename(&away, &file).unwrap();
    picture(&session.call("show_page", show));
}
