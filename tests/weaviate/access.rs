//! Who may come in: API keys and TLS, by the server's own flags. The key is never shown.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::sandbox::CommandOutput;
use crate::server::{Server, shared};
use crate::shelf::Shelf;

const KEY: &str = "s3cret-of-the-shelf";

fn locked() -> [(&'static str, &'static str); 4] {
    [
        ("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false"),
        ("AUTHENTICATION_APIKEY_ENABLED", "true"),
        ("AUTHENTICATION_APIKEY_ALLOWED_KEYS", KEY),
        ("AUTHENTICATION_APIKEY_USERS", "librarian"),
    ]
}

fn hides_the_key(done: &CommandOutput, key: &str) {
    for said in [&done.out, &done.err] {
        assert!(!said.contains(key), "{said}");
    }
}

/// The key opens; none and a wrong one do not, before any page is embedded.
fn asks_for_the_key(shelf: impl Fn() -> Shelf) {
    let refused = |shelf: &Shelf, key: &str| {
        shelf.manual("pump.pdf", 1);
        let done = shelf.run(&["pump.pdf", "--verbose"]);
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(done.err.contains("wants another API key"), "{}", done.err);
        assert!(done.err.contains("WEAVIATE_API_KEY"), "{}", done.err);
        assert!(!done.err.contains("model loaded"), "{}", done.err);
        hides_the_key(&done, key);
    };
    refused(&shelf(), KEY);
    refused(
        &shelf().with("WEAVIATE_API_KEY", "a-wrong-one"),
        "a-wrong-one",
    );
    let by_variable = shelf().with("WEAVIATE_API_KEY", KEY);
    let by_file = shelf().with("INGEST_STORE_KEY_FILE", "key");
    by_file.write("key", format!("{KEY}\n").as_bytes());
    for open in [by_variable, by_file] {
        open.manual("pump.pdf", 2);
        for args in [
            &["pump.pdf", "--verbose"][..],
            &["search", "part", "--verbose"],
            &["check"],
        ] {
            let done = open.run(args);
            assert_eq!(done.code, 0, "{}", done.err);
            hides_the_key(&done, KEY);
        }
    }
}

#[test]
fn a_key_opens_and_is_never_shown() {
    let server = Server::with(&locked());
    asks_for_the_key(|| Shelf::at(&server.url()));
}

#[test]
fn a_key_does_not_go_unencrypted_to_another_machine() {
    // Nobody is there: what is refused is refused before anything is sent.
    let shelf = Shelf::at("http://192.0.2.7:8080").with("WEAVIATE_API_KEY", KEY);
    let done = shelf.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("would go unencrypted"), "{}", done.err);
    assert!(done.err.contains("store.key_over_http"), "{}", done.err);
    hides_the_key(&done, KEY);
}

#[test]
fn an_address_with_a_password_is_refused_and_not_repeated() {
    let shelf = Shelf::at(&format!("http://me:{KEY}@127.0.0.1:1"));
    let done = shelf.run(&["list"]);
    assert_eq!(done.code, 64, "{}", done.err);
    assert!(done.err.contains("WEAVIATE_API_KEY"), "{}", done.err);
    hides_the_key(&done, KEY);
}

#[test]
fn tls_wants_the_authority_that_signed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    std::fs::write(path("authority.pem"), authority.pem()).unwrap();
    std::fs::write(path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let server = Server::over_tls(&path("server.pem"), &path("server.key"), &locked());
    let ca = path("authority.pem").display().to_string();
    asks_for_the_key(|| Shelf::at(&server.url()).with("INGEST_STORE_CA_FILE", &ca));
    let stranger = Shelf::at(&server.url()).with("WEAVIATE_API_KEY", KEY);
    let done = stranger.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("certificate"), "{}", done.err);
    assert!(done.err.contains("store.ca_file"), "{}", done.err);
    for (file, says) in [
        ("none.pem", "No such file"),
        ("server.key", "holds no certificate"),
    ] {
        let file = path(file).display().to_string();
        let done = Shelf::at(&server.url())
            .with("INGEST_STORE_CA_FILE", &file)
            .run(&["list"]);
        assert!(
            done.err.contains(says) && done.err.contains(&file),
            "{}",
            done.err
        );
    }
}

#[test]
fn a_key_that_nobody_asked_for_is_refused_by_the_server_and_not_shown() {
    let shelf = Shelf::at(&shared().url()).with("WEAVIATE_API_KEY", KEY);
    let done = shelf.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("no authentication scheme is configured"),
        "{}",
        done.err
    );
    hides_the_key(&done, KEY);
}
