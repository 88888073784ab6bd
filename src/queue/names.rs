//! Names of streams, buckets and subjects.

use super::Error;

/// The stream of the items.
pub(super) const WORK: &str = "ingest-work";
/// The stream of the results.
pub(super) const RESULTS: &str = "ingest-results";
/// The object store of the files.
pub(super) const FILES: &str = "ingest-files";
/// Buckets of state.
pub(super) const RUNS: &str = "ingest-runs";
pub(super) const WORKERS: &str = "ingest-workers";
pub(super) const LEADS: &str = "ingest-leads";

/// Maximum length of a name.
const MAX_NAME: usize = 128;

/// Checks one name: a token of a subject.
///
/// # Errors
/// [`Error::Name`].
pub(super) fn check(name: &str) -> Result<(), Error> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let why = match name {
        "" => "it is empty",
        name if name.len() > MAX_NAME => "it has more than 128 characters",
        name if !name.chars().all(is_letter) => "it has other characters than A-Za-z0-9_-",
        _ => return Ok(()),
    };
    Err(Error::Name {
        name: name.to_owned(),
        why,
    })
}

/// Checks a key of a bucket: names joined by dots.
///
/// # Errors
/// [`Error::Name`].
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    key.split('.').try_for_each(check)
}

/// Checks the digest of a file.
///
/// # Errors
/// [`Error::Name`].
pub(super) fn check_digest(digest: &str) -> Result<(), Error> {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if digest.len() == 64 && digest.chars().all(is_digit) {
        return Ok(());
    }
    Err(Error::Name {
        name: digest.to_owned(),
        why: "it is no SHA-256 in lowercase hexadecimal digits",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_subjects() {
        for name in ["a", "A-b_9", &"x".repeat(128)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "a.b", "*", ">", "a b", "ä", &"x".repeat(129)] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check_key("run.a.m.3").is_ok());
        for key in ["", "run.", ".run", "run.*", "run..a"] {
            assert!(check_key(key).is_err(), "{key}");
        }
        assert!(check_digest(&"0a".repeat(32)).is_ok());
        assert!(check_digest(&"0A".repeat(32)).is_err());
    }
}
