//! Failure classes of page descriptions.

use std::fmt;

/// Reason why a page has no valid description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// The answer repeats itself.
    Repetition,
    /// `max_tokens` was reached before any field was complete.
    Truncated,
    /// Reasoning without an answer.
    Thinking,
    /// Empty answer.
    Empty,
    /// Title and summary are mostly symbols, or hold a word of more than 60 characters.
    Gibberish,
    /// Title and summary are too short.
    TooBrief,
    /// The answer contains no JSON.
    Unparsable,
    /// The prompt has fewer tokens than its images need, or the answer states that there is no image.
    ImageDropped,
    /// Among several pages in a request: its number is missing or duplicate, or it refers to another page.
    Mislabelled,
    /// The same description as for other pages.
    SameForAll,
    /// The model is degraded: it no longer gives the same answer for a page described before.
    Degraded,
    /// The server failed, refused the page or closed the connection, but answers other requests.
    Server,
    /// Time limit exceeded.
    Deadline,
    /// No page image could be sent to the model.
    NotSent,
}

impl FailureClass {
    /// Name as stored and displayed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repetition => "repetition",
            Self::Truncated => "truncated",
            Self::Thinking => "thinking",
            Self::Empty => "empty",
            Self::Gibberish => "gibberish",
            Self::TooBrief => "too-brief",
            Self::Unparsable => "unparsable",
            Self::ImageDropped => "image-dropped",
            Self::Mislabelled => "mislabelled",
            Self::SameForAll => "same-for-all",
            Self::Degraded => "state",
            Self::Server => "server",
            Self::Deadline => "deadline",
            Self::NotSent => "unseen",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
