//! The life of a server: it is killed, ended, and started again; other runs use the library beside it.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::http::Connection;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump, text, thick, uploads, wait};

/// One page a batch, so that a job can be caught in the middle.
fn slow() -> Sandbox {
    Sandbox::built_in().with("INGEST_LIMITS_BATCH_SIZE", "1")
}

/// Uploads a manual and waits until some of its pages are stored.
fn begin(server: &Server, pages: usize) -> String {
    let job = server.upload("thick.pdf", &thick(pages)).json(202);
    let id = text(&job["job"]["id"]).to_owned();
    wait("a stored page", || {
        let job = server.job(&id);
        assert_ne!(job["state"], "failed", "{job}");
        job["done"].as_u64().filter(|done| *done > 0)
    });
    id
}

#[test]
fn a_server_killed_in_an_upload_leaves_nothing() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let length = [("Content-Length", "100000")];
    let route = ("POST", "/api/v1/manuals?name=a.pdf");
    let half = Connection::open(&server.address, route, &length, &pump());
    wait("the first bytes", || {
        let found = server.uploads();
        (!found.is_empty()).then_some(())
    });
    let sandbox = server.kill();
    drop(half);
    assert_eq!(uploads(&sandbox).len(), 1);
    let server = Server::start(sandbox, &[]);
    assert_eq!(server.uploads(), [""; 0]);
    assert_eq!(server.jobs().len(), 0);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let length = [("Content-Length", "100000")];
    let route = ("POST", "/api/v1/manuals?name=a.pdf");
    let half = Connection::open(&server.address, route, &length, &pump());
    wait("the first bytes", || {
        (!server.uploads().is_empty()).then_some(())
    });
    drop(half);
    wait("an empty folder", || {
        server.uploads().is_empty().then_some(())
    });
    assert_eq!(server.jobs().len(), 0);
}

#[test]
fn a_server_killed_in_a_job_goes_on_with_it() {
    let server = Server::start(slow(), &[]);
    begin(&server, 20);
    server.upload("pump.pdf", &pump()).json(202);
    let sandbox = server.kill();
    let server = Server::start(sandbox, &[]);
    assert_eq!(server.jobs().len(), 2);
    server.all_jobs_end();
    let states: Vec<_> = server
        .jobs()
        .iter()
        .map(|job| text(&job["state"]).to_owned())
        .collect();
    assert_eq!(states, ["done", "done"]);
    assert_eq!(server.get("/api/v1/manuals").json(200)["pages"], 23);
    let sandbox = server.kill();
    assert_eq!(Server::start(sandbox, &[]).jobs().len(), 0);
}

#[test]
fn jobs_that_wait_are_stored_with_what_is_open() {
    let server = Server::start(slow().with("INGEST_RENDER_WORKERS", "1"), &[]);
    begin(&server, 20);
    for pages in [6, 7, 8] {
        server
            .upload(&format!("{pages}.pdf"), &thick(pages))
            .json(202);
    }
    let mut workers = BTreeSet::new();
    wait("the end of all jobs", || {
        workers.extend(server.render_workers());
        let jobs = server.jobs();
        jobs.iter().all(|job| job["state"] == "done").then_some(())
    });
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!(server.get("/api/v1/manuals").json(200)["pages"], 41);
    // Nothing is open any more, and the library can be written to.
    wait("the end of the worker", || {
        server.render_workers().is_empty().then_some(())
    });
    let file = server.sandbox.write("pump.pdf", &pump());
    let stored = server.sandbox.run(&[file.to_str().unwrap()]);
    assert_eq!(stored.code, 0, "{}", stored.err);
}

#[test]
fn a_copy_of_a_file_that_is_being_stored_waits_for_it() {
    let server = Server::start(slow(), &[]);
    let first = begin(&server, 20);
    let copy = server.upload("copy.pdf", &thick(20)).json(202);
    let copy = server.job_end(text(&copy["job"]["id"]));
    assert_eq!(
        (&copy["state"], &copy["done"], &copy["stages"]),
        (&json!("done"), &json!(20), &json!({})),
        "{copy}"
    );
    assert_eq!(server.job(&first)["state"], "done");
    assert_eq!(server.manuals().len(), 1);
}

#[test]
fn a_half_written_journal_is_deleted_at_the_next_start() {
    let server = Server::start(Sandbox::built_in(), &[]);
    server.add("pump.pdf", &pump());
    let sandbox = server.kill();
    sandbox.write("library-uploads/.partial-journal", b"{\"to_add\": [");
    let server = Server::start(sandbox, &[]);
    assert_eq!(server.uploads(), ["pump.pdf"]);
}

#[test]
fn questions_are_answered_during_a_job_with_one_model_for_both() {
    let sandbox = Sandbox::tiny().with("INGEST_LIMITS_BATCH_SIZE", "1");
    let server = Server::with_pump(sandbox);
    let id = begin(&server, 20);
    let mut answered = 0;
    while !["done", "failed"].contains(&text(&server.job(&id)["state"])) {
        for mode in ["hybrid", "visual"] {
            let answer = server.get(&format!("/api/v1/search?q=nitrogen&mode={mode}"));
            let answer = answer.json(200);
            assert!(!answer["hits"].as_array().unwrap().is_empty(), "{answer}");
            assert!(answer["degraded"].is_null(), "{answer}");
        }
        answered += 1;
    }
    assert!(answered > 0);
    let job = server.job(&id);
    assert_eq!(
        (text(&job["state"]), job["done"].as_u64()),
        ("done", Some(20)),
        "{job}"
    );
}

#[test]
fn a_server_killed_in_a_removal_finishes_it() {
    let server = Server::start(Sandbox::built_in(), &[]);
    server.add("pump.pdf", &pump());
    let name = server.manuals().remove(0);
    let sandbox = server.kill();
    // As it is between the first and the last step.
    let file = sandbox.path("library-uploads/pump.pdf");
    let journal = serde_json::json!({"to_add": [], "to_remove": [{"manual": name, "file": file}]});
    fs::write(
        sandbox.path("library-uploads/jobs.json"),
        journal.to_string(),
    )
    .unwrap();
    let server = Server::start(sandbox, &[]);
    wait("the removal", || server.manuals().is_empty().then_some(()));
    wait("the end of the file", || {
        server.uploads().is_empty().then_some(())
    });
}

#[test]
fn ctrl_c_ends_after_the_batch_in_hand_and_the_next_start_goes_on() {
    let server = Server::start(slow(), &[]);
    begin(&server, 24);
    let _open = server.events();
    let (sandbox, status, printed) = server.interrupt();
    assert!(status.success(), "{status}: {printed}");
    let server = Server::start(sandbox, &[]);
    let before = server.get("/api/v1/manuals").json(200)["pages"]
        .as_u64()
        .unwrap();
    assert!(before > 0 && before < 24, "{before}");
    assert_eq!(server.jobs().len(), 1);
    server.all_jobs_end();
    assert_eq!(server.get("/api/v1/manuals").json(200)["pages"], 24);
}

#[test]
fn another_run_that_writes_is_waited_for() {
    let server = Server::with_pump(Sandbox::built_in());
    let lock = File::options()
        .read(true)
        .write(true)
        .open(server.sandbox.path("library.db.lock"))
        .unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let job = server.upload("gas.pdf", &thick(1)).json(202)["job"].clone();
    let waiting = wait("a message", || {
        let job = server.job(text(&job["id"]));
        job["message"].as_str().map(str::to_owned)
    });
    assert!(
        waiting.contains("another run writes to the library"),
        "{waiting}"
    );
    assert_eq!(
        server.get("/api/v1/search?q=nitrogen").json(200)["hits"][0]["page"],
        2
    );
    let name = server.manuals()[0].replace('/', "%2F");
    drop(lock);
    assert_eq!(server.job_end(text(&job["id"]))["state"], "done");
    let lock = File::options()
        .read(true)
        .write(true)
        .open(server.sandbox.path("library.db.lock"))
        .unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let target = format!("/api/v1/manuals/{name}");
    assert_eq!(server.delete(&target).problem(409), "locked");
    assert_eq!(server.manuals().len(), 2);
    drop(lock);
    assert_eq!(server.delete(&target).status, 204);
}

#[test]
fn what_the_command_line_stores_appears() {
    let server = Server::start(Sandbox::built_in(), &[]);
    assert_eq!(server.manuals(), [""; 0]);
    let file = server.sandbox.write("pump.pdf", &pump());
    let stored = server.sandbox.run(&[file.to_str().unwrap()]);
    assert_eq!(stored.code, 0, "{}", stored.err);
    assert_eq!(server.manuals().len(), 1);
    let found = wait("an answer of all lists", || {
        let answer = server.get("/api/v1/search?q=nitrogen").json(200);
        answer["degraded"].is_null().then_some(answer)
    });
    assert_eq!(found["hits"][0]["page"], 2);
}
