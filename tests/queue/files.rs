//! Files: uploaded under their digest, fetched whole or not at all, swept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::queue::{Config, Error, Queue};
use ingest::units::ByteSize;
use sha2::{Digest, Sha256};

use crate::nats::{Options, Server};
use crate::support::{config, coordinator, shared};

/// A file of `size` bytes, and its digest.
fn file(folder: &Path, size: usize) -> (PathBuf, String) {
    let content: Vec<u8> = (0..size).map(|i| (i * 31 + i / 512) as u8).collect();
    let path = folder.join(format!("{size}.pdf"));
    std::fs::write(&path, &content).unwrap();
    let digest = Sha256::digest(&content);
    (
        path,
        digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

fn stored_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn file_is_fetched_as_it_was_uploaded() {
    let queue = shared();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("fetched.pdf");
    // None, one and many chunks; the last one full and not full.
    for size in [0, 1000, 512 * 1024, 20 * 512 * 1024 + 1] {
        let (path, digest) = file(folder.path(), size);
        assert!(!queue.has_file(&digest).unwrap());
        assert!(!queue.get_file(&digest, &to).unwrap());
        queue.put_file(&digest, &path).unwrap();
        queue.put_file(&digest, &path).unwrap();
        assert!(queue.has_file(&digest).unwrap());
        assert!(queue.get_file(&digest, &to).unwrap());
        assert!(std::fs::read(&to).unwrap() == std::fs::read(&path).unwrap());
        std::fs::remove_file(&to).unwrap();
        queue.remove_file(&digest).unwrap();
        queue.remove_file(&digest).unwrap();
        assert!(!queue.get_file(&digest, &to).unwrap());
    }
    assert_eq!(stored_in(folder.path()), 4, "nothing half fetched is left");
}

#[test]
fn file_with_another_content_than_its_name_is_refused() {
    let server = Server::start();
    let queue = coordinator(&server);
    let folder = tempfile::tempdir().unwrap();
    let (path, digest) = file(folder.path(), 600_000);
    let (other, _) = file(folder.path(), 600_001);
    let changed = queue.put_file(&digest, &other).unwrap_err();
    assert!(matches!(&changed, Error::Changed { file } if *file == other));
    assert!(!queue.has_file(&digest).unwrap());
    let absent = queue.put_file(&digest, &folder.path().join("no.pdf"));
    assert!(matches!(absent, Err(Error::File { .. })));
    let invalid = queue.has_file("../../etc/passwd");
    assert!(matches!(invalid, Err(Error::Name { .. })));
    // What the refused upload left.
    assert_eq!(
        queue.sweep_files(Duration::from_secs(3600)).unwrap(),
        ByteSize(0)
    );
    assert_eq!(
        queue.sweep_files(Duration::ZERO).unwrap(),
        ByteSize(600_001)
    );
    queue.put_file(&digest, &path).unwrap();
    assert_eq!(queue.sweep_files(Duration::ZERO).unwrap(), ByteSize(0));
    assert!(queue.get_file(&digest, &folder.path().join("to")).unwrap());
}

#[test]
fn file_that_does_not_fit_is_refused_before_it_is_sent() {
    let server = Server::start();
    let small = Config {
        keep: ByteSize(2_000_000),
        ..config(&server.url())
    };
    let queue = Queue::connect(&small).unwrap();
    queue.create().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (first, first_digest) = file(folder.path(), 1_200_000);
    let (second, second_digest) = file(folder.path(), 1_000_000);
    queue.put_file(&first_digest, &first).unwrap();
    let full = queue
        .put_file(&second_digest, &second)
        .unwrap_err()
        .to_string();
    assert!(full.contains("1000000.pdf has 1 MB"), "{full}");
    assert_eq!(queue.sweep_files(Duration::ZERO).unwrap(), ByteSize(0));
    queue.remove_file(&first_digest).unwrap();
    queue.put_file(&second_digest, &second).unwrap();
    // A larger bucket on the same server.
    let larger = Queue::connect(&config(&server.url())).unwrap();
    larger.create().unwrap();
    larger.put_file(&first_digest, &first).unwrap();
    assert!(larger.has_file(&second_digest).unwrap());
}

#[test]
fn server_with_less_storage_keeps_as_much_as_it_can() {
    let create = |server: &Server| {
        let large = Config {
            keep: ByteSize(50_000_000_000),
            ..config(&server.url())
        };
        let queue = Queue::connect(&large).unwrap();
        // Again: the bucket stays as large as it is.
        queue.create().and_then(|()| queue.create())
    };
    create(&Server::start()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let storage = format!(
        "jetstream {{ store_dir: {:?}, max_file: 100MB }}",
        folder.path()
    );
    let small = Server::with(&Options {
        config: storage,
        without_jetstream: true,
        ..Options::default()
    });
    let full = create(&small).unwrap_err();
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert!(full.to_string().contains("for files"), "{full}");
}
