//! Bytes, seconds and rates: parsing and formatting, done nowhere else; and the error of a setting out of range.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes; parses `40 GB`, `16MiB`, `1024`, displays as `3.2 GB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Error of parsing a byte size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid size `{0}`: expected a number and a unit, such as 40 GB or 512 MiB")]
pub struct ByteSizeError(String);

/// Setting whose value is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {reason}")]
pub struct Invalid {
    /// Key within its section.
    pub key: &'static str,
    /// The range, as in `must be at least 1`.
    pub reason: &'static str,
}

const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let invalid = || ByteSizeError(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| {
                lower
                    .strip_suffix(unit)
                    .map(|n| (n.trim_end().to_owned(), *factor))
            })
            .unwrap_or((lower, 1));
        let value: f64 = number.parse().map_err(|_| invalid())?;
        if !(value.is_finite() && value >= 0.0) {
            return Err(invalid());
        }
        Ok(Self((value * factor as f64) as u64))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a number of bytes, or a text such as \"40 GB\""
        )]
        enum Input {
            Number(u64),
            Text(String),
        }
        match Input::deserialize(deserializer)? {
            Input::Number(bytes) => Ok(Self(bytes)),
            Input::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.0} KB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.0} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

/// A duration in seconds; displays as `840 ms`, `12.3 s`, `4 min 05 s`, `2 h 10 min`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f64())
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.round() as u64;
        match self.0 {
            s if s < 1.0 => write!(f, "{:.0} ms", s * 1e3),
            s if s < 100.0 => write!(f, "{s:.1} s"),
            s if s < 3600.0 => write!(f, "{} min {:02} s", whole / 60, whole % 60),
            _ => write!(f, "{} h {:02} min", whole / 3600, whole % 3600 / 60),
        }
    }
}

/// Throughput in pages per second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct PagesPerSecond(pub f64);

impl PagesPerSecond {
    /// Throughput of `pages` in `time`; 0 if `time` is zero.
    pub fn over(pages: u32, time: Duration) -> Self {
        Self(if time.is_zero() {
            0.0
        } else {
            f64::from(pages) / time.as_secs_f64()
        })
    }
}

impl fmt::Display for PagesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages/s", three_digits(self.0))
    }
}

/// A rate with two or three digits: `0.05`, `1.85`, `18.5`, `185`.
pub fn three_digits(rate: f64) -> String {
    let decimals = match rate {
        rate if rate < 0.1 => 3,
        rate if rate < 9.995 => 2,
        rate if rate < 99.95 => 1,
        _ => 0,
    };
    format!("{rate:.decimals$}")
}

/// A page count with its noun: `1 page`, `53 pages`.
pub fn pages(count: impl Into<u64>) -> String {
    counted(count, "page")
}

/// A count with its noun, which is regular: `1 duplicate`, `2 duplicates`.
pub fn counted(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_parse_and_display() {
        assert_eq!("40 GB".parse(), Ok(ByteSize(40_000_000_000)));
        assert_eq!("1.5MiB".parse(), Ok(ByteSize(1_572_864)));
        assert_eq!("1 TiB".parse(), Ok(ByteSize(1 << 40)));
        assert_eq!("12".parse(), Ok(ByteSize(12)));
        assert!("forty".parse::<ByteSize>().is_err());
        assert!("-1 GB".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize(3_200_000_000).to_string(), "3.2 GB");
    }

    #[test]
    fn one_page_is_singular() {
        assert_eq!([0_u32, 1, 2].map(pages), ["0 pages", "1 page", "2 pages"]);
    }

    #[test]
    fn rates_have_two_or_three_digits() {
        let shown = [0.05, 0.5, 1.857, 18.576_366, 99.4, 185.76].map(three_digits);
        assert_eq!(shown, ["0.050", "0.50", "1.86", "18.6", "99.4", "186"]);
    }

    #[test]
    fn invalid_sizes_name_what_is_expected() {
        let size = |json: &str| serde_json::from_str::<ByteSize>(json).map_err(|e| e.to_string());
        assert_eq!(size("7"), Ok(ByteSize(7)));
        assert_eq!(size("\"1 KB\""), Ok(ByteSize(1000)));
        for wrong in ["-1", "true", "1.5", "[]"] {
            assert!(
                size(wrong).unwrap_err().contains("such as \"40 GB\""),
                "{wrong}"
            );
        }
    }

    #[test]
    fn seconds_display_in_readable_units() {
        assert_eq!(Seconds(0.84).to_string(), "840 ms");
        assert_eq!(Seconds(245.0).to_string(), "4 min 05 s");
        assert_eq!(Seconds(7800.0).to_string(), "2 h 10 min");
    }
}
