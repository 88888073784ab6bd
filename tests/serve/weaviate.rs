//! A real Weaviate as the store behind the server: everything that a file does, and what happens while it is away.

use serde_json::Value;

use crate::chrome::Chrome;
use crate::page::accessible;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump, text, wait};
use crate::support::pdf;
use crate::weaviate_server::Server as Weaviate;

fn sandbox(store: &Weaviate) -> Sandbox {
    Sandbox::built_in().with("INGEST_STORE_URL", &store.url())
}

fn first_hit(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/api/v1/search?q={query}"));
    answer.json(200)["hits"][0].clone()
}

#[test]
fn a_library_on_a_server_is_searched_shown_and_changed() {
    let store = Weaviate::start();
    let server = Server::start(sandbox(&store), &[]);
    assert_eq!(server.manuals(), [""; 0]);
    let job = server.add("pump.pdf", &pump());
    assert_eq!(
        (text(&job["state"]), job["done"].as_u64()),
        ("done", Some(3)),
        "{job}"
    );
    server.ready();
    for mode in ["hybrid", "visual", "text"] {
        assert_eq!(
            first_hit(&server, &format!("nitrogen&mode={mode}"))["page"],
            2,
            "{mode}"
        );
    }
    let page = server.page(2);
    assert_eq!(page["next"], server.page(3)["id"]);
    let id = text(&page["id"]);
    assert_eq!(server.get(&format!("/api/v1/pages/{id}")).json(200), page);
    for part in ["thumbnail", "picture"] {
        let picture = server.get(&format!("/api/v1/pages/{id}/{part}"));
        assert_eq!(
            picture.header("content-type"),
            Some("image/jpeg"),
            "{}",
            picture.text()
        );
    }
    let heat = server
        .get(&format!("/api/v1/pages/{id}/heat?q=nitrogen"))
        .json(200);
    assert_eq!(heat["words"][0]["text"], "nitrogen", "{heat}");
    let none = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        server.get(&format!("/api/v1/pages/{none}")).problem(404),
        "no-such-page"
    );
    let list = server.get("/api/v1/manuals").json(200);
    let (manual, about) = (&list["manuals"][0], server.get("/api/v1/about").json(200));
    assert_eq!((&manual["stored"], &about["pages"]), (&3.into(), &3.into()));
    assert!(
        manual["last_run"]["pages_per_second"].as_f64().unwrap() > 0.0,
        "{manual}"
    );
    let cover = format!("/api/v1/pages/{}/thumbnail", text(&manual["cover"]["id"]));
    assert_eq!(server.get(&cover).status, 200);
    let name = text(&manual["name"]).replace('/', "%2F");
    let target = format!("/api/v1/manuals/{name}");
    assert_eq!(server.get(&format!("{target}/pdf")).body, pump());
    let again = server.send(("PUT", &format!("{target}/file")), &[], &pump());
    assert_eq!(again.status, 204, "{}", again.text());
    assert_eq!(server.delete(&target).status, 204);
    assert_eq!(server.delete(&target).status, 404);
    assert_eq!(server.manuals(), [""; 0]);
}

#[test]
fn the_page_waits_for_a_store_that_is_away_and_goes_on() {
    let mut store = Weaviate::start();
    let server = Server::start(sandbox(&store), &[]);
    server.add("pump.pdf", &pump());
    server.ready();
    let mut chrome = Chrome::start();
    chrome.open(&format!("{}?q=nitrogen", server.url));
    chrome.until("document.querySelectorAll('#hits li').length > 1");
    store.kill();
    for target in ["search?q=nitrogen", "manuals", "about"] {
        let away = server.get(&format!("/api/v1/{target}"));
        assert_eq!(away.problem(503), "store-unavailable", "{target}");
    }
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.get("/healthz").status, 200);
    chrome.js("document.querySelector('#q').focus()");
    chrome.write(" alarm");
    chrome.until("location.search.includes('alarm')");
    chrome.until(
        "document.querySelector('.banner')?.textContent.includes('library does not answer')",
    );
    chrome.until("document.querySelector('#notes [role=alert]')");
    accessible(&mut chrome, "a store that is away");
    let upload = server
        .upload("gas.pdf", &pdf::good(&["gas bottle"]))
        .json(202);
    let id = text(&upload["job"]["id"]).to_owned();
    wait("a job that says what it waits for", || {
        let job = server.job(&id);
        let message = job["message"].as_str()?;
        message.contains("waits for it").then_some(())
    });
    store.restart();
    assert_eq!(server.job_end(&id)["state"], "done");
    assert_eq!(first_hit(&server, "gas+bottle")["page"], 1);
    chrome.until("!document.querySelector('.banner')");
    // A vector index that was killed may have lost entries; the words are found.
    chrome.until("document.querySelectorAll('#hits li').length > 0");
    chrome.until("document.querySelector('#q').value.includes('alarm')");
    let expected = |line: &String| line.contains("503");
    assert!(chrome.console.iter().all(expected), "{:#?}", chrome.console);
}

#[test]
fn a_server_starts_while_its_store_is_away() {
    let mut store = Weaviate::start();
    let server = Server::start(sandbox(&store), &[]);
    server.add("pump.pdf", &pump());
    let sandbox = server.kill();
    store.kill();
    let server = Server::start(sandbox, &[]);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(
        server.get("/api/v1/manuals").problem(503),
        "store-unavailable"
    );
    store.restart();
    wait("the library", || {
        (server.get("/api/v1/manuals").status == 200).then_some(())
    });
    assert_eq!(first_hit(&server, "nitrogen")["page"], 2);
}
