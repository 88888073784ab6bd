//! Snapshots of the output of commands, and their stdout, stderr and exit codes.

use crate::sandbox::{Sandbox, TINY};
use crate::support::pdf;

pub(crate) fn indexed_library() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["priming the pump", "bearing wear limits", "seal kit 4711"]),
    );
    sandbox.write("valve.pdf", &pdf::good(&["valve torque 25 Nm"]));
    let done = sandbox.run(&["pump.pdf", "valve.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    sandbox
}

/// Replaces values that differ between runs.
fn settings(sandbox: &Sandbox) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    let folder = sandbox.folder.path().canonicalize().unwrap();
    settings.add_filter(&folder.display().to_string(), "[folder]");
    settings.add_filter(TINY, "[tiny]");
    settings.add_filter(r"\d+(\.\d+)? m?s\b", "[time]");
    settings.add_filter(r"\d+(\.\d+)? pages/s", "[rate]");
    settings.add_filter(r"idle \d+ %", "idle [n] %");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f-]+", "[id]");
    settings.add_filter(r"time: .*", "time: [expected]");
    settings.add_filter(r"memory: .*", "memory: [plan]");
    settings.add_filter(r" {2,}", "  ");
    settings
}

#[test]
fn indexing_twice_stores_pages_once() {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["priming the pump", "bearing wear limits"]),
    );
    sandbox.write("torn.pdf", b"%PDF-");
    settings(&sandbox).bind(|| {
        insta::assert_snapshot!(sandbox.run(&["pump.pdf", "torn.pdf"]).transcript(), @r#"
        manual  pages  stored  unchanged  failed  render  prepare  embed  store
        pump.pdf  2  2  0  0  [time]  [time]  [time]  [time]
        torn.pdf  0  0  0  all  [time]  [time]  [time]  [time]
        2 pages in [time] ([rate], model idle [n] %)
        model [tiny] on cpu (f32); licence: unknown, see the model's own page
        [folder]/torn.pdf: begins as a PDF, but its end is missing
        hint: download it again, or copy it again
        [exit 1]
        "#);
        insta::assert_snapshot!(sandbox.run(&["pump.pdf"]).transcript(), @r#"
        manual  pages  stored  unchanged  failed  render  prepare  embed  store
        pump.pdf  2  0  2  0  [time]  [time]  [time]  [time]
        0 pages in [time]
        model [tiny] on cpu (f32); licence: unknown, see the model's own page
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["pump.pdf", "--dry-run"]).transcript(), @r#"
        manual  pages  to index
        pump.pdf  2  0
        0 pages; batches of 2: 0
        time: [expected]
        memory: [plan]
        model [tiny] on cpu (f32); licence: unknown, see the model's own page
        [exit 0]
        "#);
    });
}

#[test]
fn search_within_several_manuals() {
    let sandbox = indexed_library();
    sandbox.write("fan.pdf", &pdf::good(&["valve of the pump"]));
    assert_eq!(sandbox.run(&["fan.pdf"]).code, 0);
    for mode in ["--text", "--visual", "--hybrid"] {
        let search = |manuals: &[&str]| {
            let args = ["search", "pump valve", mode, "-k", "9", "--json"];
            let done = sandbox.run(&[&args, manuals].concat());
            assert_eq!(done.code, 0, "{}", done.err);
            let hits = done.json();
            let hits = hits.as_array().unwrap().iter();
            hits.map(|hit| hit["manual"].as_str().unwrap().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(search(&[]).len(), 3, "{mode}");
        let two = search(&["--manual", "valve", "--manual", "Pump.pdf"]);
        assert!(two.iter().eq(["pump.pdf", "valve.pdf"]), "{mode}: {two:?}");
    }
    let unknown = sandbox.run(&["search", "pump", "--manual", "pump", "--manual", "valv"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("no manual `valv`"), "{}", unknown.err);
}

#[test]
fn list_tells_what_the_last_run_did() {
    let sandbox = Sandbox::tiny();
    let pump = pdf::good(&["priming the pump", "bearing wear limits"]);
    sandbox.write("pump.pdf", &pump);
    sandbox.write("cyclic.pdf", &pdf::cyclic_tree());
    assert_eq!(sandbox.run(&["pump.pdf", "cyclic.pdf"]).code, 1);
    let last_runs = || {
        let list = sandbox.run(&["list", "--json"]).json();
        let manuals = list.as_array().unwrap().iter();
        manuals
            .map(|manual| manual["last_run"].clone())
            .collect::<Vec<_>>()
    };
    let first = last_runs();
    let counts = |run: &serde_json::Value| [&run["stored"], &run["failed"]].map(|n| n.as_u64());
    assert_eq!(counts(&first[0]), [Some(1), Some(1)]);
    assert_eq!(first[0]["failures"][0]["page"], 2);
    assert_eq!(counts(&first[1]), [Some(2), Some(0)]);
    assert!(first[1]["pages_per_second"].as_f64().unwrap() > 0.0);
    // Neither the same file again nor a copy of it changes anything.
    sandbox.write("copy.pdf", &pump);
    for paths in [&["pump.pdf"][..], &["copy.pdf"], &["pump.pdf", "copy.pdf"]] {
        assert_eq!(sandbox.run(paths).code, 0);
        assert_eq!(last_runs(), first);
    }
    assert_eq!(sandbox.run(&["remove", "pump"]).code, 0);
    assert_eq!(last_runs(), first[..1]);
    // A copy that comes with the file is not counted twice.
    assert_eq!(sandbox.run(&["pump.pdf", "copy.pdf"]).code, 0);
    assert_eq!(counts(&last_runs()[1]), [Some(2), Some(0)]);
}

#[test]
fn search_show_list_and_remove_print_plain_text() {
    let sandbox = indexed_library();
    settings(&sandbox).bind(|| {
        insta::assert_snapshot!(sandbox.run(&["search", "seal kit", "--text", "-k", "2"]).transcript(), @r#"
        1. pump.pdf page 3  [1.750]
          seal kit 4711
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["search", "torque?", "--text", "--manual", "valve"]).transcript(), @r#"
        1. valve.pdf page 1  [0.774]
          valve torque 25 Nm
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["search", "torque", "--manual", "valv.pdf"]).transcript(), @r#"
        error: there is no manual `valv.pdf` in the store
        hint: did you mean `valve.pdf`?
        [exit 1]
        "#);
        insta::assert_snapshot!(sandbox.run(&["search", "E-104? \" NEAR( *", "--text"]).transcript(), @r#"
        nothing found
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["search", " "]).transcript(), @r#"
        error: the query is empty
        [exit 64]
        "#);
        insta::assert_snapshot!(sandbox.run(&["show", "pump", "2"]).transcript(), @r#"
        pump.pdf, page 2
        vectors: 58

        bearing wear limits
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["show", "pump", "9"]).transcript(), @r#"
        error: pump.pdf, page 9 is not stored
        [exit 1]
        "#);
        insta::assert_snapshot!(sandbox.run(&["list"]).transcript(), @r#"
        manual  pages  blank  vectors  path
        pump.pdf  3 of 3  0  45 KB  [folder]/pump.pdf
        valve.pdf  1 of 1  0  15 KB  [folder]/valve.pdf
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["remove", "pump"]).transcript(), @r#"
        3 pages of pump.pdf removed
        [exit 0]
        "#);
        insta::assert_snapshot!(sandbox.run(&["list"]).transcript(), @r#"
        manual  pages  blank  vectors  path
        valve.pdf  1 of 1  0  15 KB  [folder]/valve.pdf
        [exit 0]
        "#);
    });
}

#[test]
fn json_output_has_the_documented_keys() {
    let sandbox = indexed_library();
    let found = sandbox
        .run(&["search", "seal kit", "--json", "-k", "4"])
        .json();
    let best = &found.as_array().unwrap()[0];
    for key in [
        "manual", "page", "label", "section", "score", "snippet", "id",
    ] {
        assert!(best.get(key).is_some(), "{key} is missing in {best}");
    }
    let scores: Vec<f64> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["score"].as_f64().unwrap())
        .collect();
    assert!(
        scores.len() == 4 && scores.is_sorted_by(|a, b| a >= b),
        "best first: {scores:?}"
    );
    assert_eq!(sandbox.run(&["list", "--json"]).json()[0]["stored"], 3);
    let models = sandbox.run(&["models", "--json"]).json();
    assert!(
        models["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .any(|m| m["model"] == "vidore/colqwen2.5-v0.2" && m["dim"] == 128)
    );
    let commercial = sandbox.run(&["models", "--commercial", "--json"]).json();
    let all = commercial["embedding"].as_array().unwrap();
    assert!(all.iter().all(|m| m["commercial"] == true) && all.len() > 10);
    let recommended = &commercial["recommended_embedding"];
    assert!(
        all.iter().any(|m| m["model"] == *recommended),
        "{recommended}"
    );
    let text = sandbox.run(&["models"]).out;
    assert!(
        text.contains("recommended for embedding on this machine: "),
        "{text}"
    );
    let named = models["describing"].as_array().unwrap().iter();
    let recommended = named.filter(|m| m["model"] == models["recommended"]);
    assert_eq!(recommended.count(), 1, "{models}");
    let budget = &models["budget"];
    let parts = ["system", "store", "embedding", "describing", "left"];
    let sum: i64 = parts
        .iter()
        .map(|part| budget[part].as_i64().unwrap())
        .sum();
    assert_eq!(sum, budget["machine"].as_i64().unwrap(), "{budget}");
    let check = sandbox.run(&["check", "--load", "--json"]);
    assert_eq!(check.code, 0, "{}", check.out);
    assert!(
        check
            .json()
            .as_array()
            .unwrap()
            .iter()
            .all(|part| part["ready"] == true)
    );
}

#[test]
fn check_creates_no_store_and_tells_where_none_can_be() {
    let sandbox = Sandbox::built_in();
    let done = sandbox.run(&["check", "--store", "new/folder/library.db"]);
    assert_eq!(done.code, 0, "{}", done.out);
    assert!(!sandbox.path("new").exists());
    let done = sandbox.run_as_user(&["check", "--store", "/usr/library.db"]);
    assert_eq!(done.code, 1, "{}", done.out);
    assert!(done.out.contains("NO  store "), "{}", done.out);
    assert!(done.out.contains("/usr/library.db"), "{}", done.out);
}

#[test]
fn show_writes_the_page_and_its_heat_map() {
    let sandbox = indexed_library();
    assert_eq!(
        sandbox
            .run(&["show", "pump", "1", "--out", "plain.png"])
            .code,
        0
    );
    assert_eq!(
        sandbox
            .run(&[
                "show",
                "pump",
                "1",
                "--out",
                "marked.png",
                "--query",
                "pump"
            ])
            .code,
        0
    );
    let read = |name| image::open(sandbox.path(name)).unwrap().to_rgb8();
    let (plain, marked) = (read("plain.png"), read("marked.png"));
    assert_eq!(plain.dimensions(), (1275, 1650));
    assert_eq!(marked.dimensions(), plain.dimensions());
    assert!(
        plain != marked && plain.pixels().all(|p| p[0] == p[1]),
        "the heat map is the only colour"
    );
    let out = sandbox
        .command(&["show", "pump", "1", "--out", "-"])
        .output()
        .unwrap()
        .stdout;
    assert!(out.starts_with(b"\x89PNG"));
    std::fs::rename(sandbox.path("pump.pdf"), sandbox.path("gone.pdf")).unwrap();
    let gone = sandbox.run(&["show", "pump", "1", "--out", "x.png"]);
    assert!(
        gone.code == 1 && gone.err.contains("pump.pdf") && !sandbox.path("x.png").exists(),
        "{}",
        gone.err
    );
}

#[test]
fn wrong_usage_exits_64_and_help_exits_0() {
    let sandbox = Sandbox::tiny();
    for args in [
        &["--no-such-flag"][..],
        &["search"],
        &["a.pdf", "--pages", "0"],
        &["search", "x", "--text", "--visual"],
        &["list", "--batch-size", "4"],
        &["--device", "cpu", "remove", "pump.pdf"],
        &["--dry-run", "remove", "pump.pdf"],
        &["--pages", "1-2", "search", "words"],
        &["remove", "pump.pdf", "--pages", ""],
    ] {
        let done = sandbox.run(args);
        assert_eq!((done.code, done.out.as_str()), (64, ""), "{args:?}");
    }
    assert_eq!(sandbox.run(&["--help"]).code, 0);
    let typo = sandbox.run(&["serch", "words"]);
    assert!(
        typo.code == 64 && typo.err.contains("did you mean `ingest search`?"),
        "{}",
        typo.err
    );
    sandbox.write("ingest.toml", b"[embed]\nmodle = \"x\"\n");
    let done = sandbox.run(&["list"]);
    assert!(
        done.code == 64 && done.err.contains("did you mean `embed.model`?"),
        "{}",
        done.err
    );
}

#[test]
fn completions_and_man_page_list_the_commands() {
    let sandbox = Sandbox::tiny();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&["completions", shell]).out;
        assert!(script.contains("search"), "{shell}");
        assert!(!script.contains("render-worker"), "{shell}");
    }
    // An option that a command refuses is not offered.
    let script = sandbox.run(&["completions", "bash"]).out;
    let offered = |command: &str, option: &str| {
        let (_, rest) = script
            .split_once(&format!("ingest__subcmd__{command})\n"))
            .unwrap();
        rest.lines().next().unwrap().contains(option)
    };
    assert!(offered("list", "--store") && !offered("list", "--batch-size"));
    assert!(offered("remove", "--pages") && !offered("remove", "--json"));
    assert!(offered("search", "--device") && !offered("man", "--quiet"));
    assert!(
        sandbox.run(&["man"]).out.starts_with(".ie") || sandbox.run(&["man"]).out.contains(".TH")
    );
}

#[test]
fn flags_override_files() {
    let sandbox = indexed_library();
    let count = |sandbox: &Sandbox, args: &[&str]| {
        let args = [&["search", "pump", "--text", "--json"], args].concat();
        sandbox.run(&args).json().as_array().unwrap().len()
    };
    sandbox.write(
        "many.pdf",
        &pdf::good(&["pump one", "pump two", "pump three", "pump four"]),
    );
    assert_eq!(sandbox.run(&["many.pdf"]).code, 0);
    assert_eq!(count(&sandbox, &[]), 5);
    sandbox.write("ingest.toml", b"[search]\ncount = 2\n");
    assert_eq!(count(&sandbox, &[]), 2);
    sandbox.write("other.toml", b"[search]\ncount = 3\n");
    assert_eq!(count(&sandbox, &["--config", "other.toml"]), 3);
    assert_eq!(count(&sandbox, &["--config", "other.toml", "-k", "1"]), 1);
}
