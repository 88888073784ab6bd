//! Access: API keys and TLS of a real server. The key is never printed.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::library::ServerSandbox;
use crate::sandbox::CommandOutput;
use crate::server::{Server, shared};

const KEY: &str = "s3cret-of-the-shelf";

fn with_api_key() -> [(&'static str, &'static str); 4] {
    [
        ("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false"),
        ("AUTHENTICATION_APIKEY_ENABLED", "true"),
        ("AUTHENTICATION_APIKEY_ALLOWED_KEYS", KEY),
        ("AUTHENTICATION_APIKEY_USERS", "librarian"),
    ]
}

fn assert_key_hidden(done: &CommandOutput, key: &str) {
    for output in [&done.out, &done.err] {
        assert!(!output.contains(key), "{output}");
    }
}

/// Checks that the valid key is accepted; a missing or wrong one fails before any page is embedded.
fn check_key(sandbox: impl Fn() -> ServerSandbox) {
    let assert_rejected = |sandbox: &ServerSandbox, key: &str| {
        sandbox.manual("pump.pdf", 1);
        let done = sandbox.run(&["pump.pdf", "--verbose"]);
        assert_eq!(done.code, 2, "{}", done.err);
        assert!(done.err.contains("rejected the API key"), "{}", done.err);
        assert!(done.err.contains("WEAVIATE_API_KEY"), "{}", done.err);
        assert!(!done.err.contains("model loaded"), "{}", done.err);
        assert_key_hidden(&done, key);
    };
    assert_rejected(&sandbox(), KEY);
    assert_rejected(
        &sandbox().with("WEAVIATE_API_KEY", "a-wrong-one"),
        "a-wrong-one",
    );
    let by_variable = sandbox().with("WEAVIATE_API_KEY", KEY);
    let by_file = sandbox().with("INGEST_STORE_KEY_FILE", "key");
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
            assert_key_hidden(&done, KEY);
        }
    }
}

#[test]
fn valid_key_is_accepted_and_never_printed() {
    let server = Server::with(&with_api_key());
    check_key(|| ServerSandbox::at(&server.url()));
}

#[test]
fn key_is_not_sent_unencrypted_to_another_machine() {
    // There is no server: the error must precede any request.
    let sandbox = ServerSandbox::at("http://192.0.2.7:8080").with("WEAVIATE_API_KEY", KEY);
    let done = sandbox.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("would go unencrypted"), "{}", done.err);
    assert!(done.err.contains("store.key_over_http"), "{}", done.err);
    assert_key_hidden(&done, KEY);
}

#[test]
fn address_with_password_is_rejected_and_not_printed() {
    let sandbox = ServerSandbox::at(&format!("http://me:{KEY}@127.0.0.1:1"));
    let done = sandbox.run(&["list"]);
    assert_eq!(done.code, 64, "{}", done.err);
    assert!(done.err.contains("WEAVIATE_API_KEY"), "{}", done.err);
    assert_key_hidden(&done, KEY);
}

#[test]
fn tls_requires_the_signing_authority() {
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
    let server = Server::over_tls(&path("server.pem"), &path("server.key"), &with_api_key());
    let ca = path("authority.pem").display().to_string();
    check_key(|| ServerSandbox::at(&server.url()).with("INGEST_STORE_CA_FILE", &ca));
    let stranger = ServerSandbox::at(&server.url()).with("WEAVIATE_API_KEY", KEY);
    let done = stranger.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("certificate"), "{}", done.err);
    assert!(done.err.contains("store.ca_file"), "{}", done.err);
    for (file, expected) in [
        ("none.pem", "No such file"),
        ("server.key", "contains no certificate"),
    ] {
        let file = path(file).display().to_string();
        let done = ServerSandbox::at(&server.url())
            .with("INGEST_STORE_CA_FILE", &file)
            .run(&["list"]);
        assert!(
            done.err.contains(expected) && done.err.contains(&file),
            "{}",
            done.err
        );
    }
}

#[test]
fn unexpected_key_is_rejected_and_not_printed() {
    let sandbox = ServerSandbox::at(&shared().url()).with("WEAVIATE_API_KEY", KEY);
    let done = sandbox.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("no authentication scheme is configured"),
        "{}",
        done.err
    );
    assert_key_hidden(&done, KEY);
}
