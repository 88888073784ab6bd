//! Spelling of store addresses: what is a server, what is a file, and what is neither.

use std::net::IpAddr;
use std::path::Path;

/// Schemes of URLs that name a file.
const FILE_SCHEMES: [&str; 3] = ["file", "sqlite", "sqlite3"];

pub(super) fn is_server(text: &str) -> bool {
    let starts = |scheme: &str| {
        text.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    starts("http://") || starts("https://")
}

/// Parses one server address: scheme, host and port. Errors never repeat a password.
pub(super) fn parse_server(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    match rest {
        _ if !is_server(text) => {
            Err("a list of addresses must contain servers only, http:// or https://".to_owned())
        }
        rest if rest.contains('@') => {
            Err("an address contains a password; put the key in WEAVIATE_API_KEY".to_owned())
        }
        _ if host.is_empty() || host.starts_with(':') => {
            Err("a server address has no host".to_owned())
        }
        rest if rest != host => Err(format!(
            "a server address must end with its host or port; write `{scheme}://{host}`"
        )),
        _ if !has_valid_port(host) => Err(format!(
            "the port of `{text}` must be a number up to 65535; write `{scheme}://{}:8080`",
            split_port(host).0
        )),
        _ => Ok(text.to_owned()),
    }
}

fn has_valid_port(host: &str) -> bool {
    let port = split_port(host).1;
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Host and port; the colons of an IPv6 address are in brackets.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (host, None),
    }
}

/// Checks that a text is the path of a file, and no server that is spelt wrong. Errors never repeat a password.
pub(super) fn check_file(text: &str) -> Result<(), String> {
    let path = Path::new(text);
    if path.is_dir() || text.ends_with('/') {
        let file = path.join("library.db");
        let file = file.display();
        return Err(format!(
            "`{text}` is a folder, a store is a file; write `{file}`"
        ));
    }
    if path.exists() {
        return Ok(());
    }
    match server_meant(text) {
        _ if text.contains('@') && text.contains("//") => {
            Err("an address must begin with http:// or https://, without a password".to_owned())
        }
        Some(Meant::Server(address)) => Err(format!(
            "`{text}` is not the address of a server; write `{address}`"
        )),
        Some(Meant::File(file)) => Err(format!("a file is given by its path; write `{file}`")),
        None => Ok(()),
    }
}

/// What was probably meant.
enum Meant {
    Server(String),
    File(String),
}

fn server_meant(text: &str) -> Option<Meant> {
    let lower = text.to_ascii_lowercase();
    // A misspelt scheme: `http:/host`, `http//host`, `http:host`.
    for scheme in ["https", "http"] {
        let rest = lower.strip_prefix(scheme).and_then(|rest| {
            let host = rest.trim_start_matches([':', '/']);
            (rest.len() > host.len()).then_some(host)
        });
        if let Some(host) = rest {
            return Some(Meant::Server(format!("{scheme}://{}", host_of(host))));
        }
    }
    if let Some((scheme, rest)) = lower.split_once("://") {
        let is_scheme = scheme.len() > 1
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if FILE_SCHEMES.contains(&scheme) {
            return Some(Meant::File(text[scheme.len() + 3..].to_owned()));
        }
        // The port of another protocol is not the one of HTTP.
        let host = split_port(host_of(rest)).0.to_owned();
        return is_scheme.then(|| Meant::Server(format!("http://{host}:8080")));
    }
    let host = host_of(&lower);
    let (name, port) = split_port(host);
    let is_host = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    let has_port = is_host && port.is_some_and(|port| port.parse::<u16>().is_ok());
    let is_local = name == "localhost" || name.parse::<IpAddr>().is_ok();
    match (has_port, is_local && port.is_none()) {
        (true, _) => Some(Meant::Server(format!("http://{host}"))),
        (_, true) => Some(Meant::Server(format!("http://{host}:8080"))),
        _ if name.ends_with(".weaviate.cloud") => Some(Meant::Server(format!("https://{host}"))),
        _ => None,
    }
}

fn host_of(text: &str) -> &str {
    text.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_servers_are_named_with_the_right_spelling() {
        for (typed, right) in [
            ("localhost:8080", "http://localhost:8080"),
            ("localhost:8080/v1", "http://localhost:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            (
                "weaviate.example.com:443",
                "http://weaviate.example.com:443",
            ),
            ("localhost", "http://localhost:8080"),
            ("192.168.1.4", "http://192.168.1.4:8080"),
            (
                "abc.c0.europe-west3.gcp.weaviate.cloud",
                "https://abc.c0.europe-west3.gcp.weaviate.cloud",
            ),
            ("ftp://host/library", "http://host:8080"),
            ("grpc://host:50051", "http://host:8080"),
            ("http:/host:8080", "http://host:8080"),
            ("http//host", "http://host"),
            ("HTTPS:host", "https://host"),
            ("file:///data/s.db", "/data/s.db"),
            ("sqlite:///S.db", "/S.db"),
        ] {
            let why = check_file(typed).unwrap_err();
            assert!(
                why.ends_with(&format!("; write `{right}`")),
                "{typed}: {why}"
            );
        }
        for (typed, right) in [
            ("http://host/v1", "http://host"),
            ("https://host:8080/v1?x=1", "https://host:8080"),
            ("http://host:http", "http://host:8080"),
            ("http://host:99999", "http://host:8080"),
        ] {
            let why = parse_server(typed).unwrap_err();
            assert!(
                why.ends_with(&format!("; write `{right}`")),
                "{typed}: {why}"
            );
        }
        for typed in [
            "ftp://u:secret@host",
            "http://u:secret@host/v1",
            "http://:8080",
        ] {
            let checked = [check_file(typed).err(), parse_server(typed).err()];
            for why in checked.into_iter().flatten() {
                assert!(!why.contains("secret"), "{why}");
            }
        }
    }

    #[test]
    fn paths_are_files_but_folders_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert_eq!(
            check_file(&path),
            Err(format!(
                "`{path}` is a folder, a store is a file; write `{path}/library.db`"
            ))
        );
        assert!(check_file("new-folder/").is_err());
        let odd = format!("{path}/localhost:8080");
        for file in [
            "",
            "library",
            "a:b.db",
            "C:/lib.db",
            "shelf/a,b.db",
            "100%.db",
            "host.example.com",
        ] {
            assert_eq!(check_file(file), Ok(()), "{file}");
        }
        std::fs::write(&odd, "").unwrap();
        assert_eq!(check_file(&odd), Ok(()), "an existing file");
    }
}
