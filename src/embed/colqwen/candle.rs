//! ColQwen on candle.

use super::super::Error;
use super::backend::{self, Core};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::candle::{Encoder, Hook, Segment};

/// A model that embeds pages and queries.
pub struct ColQwen {
    encoder: Encoder,
    prompt: Prompt,
    chunk: usize,
}

impl ColQwen {
    pub(super) fn new(encoder: Encoder, prompt: Prompt, chunk: usize) -> Self {
        Self {
            encoder,
            prompt,
            chunk,
        }
    }

    /// How many patches go through the model at a time; pages are never cut.
    pub fn set_chunk(&mut self, patches: usize) {
        self.chunk = patches;
    }

    /// The vectors of pages, unchecked: for each page its rows, in order.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] apart from everything else.
    pub fn pages(&mut self, pages: &[&Patches], hook: Hook) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(pages.len());
        for chunk in backend::chunks(pages, self.chunk) {
            let prompt = &self.prompt;
            let mut sequences = Vec::with_capacity(chunk.len());
            for page in chunk {
                sequences.push(vec![
                    Segment::Text(&prompt.before),
                    Segment::Image(page),
                    Segment::Text(&prompt.after),
                ]);
            }
            let rows = self.encoder.encode(&sequences, hook)?;
            let lengths: Vec<usize> = chunk.iter().map(|page| prompt.rows(page.grid)).collect();
            vectors.extend(backend::cut(normalised(rows, self.encoder.dim()), &lengths));
        }
        Ok(vectors)
    }
}

fn normalised(mut rows: Vec<f32>, dim: usize) -> Vec<f32> {
    backend::normalise(&mut rows, dim);
    rows
}

impl Core for ColQwen {
    fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    fn dim(&self) -> usize {
        self.encoder.dim()
    }

    fn see(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error> {
        self.pages(pages, &mut |_, _, _| ())
    }

    fn ask(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let sequence = vec![Segment::Text(tokens)];
        let rows = self.encoder.encode(&[sequence], &mut |_, _, _| ())?;
        Ok(normalised(rows, self.encoder.dim()))
    }
}
