//! An answer while it comes: its text, its citations and its facts so far.

use super::page_numbers::PageNumbers;
use super::reader::Reader;
use super::{Answer, Citation, ContextPage, Cut, Error, Event, Fact, Piece, facts};
use crate::chat::{self, Exchange};
use crate::vlm::Runner;
use crate::vlm::reply::FailureClass;

/// An answer while it comes.
pub(super) struct Draft<'a> {
    pages: &'a [ContextPage],
    numbers: PageNumbers,
    reader: Reader,
    pub(super) text: String,
    /// The numbers of the pages cited so far, in order of their first citation.
    cited: Vec<usize>,
    facts: Vec<Fact>,
    /// The text since the last citation, and the citations that follow it so far.
    open: (String, Vec<usize>),
}

impl<'a> Draft<'a> {
    pub(super) fn new(pages: &'a [ContextPage]) -> Self {
        let numbers = PageNumbers::of(pages);
        Self {
            pages,
            reader: Reader::new(numbers.clone()),
            numbers,
            text: String::new(),
            cited: Vec::new(),
            facts: Vec::new(),
            open: Default::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str, on_event: &dyn Fn(Event)) {
        let pieces = self.reader.push(text);
        self.add(pieces, on_event);
    }

    fn add(&mut self, pieces: Vec<Piece>, on_event: &dyn Fn(Event)) {
        for piece in pieces {
            match &piece {
                Piece::Text(text) => {
                    if !self.open.1.is_empty() && text.contains(char::is_alphanumeric) {
                        self.check();
                    }
                    self.open.0.push_str(text);
                    self.text.push_str(text);
                }
                Piece::Citation(n) => {
                    let space = if self.text.ends_with(char::is_whitespace) {
                        ""
                    } else {
                        " "
                    };
                    self.text.push_str(&format!("{space}[{n}]"));
                    self.open.1.push(*n);
                    if !self.cited.contains(n) {
                        self.cited.push(*n);
                    }
                }
            }
            on_event(Event::Piece(piece));
        }
    }

    /// Checks the text since the last citation against the pages cited behind it, or against all cited ones at the end.
    fn check(&mut self) {
        let (text, mut cited) = std::mem::take(&mut self.open);
        if cited.is_empty() {
            cited.clone_from(&self.cited);
        }
        let cited: Vec<&ContextPage> = cited.iter().filter_map(|n| self.page(*n)).collect();
        for fact in facts::check(&text, &cited) {
            if !self.facts.contains(&fact) {
                self.facts.push(fact);
            }
        }
    }

    /// The page with this number.
    fn page(&self, number: usize) -> Option<&'a ContextPage> {
        self.pages.get(self.numbers.position(number)?)
    }

    /// Why a failed answer ends where it does, if there is something of it.
    pub(super) fn cut_by(&self, failed: chat::Failed) -> Result<Cut, Error> {
        let cut = match failed.class {
            FailureClass::Repetition => Some(Cut::Repetition),
            FailureClass::Deadline => Some(Cut::Deadline),
            FailureClass::Truncated => Some(Cut::Length),
            _ => None,
        };
        let has_text = !self.text.is_empty();
        cut.filter(|_| has_text).ok_or(Error::NoAnswer {
            class: failed.class,
            why: failed.why,
        })
    }

    pub(super) fn finish(
        mut self,
        runner: &dyn Runner,
        cut: Option<Cut>,
        exchange: Option<Exchange>,
        on_event: &dyn Fn(Event),
    ) -> Answer {
        let rest = self.reader.finish();
        self.add(rest, on_event);
        self.check();
        let citations = self.cited.iter();
        let citations: Vec<Citation> = citations
            .filter_map(|n| Some(Citation::of(*n, self.page(*n)?)))
            .collect();
        Answer {
            found: self.reader.verdict() != Some(false) && !citations.is_empty(),
            answer: self.text.trim().to_owned(),
            citations,
            facts: self.facts,
            foreign_citations: self.reader.foreign,
            cut,
            tokens: exchange.and_then(|exchange| exchange.finish.completion_tokens),
            first_s: exchange.map(|exchange| exchange.ttft),
            total_s: exchange.map(|exchange| exchange.seconds),
            model: runner.card().model.clone(),
        }
    }
}
