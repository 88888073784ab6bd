//! The embed stage: batches under the memory cap; halves them when the device is out of memory.

use std::sync::mpsc::{Receiver, RecvError, SyncSender};
use std::time::{Duration, Instant};

use crate::batch::Batcher;
use crate::embed::{self, Embedder};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::store::Vectors;
use crate::vectors::PageVectors;

use super::super::{Batch, Error, Event, Recipe, Run, Sheet, Stage};
use super::prepare::Ready;

type Verdict = Result<PageVectors, PageError>;

pub(in crate::pipeline) fn run(
    run: &Run<'_>,
    recipe: Recipe<'_, dyn Embedder, embed::Error>,
    input: &Receiver<Ready>,
    out: &SyncSender<Vec<Sheet>>,
) -> Result<(), Error> {
    let mut stage = Understand {
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
    run.ledger.note(|tally| tally.model_waited = waited);
    Ok(())
}

struct Understand<'a> {
    run: &'a Run<'a>,
    out: &'a SyncSender<Vec<Sheet>>,
    recipe: Option<Recipe<'a, dyn Embedder, embed::Error>>,
    model: Option<Box<dyn Embedder>>,
    /// Time an open model stood idle for want of pages.
    waited: Duration,
}

impl Understand<'_> {
    fn next(&mut self, input: &Receiver<Ready>) -> Result<Ready, RecvError> {
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
        batch: Vec<(Sheet, Prepared)>,
        batcher: &mut Batcher<(Sheet, Prepared)>,
    ) -> Result<bool, Error> {
        if self.run.stopped() {
            return Ok(true);
        }
        self.open()?;
        let Some(model) = self.model.as_deref_mut() else {
            return Ok(true);
        };
        let (sheets, pages): (Vec<Sheet>, Vec<Prepared>) = batch.into_iter().unzip();
        let start = Instant::now();
        let mut fits = pages.len();
        let verdicts = halving(model, &pages, &mut fits)?;
        if fits < pages.len() {
            batcher.shrink_to(fits);
            self.run.ledger.tell(Event::Shrunk(fits));
        }
        self.account(&sheets, &pages, start.elapsed());
        Ok(self.hand_on(sheets, verdicts))
    }

    fn open(&mut self) -> Result<(), Error> {
        let Some(recipe) = self.recipe.take() else {
            return Ok(());
        };
        self.run.ledger.tell(Event::Loading);
        let start = Instant::now();
        self.model = Some(recipe()?);
        let load = start.elapsed();
        self.run
            .ledger
            .note(|tally| tally.load = load.as_secs_f64());
        self.run.ledger.tell(Event::Loaded(load));
        Ok(())
    }

    /// Shares the time of a batch among its manuals by what their pages cost.
    fn account(&self, sheets: &[Sheet], pages: &[Prepared], time: Duration) {
        let total: u64 = pages.iter().map(Prepared::cost).sum();
        let longest = pages
            .iter()
            .filter_map(Prepared::padded_cost)
            .max()
            .unwrap_or(0);
        let padded = longest * pages.len() as u64;
        self.run.ledger.note(|tally| {
            tally.batches.push(Batch {
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
                .ledger
                .spend(sheet.job, Stage::Embed, time.mul_f64(share));
        }
        self.run
            .ledger
            .tell(Event::Done(Stage::Embed, sheets.len() as u32));
    }

    fn hand_on(&self, sheets: Vec<Sheet>, verdicts: Vec<Verdict>) -> bool {
        let mut good = Vec::with_capacity(sheets.len());
        for (mut sheet, verdict) in sheets.into_iter().zip(verdicts) {
            match verdict {
                Ok(seen) => {
                    let vectors = seen.vectors.rounded_to_f16();
                    sheet.record.vectors = Vectors::New(PageVectors {
                        vectors,
                        patches: seen.patches,
                    });
                    good.push(sheet);
                }
                Err(error) => self
                    .run
                    .ledger
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
) -> Result<Vec<Verdict>, embed::Error> {
    match model.embed_pages(pages) {
        Err(embed::Error::OutOfMemory(_)) if pages.len() > 1 => {
            let (left, right) = pages.split_at(pages.len() / 2);
            *fits = (*fits).min(left.len());
            let mut verdicts = halving(model, left, fits)?;
            verdicts.extend(halving(model, right, fits)?);
            Ok(verdicts)
        }
        done => done,
    }
}
