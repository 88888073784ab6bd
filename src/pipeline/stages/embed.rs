//! The embed stage: batches pages within the limits and runs the model; halves a batch when the device is out of
//! memory.

use std::sync::Arc;
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

use super::super::task::TaskInHand;
use super::super::text_model::TextModel;
use super::super::{Batch, Error, Event, FlowContext, InFlightPage, Item, Opener, Stage};
use super::prepare::{PreparedPage, is_to_be_read};

type Embedding = Result<PageVectors, PageError>;

pub(in crate::pipeline) fn run<'t>(
    flow: FlowContext<'_>,
    opener: Opener<'_, dyn Embedder, embed::Error>,
    meaning: Option<&TextModel>,
    input: &Receiver<Item<PreparedPage<'t>>>,
    out: &SyncSender<Vec<InFlightPage<'t>>>,
) -> Result<(), Error> {
    let mut stage = EmbedStage {
        flow,
        out,
        opener: Some(opener),
        model: None,
        meaning,
        reader: None,
        has_task: false,
    };
    let mut batcher = Batcher::new(flow.settings.limits);
    let mut closed = false;
    while !closed && let Ok(item) = stage.next(input) {
        let batch = match item {
            Item::Page((page, None)) => {
                closed = out.send(vec![page]).is_err();
                None
            }
            Item::Page((page, Some(prepared))) => {
                let cost = prepared.cost();
                batcher.push((page, prepared), cost)
            }
            Item::Flush => batcher.take(),
        };
        if let Some(batch) = batch {
            closed = stage.embed(batch, &mut batcher)?;
        }
    }
    if !closed && let Some(batch) = batcher.take() {
        stage.embed(batch, &mut batcher)?;
    }
    Ok(())
}

/// The pages of each task of a batch, with their model inputs.
fn by_task<'p, 't>(
    pages: &'p [InFlightPage<'t>],
    inputs: &'p [Prepared],
) -> impl Iterator<Item = (&'p TaskInHand<'t>, &'p [InFlightPage<'t>], &'p [Prepared])> {
    let mut inputs = inputs;
    let tasks = pages.chunk_by(|a, b| Arc::ptr_eq(&a.task, &b.task));
    tasks.map(move |pages| {
        let (own, rest) = inputs.split_at(pages.len());
        inputs = rest;
        (&*pages[0].task, pages, own)
    })
}

/// State of the embed stage.
struct EmbedStage<'a, 't> {
    flow: FlowContext<'a>,
    out: &'a SyncSender<Vec<InFlightPage<'t>>>,
    opener: Option<Opener<'a, dyn Embedder, embed::Error>>,
    model: Option<Box<dyn Embedder>>,
    meaning: Option<&'a TextModel>,
    /// Opened for the first page whose text layer says little.
    reader: Option<Reader>,
    /// Whether a page came since there was no task.
    has_task: bool,
}

impl<'t> EmbedStage<'_, 't> {
    /// The next item. The time that the loaded model waits for a page counts, but not that without a task.
    fn next(
        &mut self,
        input: &Receiver<Item<PreparedPage<'t>>>,
    ) -> Result<Item<PreparedPage<'t>>, RecvError> {
        let start = Instant::now();
        let next = input.recv()?;
        let had_task = self.has_task;
        self.has_task = matches!(next, Item::Page(_));
        if let Item::Page((page, _)) = &next
            && had_task
            && self.model.is_some()
        {
            let waited = start.elapsed().as_secs_f64();
            let collector = &page.task.collector;
            collector.update(|stats| stats.model_waited += waited);
        }
        Ok(next)
    }

    /// Embeds a batch, without the pages of stopped tasks, and sends it to the store stage; returns whether that has ended.
    fn embed(
        &mut self,
        mut batch: Vec<(InFlightPage<'t>, Prepared)>,
        batcher: &mut Batcher<(InFlightPage<'t>, Prepared)>,
    ) -> Result<bool, Error> {
        batch.retain(|(page, _)| !page.task.is_stopped());
        if batch.is_empty() {
            return Ok(false);
        }
        let (mut pages, inputs): (Vec<InFlightPage<'t>>, Vec<Prepared>) = batch.into_iter().unzip();
        self.load_model(&pages)?;
        let Some(model) = self.model.as_deref_mut() else {
            return Ok(true);
        };
        let start = Instant::now();
        let mut largest = inputs.len();
        let mut embeddings = embed_halving(model, &inputs, &mut largest)?;
        if largest < inputs.len() {
            batcher.shrink_to(largest);
            for (task, ..) in by_task(&pages, &inputs) {
                task.collector.emit(Event::BatchSizeReduced(largest));
            }
        }
        self.read(&mut pages, &inputs, &mut embeddings)?;
        record_batch(&pages, &inputs, start.elapsed());
        Ok(self.send(pages, embeddings))
    }

    /// Loads the model for the first batch.
    fn load_model(&mut self, pages: &[InFlightPage<'t>]) -> Result<(), Error> {
        let Some(opener) = self.opener.take() else {
            return Ok(());
        };
        let emit = |event: &Event| {
            for pages in pages.chunk_by(|a, b| Arc::ptr_eq(&a.task, &b.task)) {
                pages[0].task.collector.emit(event.clone());
            }
        };
        emit(&Event::Loading);
        let start = Instant::now();
        self.model = Some(opener()?);
        self.flow.recorder.model_loaded(start);
        emit(&Event::Loaded(start.elapsed()));
        Ok(())
    }

    /// Reads the words of pages whose text layer says little and embeds both.
    fn read(
        &mut self,
        pages: &mut [InFlightPage<'t>],
        inputs: &[Prepared],
        embeddings: &mut [Embedding],
    ) -> Result<(), Error> {
        let (Some(text_model), Some(model)) = (self.meaning, self.model.as_deref_mut()) else {
            return Ok(());
        };
        let pages = pages.iter_mut().zip(inputs);
        for ((page, input), embedding) in pages.zip(embeddings) {
            let is_read = is_to_be_read(&page.record);
            if let (true, Ok(vectors)) = (is_read, embedding.as_mut())
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
                let words = reader.read(model, input, vectors)?;
                match text_model.get()?.embed_scan(&page.record.text, &words) {
                    Ok(embedded) => *text_vectors = embedded,
                    Err(why) => *embedding = Err(PageError::Shape(why.to_string())),
                }
                *words_read = meaning::text(&words);
            }
        }
        Ok(())
    }

    /// Sends the embedded pages to the store stage; returns whether that has ended.
    fn send(&self, pages: Vec<InFlightPage<'t>>, embeddings: Vec<Embedding>) -> bool {
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
                Err(error) => {
                    let collector = &page.task.collector;
                    collector.page_failed(page.job, &page.record.id, error);
                }
            }
        }
        !embedded.is_empty() && self.out.send(embedded).is_err()
    }
}

/// Records a batch and divides its time among the tasks and manuals in proportion to the cost of their pages.
fn record_batch(pages: &[InFlightPage<'_>], inputs: &[Prepared], time: Duration) {
    let cost = |inputs: &[Prepared]| inputs.iter().map(Prepared::cost).sum::<u64>();
    let total = cost(inputs);
    let share = |cost: u64| cost as f64 / total.max(1) as f64;
    let longest = inputs.iter().filter_map(Prepared::padded_cost).max();
    let padding = match longest.unwrap_or(0) * inputs.len() as u64 {
        0 => 0.0,
        padded => 1.0 - total as f64 / padded as f64,
    };
    for (task, pages, inputs) in by_task(pages, inputs) {
        let batch = Batch {
            pages: pages.len(),
            seconds: time.as_secs_f64() * share(cost(inputs)),
            padding,
        };
        task.collector.update(|stats| stats.batches.push(batch));
        for (page, input) in pages.iter().zip(inputs) {
            let time = time.mul_f64(share(input.cost()));
            task.collector.add_time(page.job, Stage::Embed, time);
        }
        task.collector
            .emit(Event::Done(Stage::Embed, pages.len() as u32));
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
