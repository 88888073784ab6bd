//! Pages of other sites cannot use the server: `Host` and `Origin` of every route, and the headers of every answer.

use serde_json::Value;

use crate::http::Answer;
use crate::sandbox::Sandbox;
use crate::server::{Server, pump};

/// All routes of the document with real values in their paths, and those of the page.
pub(crate) fn routes(server: &Server) -> Vec<(String, String)> {
    let document = server.get("/api/v1/openapi.json").json(200);
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "1-1").replace("{name}", "a.pdf");
        let methods = item.as_object().unwrap().keys();
        all.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    assert!(all.len() > 15, "{all:?}");
    let page = server.get("/").text();
    let script = page
        .split("src=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    for path in [
        "/",
        "/search",
        "/library",
        "/none",
        &format!("/{script}"),
        "/assets/1/none.js",
    ] {
        all.push(("GET".to_owned(), path.to_owned()));
    }
    for method in ["GET", "POST", "DELETE"] {
        all.push((method.to_owned(), "/mcp".to_owned()));
    }
    all
}

/// Whether the answer says that it is forbidden and why.
fn is_forbidden(answer: &Answer, kind: &str, what: &str) {
    assert_eq!(answer.problem(403), kind, "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
}

#[test]
fn every_route_refuses_foreign_hosts_and_origins() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let own = server.address.clone();
    let port = own.rsplit_once(':').unwrap().1.to_owned();
    for (method, path) in routes(&server) {
        let send = |headers: &[(&str, &str)]| server.send((&method, &path), headers, b"");
        let what = format!("{method} {path}");
        for host in [
            "evil.example",
            &format!("evil.example:{port}"),
            "",
            "127.0.0.1.evil.example",
            "127.0.0.2",
        ] {
            is_forbidden(&send(&[("Host", host)]), "foreign-host", &what);
        }
        let other_port = format!("http://127.0.0.1:{}", port.parse::<u16>().unwrap() ^ 1);
        for origin in [
            "http://evil.example",
            "null",
            "",
            "file://",
            &other_port,
            &format!("http://{own}.evil.example"),
        ] {
            is_forbidden(
                &send(&[("Origin", origin)]),
                "foreign-origin",
                &format!("{what} {origin}"),
            );
        }
        if method != "GET" {
            for site in ["cross-site", "same-site"] {
                is_forbidden(&send(&[("Sec-Fetch-Site", site)]), "foreign-origin", &what);
            }
        }
        if path != "/api/v1/events" {
            let origin = format!("http://{own}");
            for good in [
                [("Origin", origin.as_str())],
                [("Sec-Fetch-Site", "same-origin")],
                [("Host", own.as_str())],
            ] {
                assert_ne!(send(&good).status, 403, "{what}");
            }
        }
    }
    let by_name = [("Host", format!("localhost:{port}"))];
    let by_name = by_name
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(server.send(("GET", "/"), &by_name, b"").status, 200);
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    let server = Server::with_pump(Sandbox::built_in());
    let check = |answer: &Answer, what: &str| {
        let policy = answer
            .header("content-security-policy")
            .unwrap_or_else(|| panic!("{what}"));
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{what}"
        );
        assert_eq!(
            answer.header("referrer-policy"),
            Some("no-referrer"),
            "{what}"
        );
        assert!(answer.header("cache-control").is_some(), "{what}");
    };
    for (method, path) in routes(&server) {
        if path != "/api/v1/events" {
            check(
                &server.send((&method, &path), &[], b""),
                &format!("{method} {path}"),
            );
        }
        check(
            &server.send((&method, &path), &[("Host", "evil.example")], b""),
            &path,
        );
    }
    check(&server.send(("PATCH", "/"), &[], b""), "PATCH");
    // The browser's viewer of PDF files needs styles of its own.
    let name = server.manuals()[0].replace('/', "%2F");
    let file = server.get(&format!("/api/v1/manuals/{name}/pdf"));
    assert_eq!(
        (file.status, file.header("x-content-type-options")),
        (200, Some("nosniff"))
    );
}

#[test]
fn only_named_origins_may_read_answers() {
    let sandbox = Sandbox::built_in();
    let settings = "[serve]\norigins = [\"https://wiki.example\"]\nhosts = [\"Manuals.example\"]\n";
    sandbox.write("ingest.toml", settings.as_bytes());
    let server = Server::start(sandbox, &[]);
    let from = |method: &str, origin: &str| {
        server.send((method, "/api/v1/about"), &[("Origin", origin)], b"")
    };
    let allowed = from("GET", "https://wiki.example");
    assert_eq!(allowed.status, 200);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://wiki.example")
    );
    let vary: Vec<_> = allowed.all("vary").collect();
    assert!(vary.contains(&"origin"), "{vary:?}");
    let asked = from("OPTIONS", "https://wiki.example");
    assert_eq!(asked.status, 204);
    let headers = asked.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization"), "{headers}");
    for other in ["https://wiki.example.evil", "http://wiki.example", "null"] {
        is_forbidden(&from("GET", other), "foreign-origin", other);
        is_forbidden(&from("OPTIONS", other), "foreign-origin", other);
    }
    let plain = server.get("/api/v1/about");
    assert_eq!(plain.header("access-control-allow-origin"), None);
    let named = server.send(("GET", "/"), &[("Host", "manuals.example")], b"");
    assert_eq!(named.status, 200);
}

#[test]
fn the_page_works_below_a_path() {
    let server = Server::start(
        Sandbox::built_in().with("INGEST_SERVE_BASE", "/manuals/"),
        &[],
    );
    assert!(server.url.ends_with("/manuals/"), "{}", server.url);
    for path in ["/manuals/", "/manuals", "/manuals/library", "/"] {
        let page = server.get(path).text();
        assert!(page.contains("<base href=\"/manuals/\">"), "{path}");
    }
    let page = server.get("/manuals/").text();
    let script = page
        .split("src=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert_eq!(server.get(&format!("/manuals/{script}")).status, 200);
    assert_eq!(server.get("/manuals/api/v1/about").status, 200);
    assert_eq!(server.get("/manualsapi/v1/about").status, 404);
    let foreign = server.send(
        ("GET", "/manuals/api/v1/about"),
        &[("Host", "evil.example")],
        b"",
    );
    is_forbidden(&foreign, "foreign-host", "below the path");
    let prefixed = |prefix: &str| {
        let headers = [("X-Forwarded-Prefix", prefix)];
        server.send(("GET", "/"), &headers, b"").text()
    };
    assert!(prefixed("/docs").contains("<base href=\"/docs/\">"));
    for bad in [
        "\"><script>",
        "//evil.example",
        "https://evil.example",
        "docs",
    ] {
        assert!(prefixed(bad).contains("<base href=\"/manuals/\">"), "{bad}");
    }
}

#[test]
fn names_of_manuals_are_no_paths() {
    let server = Server::with_pump(Sandbox::built_in());
    let copy = server.sandbox.write("copy.pdf", &pump());
    let path = copy.display().to_string().replace('/', "%2F");
    for name in [
        path.as_str(),
        "copy.pdf",
        "pump",
        "PUMP.PDF",
        "..%2Fpump.pdf",
        "%2Fetc%2Fpasswd",
    ] {
        let target = format!("/api/v1/manuals/{name}");
        assert_eq!(server.get(&target).problem(404), "no-such-manual", "{name}");
        assert_eq!(
            server.get(&format!("{target}/pdf")).problem(404),
            "no-such-manual",
            "{name}"
        );
        assert_eq!(
            server.delete(&target).problem(404),
            "no-such-manual",
            "{name}"
        );
        let search = server.get(&format!("/api/v1/search?q=valve&manual={name}"));
        assert_eq!(search.problem(404), "no-such-manual", "{name}");
    }
    assert_eq!(server.manuals(), ["pump.pdf"]);
}

#[test]
fn the_document_names_every_route_once() {
    let server = Server::start(Sandbox::built_in(), &[]);
    let document: Value = server.get("/api/v1/openapi.json").json(200);
    let mut ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
