//! The text model of a run: opened for the first text, and shared by the stages that embed text.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::Opener;
use crate::embed::{self, meaning::Meaning};

/// A model that is opened when it is first needed.
pub(super) struct TextModel {
    opener: Mutex<Option<Opener<'static, Meaning, embed::Error>>>,
    model: OnceLock<Box<Meaning>>,
}

impl TextModel {
    pub(super) fn new(opener: Opener<'static, Meaning, embed::Error>) -> Self {
        Self {
            opener: Mutex::new(Some(opener)),
            model: OnceLock::new(),
        }
    }

    /// The model.
    ///
    /// # Errors
    /// If it cannot be opened, or could not be when another stage tried.
    pub(super) fn get(&self) -> Result<&Meaning, embed::Error> {
        let mut opener = self.opener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = opener.take() {
            let model = open()?;
            return Ok(self.model.get_or_init(|| model));
        }
        let model = self.model.get();
        model
            .map(Box::as_ref)
            .ok_or_else(|| embed::Error::Model("the text model could not be opened".to_owned()))
    }
}
