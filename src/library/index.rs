//! Indexing: the pipeline with the components of the settings.

use std::sync::atomic::AtomicBool;

use crate::config::Settings;
use crate::embed::{self, BUILT_IN, Card, Embedder};
use crate::pipeline::{self, Components, Event, Inputs, Opener, Plan, RunStats, TaskSource};
use crate::render::{self, Renderer};
use crate::store::Writer;

use super::{RENDERED_QUEUE, meaning_opener, open_model};

/// What pages are indexed with, and where.
#[derive(Clone)]
pub struct Indexing<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The embedding model.
    pub card: &'a Card,
    /// The memory plan.
    pub plan: &'a Plan,
    /// Takes the pages.
    pub store: &'a (dyn Writer + Sync),
}

/// Opens the renderer and the embedding model of a flow.
pub struct Openers<'a> {
    /// Opens the renderer.
    pub renderer: Opener<'a, dyn Renderer, render::Error>,
    /// Opens the embedding model.
    pub embedder: Opener<'a, dyn Embedder, embed::Error>,
}

impl<'a> Openers<'a> {
    /// Those of the settings.
    pub fn new(settings: &'a Settings) -> Self {
        Self {
            renderer: Box::new(|| render::open(&settings.render)),
            embedder: Box::new(|| open_model(settings, &settings.embed)),
        }
    }
}

impl<'a> Indexing<'a> {
    /// Renders, embeds and stores the pages of `inputs`, as [`pipeline::ingest`] says.
    pub fn run(
        self,
        inputs: &Inputs,
        stop: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> (RunStats, Result<(), pipeline::Error>) {
        let openers = Openers::new(self.settings);
        self.run_with(openers, inputs, stop, on_event)
    }

    /// The same with another renderer or model.
    pub fn run_with(
        self,
        openers: Openers<'a>,
        inputs: &Inputs,
        stop: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> (RunStats, Result<(), pipeline::Error>) {
        let settings = self.pipeline_settings();
        pipeline::ingest(self.components(openers), inputs, &settings, stop, on_event)
    }

    /// Does the same with each task of a source, as [`pipeline::run`] says.
    ///
    /// # Errors
    /// When a component fails.
    pub fn run_flow<'t>(
        self,
        openers: Openers<'a>,
        tasks: impl TaskSource<'t> + Send + 't,
    ) -> Result<(), pipeline::Error> {
        pipeline::run(self.components(openers), &self.pipeline_settings(), tasks)
    }

    fn components(&self, openers: Openers<'a>) -> Components<'a> {
        Components {
            renderer: openers.renderer,
            embedder: openers.embedder,
            meaning: meaning_opener(self.settings),
            store: self.store,
        }
    }

    fn pipeline_settings(&self) -> pipeline::Settings {
        pipeline::Settings {
            prepare: self.card.prepare.clone(),
            render: self.settings.render.profile(),
            reads_with: reads_with(self.card),
            limits: self.plan.limits,
            queue: RENDERED_QUEUE,
        }
    }
}

/// Id of the profile of a model whose rows can be read as words: the built-in one, unless its rows are pooled.
fn reads_with(card: &Card) -> Option<String> {
    let profile = &card.profile;
    let is_readable = profile.model == BUILT_IN && profile.pool_factor == 1;
    is_readable.then(|| profile.id.clone())
}
