//! Full disks: small ones (tmpfs), mounted in a user namespace of their own.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use crate::sandbox::{CommandOutput, Sandbox};
use crate::support::pdf;

/// What to do if the system does not allow a mount.
const ALLOW: &str = "these tests mount a small disk with `unshare --user --map-root-user --mount`, which this system does not allow: \
see `What must be installed` in tests/README.md";

/// Runs a script with an empty disk of 16 MB at `disk`; it is gone afterwards. `$ingest` is the program, `fill` takes all
/// space of the disk.
fn with_disk(sandbox: &Sandbox, script: &str) -> CommandOutput {
    fs::create_dir_all(sandbox.path("disk")).unwrap();
    let script = format!(
        "set -e; mount -t tmpfs -o size=16m tmpfs disk; touch mounted
         fill() {{ cat /dev/zero > disk/fill 2>/dev/null || true; head -c 9999 /dev/zero > disk/rest 2>/dev/null || true; }}
         {script}"
    );
    let configured = sandbox.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(sandbox.folder.path())
        .envs(configured.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("ingest", env!("CARGO_BIN_EXE_ingest"));
    let done = command.output().unwrap_or_else(|e| panic!("{ALLOW}: {e}"));
    let done = CommandOutput::from(done);
    let mounted = fs::remove_file(sandbox.path("mounted")).is_ok();
    assert!(mounted, "{ALLOW}\n{}", done.err);
    done
}

fn manual(words: &str) -> Vec<u8> {
    pdf::good(&[words, "the second page"])
}

#[test]
fn temporary_folder_may_be_full() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &manual("a page"));
    let done = with_disk(
        &sandbox,
        "fill; export TMPDIR=$PWD/disk; $ingest a.pdf; $ingest search page -k 1; $ingest remove a.pdf",
    );
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn new_store_on_a_full_disk_leaves_nothing() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &manual("a page"));
    for store in ["disk/new.db", "disk/deep/new.db"] {
        let script = format!("fill; $ingest a.pdf --store {store} || echo exit $?; ls -A disk");
        let done = with_disk(&sandbox, &script);
        assert_eq!(done.out, "exit 2\nfill\nrest\n", "{}", done.err);
        let says = format!("error: the store {store} is full");
        assert!(done.err.contains(&says), "{}", done.err);
        assert!(done.err.contains("hint: free some space"), "{}", done.err);
    }
}

#[test]
fn output_on_a_full_disk_is_whole_or_missing() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &manual("a page"));
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    let done = with_disk(
        &sandbox,
        "echo old > disk/old.png; fill
         for file in old new; do $ingest show a.pdf 1 --out disk/$file.png || echo exit $?; done
         cat disk/old.png; ls -A disk",
    );
    assert_eq!(
        done.out, "exit 1\nexit 1\nold\nfill\nold.png\nrest\n",
        "{}",
        done.err
    );
    assert!(
        done.err.contains("disk/new.png: cannot be written"),
        "{}",
        done.err
    );
}

#[test]
fn store_on_a_full_disk_is_read_and_gives_its_space_back() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &manual("a page"));
    let long: Vec<String> = (0..12).map(|n| format!("page number {n}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    sandbox.write("long.pdf", &pdf::good(&long));
    let done = with_disk(
        &sandbox,
        "export INGEST_STORE_URL=disk/library.db; $ingest -q a.pdf long.pdf > table; size=$(stat -c %s disk/library.db); fill
         $ingest list > table; hit() { $ingest search page --manual a.pdf -k 1 | head -n 1 | cut -d '[' -f 1; }; hit > hits
         $ingest remove long.pdf
         test $(($(stat -c %s disk/library.db) * 5)) -lt $((size * 4))
         hit | cmp - hits
         rm disk/fill; $ingest long.pdf > table; cp disk/library.db .; ls -A disk",
    );
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "library.db\nlibrary.db.lock\nrest\n"),
        "{}",
        done.err
    );
    let store = rusqlite::Connection::open(sandbox.path("library.db")).unwrap();
    let result: String = store
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .unwrap();
    assert_eq!(result, "ok");
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(
        (&list[0]["stored"], &list[1]["stored"]),
        (&2.into(), &12.into())
    );
}

#[test]
fn manual_of_many_pages_is_removed_with_little_space() {
    let sandbox = Sandbox::tiny();
    let texts: Vec<String> = (0..30).map(|n| format!("page number {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    sandbox.write("long.pdf", &pdf::good(&texts));
    sandbox.write("a.pdf", &manual("a page"));
    let stored = sandbox.run(&["a.pdf", "long.pdf", "--store", "all.db"]);
    assert_eq!(stored.code, 0, "{}", stored.err);
    for left in [0, 300_000, 1_000_000, 2_000_000] {
        let script = format!(
            "export INGEST_STORE_URL=disk/library.db; cp all.db disk/library.db; fill; rm disk/rest
             truncate -s $(($(stat -c %s disk/fill) - {left})) disk/fill
             $ingest remove long.pdf; cp disk/library.db library-{left}.db"
        );
        let done = with_disk(&sandbox, &script);
        assert_eq!(done.code, 0, "{left}: {}", done.err);
        assert!(
            done.err.contains("30 pages of long.pdf removed"),
            "{}",
            done.err
        );
        let path = sandbox.path(&format!("library-{left}.db"));
        let store = rusqlite::Connection::open(path).unwrap();
        let one = |sql: &str| -> String { store.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(one("PRAGMA integrity_check"), "ok");
        assert_eq!(one("SELECT group_concat(name) FROM manual"), "a.pdf");
    }
}
