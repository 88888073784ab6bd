//! The document of the interface: valid, and what the real server does, as Schemathesis sees it.

use std::process::Command;

use crate::answering::{asking, citing};
use crate::server::Server;

#[test]
fn the_document_is_valid_and_the_server_keeps_to_it() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/openapi.sh");
    let fake = citing();
    let server = Server::with_pump(asking(&fake).with("INGEST_SERVE_MAX_UPLOAD", "1 MB"));
    let url = format!("http://{}", server.address);
    let done = Command::new(script).arg(&url).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    assert_eq!(server.get("/healthz").status, 200);
}
