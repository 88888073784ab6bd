//! Endless repetition, seen while an answer comes.

/// Copies in a row that make a loop …
const COPIES: usize = 4;
/// … of at most so many bytes each …
const PERIOD: usize = 480;
/// … and at least so many together.
const SPAN: usize = 192;
/// A line that comes so often …
const TIMES: usize = 8;
/// … among the last lines makes a loop, too.
const LINES: usize = 40;
/// A line shorter than this says nothing, such as `},`.
const SHORT: usize = 6;
/// Bytes between two looks.
const STRIDE: usize = 48;

/// Reads along and tells when the answer goes round in circles.
#[derive(Debug, Default)]
pub struct RepetitionDetector {
    text: String,
    looked: usize,
}

impl RepetitionDetector {
    /// Takes the next words; tells whether the answer has begun to repeat itself without end.
    pub fn push(&mut self, words: &str) -> bool {
        self.text.push_str(words);
        if self.text.len() < self.looked + STRIDE {
            return false;
        }
        self.looked = self.text.len();
        circles(self.text.as_bytes()) || same_line(&self.text)
    }

    /// Everything that came.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Whether the end of some text is one phrase, again and again.
fn circles(text: &[u8]) -> bool {
    let equal_to = |period: usize| {
        let span = (period * COPIES).max(SPAN);
        let tail = text.len().checked_sub(span).map(|from| &text[from..]);
        tail.is_some_and(|tail| tail[period..] == tail[..tail.len() - period])
    };
    (1..=PERIOD).any(equal_to)
}

/// Whether one line comes too often among the last ones; a line break within a JSON string counts.
fn same_line(text: &str) -> bool {
    let lines = text.rsplit('\n').flat_map(|line| line.rsplit("\\n"));
    let lines: Vec<String> = lines
        .take(LINES)
        .map(|line| line.trim().to_lowercase())
        .filter(|line| line.len() >= SHORT && line.chars().any(char::is_alphanumeric))
        .collect();
    let times = |line: &String| lines.iter().filter(|other| *other == line).count();
    lines.iter().any(|line| times(line) >= TIMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that were read before the detector spoke; none when it never did.
    fn caught(text: &str) -> Option<usize> {
        let mut detector = RepetitionDetector::default();
        let mut read = 0;
        for piece in text.as_bytes().chunks(5) {
            read += piece.len();
            if detector.push(std::str::from_utf8(piece).unwrap()) {
                return Some(read);
            }
        }
        None
    }

    #[test]
    fn circles_are_caught_soon() {
        let dots = format!("Contents {}", ".".repeat(5_000));
        assert!(caught(&dots).unwrap() < 300);
        let phrase = "the valve is open and the pump is running and ".repeat(100);
        assert!(caught(&phrase).unwrap() < 400);
        let rows: String = (0..200)
            .map(|n| format!("| row of the table |\n{n}\n"))
            .collect();
        assert!(caught(&rows).unwrap() < 400);
    }

    #[test]
    fn honest_text_is_left_alone() {
        let list: String = (0..60)
            .map(|n| format!("{{\"code\": \"E-{n}\", \"says\": \"fault {n}\"}},\n"))
            .collect();
        assert_eq!(caught(&list), None);
        assert_eq!(
            caught("no no no no, that is not a loop yet, is it? no no"),
            None
        );
        let json = "},\n{\n},\n{\n".repeat(30);
        assert_eq!(caught(&json[..150]), None);
    }
}
