//! The key of the queue: read from the environment or a file, never printed.

use async_nats::ConnectOptions;

use super::address::is_remote;
use super::{Config, Error};

/// Environment variable of the key; takes precedence over the file.
const KEY_VARIABLE: &str = "INGEST_QUEUE_KEY";
/// First line of a `.creds` file.
const CREDENTIALS: &str = "-----BEGIN NATS USER JWT-----";
/// Length of the seed of an nkey.
const SEED_LENGTH: usize = 58;

/// What a user shows the server. Never shown elsewhere: it has no `Debug`.
pub(super) enum Key {
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// Seed of an Ed25519 key: signs a challenge of the server.
    Nkey(String),
    /// Text of a `.creds` file: a JWT, and a seed that signs a challenge of the server.
    Credentials(String),
}

impl Key {
    /// The key of the environment or the file; `None` without one.
    ///
    /// # Errors
    /// [`Error::Key`] if the file cannot be read.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, Error> {
        let text = match (std::env::var(KEY_VARIABLE), &config.key_file) {
            (Ok(text), _) if !text.trim().is_empty() => text,
            (_, Some(file)) => std::fs::read_to_string(file).map_err(|cause| Error::Key {
                why: format!("{}: {cause}", file.display()),
            })?,
            _ => return Ok(None),
        };
        Ok(Self::parse(text.trim()))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_seed = text.len() == SEED_LENGTH
            && text.starts_with("SU")
            && text.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7'));
        Some(match text.split_once(':') {
            _ if text.is_empty() => return None,
            // The client wants the last line complete.
            _ if text.contains(CREDENTIALS) => Self::Credentials(format!("{text}\n")),
            _ if is_seed => Self::Nkey(text.to_owned()),
            Some((user, password)) => Self::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            },
            None => Self::Token(text.to_owned()),
        })
    }

    /// The first address to which it would be sent unencrypted over a network.
    pub(super) fn exposed_to<'a>(&self, addresses: &'a [String]) -> Option<&'a String> {
        let is_open = |address: &&String| address.starts_with("nats://") && is_remote(address);
        addresses.iter().find(|one| self.is_sent() && is_open(one))
    }

    /// Whether the key itself is sent, not just a signature.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self, Self::Password { .. } | Self::Token(_))
    }

    /// Options of a connection with this key.
    ///
    /// # Errors
    /// [`Error::Key`] if credentials are not complete.
    pub(super) fn options(self) -> Result<ConnectOptions, Error> {
        let options = ConnectOptions::new();
        Ok(match self {
            Self::Password { user, password } => options.user_and_password(user, password),
            Self::Token(token) => options.token(token),
            Self::Nkey(seed) => options.nkey(seed),
            Self::Credentials(text) => options.credentials(&text).map_err(|_| Error::Key {
                why: "the credentials lack the JWT or the seed".to_owned(),
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        let seed = format!("SU{}", "A".repeat(56));
        for (text, expected) in [
            ("me:pass:word", "password"),
            ("s3cret", "token"),
            (&seed, "nkey"),
            ("-----BEGIN NATS USER JWT-----\nx", "credentials"),
        ] {
            let form = match Key::parse(text).unwrap() {
                Key::Password { user, password } => {
                    assert_eq!((user.as_str(), password.as_str()), ("me", "pass:word"));
                    "password"
                }
                Key::Token(_) => "token",
                Key::Nkey(_) => "nkey",
                Key::Credentials(_) => "credentials",
            };
            assert_eq!(form, expected);
        }
        assert!(Key::parse("").is_none());
    }

    #[test]
    fn only_what_is_sent_needs_encryption() {
        let addresses = ["tls://a", "nats://127.0.0.1", "nats://b"].map(str::to_owned);
        let token = Key::parse("s3cret").unwrap();
        assert_eq!(token.exposed_to(&addresses), Some(&addresses[2]));
        assert_eq!(token.exposed_to(&addresses[..2]), None);
        let nkey = Key::parse(&format!("SU{}", "A".repeat(56))).unwrap();
        assert_eq!(nkey.exposed_to(&addresses), None);
    }
}
