//! Stores that an earlier version wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::sandbox::Sandbox;

#[test]
fn a_store_of_an_earlier_version_that_may_not_be_written_is_read() {
    let scripts = [
        include_str!("../golden/stores/v4.sql"),
        include_str!("../golden/stores/v5.sql"),
        include_str!("../golden/stores/v6.sql"),
        include_str!("../golden/stores/v7.sql"),
    ];
    for (script, rights) in scripts
        .into_iter()
        .flat_map(|script| [(script, 0o777), (script, 0o555)])
    {
        let sandbox = Sandbox::tiny();
        fs::create_dir(sandbox.path("folder")).unwrap();
        let path = sandbox.path("folder/library.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(script).unwrap();
        drop(connection);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&path, 0o444);
        mode(&sandbox.path("folder"), rights);
        let store = ["--store", "folder/library.db"];
        let read = |args: &[&str]| sandbox.run_as_user(&[args, &store].concat());
        for (words, page) in [("e-104", 1), ("alarm", 7)] {
            let done = read(&["search", words, "--text"]);
            let first = format!("1. pump.pdf page {page}");
            assert!(done.out.starts_with(&first), "{}{}", done.out, done.err);
        }
        let listed = read(&["list"]);
        assert!(
            listed.code == 0 && listed.out.contains("pump.pdf"),
            "{}",
            listed.err
        );
        let meaning = read(&["search", "alarm", "--meaning"]);
        assert!(
            meaning.err.contains("`ingest` the files again"),
            "{}",
            meaning.err
        );
        mode(&sandbox.path("folder"), 0o755);
    }
}
