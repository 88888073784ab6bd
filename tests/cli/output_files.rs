//! Files that `--out` names, in folders and with permissions as they are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::sandbox::Sandbox;
use crate::support::pdf;

/// A library of one page, in a sandbox whose commands run as a user.
fn library() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &pdf::good(&["a page"]));
    let stored = sandbox.run_as_user(&["a.pdf"]);
    assert_eq!(stored.code, 0, "{}", stored.err);
    sandbox
}

fn set_mode(sandbox: &Sandbox, name: &str, mode: u32) {
    fs::set_permissions(sandbox.path(name), Permissions::from_mode(mode)).unwrap();
}

/// The commands that write a file, but for its name.
const WRITES: [&[&str]; 2] = [
    &["show", "a.pdf", "1", "--out"],
    &["embed", "a.pdf", "--out"],
];

#[test]
fn a_file_in_a_folder_that_allows_no_other_is_written_to() {
    let sandbox = library();
    // Nobody may write to the first folder; in the second one everybody may, but only replace files of one's own.
    for (folder, mode) in [("locked", 0o555), ("sticky", 0o1777)] {
        let (file, new) = (format!("{folder}/page"), format!("{folder}/new"));
        for write in WRITES {
            let longer = vec![b'x'; 5_000_000];
            sandbox.write(&file, &longer);
            set_mode(&sandbox, &file, 0o666);
            set_mode(&sandbox, folder, mode);
            let done = sandbox.run_as_user(&[write, &[&file]].concat());
            assert_eq!(done.code, 0, "{folder} {write:?}: {}", done.err);
            let written = fs::read(sandbox.path(&file)).unwrap();
            assert!(!written.is_empty() && written.len() < longer.len());
            assert!(!written.ends_with(b"x"), "{folder} {write:?}");
            let done = sandbox.run_as_user(&[write, &[&new]].concat());
            let names = fs::read_dir(sandbox.path(folder)).unwrap().count();
            set_mode(&sandbox, folder, 0o755);
            if mode == 0o555 {
                assert_eq!((done.code, names), (1, 1), "{}", done.err);
                let said = "locked/new: cannot be written: Permission denied (os error 13)\n";
                assert!(done.err.ends_with(said), "{}", done.err);
                assert!(!done.err.contains(".ingest-"), "{}", done.err);
            }
        }
    }
}

#[test]
fn a_file_that_may_not_be_written_is_not_replaced() {
    let sandbox = library();
    sandbox.write("kept", b"kept");
    set_mode(&sandbox, "kept", 0o444);
    let names = || fs::read_dir(sandbox.folder.path()).unwrap().count();
    let before = names();
    for write in WRITES {
        let done = sandbox.run_as_user(&[write, &["kept"]].concat());
        assert_eq!(done.code, 1, "{write:?}: {}", done.err);
        let said = "kept: cannot be written: Permission denied";
        assert!(done.err.contains(said), "{write:?}: {}", done.err);
        assert_eq!(fs::read(sandbox.path("kept")).unwrap(), b"kept");
        assert_eq!(names(), before, "{write:?}");
    }
}
