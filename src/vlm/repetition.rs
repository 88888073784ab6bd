//! Repetition detector for streamed answers.

/// Number of consecutive copies that make a loop …
const MIN_COPIES: usize = 4;
/// … of at most this many bytes each …
const MAX_PERIOD: usize = 480;
/// … and at least this many bytes in total.
const MIN_LOOP_BYTES: usize = 192;
/// Number of equal lines that makes a loop as well …
const MIN_EQUAL_LINES: usize = 8;
/// … among this many last lines.
const LINE_WINDOW: usize = 40;
/// Bytes of a line below which it is ignored, such as `},`.
const MIN_LINE_BYTES: usize = 6;
/// Bytes between two checks.
const CHECK_INTERVAL: usize = 48;

/// Collects a streamed answer and detects endless repetition.
#[derive(Debug, Default)]
pub struct RepetitionDetector {
    text: String,
    checked_len: usize,
}

impl RepetitionDetector {
    /// Appends `chunk`; returns whether the answer now ends in a loop.
    pub fn push(&mut self, chunk: &str) -> bool {
        self.text.push_str(chunk);
        if self.text.len() < self.checked_len + CHECK_INTERVAL {
            return false;
        }
        self.checked_len = self.text.len();
        ends_in_copies(self.text.as_bytes()) || has_repeated_line(&self.text)
    }

    /// Consumes the detector and returns the whole text.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Whether the end of `text` consists of copies of one phrase.
fn ends_in_copies(text: &[u8]) -> bool {
    let has_period = |period: usize| {
        let span = (period * MIN_COPIES).max(MIN_LOOP_BYTES);
        let tail = text.len().checked_sub(span).map(|start| &text[start..]);
        tail.is_some_and(|tail| tail[period..] == tail[..tail.len() - period])
    };
    (1..=MAX_PERIOD).any(has_period)
}

/// Whether one line occurs too often among the last ones; an escaped line break within a JSON string also ends a line.
fn has_repeated_line(text: &str) -> bool {
    let lines = text.rsplit('\n').flat_map(|line| line.rsplit("\\n"));
    let lines: Vec<String> = lines
        .take(LINE_WINDOW)
        .map(|line| line.trim().to_lowercase())
        .filter(|line| line.len() >= MIN_LINE_BYTES && line.chars().any(char::is_alphanumeric))
        .collect();
    let count = |line: &String| lines.iter().filter(|other| *other == line).count();
    lines.iter().any(|line| count(line) >= MIN_EQUAL_LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of bytes after which the detector finds a loop; `None` if it finds none.
    fn detected_after(text: &str) -> Option<usize> {
        let mut detector = RepetitionDetector::default();
        let mut pushed = 0;
        for chunk in text.as_bytes().chunks(5) {
            pushed += chunk.len();
            if detector.push(std::str::from_utf8(chunk).unwrap()) {
                return Some(pushed);
            }
        }
        None
    }

    #[test]
    fn loops_are_detected_within_400_bytes() {
        let dots = format!("Contents {}", ".".repeat(5_000));
        assert!(detected_after(&dots).unwrap() < 300);
        let phrase = "the valve is open and the pump is running and ".repeat(100);
        assert!(detected_after(&phrase).unwrap() < 400);
        let rows: String = (0..200)
            .map(|n| format!("| row of the table |\n{n}\n"))
            .collect();
        assert!(detected_after(&rows).unwrap() < 400);
    }

    #[test]
    fn lists_and_short_repetitions_are_not_loops() {
        let list: String = (0..60)
            .map(|n| format!("{{\"code\": \"E-{n}\", \"says\": \"fault {n}\"}},\n"))
            .collect();
        assert_eq!(detected_after(&list), None);
        assert_eq!(
            detected_after("no no no no, that is not a loop yet, is it? no no"),
            None
        );
        let json = "},\n{\n},\n{\n".repeat(30);
        assert_eq!(detected_after(&json[..150]), None);
    }
}
