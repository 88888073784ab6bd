//! The key of a server that other machines reach.

use serde_json::json;

use crate::safety::routes;
use crate::sandbox::Sandbox;
use crate::server::Server;

const KEY: &str = "a key; with = signs & ümlauts";

fn with_key() -> Server {
    let sandbox = Sandbox::built_in().with("INGEST_SERVE_KEY", KEY);
    Server::start(sandbox, &["--address", "0.0.0.0:0"])
}

#[test]
fn other_machines_need_a_key() {
    let refused = Sandbox::built_in().run(&["serve", "--address", "0.0.0.0:0"]);
    assert_ne!(refused.code, 0);
    assert_eq!(refused.out, "");
    assert!(refused.err.contains("there is no key"), "{}", refused.err);
    assert!(refused.err.contains("INGEST_SERVE_KEY"), "{}", refused.err);
    let empty = Sandbox::built_in().with("INGEST_SERVE_KEY", "");
    assert_ne!(empty.run(&["serve", "--address", "0.0.0.0:0"]).code, 0);
    let file = Sandbox::built_in();
    let path = file.write("serve.key", b" \n");
    let file = file.with("INGEST_SERVE_KEY_FILE", path.to_str().unwrap());
    let refused = file.run(&["serve", "--address", "0.0.0.0:0"]);
    assert!(
        refused.err.contains("there is no key in it"),
        "{}",
        refused.err
    );
}

#[test]
fn every_route_of_the_interface_needs_the_key() {
    let server = with_key();
    let bearer = format!("Bearer {KEY}");
    let mut checked = 0;
    for (method, path) in routes_of_one_without(&server) {
        let send = |headers: &[(&str, &str)]| server.send((&method, &path), headers, b"");
        let is_closed = ["/metrics", "/none", "/mcp"].contains(&path.as_str());
        let is_open = !path.starts_with("/api/") && !is_closed || path == "/api/v1/session";
        let what = format!("{method} {path}");
        if is_open {
            assert_ne!(send(&[]).status, 401, "{what}");
            continue;
        }
        checked += 1;
        assert_eq!(send(&[]).problem(401), "no-key", "{what}");
        for wrong in ["Bearer wrong", "Bearer ", "Basic eDp5", KEY] {
            assert_eq!(
                send(&[("Authorization", wrong)]).problem(401),
                "no-key",
                "{what}"
            );
        }
        assert_eq!(
            send(&[("Cookie", "ingest-key=wrong")]).status,
            401,
            "{what}"
        );
        if path != "/api/v1/events" {
            assert_ne!(send(&[("Authorization", &bearer)]).status, 401, "{what}");
        }
    }
    assert!(checked > 12, "{checked}");
    for odd in [
        "//api/v1/about",
        "/api/v1/../v1/about",
        "/assets/../api/v1/about",
        "/%61pi/v1/about",
    ] {
        assert_ne!(server.get(odd).status, 200, "{odd}");
    }
}

/// The routes, from a server that needs no key for its document.
fn routes_of_one_without(_: &Server) -> Vec<(String, String)> {
    routes(&Server::start(Sandbox::built_in(), &[]))
}

#[test]
fn a_session_is_a_cookie_and_nothing_prints_the_key() {
    let server = with_key();
    let session = |key: &str| server.post("/api/v1/session", &json!({"key": key}));
    assert_eq!(session("wrong").problem(401), "wrong-key");
    server.post("/api/v1/session", &json!({})).problem(400);
    assert_eq!(
        server
            .send(("POST", "/api/v1/session"), &[], b"x")
            .problem(415),
        "wrong-type"
    );
    let opened = session(KEY);
    assert_eq!(opened.status, 204);
    let cookie = opened.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let headers = [("Cookie", cookie)];
    assert_eq!(
        server.send(("GET", "/api/v1/about"), &headers, b"").status,
        200
    );
    let foreign = [("Cookie", cookie), ("Origin", "http://evil.example")];
    assert_eq!(
        server.send(("GET", "/api/v1/about"), &foreign, b"").status,
        403
    );
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str())];
    for target in ["/api/v1/about", "/metrics", "/api/v1/jobs"] {
        let answer = server.send(("GET", target), &headers, b"");
        assert!(!answer.text().contains("ümlauts"), "{target}");
    }
    let (_, status, printed) = server.interrupt();
    assert!(status.success());
    assert!(!printed.contains("ümlauts"), "{printed}");
}
