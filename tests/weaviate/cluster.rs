//! Cluster of three nodes: one is killed and restarted; runs continue, and all replicas agree at the end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::library::{ServerSandbox, client};
use crate::server::Cluster;

/// Number of pages stored on one node.
fn pages_on_node(url: &str, node: &str, collection: &str, ids: &[String]) -> usize {
    let client = client();
    let has = |id: &&String| {
        let url = format!("{url}/v1/objects/{collection}/{id}?node_name={node}");
        client
            .get(url)
            .send()
            .is_ok_and(|reply| reply.status().is_success())
    };
    ids.iter().filter(has).count()
}

#[test]
fn lost_node_catches_up_after_restart() {
    let mut cluster = Cluster::of_three();
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.url()).collect();
    // A write that starts just when a node dies may hang until its timeout; then the next node is used.
    let sandbox = ServerSandbox::at(&urls.join(","))
        .with("INGEST_STORE_REPLICATION", "3")
        .with("INGEST_STORE_TIMEOUT_S", "15");
    sandbox.manual("before.pdf", 8);
    sandbox.manual("during.pdf", 40);
    sandbox.manual("after.pdf", 8);
    let first = sandbox.run(&["before.pdf"]);
    assert_eq!(first.code, 0, "{}", first.err);
    // The current node is killed while pages are in flight.
    let run = sandbox.start(&["during.pdf", "--json", "--batch-size", "1"]);
    sandbox.wait_for("during.pdf");
    cluster.nodes[0].kill();
    let done: crate::sandbox::CommandOutput = run.wait_with_output().unwrap().into();
    assert_eq!(done.code, 0, "{}", done.err);
    let done = sandbox.run(&["after.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = sandbox.run(&["search", "part number 3", "--visual", "--json"]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert_eq!(found.json().as_array().unwrap().len(), 5);
    let (stored, rankings) = sandbox.contents();
    assert_eq!(stored, 56);
    cluster.nodes[0].restart();
    let ids: Vec<String> = rankings[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| name(&hit["id"]))
        .collect();
    assert_eq!(ids.len(), 56);
    let start = Instant::now();
    let nodes = ["node1", "node2", "node3"];
    loop {
        let counts = nodes.map(|node| pages_on_node(&urls[1], node, &sandbox.collection, &ids));
        if counts == [56; 3] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(240), "{counts:?}");
        sleep(Duration::from_secs(2));
    }
    // The restarted node serves as before.
    let again = sandbox.run(&["before.pdf", "during.pdf", "after.pdf", "--json"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(ServerSandbox::total(&again.json(), "unchanged"), 56);
    assert_eq!(sandbox.contents(), (stored, rankings));
}

fn name(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
