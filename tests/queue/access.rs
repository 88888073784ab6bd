//! Access: keys, certificates and hosts, each with an error that names what is wrong and not the key.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingest::queue::{Config, Error, Queue};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use serde_json::{Value, json};

use crate::nats::{Options, Server, shared};
use crate::support::{config, with_key};

const SECRET: &str = "s3cret-of-the-queue";
/// Time within which an error should be there.
const QUICKLY: Duration = Duration::from_secs(3);

/// The error of connecting, which is there quickly and does not contain the key.
fn refused(config: &Config) -> Error {
    let start = Instant::now();
    let error = match Queue::connect(config) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    };
    assert!(start.elapsed() < QUICKLY, "{:?}: {error}", start.elapsed());
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(SECRET) && !text.contains("SU"), "{text}");
    }
    error
}

/// Checks that this key opens the queue, and that no key and these wrong ones do not.
fn check_key(server: &Server, key: &str, wrong: &[&str]) {
    let (_file, right) = with_key(&server.url(), key);
    Queue::connect(&right).unwrap().create().unwrap();
    let none = refused(&config(&server.url()));
    assert!(matches!(none, Error::Unauthorized { .. }), "{none}");
    assert!(none.to_string().contains("there is none"), "{none}");
    for wrong in wrong {
        let (_file, wrong) = with_key(&server.url(), wrong);
        let error = refused(&wrong);
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    }
}

#[test]
fn password_and_token_open_the_queue() {
    let user = format!("{{ user: me, password: \"{SECRET}:1\" }}");
    let server = Server::configured(&format!("authorization {{ users: [{user}] }}"));
    let right = format!("me:{SECRET}:1");
    check_key(&server, &right, &[&format!("me:{SECRET}"), SECRET]);
    let server = Server::configured(&format!("authorization {{ token: \"{SECRET}\" }}"));
    check_key(&server, SECRET, &[&format!("{SECRET}-2"), &right]);
}

#[test]
fn nkey_opens_the_queue() {
    let (pair, other) = (KeyPair::new_user(), KeyPair::new_user());
    let user = format!("{{ nkey: {} }}", pair.public_key());
    let server = Server::configured(&format!("authorization {{ users: [{user}] }}"));
    check_key(&server, &pair.seed().unwrap(), &[&other.seed().unwrap()]);
    // The form of a seed, with a wrong checksum.
    let (_file, damaged) = with_key(&server.url(), &format!("SU{}", "A".repeat(56)));
    let error = refused(&damaged);
    assert!(matches!(error, Error::Key { .. }), "{error}");
}

/// A JSON web token as the server expects it.
fn token(issuer: &KeyPair, subject: &str, name: &str, nats: &Value) -> String {
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encoded(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = json!({
        "jti": "id", "iat": 0, "iss": issuer.public_key(), "sub": subject, "name": name, "nats": nats,
    });
    let signed = format!("{head}.{}", encoded(claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn credentials_open_the_queue() {
    let (operator, system) = (KeyPair::new_operator(), KeyPair::new_account());
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
        "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({"type": "account", "version": 2, "limits": limits});
    let of_system = json!({"type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    }});
    let preload = |pair: &KeyPair, name, nats| {
        let key = pair.public_key();
        format!("{key}: {}", token(&operator, &key, name, nats))
    };
    let of_operator = json!({"type": "operator", "version": 2});
    let server = Server::configured(&format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}",
        token(&operator, &operator.public_key(), "O", &of_operator),
        system.public_key(),
        preload(&system, "SYS", &of_system),
        preload(&account, "A", &of_account),
    ));
    let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let jwt = token(&account, &user.public_key(), "U", &of_user);
    let credentials = |seed: &str| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let other = credentials(&KeyPair::new_user().seed().unwrap());
    check_key(&server, &credentials(&user.seed().unwrap()), &[&other]);
    let (_file, torn) = with_key(&server.url(), &credentials("")[..200]);
    assert!(matches!(refused(&torn), Error::Key { .. }));
}

/// An authority, and the certificate and key of a server with this name.
fn certificates(folder: &Path, name: &str) -> [PathBuf; 3] {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = rcgen::KeyPair::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(authority, own).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let texts = [authority.pem(), certificate.pem(), key.serialize_pem()];
    let paths = ["ca.pem", "server.pem", "server.key"];
    let paths = paths.map(|file| folder.join(format!("{name}-{file}")));
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).unwrap();
    }
    paths
}

#[test]
fn tls_requires_the_signing_authority_and_the_name_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(folder.path(), "127.0.0.1");
    let server = Server::with(&Options {
        config: format!("authorization {{ users: [{{ user: me, password: \"{SECRET}\" }}] }}"),
        tls: Some((certificate, key.clone())),
        ..Options::default()
    });
    let (_file, config) = with_key(&server.url(), &format!("me:{SECRET}"));
    let with_ca = |ca: &Path| Config {
        ca_file: Some(ca.to_owned()),
        ..config.clone()
    };
    Queue::connect(&with_ca(&ca)).unwrap().create().unwrap();
    let (_wrong, wrong) = with_key(&server.url(), "me:another");
    let wrong = refused(&Config {
        ca_file: Some(ca.clone()),
        ..wrong
    });
    assert!(matches!(wrong, Error::Unauthorized { .. }), "{wrong}");
    let unknown = refused(&config);
    assert!(matches!(unknown, Error::Untrusted { .. }), "{unknown}");
    for (file, expected) in [
        (folder.path().join("none.pem"), "No such file"),
        (key, "no certificate"),
    ] {
        let error = refused(&with_ca(&file));
        assert!(matches!(error, Error::Certificate { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let [ca, certificate, key] = certificates(folder.path(), "localhost");
    let server = Server::with(&Options {
        tls: Some((certificate, key)),
        ..Options::default()
    });
    let other_name = refused(&Config {
        url: server.url().parse().unwrap(),
        ..with_ca(&ca)
    });
    assert!(
        matches!(other_name, Error::Untrusted { .. }),
        "{other_name}"
    );
    let url = server.url().replace("127.0.0.1", "localhost");
    let right_name = Config {
        url: url.parse().unwrap(),
        ..with_ca(&ca)
    };
    Queue::connect(&right_name).unwrap();
}

#[test]
fn server_without_tls_is_named() {
    let url = shared().url().replace("nats://", "tls://");
    let error = refused(&config(&url));
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

#[test]
fn key_is_not_sent_unencrypted_to_another_machine() {
    // There is no server: the error must precede any attempt.
    for key in [SECRET.to_owned(), format!("me:{SECRET}")] {
        let (_file, config) = with_key("nats://192.0.2.7:4222", &key);
        let error = refused(&config);
        assert!(matches!(error, Error::UnencryptedKey { .. }), "{error}");
    }
}

#[test]
fn what_is_no_queue_is_named() {
    let unset = refused(&Config::new("".parse().unwrap()));
    assert!(matches!(unset, Error::Unset));
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let closed = refused(&config(&format!("nats://127.0.0.1:{port}")));
    assert!(matches!(closed, Error::Unreachable { .. }), "{closed}");
    assert!(closed.to_string().contains("refused"), "{closed}");
    let unknown = refused(&config("nats://no-such-host.invalid:4222"));
    assert!(matches!(unknown, Error::Unreachable { .. }), "{unknown}");
    let http = greeting("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let http = refused(&config(&http));
    assert!(matches!(http, Error::Unreachable { .. }), "{http}");
    let old =
        greeting("INFO {\"version\":\"2.10.29\",\"max_payload\":1048576,\"headers\":true}\r\n");
    let old = refused(&config(&old));
    assert!(
        matches!(&old, Error::TooOld { found, .. } if found == "2.10.29"),
        "{old}"
    );
    let memoryless = Server::with(&Options {
        without_jetstream: true,
        ..Options::default()
    });
    let memoryless = refused(&config(&memoryless.url()));
    assert!(
        matches!(memoryless, Error::NoJetStream { .. }),
        "{memoryless}"
    );
}

/// The address of a server that greets once and answers a ping.
fn greeting(text: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut line, _) = listener.accept().unwrap();
        line.write_all(text.as_bytes()).unwrap();
        let mut requests = BufReader::new(line.try_clone().unwrap()).lines();
        while let Some(Ok(request)) = requests.next() {
            if request == "PING" && line.write_all(b"PONG\r\n").is_err() {
                break;
            }
        }
    });
    format!("nats://127.0.0.1:{port}")
}
