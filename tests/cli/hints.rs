//! One line that helps: what an input is, what was meant, what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::commands::indexed_library;
use crate::sandbox::Sandbox;
use crate::support::pdf;

/// A ZIP archive of one stored file.
fn zip(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
    bytes.extend([0; 8]);
    let length = (data.len() as u32).to_le_bytes();
    bytes.extend([length, length].concat());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0; 2]);
    [bytes, name.as_bytes().to_vec(), data.to_vec()].concat()
}

/// Files with what they are called, and the advice.
type Files<'a> = &'a [(&'a str, &'a [u8], &'a str, &'a str)];

fn assert_named(files: Files) {
    let sandbox = Sandbox::tiny();
    for (name, bytes, what, hint) in files {
        sandbox.write(name, bytes);
        let done = sandbox.run(&[name]);
        assert_eq!(done.code, 2, "{name}: {}", done.err);
        let [_, error, advice] = done.err.lines().collect::<Vec<_>>()[..] else {
            panic!("{name}: {}", done.err);
        };
        assert!(error.contains(what), "{name}: {error}");
        assert!(
            advice.starts_with("hint: ") && advice.contains(hint),
            "{name}: {advice}"
        );
    }
}

#[test]
fn documents_that_are_no_pdf_are_named_with_what_to_do() {
    let html = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    let with_bom = [b"\xef\xbb\xbf\n", &html[..]].concat();
    let word = zip("word/document.xml", b"<w/>");
    let book = zip("mimetype", b"application/epub+zip");
    let archive = zip("a.pdf", b"%PDF-1.7\nno more");
    let xml = b"<?xml version=\"1.0\"?><Error/>";
    let ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0";
    let export = "export it as PDF first";
    assert_named(&[
        ("signin.pdf", html, "a web page", "sign-in page"),
        ("bom.pdf", &with_bom, "a web page", "sign-in page"),
        ("denied.pdf", xml, "a text file", "error message"),
        ("e.pdf", b"{\"error\": 403}", "a text file", "error message"),
        ("word.pdf", &word, "a ZIP archive, as Word", export),
        ("book.epub", &book, "EPUB", export),
        ("with-pdf.pdf", &archive, "a ZIP archive", "unpack it first"),
        ("old.doc", ole, "Office", export),
    ]);
}

#[test]
fn pictures_that_are_not_read_and_torn_files_are_named_with_what_to_do() {
    let good = pdf::good(&["the first page", "the second page"]);
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0";
    let svg = b"<svg xmlns=\"x\"/>";
    let djvu = b"AT&TFORM\0\0\0\0DJVM";
    let (torn, again) = ("its end is missing", "download it again");
    assert_named(&[
        ("photo.heic", heic, "a picture in HEIC", "PDF or PNG"),
        ("plan.svg", svg, "a picture in SVG", "PDF or PNG"),
        ("scan.djvu", djvu, "DjVu", "convert it to PDF"),
        ("torn.pdf", &good[..good.len() / 2], torn, again),
        ("early.pdf", b"%PDF-1.7\n1 0 obj", torn, again),
        ("empty.pdf", b"", "the file is empty", again),
    ]);
}

#[test]
fn inputs_that_are_no_files_get_a_hint() {
    let sandbox = Sandbox::tiny();
    for (input, hint) in [
        (
            "https://host/manual.pdf",
            "an address is not fetched: download the file first",
        ),
        ("ftp://host/manual.pdf", "an address is not fetched"),
        ("-", "a PDF must be a file"),
        ("How do I reset the alarm?", "ingest search"),
    ] {
        let done = sandbox.run(&[input]);
        assert_eq!(done.code, 2, "{input}");
        assert!(done.err.contains(hint), "{input}: {}", done.err);
    }
}

#[test]
fn guessed_commands_are_named_and_nothing_is_stored() {
    let sandbox = Sandbox::tiny();
    sandbox.write("a.pdf", &pdf::good(&["a page"]));
    for (args, command) in [
        (&["rm", "a.pdf"][..], "remove"),
        (&["delete", "a.pdf"], "remove"),
        (&["answer", "how"], "ask"),
        (&["find", "how", "to"], "search"),
        (&["grep", "how", "-k", "3"], "search"),
        (&["rm", "a.pdf", "--no-such-option"], "remove"),
        (&["query", "how"], "search"),
        (&["serach", "how"], "search"),
        (&["ls"], "list"),
        (&["view", "a.pdf", "1"], "show"),
        (&["index", "a.pdf"], "FILE…"),
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, 64, "{args:?}: {}", done.err);
        let hint = format!("did you mean `ingest {command}`?");
        assert!(done.err.contains(&hint), "{args:?}: {}", done.err);
    }
    assert!(!sandbox.path("library.db").exists());
    // A file of that name is a file.
    fs::rename(sandbox.path("a.pdf"), sandbox.path("find")).unwrap();
    for args in [
        &["find", "how", "to"][..],
        &["find", "how", "-k", "3"],
        &["--store", "other.db", "find", "how", "--top-k", "3"],
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, 64, "{args:?}: {}", done.err);
        let hint = "no such file: `how`\nhint: did you mean `ingest search`?";
        assert!(done.err.contains(hint), "{args:?}: {}", done.err);
    }
    assert!(!sandbox.path("library.db").exists());
    assert_eq!(sandbox.run(&["find"]).code, 0);
    sandbox.write("b.pdf", &pdf::good(&["another page"]));
    let done = sandbox.run(&["find", "b.pdf", "c.pdf"]);
    assert_eq!(done.code, 1, "{}", done.err);
    let short = sandbox.run(&["a"]);
    assert_eq!(short.code, 2, "{}", short.err);
    assert!(!short.err.contains("did you mean"), "{}", short.err);
}

#[test]
fn every_command_that_reads_files_prints_the_same_hints() {
    let sandbox = Sandbox::tiny();
    sandbox.write("signin.pdf", b"<!DOCTYPE html><html></html>");
    sandbox.write("torn.pdf", b"%PDF-1.7\n1 0 obj");
    for (inputs, expected) in [
        (&["signin.pdf"][..], "a sign-in page"),
        (&["torn.pdf"], "download it again"),
        (&["https://host/manual.pdf"], "an address is not fetched"),
        (&["how do I reset the alarm"], "ingest search \"…\""),
        (&["reset", "the", "alarm", "panel"], "ingest search \"…\""),
    ] {
        for command in [
            &[][..],
            &["--dry-run"],
            &["bench"],
            &["embed", "--out", "x"],
        ] {
            let done = sandbox.run(&[command, inputs].concat());
            assert!([1, 2].contains(&done.code), "{command:?}: {}", done.err);
            let hints = done.err.lines().filter(|line| line.starts_with("hint: "));
            let hints: Vec<&str> = hints.collect();
            assert!(
                hints.len() == 1 && hints[0].contains(expected),
                "{command:?} {inputs:?}: {}",
                done.err
            );
            let first = format!("{}: ", inputs[0]);
            assert!(done.err.contains(&first), "{command:?}: {}", done.err);
        }
    }
}

#[test]
fn no_pages_are_a_usage_error_before_anything_is_read() {
    let sandbox = Sandbox::tiny();
    sandbox.write("broken.db", b"no store");
    for option in ["-k", "--count", "--per-manual"] {
        let done = sandbox.run(&["search", "alarm", option, "0", "--store", "broken.db"]);
        assert_eq!(done.code, 64, "{option}: {}", done.err);
        assert!(
            done.err.contains("<PAGES>': it must be at least 1"),
            "{option}: {}",
            done.err
        );
    }
}

#[test]
fn questions_need_no_quotes_and_may_begin_with_a_hyphen() {
    let sandbox = Sandbox::tiny();
    let pages = [
        "stored at -20 degrees",
        "reset the alarm",
        "switch --force off",
        "error E409 of the LED",
    ];
    sandbox.write("pump.pdf", &pdf::good(&pages));
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    for (query, page) in [
        (&["reset", "the", "alarm"][..], 2),
        (&["stored", "-20", "degrees"], 1),
        (&["-20"], 1),
        (&["-20 °C"], 1),
        (&["--", "-20 °C"], 1),
        (&["−20 °C"], 1),
        (&["--force off"], 3),
        (&["-alarm reset"], 2),
        (&["-E409"], 4),
        (&["-LED"], 4),
        (&["reset", "-alarm"], 2),
    ] {
        for options in [
            &["search", "--text", "--json", "-k", "1"][..],
            &["--json", "search", "--text"],
        ] {
            let done = sandbox.run(&[options, query].concat());
            assert_eq!(done.code, 0, "{query:?}: {}", done.err);
            assert_eq!(done.json()[0]["page"], page, "{query:?}");
        }
    }
    let after = sandbox.run(&[
        "search", "reset", "the", "-k", "1", "alarm", "--text", "--json",
    ]);
    assert_eq!(after.json()[0]["page"], 2);
    sandbox.write("-1 b.pdf", &pdf::good(&["another alarm"]));
    assert_eq!(sandbox.run(&["./-1 b.pdf"]).code, 0);
    let named = sandbox.run(&[
        "search", "--manual", "-1 b.pdf", "alarm", "--text", "--json",
    ]);
    assert_eq!(named.code, 0, "{}", named.err);
    assert_eq!(named.json()[0]["manual"], "-1 b.pdf");
}

#[test]
fn options_of_other_programs_name_the_right_one() {
    let sandbox = Sandbox::tiny();
    for option in ["--top-k", "-n", "--k", "--limit"] {
        let done = sandbox.run(&["search", "alarm", option, "3"]);
        assert_eq!(done.code, 64);
        assert!(done.err.contains("'-k'"), "{option}: {}", done.err);
    }
    let other = sandbox.run(&["list", "-n", "3"]);
    assert!(
        other.code == 64 && !other.err.contains("'-k'"),
        "{}",
        other.err
    );
}

#[test]
fn wrong_values_name_their_option() {
    let sandbox = Sandbox::tiny();
    sandbox.write("sizes.toml", b"[render]\nworker_memory = true\n");
    sandbox.write("lines.toml", b"[embed]\nmodel = \"x\"\nmodel = \"y\"\n");
    for (args, said) in [
        (&["list", "--store", "http://host:8080/v1"][..], "--store"),
        (
            &["sync", "--from", "http://host/v1", "--to", "b.db"],
            "--from",
        ),
        (&["sync", "--to", "http://host/v1"], "--to"),
        (
            &["describe", "--url", "127.0.0.1:8000"],
            "http:// is missing",
        ),
        (
            &["describe", "--url", "localhost:8000", "--runner", "openai"],
            "http:// is missing",
        ),
        (
            &["describe", "--url", "ftp://host"],
            "must begin with http://",
        ),
        (
            &["describe", "--lanes", "100000"],
            "--lanes must be at most 256",
        ),
        (
            &["describe", "--interleave", "100000"],
            "--interleave must be at most 64",
        ),
        (
            &["list", "--pool-factor", "3"],
            "--pool-factor needs --model",
        ),
        (
            &["search", "x", "--pool-factor", "3"],
            "--pool-factor needs --model",
        ),
        (
            &["show", "a", "1", "--pool-factor", "3"],
            "--pool-factor needs --model",
        ),
        (
            &["remove", "a", "--pool-factor", "3"],
            "--pool-factor needs --model",
        ),
        (&["list", "--config", "sizes.toml"], "such as \"40 GB\""),
        (&["list", "--config", "lines.toml"], "lines.toml: line 3: "),
    ] {
        let done = sandbox.run(args);
        assert_eq!(done.code, 64, "{args:?}: {}", done.err);
        assert!(done.err.contains(said), "{args:?}: {}", done.err);
        assert!(!done.err.contains("untagged"), "{args:?}: {}", done.err);
    }
}

#[test]
fn pages_are_shown_by_their_labels() {
    let sandbox = Sandbox::tiny();
    sandbox.write("manual.pdf", &pdf::labelled());
    assert_eq!(sandbox.run(&["manual.pdf"]).code, 0);
    for (page, title) in [
        ("ii", "manual.pdf, page 2"),
        ("II", "manual.pdf, page 2"),
        ("3", "manual.pdf, page 3"),
    ] {
        let done = sandbox.run(&["show", "manual", page]);
        assert!(
            done.out.starts_with(title),
            "{page}: {}{}",
            done.out,
            done.err
        );
    }
    let missing = sandbox.run(&["show", "manual", "xiv"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.err.contains("no page labelled `xiv`")
            && missing.err.contains("hint: give the page's number")
    );
}

#[test]
fn removing_pages_that_are_not_stored_is_an_error() {
    let sandbox = indexed_library();
    let missing = sandbox.run(&["remove", "pump", "--pages", "9"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("no such page"), "{}", missing.err);
    let one = sandbox.run(&["remove", "pump", "--pages", "3-9"]);
    assert_eq!(
        (one.code, one.err.as_str()),
        (0, "1 page of pump.pdf removed\n")
    );
    let two = sandbox.run(&["remove", "pump", "--pages", "1-2"]);
    assert_eq!(
        (two.code, two.err.as_str()),
        (0, "2 pages of pump.pdf removed\n")
    );
}

#[test]
fn a_store_that_may_not_be_read_is_not_called_empty() {
    let sandbox = indexed_library();
    let mode = |name: &str, mode| {
        fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(sandbox.path("locked")).unwrap();
    fs::copy(
        sandbox.path("library.db"),
        sandbox.path("locked/library.db"),
    )
    .unwrap();
    mode("library.db", 0o000);
    mode("locked", 0o000);
    for store in ["library.db", "locked/library.db"] {
        for command in [&["search", "pump", "--text"][..], &["list"]] {
            let done = sandbox.run_as_user(&[command, &["--store", store]].concat());
            assert_eq!(done.code, 1, "{}", done.err);
            assert!(
                done.err.to_lowercase().contains("permission denied"),
                "{}",
                done.err
            );
        }
    }
    mode("locked", 0o755);
    let missing = sandbox.run_as_user(&["list", "--store", "missing.db"]);
    assert!(
        missing
            .err
            .contains("nothing has been stored in missing.db yet"),
        "{}",
        missing.err
    );
}

#[test]
fn licences_are_json_on_request() {
    let done = Sandbox::tiny().run(&["check", "--licences", "--json"]);
    assert!(done.json()["licences"].as_str().unwrap().contains("PDFium"));
}
