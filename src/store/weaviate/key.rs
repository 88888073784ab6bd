//! API key of the server: read from the environment or a file, sent encrypted by default, never printed.

use std::net::IpAddr;

use reqwest::header::HeaderValue;

use crate::store::{Config, Error};

/// Environment variable of the key; takes precedence over the file.
const KEY_VARIABLE: &str = "WEAVIATE_API_KEY";

/// The `Authorization` header; `None` without a key.
///
/// # Errors
/// [`Error::Open`] if the file cannot be read or the key is not a valid header, [`Error::UnencryptedKey`] if it would be sent
/// unencrypted to another machine.
pub(super) fn header(config: &Config, nodes: &[String]) -> Result<Option<HeaderValue>, Error> {
    let Some(key) = key(config)? else {
        return Ok(None);
    };
    if !config.key_over_http
        && let Some(node) = nodes.iter().find(|node| is_unencrypted(node))
    {
        return Err(Error::UnencryptedKey {
            location: node.clone(),
        });
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Error::open(&nodes[0], "the API key contains invalid characters"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn key(config: &Config) -> Result<Option<String>, Error> {
    let key = match (std::env::var(KEY_VARIABLE), &config.key_file) {
        (Ok(key), _) if !key.trim().is_empty() => key,
        (_, Some(file)) => std::fs::read_to_string(file)
            .map_err(|cause| Error::open(&file.display().to_string(), &cause.to_string()))?,
        _ => return Ok(None),
    };
    let key = key.trim();
    Ok((!key.is_empty()).then(|| key.to_owned()))
}

/// Whether a connection to this node is unencrypted and leaves this machine.
fn is_unencrypted(node: &str) -> bool {
    !node.to_ascii_lowercase().starts_with("https://") && !is_local(node)
}

/// Whether a node is on this machine.
pub(super) fn is_local(node: &str) -> bool {
    let url = reqwest::Url::parse(node);
    let host = url
        .as_ref()
        .ok()
        .and_then(reqwest::Url::host_str)
        .unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_sent_unencrypted_only_if_configured() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a-key\n").unwrap();
        let node = "http://weaviate.example:8080";
        let mut config = Config::new(node.parse().unwrap());
        config.key_file = Some(file.path().to_owned());
        let nodes = [node.to_owned()];
        assert!(matches!(
            header(&config, &nodes),
            Err(Error::UnencryptedKey { .. })
        ));
        config.key_over_http = true;
        let sent = header(&config, &nodes).unwrap().unwrap();
        assert!(sent.is_sensitive() && !format!("{sent:?}").contains("a-key"));
    }

    #[test]
    fn loopback_and_tls_count_as_encrypted() {
        for safe in [
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:8080",
            "https://weaviate.example",
        ] {
            assert!(!is_unencrypted(safe), "{safe}");
        }
        for open in [
            "http://10.0.0.7:8080",
            "http://localhost.example",
            "http://weaviate.example",
        ] {
            assert!(is_unencrypted(open), "{open}");
        }
    }
}
