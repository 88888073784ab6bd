//! Notes about pages: kept until a manual was read, so that many pages with the same note are one line.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::page::PageError;
use crate::render::Undrawn;

/// What the user must know of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageNote {
    /// It failed.
    Failed(PageError),
    /// Part of it could not be drawn.
    Incomplete {
        /// Whether nothing was drawn.
        blank: bool,
        /// What could not be drawn.
        undrawn: Undrawn,
    },
    /// Its text layer says something else than the page, and was left out.
    UnreadableText,
}

/// A note and its pages.
type NotedPages = (PageNote, Vec<u32>);

/// Notes by manual.
#[derive(Default)]
pub(super) struct Notes(Mutex<BTreeMap<usize, Vec<NotedPages>>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<NotedPages>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a note about page `number` of a manual.
    pub(super) fn add(&self, manual: usize, number: u32, note: PageNote) {
        let mut notes = self.lock();
        let of_manual = notes.entry(manual).or_default();
        match of_manual.iter_mut().find(|(known, _)| *known == note) {
            Some((_, pages)) => pages.push(number),
            None => of_manual.push((note, vec![number])),
        }
    }

    /// The manuals that have notes.
    pub(super) fn manuals(&self) -> Vec<usize> {
        self.lock().keys().copied().collect()
    }

    /// Takes the notes of a manual.
    pub(super) fn take(&self, manual: usize) -> Vec<NotedPages> {
        self.lock().remove(&manual).unwrap_or_default()
    }
}
