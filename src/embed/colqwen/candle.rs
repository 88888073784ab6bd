//! ColQwen on candle.

use super::super::Error;
use super::backend::{self, Backend};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::candle::{Encoder, Hook, Projections, Segment};

/// A model that embeds pages and queries.
pub struct ColQwen {
    encoder: Encoder,
    prompt: Prompt,
    chunk_size: usize,
}

impl ColQwen {
    pub(super) fn new(encoder: Encoder, prompt: Prompt, chunk_size: usize) -> Self {
        Self {
            encoder,
            prompt,
            chunk_size,
        }
    }

    /// Sets the chunk size: patches that go through the model at a time. Pages are never split.
    pub fn set_chunk_size(&mut self, patches: usize) {
        self.chunk_size = patches;
    }

    /// Encodes pages and passes activations to `hook`; for each page its rows, concatenated and unchecked.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Model`] for every other failure.
    pub fn encode_with_hook(
        &mut self,
        pages: &[&Patches],
        hook: Hook,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let mut projections = Vec::new();
        for chunk in backend::chunks(pages, self.chunk_size) {
            let mut sequences = Vec::with_capacity(chunk.len());
            for page in chunk {
                sequences.push(vec![
                    Segment::Text(&self.prompt.prefix),
                    Segment::Image(page),
                    Segment::Text(&self.prompt.suffix),
                ]);
            }
            projections.push(self.encoder.encode(&sequences, hook)?);
        }
        // Read once: while a GPU computes a chunk, the CPU prepares the next.
        let rows = self.read(&projections)?;
        let lengths: Vec<usize> = pages.iter().map(|p| self.prompt.rows(p.grid)).collect();
        Ok(backend::split_rows(rows, &lengths))
    }

    /// Reads projections and normalises their rows.
    fn read(&self, projections: &[Projections]) -> Result<Vec<f32>, Error> {
        let mut rows = self.encoder.read(projections)?;
        backend::normalise_rows(&mut rows, self.encoder.dim());
        Ok(rows)
    }
}

impl Backend for ColQwen {
    fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    fn dim(&self) -> usize {
        self.encoder.dim()
    }

    fn encode_pages(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error> {
        self.encode_with_hook(pages, &mut |_, _, _| ())
    }

    fn encode_query(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let sequence = vec![Segment::Text(tokens)];
        let projections = self.encoder.encode(&[sequence], &mut |_, _, _| ())?;
        self.read(&[projections])
    }
}
