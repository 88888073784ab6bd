//! `ingest describe --runner mlx`: a vision-language model in the process; without the feature, the error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[cfg(feature = "mlx")]
mod reciter;
#[path = "../cli/sandbox.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod sandbox;
#[path = "../support/titles.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod titles;

#[cfg(not(feature = "mlx"))]
#[test]
fn without_the_feature_the_error_explains_how_to_build_it() {
    let sandbox = sandbox::Sandbox::built_in();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pages/page_0.png");
    assert_eq!(sandbox.run(&[page]).code, 0);
    let model = titles::golden("model").display().to_string();
    let done = sandbox.run(&["describe", "--runner", "mlx", "--model", &model]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(done.err.contains("built without MLX"), "{}", done.err);
    assert!(done.err.contains("--features mlx"), "{}", done.err);
}
