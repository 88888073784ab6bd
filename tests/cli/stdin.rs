//! `ingest search -`: queries from stdin, one per line.

use crate::commands::indexed_library;
use crate::sandbox::CommandOutput;

#[test]
fn hits_of_stdin_queries_are_in_order() {
    let sandbox = indexed_library();
    let answers = sandbox.search(
        &["seal kit".into(), "torque".into()],
        &["--text", "-k", "1"],
    );
    assert_eq!(
        (&answers[0][0]["page"], &answers[1][0]["manual"]),
        (&3.into(), &"valve.pdf".into())
    );
}

#[test]
fn invalid_stdin_query_fails_alone() {
    let sandbox = indexed_library();
    sandbox.write("queries.txt", b"seal kit\nbroken \xff\ntorque\n");
    let ask = |args: &[&str]| -> CommandOutput {
        let input = std::fs::File::open(sandbox.path("queries.txt")).unwrap();
        let args = [&["search", "-", "--text", "-k", "1"], args].concat();
        sandbox.command(&args).stdin(input).output().unwrap().into()
    };
    let done = ask(&["--json"]);
    let lines: Vec<serde_json::Value> = done
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (done.code, lines.len()),
        (1, 3),
        "{} {}",
        done.out,
        done.err
    );
    assert_eq!(lines[0][0]["page"], 3);
    let error = lines[1]["error"].as_str().unwrap();
    assert!(error.contains("not UTF-8"), "{error}");
    assert_eq!(lines[1]["line"], 2);
    assert_eq!(lines[2][0]["manual"], "valve.pdf");
    let done = ask(&[]);
    assert_eq!(done.code, 1);
    assert!(
        done.out.contains("valve torque") && done.err.contains("line 2: the query is not UTF-8")
    );
}

#[test]
fn empty_lines_of_stdin_keep_the_numbering() {
    let sandbox = indexed_library();
    sandbox.write("queries.txt", b"\xef\xbb\xbfseal kit\r\n\n   \ntorque");
    let input = std::fs::File::open(sandbox.path("queries.txt")).unwrap();
    let args = ["search", "-", "--text", "-k", "1", "--json"];
    let done: CommandOutput = sandbox.command(&args).stdin(input).output().unwrap().into();
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!((done.code, lines.len()), (0, 4), "{}", done.err);
    assert_eq!(lines[1..3], ["[]", "[]"]);
    assert!(lines[0].contains("pump.pdf") && lines[3].contains("valve.pdf"));
    assert_eq!(done.err, "line 2 is empty\nline 3 is empty\n");
}
