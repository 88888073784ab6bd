//! Rights: with those that the documentation gives a worker it can work, and cannot do more.

use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use ingest::queue::{Error, Kind, Queue};
use sha2::{Digest, Sha256};

use crate::nats::Server;
use crate::support::{items, names, publish, pull, with_key};

/// The configuration of users in the documentation.
fn documented() -> String {
    let text = include_str!("../../src/queue/README.md");
    let start = text.find("authorization {").unwrap();
    let end = start + text[start..].find("```").unwrap();
    text[start..end].to_owned()
}

fn connect(server: &Server, key: &str) -> Queue {
    let (_file, config) = with_key(&server.url(), key);
    Queue::connect(&config).unwrap()
}

#[track_caller]
fn assert_forbidden<T>(request: impl FnOnce() -> Result<T, Error>) {
    let start = Instant::now();
    match request() {
        Err(Error::Forbidden { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was permitted"),
    }
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[test]
fn documented_rights_of_a_worker_suffice_and_do_not_permit_more() {
    let server = Server::configured(&documented());
    let coordinator = connect(&server, "coordinator:first secret");
    coordinator.create().unwrap();
    coordinator.create_group(Kind::Pages, "r").unwrap();
    publish(&coordinator, &items("r", 2));
    coordinator.runs().put("run.r", b"manifest").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, fetched) = (folder.path().join("a.pdf"), folder.path().join("b.pdf"));
    std::fs::write(&path, b"%PDF").unwrap();
    let digest = Sha256::digest(b"%PDF");
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    coordinator.put_file(&digest, &path).unwrap();

    let worker = connect(&server, "worker:second secret");
    let group = worker.group(Kind::Pages, "r").unwrap().unwrap();
    worker.workers().put("worker.w", b"here").unwrap();
    let leases = pull(&group, 1);
    leases[0].extend();
    let marks = worker.runs();
    let mark = marks.create("begun.r.0", b"w").unwrap().unwrap();
    assert!(marks.update("begun.r.0", b"w2", mark).unwrap().is_some());
    assert_eq!(marks.entries("begun.r.").unwrap().len(), 1);
    assert_eq!(marks.get("run.r").unwrap().unwrap().value, b"manifest");
    assert!(worker.get_file(&digest, &fetched).unwrap());
    worker.publish_result("r", "0", b"done").unwrap();
    let mut results = coordinator.results("r").unwrap();
    assert!(results.next(Duration::from_secs(5)).unwrap().is_some());
    publish(&worker, &items("r", 4)[2..]);
    leases[0].acknowledge().unwrap();
    marks.delete("begun.r.0").unwrap();
    let backlog = group.backlog().unwrap();
    assert_eq!((backlog.queued, backlog.in_hand), (3, 0));
    pull(&group, 1)[0].hand_back(None);
    let mut leased = Vec::new();
    while leased.len() < 3 {
        leased.extend(pull(&group, 3));
    }
    assert_eq!(names(&leased), ["1", "2", "3"]);
    assert_eq!(worker.workers().entries("worker.").unwrap().len(), 1);

    assert_forbidden(|| worker.create());
    assert_forbidden(|| worker.create_group(Kind::Pages, "mine"));
    assert_forbidden(|| worker.cancel("r"));
    assert_forbidden(|| worker.remove_results("r"));
    assert_forbidden(|| worker.runs().put("run.r", b"mine"));
    assert_forbidden(|| worker.runs().delete("run.r"));
    assert_forbidden(|| worker.leads().create("lead", b"mine"));
    let another = folder.path().join("c.pdf");
    std::fs::write(&another, b"other").unwrap();
    let other: String = Sha256::digest(b"other")
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_forbidden(|| worker.put_file(&other, &another));
    assert_forbidden(|| worker.remove_file(&digest));
    assert_eq!(
        coordinator.runs().get("run.r").unwrap().unwrap().value,
        b"manifest"
    );
}

#[test]
fn worker_cannot_delete_streams() {
    let server = Server::configured(&documented());
    let coordinator = connect(&server, "coordinator:first secret");
    coordinator.create().unwrap();
    publish(&coordinator, &items("r", 2));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(async {
        let options =
            ConnectOptions::with_user_and_password("worker".into(), "second secret".into());
        let client = options.connect(server.url()).await.unwrap();
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(Duration::from_millis(500));
        context.delete_stream("ingest-work").await.is_err()
    });
    assert!(refused);
    assert_eq!(coordinator.cancel("r").unwrap(), 2);
}
