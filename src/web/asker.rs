//! The vision-language model that answers questions, and how many at a time.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::config::Settings;
use crate::library;
use crate::vlm::{self, Runner};

/// Answers at a time; one more is refused.
const AT_A_TIME: usize = 2;

/// The model that answers, opened for the first question.
pub(super) struct Asker {
    runner: Mutex<Option<Arc<dyn Runner>>>,
    permits: Arc<Semaphore>,
    /// Passwords of protected files. Never printed.
    passwords: Vec<String>,
}

impl Asker {
    pub(super) fn new(passwords: &[String]) -> Self {
        Self {
            runner: Mutex::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            passwords: passwords.to_vec(),
        }
    }

    /// The right to answer one question, until it is dropped.
    ///
    /// # Errors
    /// [`Problem::busy`] if as many are answered as may be.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| Problem::busy())
    }

    /// The model, opened if it is not.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn runner(&self, settings: &Settings) -> Result<Arc<dyn Runner>, vlm::Error> {
        let mut open = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runner) = &*open {
            return Ok(Arc::clone(runner));
        }
        let memory = library::in_process_vlm_memory_limit(settings);
        let runner: Arc<dyn Runner> = vlm::open(&settings.describe, memory)?.into();
        Ok(Arc::clone(open.insert(runner)))
    }

    /// Forgets a model that failed: the next question opens it again.
    pub(super) fn forget(&self) {
        *self.runner.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Passwords of protected files.
    pub(super) fn passwords(&self) -> &[String] {
        &self.passwords
    }
}
