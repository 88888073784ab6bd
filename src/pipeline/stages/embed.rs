//! The embed stage: batches pages within the limits and runs the model; halves a batch when the device is out of
//! memory.

use std::sync::mpsc::{Receiver, RecvError, SyncSender};
use std::time::{Duration, Instant};

use crate::batch::Batcher;
use crate::embed::meaning;
use crate::embed::reading::Reader;
use crate::embed::{self, Embedder};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::store::{TextUpdate, VectorUpdate};
use crate::vectors::PageVectors;

use super::super::text_model::TextModel;
use super::super::{Batch, Error, Event, InFlightPage, Opener, RunContext, Stage};
use super::prepare::{PreparedPage, is_to_be_read};

type Embedding = Result<PageVectors, PageError>;

pub(in crate::pipeline) fn run<'a>(
    context: &'a RunContext<'a>,
    opener: Opener<'a, dyn Embedder, embed::Error>,
    meaning: Option<&'a TextModel>,
    input: &Receiver<PreparedPage>,
    out: &'a SyncSender<Vec<InFlightPage>>,
) -> Result<(), Error> {
    let mut stage = EmbedStage {
        context,
        out,
        opener: Some(opener),
        model: None,
        meaning,
        reader: None,
        idle: Duration::ZERO,
    };
    let mut batcher = Batcher::new(context.settings.limits);
    let mut closed = false;
    while !closed && let Ok((page, prepared)) = stage.next(input) {
        closed = match prepared {
            None => out.send(vec![page]).is_err(),
            Some(prepared) => {
                let cost = prepared.cost();
                match batcher.push((page, prepared), cost) {
                    Some(batch) => stage.embed(batch, &mut batcher)?,
                    None => false,
                }
            }
        };
    }
    if !closed && let Some(batch) = batcher.take() {
        stage.embed(batch, &mut batcher)?;
    }
    let idle = stage.idle.as_secs_f64();
    context.collector.update(|stats| stats.model_waited = idle);
    Ok(())
}

/// State of the embed stage.
struct EmbedStage<'a> {
    context: &'a RunContext<'a>,
    out: &'a SyncSender<Vec<InFlightPage>>,
    opener: Option<Opener<'a, dyn Embedder, embed::Error>>,
    model: Option<Box<dyn Embedder>>,
    meaning: Option<&'a TextModel>,
    /// Opened for the first page whose text layer says little.
    reader: Option<Reader>,
    /// Time that the loaded model waited for pages.
    idle: Duration,
}

impl EmbedStage<'_> {
    fn next(&mut self, input: &Receiver<PreparedPage>) -> Result<PreparedPage, RecvError> {
        let start = Instant::now();
        let next = input.recv();
        if self.model.is_some() && next.is_ok() {
            self.idle += start.elapsed();
        }
        next
    }

    /// Embeds a batch and sends it to the store stage; returns whether that has ended. A stopped run drops the batch.
    fn embed(
        &mut self,
        batch: Vec<(InFlightPage, Prepared)>,
        batcher: &mut Batcher<(InFlightPage, Prepared)>,
    ) -> Result<bool, Error> {
        if self.context.stopped() {
            return Ok(true);
        }
        self.load_model()?;
        let Some(model) = self.model.as_deref_mut() else {
            return Ok(true);
        };
        let (mut pages, inputs): (Vec<InFlightPage>, Vec<Prepared>) = batch.into_iter().unzip();
        let start = Instant::now();
        let mut largest = inputs.len();
        let mut embeddings = embed_halving(model, &inputs, &mut largest)?;
        if largest < inputs.len() {
            batcher.shrink_to(largest);
            self.context
                .collector
                .emit(Event::BatchSizeReduced(largest));
        }
        self.read(&mut pages, &mut embeddings)?;
        self.record_batch(&pages, &inputs, start.elapsed());
        Ok(self.send(pages, embeddings))
    }

    fn load_model(&mut self) -> Result<(), Error> {
        let Some(opener) = self.opener.take() else {
            return Ok(());
        };
        self.context.collector.emit(Event::Loading);
        let start = Instant::now();
        self.model = Some(opener()?);
        let load = start.elapsed();
        self.context.recorder.model_loaded(start);
        self.context
            .collector
            .update(|stats| stats.load = load.as_secs_f64());
        self.context.collector.emit(Event::Loaded(load));
        Ok(())
    }

    /// Reads the words of pages whose text layer says little and embeds both.
    fn read(
        &mut self,
        pages: &mut [InFlightPage],
        embeddings: &mut [Embedding],
    ) -> Result<(), Error> {
        let Some(text_model) = self.meaning else {
            return Ok(());
        };
        for (page, embedding) in pages.iter_mut().zip(embeddings) {
            let is_read = is_to_be_read(&page.record);
            if let (true, Ok(vectors)) = (is_read, embedding.as_ref())
                && let TextUpdate::Replace {
                    vectors: text_vectors,
                    words_read,
                    ..
                } = &mut page.record.text_vectors
            {
                let reader = match &mut self.reader {
                    Some(reader) => reader,
                    none => none.insert(Reader::open()?),
                };
                let words = reader.read(vectors);
                match text_model.get()?.embed_scan(&page.record.text, &words) {
                    Ok(embedded) => *text_vectors = embedded,
                    Err(why) => *embedding = Err(PageError::Shape(why.to_string())),
                }
                *words_read = meaning::text(&words);
            }
        }
        Ok(())
    }

    /// Records a batch and divides its time among the manuals in proportion to the cost of their pages.
    fn record_batch(&self, pages: &[InFlightPage], inputs: &[Prepared], time: Duration) {
        let total: u64 = inputs.iter().map(Prepared::cost).sum();
        let longest = inputs
            .iter()
            .filter_map(Prepared::padded_cost)
            .max()
            .unwrap_or(0);
        let padded = longest * inputs.len() as u64;
        self.context.collector.update(|stats| {
            stats.batches.push(Batch {
                pages: inputs.len(),
                seconds: time.as_secs_f64(),
                padding: match padded {
                    0 => 0.0,
                    padded => 1.0 - total as f64 / padded as f64,
                },
            });
        });
        for (page, input) in pages.iter().zip(inputs) {
            let share = input.cost() as f64 / total.max(1) as f64;
            self.context
                .collector
                .add_time(page.job, Stage::Embed, time.mul_f64(share));
        }
        self.context
            .collector
            .emit(Event::Done(Stage::Embed, pages.len() as u32));
    }

    /// Sends the embedded pages to the store stage; returns whether that has ended.
    fn send(&self, pages: Vec<InFlightPage>, embeddings: Vec<Embedding>) -> bool {
        let mut embedded = Vec::with_capacity(pages.len());
        for (mut page, result) in pages.into_iter().zip(embeddings) {
            match result {
                Ok(embedding) => {
                    let vectors = embedding.vectors.rounded_to_f16();
                    page.record.vectors = VectorUpdate::Replace(PageVectors {
                        vectors,
                        patches: embedding.patches,
                    });
                    embedded.push(page);
                }
                Err(error) => self
                    .context
                    .collector
                    .page_failed(page.job, &page.record.id, error),
            }
        }
        !embedded.is_empty() && self.out.send(embedded).is_err()
    }
}

/// Embeds `pages`, halving the batch while the device is out of memory; `largest` is lowered to the largest batch that
/// fitted.
fn embed_halving(
    model: &mut dyn Embedder,
    pages: &[Prepared],
    largest: &mut usize,
) -> Result<Vec<Embedding>, embed::Error> {
    match model.embed_pages(pages) {
        Err(embed::Error::OutOfMemory(_)) if pages.len() > 1 => {
            let (left, right) = pages.split_at(pages.len() / 2);
            *largest = (*largest).min(left.len());
            let mut embeddings = embed_halving(model, left, largest)?;
            embeddings.extend(embed_halving(model, right, largest)?);
            Ok(embeddings)
        }
        done => done,
    }
}
