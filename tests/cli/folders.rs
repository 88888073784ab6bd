//! Folders as they are: system files, other kinds of files, parts that cannot be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::sandbox::{Sandbox, manual_report};
use crate::support::pdf;

#[test]
fn junk_is_passed_over_and_other_kinds_are_told_once() {
    let sandbox = Sandbox::tiny();
    sandbox.write("m/manual.pdf", &pdf::good(&["a page"]));
    for junk in ["m/._manual.pdf", "m/__MACOSX/._x.pdf"] {
        sandbox.write(junk, b"\0\x05\x16\x07\0\x02\0\0Mac OS X");
    }
    for hidden in ["m/.Trash/old.pdf", "m/.git/x.pdf"] {
        sandbox.write(hidden, &pdf::good(&["deleted"]));
    }
    for other in [
        "m/~$draft.docx",
        "m/photo.heic",
        "m/notes.docx",
        "m/dl.pdf.part",
    ] {
        sandbox.write(other, b"any");
    }
    let done = sandbox.run(&["m"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let told: Vec<_> = done
        .err
        .lines()
        .filter(|l| l.contains("left out"))
        .collect();
    assert_eq!(told, ["left out: 1 .docx, 1 .heic"]);
    let verbose = sandbox.run(&["m", "-v"]).err;
    assert!(verbose.contains("left out: m/photo.heic"), "{verbose}");
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(
        sandbox.run(&["m/.Trash"]).code,
        0,
        "a folder that is named is read"
    );
    let list = sandbox.run(&["list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn unreadable_parts_of_a_folder_are_failures_of_their_own() {
    let sandbox = Sandbox::built_in();
    sandbox.write("t/open/some.pdf", &pdf::good(&["a page"]));
    sandbox.write("t/locked/other.pdf", &pdf::good(&["another page"]));
    let secret = sandbox.write("t/open/secret.pdf", &pdf::good(&["a secret"]));
    let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    set_mode(&sandbox.path("t/locked"), 0).unwrap();
    set_mode(&secret, 0).unwrap();
    let done = sandbox.run_as_user(&["t", "--json"]);
    set_mode(&sandbox.path("t/locked"), 0o700).unwrap();
    assert_eq!(done.code, 1, "{}", done.err);
    let report = done.json();
    assert_eq!(manual_report(&report, "some.pdf")["stored"], 1);
    for path in ["t/locked", "t/open/secret.pdf"] {
        let why = manual_report(&report, path)["error"].clone();
        assert!(why.as_str().unwrap().contains("Permission denied"), "{why}");
        assert!(
            done.err.contains(&format!("{path}: cannot be read")),
            "{}",
            done.err
        );
    }
    assert_eq!(report["manuals"].as_array().unwrap().len(), 3);
}

#[test]
fn pipes_sockets_devices_and_loops_of_links_stop_nothing() {
    let sandbox = Sandbox::tiny();
    sandbox.write("t/deep/some.pdf", &pdf::good(&["a page"]));
    let made = Command::new("mkfifo")
        .arg(sandbox.path("t/pipe.pdf"))
        .status();
    assert!(made.unwrap().success());
    let _socket = UnixListener::bind(sandbox.path("t/socket.pdf")).unwrap();
    symlink("/dev/zero", sandbox.path("t/device.pdf")).unwrap();
    symlink("loop", sandbox.path("t/loop")).unwrap();
    symlink("..", sandbox.path("t/deep/up")).unwrap();
    let done = sandbox.run(&["t", "--json"]);
    assert_eq!(done.code, 1, "{}", done.err);
    let report = done.json();
    assert_eq!(manual_report(&report, "some.pdf")["stored"], 1);
    for path in ["t/pipe.pdf", "t/socket.pdf", "t/device.pdf", "t/loop"] {
        assert!(manual_report(&report, path)["error"].is_string(), "{path}");
    }
    assert_eq!(report["manuals"].as_array().unwrap().len(), 5);
}
