//! The sections of a page, as titles of the outline.

/// Marks the section that began on an earlier page.
const CONTINUED: &str = "… ";
/// Maximum bytes of the stored titles; a page on which more sections begin keeps the first ones.
const MAX_BYTES: usize = 8 << 10;

/// The sections of a page: stored as text, one title a line, the one that began earlier first and marked with `…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// The section that began on an earlier page and may go on here.
    pub continued: Option<String>,
    /// The sections that begin here, in reading order.
    pub begun: Vec<String>,
}

impl Sections {
    /// Reads the stored text.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines().peekable();
        let continued = lines.next_if(|line| line.starts_with(CONTINUED));
        Self {
            continued: continued.map(|line| line.replacen(CONTINUED, "", 1)),
            begun: lines.map(str::to_owned).collect(),
        }
    }

    /// The text to store; `None` if the page is in no section.
    pub fn to_text(&self) -> Option<String> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(
            self.continued
                .iter()
                .map(|title| format!("{CONTINUED}{title}")),
        );
        let mut bytes = 0;
        let fits = |title: &&String| {
            bytes += title.len() + 1;
            bytes <= MAX_BYTES
        };
        lines.extend(self.begun.iter().take_while(fits).cloned());
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The first section that begins here, otherwise the one that goes on.
    pub fn first(&self) -> Option<&str> {
        self.begun
            .first()
            .or(self.continued.as_ref())
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Sections;

    #[test]
    fn sections_are_read_as_they_were_stored() {
        let title = |title: &str| title.to_owned();
        for sections in [
            Sections::default(),
            Sections {
                continued: None,
                begun: vec![title("1 Filling"), title("2 Venting")],
            },
            Sections {
                continued: Some(title("1 Filling")),
                begun: Vec::new(),
            },
            Sections {
                continued: Some(title("1 Filling")),
                begun: vec![title("2 Venting")],
            },
        ] {
            let text = sections.to_text();
            assert_eq!(
                Sections::parse(text.as_deref().unwrap_or_default()),
                sections
            );
        }
        let many = Sections {
            continued: None,
            begun: vec!["x".repeat(99); 999],
        };
        assert!(many.to_text().unwrap().len() <= 8 << 10);
        assert_eq!(Sections::parse("3 Faults").first(), Some("3 Faults"));
    }
}
