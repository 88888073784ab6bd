//! The embed stage: batches under the memory cap; halves them when the device is out of memory.

use std::sync::mpsc::{Receiver, RecvError, SyncSender};
use std::time::{Duration, Instant};

use crate::batch::Batcher;
use crate::embed::{self, Embedder};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::store::VectorUpdate;
use crate::vectors::PageVectors;

use super::super::{Batch, Error, Event, InFlightPage, Opener, Run, Stage};
use super::prepare::PreparedPage;

type Embedding = Result<PageVectors, PageError>;

pub(in crate::pipeline) fn run(
    run: &Run<'_>,
    recipe: Opener<'_, dyn Embedder, embed::Error>,
    input: &Receiver<PreparedPage>,
    out: &SyncSender<Vec<InFlightPage>>,
) -> Result<(), Error> {
    let mut stage = EmbedStage {
        run,
        out,
        recipe: Some(recipe),
        model: None,
        waited: Duration::ZERO,
    };
    let mut batcher = Batcher::new(run.settings.limits);
    let mut gone = false;
    while !gone && let Ok((sheet, prepared)) = stage.next(input) {
        gone = match prepared {
            None => out.send(vec![sheet]).is_err(),
            Some(prepared) => {
                let cost = prepared.cost();
                match batcher.push((sheet, prepared), cost) {
                    Some(batch) => stage.embed(batch, &mut batcher)?,
                    None => false,
                }
            }
        };
    }
    if !gone && let Some(batch) = batcher.take() {
        stage.embed(batch, &mut batcher)?;
    }
    let waited = stage.waited.as_secs_f64();
    run.collector.note(|stats| stats.model_waited = waited);
    Ok(())
}

struct EmbedStage<'a> {
    run: &'a Run<'a>,
    out: &'a SyncSender<Vec<InFlightPage>>,
    recipe: Option<Opener<'a, dyn Embedder, embed::Error>>,
    model: Option<Box<dyn Embedder>>,
    /// Time an open model stood idle for want of pages.
    waited: Duration,
}

impl EmbedStage<'_> {
    fn next(&mut self, input: &Receiver<PreparedPage>) -> Result<PreparedPage, RecvError> {
        let start = Instant::now();
        let next = input.recv();
        if self.model.is_some() && next.is_ok() {
            self.waited += start.elapsed();
        }
        next
    }

    /// Embeds a batch and hands it on; returns whether the store stage is gone. A stopped run leaves the batch.
    fn embed(
        &mut self,
        batch: Vec<(InFlightPage, Prepared)>,
        batcher: &mut Batcher<(InFlightPage, Prepared)>,
    ) -> Result<bool, Error> {
        if self.run.stopped() {
            return Ok(true);
        }
        self.open()?;
        let Some(model) = self.model.as_deref_mut() else {
            return Ok(true);
        };
        let (sheets, pages): (Vec<InFlightPage>, Vec<Prepared>) = batch.into_iter().unzip();
        let start = Instant::now();
        let mut fits = pages.len();
        let embeddings = halving(model, &pages, &mut fits)?;
        if fits < pages.len() {
            batcher.shrink_to(fits);
            self.run.collector.emit(Event::Shrunk(fits));
        }
        self.account(&sheets, &pages, start.elapsed());
        Ok(self.hand_on(sheets, embeddings))
    }

    fn open(&mut self) -> Result<(), Error> {
        let Some(recipe) = self.recipe.take() else {
            return Ok(());
        };
        self.run.collector.emit(Event::Loading);
        let start = Instant::now();
        self.model = Some(recipe()?);
        let load = start.elapsed();
        self.run
            .collector
            .note(|stats| stats.load = load.as_secs_f64());
        self.run.collector.emit(Event::Loaded(load));
        Ok(())
    }

    /// Shares the time of a batch among its manuals by what their pages cost.
    fn account(&self, sheets: &[InFlightPage], pages: &[Prepared], time: Duration) {
        let total: u64 = pages.iter().map(Prepared::cost).sum();
        let longest = pages
            .iter()
            .filter_map(Prepared::padded_cost)
            .max()
            .unwrap_or(0);
        let padded = longest * pages.len() as u64;
        self.run.collector.note(|stats| {
            stats.batches.push(Batch {
                pages: pages.len(),
                seconds: time.as_secs_f64(),
                padding: match padded {
                    0 => 0.0,
                    padded => 1.0 - total as f64 / padded as f64,
                },
            });
        });
        for (sheet, page) in sheets.iter().zip(pages) {
            let share = page.cost() as f64 / total.max(1) as f64;
            self.run
                .collector
                .spend(sheet.job, Stage::Embed, time.mul_f64(share));
        }
        self.run
            .collector
            .emit(Event::Done(Stage::Embed, sheets.len() as u32));
    }

    fn hand_on(&self, sheets: Vec<InFlightPage>, embeddings: Vec<Embedding>) -> bool {
        let mut good = Vec::with_capacity(sheets.len());
        for (mut sheet, verdict) in sheets.into_iter().zip(embeddings) {
            match verdict {
                Ok(seen) => {
                    let vectors = seen.vectors.rounded_to_f16();
                    sheet.record.vectors = VectorUpdate::Replace(PageVectors {
                        vectors,
                        places: seen.places,
                    });
                    good.push(sheet);
                }
                Err(error) => self
                    .run
                    .collector
                    .page_failed(sheet.job, &sheet.record.id, error),
            }
        }
        !good.is_empty() && self.out.send(good).is_err()
    }
}

/// Embeds `pages`, in halves where the device is out of memory; `fits` becomes the largest batch that went through.
fn halving(
    model: &mut dyn Embedder,
    pages: &[Prepared],
    fits: &mut usize,
) -> Result<Vec<Embedding>, embed::Error> {
    match model.embed_pages(pages) {
        Err(embed::Error::OutOfMemory(_)) if pages.len() > 1 => {
            let (left, right) = pages.split_at(pages.len() / 2);
            *fits = (*fits).min(left.len());
            let mut embeddings = halving(model, left, fits)?;
            embeddings.extend(halving(model, right, fits)?);
            Ok(embeddings)
        }
        done => done,
    }
}
