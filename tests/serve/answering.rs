//! A model that answers questions, for tests.

use crate::fake_server::{Dialect, FakeServer, Reply};
use crate::sandbox::Sandbox;

/// A sandbox whose settings name `fake` as the model that answers.
pub(crate) fn asking(fake: &FakeServer) -> Sandbox {
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_RUNNER", "openai");
    sandbox.with("INGEST_DESCRIBE_URL", &fake.url)
}

/// A model that cites the first of its pages, and one that it was not shown.
pub(crate) fn citing() -> FakeServer {
    FakeServer::start(Dialect::OpenAi, |_| {
        Reply::Answer("FOUND\nPurge it with nitrogen [1][8] at 42 bar.".to_owned())
    })
}
