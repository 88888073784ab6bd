//! `ingest search -`: queries from stdin, one a line.

use crate::commands::shelf;
use crate::desk::Done;

#[test]
fn questions_from_stdin_open_the_model_once_and_answer_in_order() {
    let desk = shelf();
    let answers = desk.ask(
        &["seal kit".into(), "torque".into()],
        &["--text", "-k", "1"],
    );
    assert_eq!(
        (&answers[0][0]["page"], &answers[1][0]["manual"]),
        (&3.into(), &"valve.pdf".into())
    );
}

#[test]
fn a_question_from_stdin_that_fails_costs_its_line_alone() {
    let desk = shelf();
    desk.write("questions.txt", b"seal kit\nbroken \xff\ntorque\n");
    let ask = |args: &[&str]| -> Done {
        let input = std::fs::File::open(desk.path("questions.txt")).unwrap();
        let args = [&["search", "-", "--text", "-k", "1"], args].concat();
        desk.command(&args).stdin(input).output().unwrap().into()
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
    assert_eq!(lines[2][0]["manual"], "valve.pdf");
    let done = ask(&[]);
    assert_eq!(done.code, 1);
    assert!(done.out.contains("valve torque") && done.err.contains("not UTF-8"));
}
