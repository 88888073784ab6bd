//! Three nodes: one dies, everything goes on, it returns, and all three agree.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Cluster;
use crate::shelf::{Shelf, client};

/// Pages that a node holds by itself.
fn held(url: &str, node: &str, collection: &str, ids: &[String]) -> usize {
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
fn a_node_dies_and_returns() {
    let mut cluster = Cluster::of_three();
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.url()).collect();
    // A write that begins just when a node dies may hang until its time is over; then the next node is asked.
    let shelf = Shelf::at(&urls.join(","))
        .with("INGEST_STORE_REPLICATION", "3")
        .with("INGEST_STORE_TIMEOUT_S", "15");
    shelf.manual("before.pdf", 8);
    shelf.manual("during.pdf", 40);
    shelf.manual("after.pdf", 8);
    let first = shelf.run(&["before.pdf"]);
    assert_eq!(first.code, 0, "{}", first.err);
    // The node that we talk to dies while pages are under way.
    let run = shelf.start(&["during.pdf", "--json", "--batch-size", "1"]);
    shelf.wait_for("during.pdf");
    cluster.nodes[0].kill();
    let done: crate::sandbox::CommandOutput = run.wait_with_output().unwrap().into();
    assert_eq!(done.code, 0, "{}", done.err);
    let done = shelf.run(&["after.pdf"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = shelf.run(&["search", "part number 3", "--visual", "--json"]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert_eq!(found.json().as_array().unwrap().len(), 5);
    let (stored, rankings) = shelf.contents();
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
        let counts = nodes.map(|node| held(&urls[1], node, &shelf.collection, &ids));
        if counts == [56; 3] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(240), "{counts:?}");
        sleep(Duration::from_secs(2));
    }
    // The node that returned serves as before.
    let again = shelf.run(&["before.pdf", "during.pdf", "after.pdf", "--json"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(Shelf::total(&again.json(), "unchanged"), 56);
    assert_eq!(shelf.contents(), (stored, rankings));
}

fn name(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
