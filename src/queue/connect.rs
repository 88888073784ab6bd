//! Connecting: the options of a connection, and the name of what prevents one.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::AccountErrorKind;
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};

use super::events::Events;
use super::failure::{Failure, from_server};
use super::key::Key;
use super::{Config, Error};

/// The oldest server that the tests were run with.
const MINIMUM: (u32, u32) = (2, 14);
const MINIMUM_VERSION: &str = "2.14";
/// Maximum time to connect to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that answers none of two such pings counts as gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum pause between two attempts to connect again, as a power of two of milliseconds.
const MAX_PAUSE: usize = 10;
/// Attempts to learn whether JetStream is there, with pauses of [`PAUSE`]: a cluster that starts has no leader yet.
const ATTEMPTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(200);
/// What a server answers that has it, for others.
const DISABLED: [ErrorCode; 2] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
];

/// Connects to the first server that answers.
///
/// # Errors
/// See [`Queue::connect`](super::Queue::connect).
pub(super) async fn connect(config: &Config, events: &Arc<Events>) -> Result<Client, Error> {
    let location = config.url.to_string();
    let key = Key::read(config)?;
    let has_key = key.is_some();
    let options = options(config, key, events)?;
    let addresses = config.url.addresses().iter();
    let addresses: Result<Vec<ServerAddr>, _> = addresses.map(|one| one.parse()).collect();
    let addresses = addresses.map_err(|cause| Error::Unreachable {
        location: location.clone(),
        why: cause.to_string(),
    })?;
    let client = options.connect(addresses).await;
    let client = client.map_err(|cause| refused(&cause, has_key, location.clone()))?;
    let found = client.server_info().version;
    if version(&found) < MINIMUM {
        return Err(Error::TooOld {
            location,
            found,
            minimum: MINIMUM_VERSION,
        });
    }
    Ok(client)
}

fn options(
    config: &Config,
    key: Option<Key>,
    events: &Arc<Events>,
) -> Result<ConnectOptions, Error> {
    let addresses = config.url.addresses();
    let exposed = key.as_ref().and_then(|key| key.exposed_to(addresses));
    if let Some(address) = exposed
        && !config.key_over_plain
    {
        return Err(Error::UnencryptedKey {
            location: address.clone(),
        });
    }
    let is_encrypted = addresses.iter().any(|one| one.starts_with("tls://"));
    let is_sent = key.as_ref().is_some_and(Key::is_sent);
    let mut options = match key {
        Some(key) => key.options()?,
        None => ConnectOptions::new(),
    };
    if is_sent && !is_encrypted && !config.key_over_plain {
        // Servers of the cluster on other machines, which this one names.
        options = options.ignore_discovered_servers();
    }
    if let Some(file) = &config.ca_file {
        check_certificates(file)?;
        options = options.add_root_certificates(file.clone());
    }
    let events = events.clone();
    Ok(options
        .name("ingest")
        .require_tls(is_encrypted)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|attempt| match attempt {
            0 | 1 => Duration::ZERO,
            _ => Duration::from_millis(1 << attempt.min(MAX_PAUSE)),
        })
        .event_callback(move |event| {
            let events = events.clone();
            async move { events.record(&event) }
        }))
}

/// Checks that a file contains certificates: the client would take an empty one.
fn check_certificates(file: &Path) -> Result<(), Error> {
    let invalid = |why: String| Error::Certificate {
        file: file.to_owned(),
        why,
    };
    let all = CertificateDer::pem_file_iter(file).map_err(|cause| invalid(cause.to_string()))?;
    let all: Result<Vec<_>, _> = all.collect();
    match all {
        Ok(all) if all.is_empty() => Err(invalid("it contains no certificate (PEM)".to_owned())),
        Ok(_) => Ok(()),
        Err(cause) => Err(invalid(cause.to_string())),
    }
}

/// Names what prevents a connection.
fn refused(error: &ConnectError, has_key: bool, location: String) -> Error {
    let why = last_cause(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation if has_key => Error::Unauthorized {
            location,
            why: "it is wrong".to_owned(),
        },
        ConnectErrorKind::AuthorizationViolation => Error::Unauthorized {
            location,
            why: "there is none, and the server wants one".to_owned(),
        },
        ConnectErrorKind::Authentication => Error::Key {
            why: "it is neither a valid seed of an nkey nor valid credentials".to_owned(),
        },
        ConnectErrorKind::Tls => Error::Untrusted { location, why },
        ConnectErrorKind::TimedOut => Error::Unreachable {
            location,
            why: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        },
        _ => match encryption(error) {
            Some(why) => Error::Untrusted { location, why },
            None => Error::Unreachable { location, why },
        },
    }
}

/// The error of the encryption behind an error, in words.
fn encryption(error: &ConnectError) -> Option<String> {
    let cause = error.source()?.downcast_ref::<std::io::Error>()?;
    let cause = cause.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match cause {
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS; write nats:// if that is intended".to_owned()
        }
        cause => cause.to_string(),
    })
}

fn last_cause(error: &dyn StdError) -> String {
    match error.source() {
        Some(source) => last_cause(source),
        None => error.to_string(),
    }
}

/// Major and minor number of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next())
}

/// Whether the account of the user has JetStream; waits for the leader of a cluster that has just started.
///
/// # Errors
/// [`Failure::NoStream`] if there is none, [`Failure::Away`].
pub(super) async fn find_jetstream(context: &Context) -> Result<(), Failure> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        let Err(error) = context.query_account().await else {
            return Ok(());
        };
        let failure = match error.kind() {
            AccountErrorKind::JetStream(inner) if DISABLED.contains(&inner.error_code()) => {
                Failure::NoStream
            }
            AccountErrorKind::JetStream(inner) => from_server(&inner),
            _ => error.into(),
        };
        if matches!(failure, Failure::NoStream)
            || attempts.next().is_none()
            || !failure.is_passing()
        {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("2.9.25") < MINIMUM);
        assert!(version("2.14.0-RC.1") >= MINIMUM);
        assert!(version("3.0.0") >= MINIMUM);
        assert!(version("") < MINIMUM);
        let (major, minor) = MINIMUM;
        assert_eq!(MINIMUM_VERSION, format!("{major}.{minor}"));
    }
}
