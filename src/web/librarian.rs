//! The thread that owns the models and answers questions, one at a time.
//!
//! Models are not `Send`, and one search uses all cores; so requests send closures through a bounded queue and wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

use super::problem::Problem;
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, QueryWord, VisualWeight};
use crate::library::{self, Library, QueryModels};
use crate::search::{self, Found, Mode, Models, SearchRequest};
use crate::store::{Scope, TopK};
use crate::vectors::{MultiVector, Profile};

/// Questions that may wait; one more is refused.
const QUEUE: usize = 32;
/// Models are closed when nothing was asked for this long, if they open quickly: the text model holds some 50 MB.
const IDLE: Duration = Duration::from_secs(60);
/// Longest time of opening that a question may wait for.
const QUICK: Duration = Duration::from_millis(500);
/// Questions whose vectors are kept for their heat maps.
const KEPT_QUERIES: usize = 8;

/// Whether questions can be asked of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ModelState {
    /// It is being loaded.
    Loading,
    /// It answers.
    Ready,
    /// It cannot be loaded.
    Unavailable,
}

/// The embedding model of the library.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ModelStatus {
    /// Its name.
    pub(super) name: String,
    /// Whether it answers.
    pub(super) state: ModelState,
    /// Why it cannot be loaded.
    pub(super) reason: Option<String>,
    /// What can be done about it.
    pub(super) hints: Vec<String>,
}

type Task = Box<dyn FnOnce(&mut Desk) + Send>;

/// A question as the model sees it.
pub(super) struct EmbeddedQuery {
    /// Its vectors.
    pub(super) vectors: MultiVector,
    /// Its words and their vectors.
    pub(super) words: Vec<QueryWord>,
}

/// What the thread owns.
pub(super) struct Desk {
    settings: Settings,
    models: Option<(String, QueryModels)>,
    queries: VecDeque<(String, Arc<EmbeddedQuery>)>,
    /// Whether the models were opened in less than [`QUICK`].
    opens_quickly: bool,
}

impl Desk {
    /// The models of a collection; those of another one are closed first.
    pub(super) fn models(&mut self, profile: &Profile) -> &mut QueryModels {
        let kept = self.models.take().filter(|(id, _)| *id == profile.id);
        let models = kept.unwrap_or_else(|| {
            self.queries.clear();
            let models = QueryModels::new(&self.settings, profile);
            (profile.id.clone(), models)
        });
        &mut self.models.insert(models).1
    }

    /// Whether models are open.
    #[cfg(test)]
    pub(super) fn has_models(&self) -> bool {
        self.models.is_some()
    }

    fn open(&mut self, profile: &Profile) -> Result<(), embed::Error> {
        let models = self.models(profile);
        models.embedder()?;
        models.meaning().map(drop)
    }

    /// Searches a library for a text, in a mode.
    pub(super) fn search(
        &mut self,
        library: &Library,
        (text, mode): (&str, Mode),
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Found, Problem> {
        // Without the model, the words can still be searched.
        let visual_weight = match mode {
            Mode::Hybrid => {
                library::card_for_profile(&self.settings, &library.profile)?.visual_weight
            }
            _ => VisualWeight::EQUAL,
        };
        let request = SearchRequest {
            text,
            mode,
            scope,
            top_k,
            visual_weight,
        };
        Ok(search::search(
            &*library.store,
            self.models(&library.profile),
            &request,
        )?)
    }

    /// The vectors of a question; those of the last ones are kept.
    pub(super) fn query(
        &mut self,
        profile: &Profile,
        text: &str,
    ) -> Result<Arc<EmbeddedQuery>, Problem> {
        // Another model forgets the questions first.
        self.models(profile);
        if let Some((_, kept)) = self.queries.iter().find(|(known, _)| known == text) {
            return Ok(kept.clone());
        }
        let embedder = self.models(profile).embedder()?;
        let words = embedder.query_words(text)?;
        let vectors = embedder.embed_query(text)?;
        let embedded = Arc::new(EmbeddedQuery { vectors, words });
        self.queries.truncate(KEPT_QUERIES - 1);
        self.queries.push_front((text.to_owned(), embedded.clone()));
        Ok(embedded)
    }
}

/// The handle of the thread.
pub(super) struct Librarian {
    tasks: SyncSender<Task>,
    status: Mutex<ModelStatus>,
}

impl Librarian {
    /// Starts the thread.
    pub(super) fn start(settings: &Settings) -> std::io::Result<Self> {
        let (tasks, received) = sync_channel::<Task>(QUEUE);
        let status = ModelStatus {
            name: settings.embed.model.clone(),
            state: ModelState::Loading,
            reason: None,
            hints: Vec::new(),
        };
        let settings = settings.clone();
        let work = move || work(settings, &received);
        thread::Builder::new()
            .name("librarian".to_owned())
            .spawn(work)?;
        Ok(Self {
            tasks,
            status: Mutex::new(status),
        })
    }

    /// Whether the model answers.
    pub(super) fn status(&self) -> ModelStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs a task on the thread, after those that wait.
    ///
    /// # Errors
    /// [`Problem::busy`] when the queue is full, and the errors of the task.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Desk) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        let task = move |desk: &mut Desk| {
            // Nobody waits any more if the client went away: then there is nothing to do.
            if !answer.is_closed() {
                let _ = answer.send(task(desk));
            }
        };
        self.tasks
            .try_send(Box::new(task))
            .map_err(|_| Problem::busy())?;
        let lost = |_| Problem::internal("the question was lost");
        answered.await.map_err(lost)?
    }

    /// Runs a task on the thread, after those that wait, and waits for it; `None` if it ended with a panic. Not for threads
    /// that serve connections.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::channel();
        let task = move |desk: &mut Desk| drop(answer.send(task(desk)));
        self.tasks.send(Box::new(task)).ok()?;
        answered.recv().ok()
    }

    /// Loads the models of a library, and calls `on_change` with each new status. Without a library there is nothing to load.
    pub(super) fn load(
        self: &Arc<Self>,
        library: Option<Arc<Library>>,
        on_change: impl Fn(&ModelStatus) + Send + 'static,
    ) {
        let this = self.clone();
        let set = move |status: ModelStatus| {
            on_change(&status);
            *this.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        };
        let mut status = self.status();
        let Some(library) = library else {
            status.state = ModelState::Ready;
            return set(status);
        };
        status.name.clone_from(&library.profile.model);
        let task = move |desk: &mut Desk| {
            let start = Instant::now();
            let opened = desk.open(&library.profile);
            desk.opens_quickly = start.elapsed() < QUICK;
            let status = match opened {
                Ok(()) => ModelStatus {
                    state: ModelState::Ready,
                    reason: None,
                    hints: Vec::new(),
                    ..status
                },
                Err(error) => {
                    let why = Diagnostic::from(error);
                    ModelStatus {
                        state: ModelState::Unavailable,
                        reason: Some(why.message),
                        hints: why.hints,
                        ..status
                    }
                }
            };
            set(status);
        };
        // A full queue means that the models are there already.
        let _ = self.tasks.try_send(Box::new(task));
    }
}

fn work(settings: Settings, tasks: &Receiver<Task>) {
    let mut desk = Desk {
        settings,
        models: None,
        queries: VecDeque::new(),
        opens_quickly: false,
    };
    loop {
        let task = match tasks.recv_timeout(IDLE) {
            Ok(task) => task,
            Err(RecvTimeoutError::Timeout) if desk.opens_quickly => {
                desk.models = None;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // A panic fails its question only; the models are opened again, in case it left them half-changed.
        if catch_unwind(AssertUnwindSafe(|| task(&mut desk))).is_err() {
            desk.models = None;
            desk.queries.clear();
        }
    }
}
