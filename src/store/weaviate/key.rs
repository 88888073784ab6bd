//! The API key: where it comes from, whom it may be shown. Never printed.

use std::net::IpAddr;

use reqwest::header::HeaderValue;

use crate::store::{Config, Error};

/// Where the key is looked for first.
const VARIABLE: &str = "WEAVIATE_API_KEY";

/// The header that carries the key of a configuration; none when there is no key.
///
/// # Errors
/// When its file cannot be read, it is no text for a header, or it would go unencrypted to another machine.
pub(super) fn header(config: &Config, nodes: &[String]) -> Result<Option<HeaderValue>, Error> {
    let Some(key) = key(config)? else {
        return Ok(None);
    };
    if !config.key_over_http
        && let Some(node) = nodes.iter().find(|node| is_in_the_clear(node))
    {
        return Err(Error::KeyInTheClear { at: node.clone() });
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Error::open(&nodes[0], "the API key holds letters that no key has"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn key(config: &Config) -> Result<Option<String>, Error> {
    let key = match (std::env::var(VARIABLE), &config.key_file) {
        (Ok(key), _) if !key.trim().is_empty() => key,
        (_, Some(file)) => std::fs::read_to_string(file)
            .map_err(|cause| Error::open(&file.display().to_string(), &cause.to_string()))?,
        _ => return Ok(None),
    };
    let key = key.trim();
    Ok((!key.is_empty()).then(|| key.to_owned()))
}

/// Whether what is sent there can be read on the way.
fn is_in_the_clear(node: &str) -> bool {
    !node.to_ascii_lowercase().starts_with("https://") && !is_here(node)
}

/// Whether a node is on this machine.
pub(super) fn is_here(node: &str) -> bool {
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
    fn a_key_goes_in_the_clear_only_when_that_is_wanted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a-key\n").unwrap();
        let node = "http://weaviate.example:8080";
        let mut config = Config::at(node.parse().unwrap());
        config.key_file = Some(file.path().to_owned());
        let nodes = [node.to_owned()];
        assert!(matches!(
            header(&config, &nodes),
            Err(Error::KeyInTheClear { .. })
        ));
        config.key_over_http = true;
        let sent = header(&config, &nodes).unwrap().unwrap();
        assert!(sent.is_sensitive() && !format!("{sent:?}").contains("a-key"));
    }

    #[test]
    fn loopback_and_tls_are_safe() {
        for safe in [
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:8080",
            "https://weaviate.example",
        ] {
            assert!(!is_in_the_clear(safe), "{safe}");
        }
        for open in [
            "http://10.0.0.7:8080",
            "http://localhost.example",
            "http://weaviate.example",
        ] {
            assert!(is_in_the_clear(open), "{open}");
        }
    }
}
