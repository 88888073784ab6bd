//! The ways in which a page may fail to be described.

use std::fmt;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// It said the same again and again.
    Repetition,
    /// Its tokens ran out before anything was whole.
    Truncated,
    /// It thought and said nothing.
    Thinking,
    /// It said nothing at all.
    Empty,
    /// No words.
    Gibberish,
    /// Too few words.
    TooBrief,
    /// No JSON to be found.
    Unparsable,
    /// The server left the picture out.
    ImageDropped,
    /// Asked with others, its number was missing, doubled, or it was said to be the same as another.
    Mislabelled,
    /// The same answer as for other pages.
    SameForAll,
    /// The model no longer said the same of a page that it had described before.
    State,
    /// The server failed, or went away.
    Server,
    /// It took too long.
    Deadline,
    /// It could not be shown to the model.
    Unseen,
}

impl FailureClass {
    /// Its name, as it is kept and shown.
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
            Self::State => "state",
            Self::Server => "server",
            Self::Deadline => "deadline",
            Self::Unseen => "unseen",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
