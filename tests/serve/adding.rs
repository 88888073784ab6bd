//! What changes the library: uploads, files of the server's disk, jobs, events, removal.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::server::{Server, add_paths, pump, text, thick};
use crate::support::pdf;

#[test]
fn an_upload_becomes_a_job_and_everyone_hears_of_it() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let mut events = server.events();
    let (name, snapshot) = events.next();
    assert_eq!(name, "snapshot");
    assert_eq!(
        (&snapshot["jobs"], &snapshot["about"]["pages"]),
        (&json!([]), &json!(0))
    );
    let job = server.upload("pump.pdf", &pump()).json(202)["job"].clone();
    assert_eq!(job["manual"], "pump.pdf");
    let (mut states, mut library) = (Vec::new(), None);
    while library.is_none() {
        match events.next() {
            (name, data) if name == "job" => {
                assert_eq!(data["id"], job["id"]);
                states.push(text(&data["state"]).to_owned());
            }
            (name, data) if name == "library" => library = Some(data),
            _ => {}
        }
    }
    assert_eq!(states.first().map(String::as_str), Some("queued"));
    assert!(states.iter().any(|state| state == "running"), "{states:?}");
    assert_eq!(states.last().map(String::as_str), Some("done"));
    assert_eq!(library.unwrap()["pages"], 3);
    let done = server.job_end(text(&job["id"]));
    assert_eq!(
        (&done["pages"], &done["done"], &done["failed"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(
        done["stages"],
        json!({"render": 3, "prepare": 3, "embed": 3, "store": 3})
    );
    assert_eq!(server.get("/api/v1/jobs/0-0").problem(404), "no-such-job");
    assert_eq!(
        server.delete("/api/v1/jobs/0-0").problem(404),
        "no-such-job"
    );
}

#[test]
fn uploads_are_checked_and_their_names_are_cleaned() {
    let sandbox = Sandbox::built_in().with("INGEST_SERVE_MAX_UPLOAD", "20 KB");
    let server = Server::start(sandbox, &[]);
    assert_eq!(
        server.upload("a.pdf", b"PK\x03\x04 no manual").problem(415),
        "wrong-type"
    );
    assert_eq!(server.upload("a.pdf", b"").problem(415), "wrong-type");
    let large = [b"%PDF-1.7\n".as_slice(), &vec![b' '; 30_000]].concat();
    assert_eq!(server.upload("a.pdf", &large).problem(413), "too-large");
    // Without a length in its head.
    let mut chunked = b"7531\r\n".to_vec();
    chunked.extend_from_slice(&large[..30_001]);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let headers = [("Transfer-Encoding", "chunked")];
    let answer = server.send(("POST", "/api/v1/manuals?name=a.pdf"), &headers, &chunked);
    assert_eq!(answer.problem(413), "too-large");
    server
        .send(("POST", "/api/v1/manuals"), &[], &pump())
        .problem(400);
    assert_eq!(server.uploads(), [""; 0]);
    for (given, stored) in [
        ("..%2F..%2Fetc%2Fpasswd", "passwd.pdf"),
        ("%01a%0A%0Db.pdf", "ab.pdf"),
        ("..%5C..%5Cc.pdf", "c.pdf"),
        ("%3Cimg%20src%3Dx%3E.pdf", "img src=x.pdf"),
        (".hidden", "hidden.pdf"),
    ] {
        let bytes = pdf::good(&[given]);
        let job = server.add(given, &bytes);
        assert_eq!(job["state"], "done", "{job}");
        assert!(text(&job["manual"]).ends_with(stored), "{job}");
    }
    assert_eq!(server.uploads().len(), 5);
    assert!(!server.sandbox.path("passwd.pdf").exists());
}

#[test]
fn the_same_file_twice_is_stored_once() {
    let server = Server::start(Sandbox::built_in(), &[]);
    server.add("pump.pdf", &pump());
    let again = server.add("pump.pdf", &pump());
    assert_eq!(
        (&again["state"], &again["done"]),
        (&json!("done"), &json!(3))
    );
    let other = server.add("pump.pdf", &pdf::good(&["another pump"]));
    assert_eq!(other["state"], "done", "{other}");
    assert_eq!(server.uploads(), ["pump (2).pdf", "pump.pdf"]);
    assert_eq!(server.get("/api/v1/manuals").json(200)["pages"], 4);
    let broken = server.add("broken.pdf", b"%PDF-1.7\nnothing else");
    assert_eq!(broken["state"], "failed", "{broken}");
    assert!(text(&broken["message"]).len() > 10, "{broken}");
}

#[test]
fn paths_are_taken_below_the_folders_only() {
    let sandbox = Sandbox::built_in();
    let inside = sandbox.write("shelf/pump.pdf", &pump());
    let outside = sandbox.write("private.pdf", &pdf::good(&["secret"]));
    let link = sandbox.path("shelf/link.pdf");
    symlink(&outside, &link).unwrap();
    let folder = sandbox.path("shelf");
    let settings = format!("[serve]\nfolders = [{:?}]\n", folder.display().to_string());
    sandbox.write("ingest.toml", settings.as_bytes());
    let server = Server::start(sandbox, &[]);
    let dotted = folder.join("../private.pdf").display().to_string();
    let missing = folder.join("none.pdf").display().to_string();
    for foreign in [
        outside.to_str().unwrap(),
        link.to_str().unwrap(),
        &dotted,
        &missing,
        "/etc/passwd",
        "",
        "pump.pdf",
    ] {
        assert_eq!(
            add_paths(&server, &[foreign]).problem(403),
            "foreign-path",
            "{foreign}"
        );
    }
    // All or nothing.
    assert_eq!(
        add_paths(&server, &[inside.to_str().unwrap(), "/etc/passwd"]).status,
        403
    );
    assert_eq!(server.jobs().len(), 0);
    let jobs = add_paths(&server, &[inside.to_str().unwrap()]).json(202);
    let job = server.job_end(text(&jobs["jobs"][0]["id"]));
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(
        server.get("/api/v1/about").json(200)["folders"],
        json!([folder])
    );
    for bad in [json!({}), json!({"paths": "a"}), json!({"paths": [1]})] {
        server.post("/api/v1/jobs", &bad).problem(400);
    }
}

#[test]
fn a_folder_is_one_job_that_tells_of_each_file() {
    let sandbox = Sandbox::built_in();
    sandbox.write("shelf/pump.pdf", &pump());
    sandbox.write("shelf/oil.pdf", &pdf::good(&["oil"]));
    sandbox.write("shelf/broken.pdf", b"%PDF-1.7\nnothing else");
    let folder = sandbox.path("shelf").display().to_string();
    let server = Server::start(sandbox, &[&folder]);
    server.all_jobs_end();
    let job = server.jobs().remove(0);
    assert_eq!(
        (&job["manual"], &job["state"]),
        (&json!("shelf"), &json!("failed")),
        "{job}"
    );
    assert_eq!(
        (&job["pages"], &job["done"]),
        (&json!(4), &json!(4)),
        "{job}"
    );
    assert!(text(&job["message"]).contains("broken.pdf"), "{job}");
    assert_eq!(server.manuals().len(), 2);
}

#[test]
fn a_removal_deletes_the_copy_of_the_server_and_no_other_file() {
    let sandbox = Sandbox::built_in();
    let file = sandbox.write("pump.pdf", &pump());
    let server = Server::start(sandbox, &[file.to_str().unwrap()]);
    server.all_jobs_end();
    server.add("own.pdf", &pdf::good(&["a copy"]));
    assert_eq!(server.uploads(), ["own.pdf"]);
    let names = server.manuals();
    for name in &names {
        let view = server
            .get(&format!("/api/v1/manuals/{}", name.replace('/', "%2F")))
            .json(200);
        assert_eq!(view["own_copy"], name.ends_with("own.pdf"), "{view}");
        assert_eq!(view["file"], "there");
        let target = format!("/api/v1/manuals/{}", name.replace('/', "%2F"));
        assert_eq!(server.delete(&target).status, 204);
        let again = server.delete(&target).problem(404);
        assert!(
            ["no-such-manual", "empty-library"].contains(&again.as_str()),
            "{again}"
        );
    }
    assert_eq!(server.uploads(), [""; 0]);
    assert!(file.exists());
    assert_eq!(server.manuals(), [""; 0]);
    server.add("own.pdf", &pdf::good(&["a copy"]));
    assert_eq!(server.manuals().len(), 1);
}

#[test]
fn a_file_that_cannot_be_stored_is_removed_with_its_job() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let failed = server.add("pump.pdf", b"%PDF-1.7 and nothing else");
    assert_eq!(failed["state"], "failed", "{failed}");
    assert_eq!(server.uploads(), ["pump.pdf"]);
    let job = text(&failed["id"]);
    assert_eq!(server.delete(&format!("/api/v1/jobs/{job}")).status, 204);
    assert_eq!(server.uploads(), [""; 0]);
    assert_eq!(server.add("pump.pdf", &pump())["state"], "done");
    assert_eq!(server.uploads(), ["pump.pdf"]);
    assert_eq!(server.delete(&format!("/api/v1/jobs/{job}")).status, 204);
    assert_eq!(server.uploads(), ["pump.pdf"]);
}

#[test]
fn jobs_stop_and_what_they_stored_stays() {
    let server = Server::start(
        Sandbox::built_in().with("INGEST_LIMITS_BATCH_SIZE", "1"),
        &[],
    );
    let first = server.upload("thick.pdf", &thick(60)).json(202)["job"].clone();
    let second = server.upload("pump.pdf", &pump()).json(202)["job"].clone();
    let third = server.upload("gas.pdf", &pdf::good(&["gas"])).json(202)["job"].clone();
    let (first, second) = (text(&first["id"]), text(&second["id"]));
    assert_eq!(server.delete(&format!("/api/v1/jobs/{second}")).status, 204);
    assert_eq!(server.job(second)["state"], "stopped");
    crate::server::wait("a stored page", || {
        server.job(first)["done"].as_u64().filter(|done| *done > 0)
    });
    assert_eq!(server.delete(&format!("/api/v1/jobs/{first}")).status, 204);
    let left = server.job(first)["seconds_left"].clone();
    assert!(
        left.is_null() || left.as_f64().is_some_and(|left| left >= 0.0),
        "{left}"
    );
    let stopped = server.job_end(first);
    assert_eq!(stopped["seconds_left"], json!(null), "{stopped}");
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert!(stopped["done"].as_u64().unwrap() < 60, "{stopped}");
    assert_eq!(server.job_end(text(&third["id"]))["state"], "done");
    let pages = server.get("/api/v1/manuals").json(200)["pages"].as_u64();
    assert_eq!(pages, stopped["done"].as_u64().map(|done| done + 1));
    // A removal stops the job of its manual first.
    let again = server.upload("thick.pdf", &thick(60)).json(202)["job"].clone();
    let name = server
        .manuals()
        .into_iter()
        .find(|name| name.ends_with("thick.pdf"))
        .unwrap();
    assert_eq!(
        server
            .delete(&format!("/api/v1/manuals/{}", name.replace('/', "%2F")))
            .status,
        204
    );
    assert_eq!(server.job_end(text(&again["id"]))["state"], "stopped");
    assert_eq!(server.manuals().len(), 1);
}
