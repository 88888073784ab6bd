//! Stores that are given wrongly, cannot be opened, or get no pages: the exit code says so, and nothing is created.

use std::fs;

use crate::sandbox::Sandbox;
use crate::support::pdf;

/// Names of the files in the working folder.
fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.folder.path()).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[test]
fn misspelt_addresses_are_usage_errors() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &pdf::good(&["a page"]));
    fs::create_dir(sandbox.path("folder")).unwrap();
    for (address, right) in [
        ("localhost:8080", "`http://localhost:8080`"),
        ("127.0.0.1:8080", "`http://127.0.0.1:8080`"),
        ("ftp://host/library", "`http://host:8080`"),
        ("http://host:8080/v1", "`http://host:8080`"),
        ("folder", "`folder/library.db`"),
        ("new/", "`new/library.db`"),
        ("", "`library.db`"),
    ] {
        for args in [
            &["a.pdf", "--store", address][..],
            &["list", "--store", address],
            &["sync", "--from", address],
            &["sync", "--to", address],
        ] {
            let done = sandbox.run(args);
            assert_eq!(done.code, 64, "{args:?}: {}", done.err);
            assert!(done.err.contains(right), "{args:?}: {}", done.err);
        }
    }
    let from_file = "[store]\nurl = \"localhost:8080\"\n";
    sandbox.write("ingest.toml", from_file.as_bytes());
    let env_unset = sandbox
        .command(&["list"])
        .env_remove("INGEST_STORE_URL")
        .output();
    assert_eq!(env_unset.unwrap().status.code(), Some(64));
    assert_eq!(files(&sandbox), ["a.pdf", "folder", "ingest.toml"]);
    assert_eq!(fs::read_dir(sandbox.path("folder")).unwrap().count(), 0);
}

#[test]
fn run_that_stores_nothing_leaves_no_store() {
    let sandbox = Sandbox::tiny();
    sandbox.write("bad.pdf", b"torn");
    sandbox.write(
        "words.db",
        b"this is no database, and long enough to be looked at as one",
    );
    let before = files(&sandbox);
    for (args, code) in [
        (&["bad.pdf"][..], 2),
        (&["missing.pdf"], 2),
        (&["bad.pdf", "--store", "new/deep/library.db"], 2),
        (&["bad.pdf", "--store", "words.db"], 2),
        (&["bad.pdf", "--store", "bad.pdf/library.db"], 2),
        (&["bad.pdf", "--dry-run"], 1),
        (&["list"], 1),
        (&["remove", "bad.pdf"], 1),
        (&["sync", "--from", "none.db", "--to", "new.db"], 1),
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, code, "{args:?}: {}", done.err);
        assert_eq!(files(&sandbox), before, "{args:?}");
    }
    // A store that was there stays, with its pages.
    sandbox.write("a.pdf", &pdf::good(&["a page"]));
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    assert_eq!(sandbox.run(&["bad.pdf"]).code, 2);
    assert_eq!(sandbox.run(&["list", "--json"]).json()[0]["stored"], 1);
}
