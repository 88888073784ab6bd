//! Spelling of the address of a NATS server.

use std::net::IpAddr;

/// Parses one server address: scheme, host and port. Errors never repeat a password.
pub(super) fn parse_server(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    match rest {
        _ if text.contains('@') => {
            Err("an address contains a password; put the key in INGEST_QUEUE_KEY".to_owned())
        }
        _ if !["nats", "tls"].contains(&scheme.as_str()) => Err(format!(
            "`{text}` is not the address of a NATS server; write `nats://{}` or `tls://…`",
            with_port(text.rsplit_once("://").map_or(text, |(_, rest)| rest))
        )),
        _ if host.is_empty() || host.starts_with(':') => {
            Err("a server address has no host".to_owned())
        }
        rest if rest != host => Err(format!(
            "a server address must end with its host or port; write `{scheme}://{host}`"
        )),
        _ if !has_valid_port(host) => Err(format!(
            "the port of `{text}` must be a number up to 65535; write `{scheme}://{}:4222`",
            split_port(host).0
        )),
        _ => Ok(format!("{scheme}://{host}")),
    }
}

/// Whether the connection to an address leaves this machine.
pub(super) fn is_remote(address: &str) -> bool {
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let host = split_port(host)
        .0
        .trim_start_matches('[')
        .trim_end_matches(']');
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The host of a text that was meant as an address, with a port of NATS.
fn with_port(text: &str) -> String {
    let host = text.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    match split_port(host) {
        ("", _) => "127.0.0.1:4222".to_owned(),
        (_, Some(_)) if has_valid_port(host) => host.to_owned(),
        (name, _) => format!("{name}:4222"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_spelling_of_a_wrong_address_is_named() {
        for (typed, right) in [
            ("a:4222", "nats://a:4222"),
            ("a", "nats://a:4222"),
            ("http://a:9000/x", "nats://a:9000"),
        ] {
            let why = parse_server(typed).unwrap_err();
            assert!(why.contains(&format!("`{right}`")), "{why}");
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        for local in ["nats://127.0.0.1:4222", "nats://localhost", "tls://[::1]:1"] {
            assert!(!is_remote(local), "{local}");
        }
        for remote in ["nats://10.0.0.7", "nats://localhost.example:4222"] {
            assert!(is_remote(remote), "{remote}");
        }
    }
}
