//! The file of a manual is chosen again, after it moved or changed.

use base64::Engine as _;
use serde_json::json;

use crate::chrome::Chrome;
use crate::http::Answer;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump, text};
use crate::support::pdf;

/// A server whose manual `pump.pdf` was moved, in a sandbox with a folder `shelf` that it may read.
fn moved() -> Server {
    let sandbox = Sandbox::built_in();
    let shelf = sandbox.path("shelf");
    let settings = format!("[serve]\nfolders = [{:?}]\n", shelf.display().to_string());
    sandbox.write("ingest.toml", settings.as_bytes());
    let cache = sandbox.path("cache").display().to_string();
    let server = Server::with_pump(sandbox.with("XDG_CACHE_HOME", &cache));
    std::fs::create_dir_all(&shelf).unwrap();
    std::fs::rename(server.sandbox.path("pump.pdf"), shelf.join("pump.pdf")).unwrap();
    server
}

fn put(server: &Server, part: &str, kind: &str, body: &[u8]) -> Answer {
    let name = server.manuals()[0].replace('/', "%2F");
    let target = format!("/api/v1/manuals/{name}/{part}");
    server.send(("PUT", &target), &[("Content-Type", kind)], body)
}

fn put_path(server: &Server, path: &std::path::Path) -> Answer {
    let body = json!({"path": path}).to_string();
    put(server, "path", "application/json", body.as_bytes())
}

#[test]
fn only_the_file_that_was_stored_is_taken() {
    let server = moved();
    let file = |body: &[u8]| put(&server, "file", "application/pdf", body);
    assert_eq!(server.page(1)["file"], "moved");
    let other = pdf::good(&["another pump"]);
    assert_eq!(file(&other).problem(409), "other-file");
    assert_eq!(file(b"no manual").problem(415), "wrong-type");
    let none = "/api/v1/manuals/none.pdf/file";
    assert_eq!(
        server.send(("PUT", none), &[], &pump()).problem(404),
        "no-such-manual"
    );
    assert_eq!(
        server.uploads(),
        [""; 0],
        "nothing is kept of a refused file"
    );
    assert_eq!(file(&pump()).status, 204);
    assert_eq!(server.uploads(), ["pump.pdf"]);
    let page = server.page(1);
    assert_eq!(page["file"], "there");
    let picture = format!("/api/v1/pages/{}/picture", text(&page["id"]));
    assert_eq!(server.get(&picture).status, 200);
    assert_eq!(
        server.get("/api/v1/manuals").json(200)["manuals"][0]["own_copy"],
        true
    );
    assert_eq!(
        server.get("/api/v1/search?q=nitrogen").json(200)["hits"][0]["page"],
        2
    );
    // Its copy goes with it.
    let name = server.manuals()[0].replace('/', "%2F");
    assert_eq!(
        server.delete(&format!("/api/v1/manuals/{name}")).status,
        204
    );
    assert_eq!(server.uploads(), [""; 0]);
}

#[test]
fn a_path_is_taken_below_the_folders_only() {
    let server = moved();
    let shelf = server.sandbox.path("shelf");
    let foreign = server.sandbox.write("pump.pdf.bak", &pump());
    assert_eq!(put_path(&server, &foreign).problem(403), "foreign-path");
    let other = server
        .sandbox
        .write("shelf/other.pdf", &pdf::good(&["another pump"]));
    assert_eq!(put_path(&server, &other).problem(409), "other-file");
    assert_eq!(put_path(&server, &shelf).problem(409), "file-unreadable");
    put(&server, "path", "application/json", b"{}").problem(400);
    assert_eq!(put_path(&server, &shelf.join("pump.pdf")).status, 204);
    assert_eq!(server.page(1)["file"], "there");
    assert_eq!(server.uploads(), [""; 0]);
    let sandbox = server.kill();
    let server = Server::start(sandbox, &[]);
    assert_eq!(server.page(1)["file"], "there");
    // It is the same manual for the command line, too.
    let again = server.sandbox.run(&["shelf/pump.pdf"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(server.manuals().len(), 1);
}

/// Chooses a file in the dialog of a button.
fn choose(chrome: &mut Chrome, place: &str, bytes: &[u8]) {
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    chrome.js(&format!(
        "(() => {{ const chosen = new DataTransfer(); chosen.items.add(new File([Uint8Array.from(atob('{encoded}'), \
         (c) => c.charCodeAt(0))], 'pump.pdf')); const input = document.querySelector('{place} input[type=file]'); \
         input.files = chosen.files; input.dispatchEvent(new Event('change')) }})()"
    ));
}

#[test]
fn the_page_takes_it_where_it_says_so() {
    let server = moved();
    let mut chrome = Chrome::start();
    chrome.open(&format!("{}?q=nitrogen", server.url));
    chrome.until(
        "document.querySelector('#page-notes button')?.textContent == 'Choose the file again'",
    );
    crate::page::accessible(&mut chrome, "a moved file");
    choose(&mut chrome, "#page-notes", &pdf::good(&["another pump"]));
    chrome
        .until("document.querySelector('#messages').textContent.includes('is not the file that')");
    choose(&mut chrome, "#page-notes", &pump());
    chrome.until("!document.querySelector('#page-notes').textContent && !document.querySelector('#picture').hidden");
    let copy = server.sandbox.path("library-uploads/pump.pdf");
    std::fs::write(&copy, pdf::good(&["changed"])).unwrap();
    chrome.open(&format!("{}?view=library", server.url));
    chrome.until("document.querySelector('.facts')?.textContent.includes('changed') && !document.querySelector('.again').hidden");
    crate::page::accessible(&mut chrome, "the library with a changed file");
    choose(&mut chrome, ".again", &pump());
    chrome.until("document.querySelector('.again').hidden");
    let other = |line: &String| !line.contains("409");
    assert!(!chrome.console.iter().any(other), "{:#?}", chrome.console);
}
