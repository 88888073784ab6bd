//! ColQwen on candle.

use super::super::Error;
use super::backend::{self, Backend};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::candle::{Encoder, Hook, Segment};

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
        let mut vectors = Vec::with_capacity(pages.len());
        for chunk in backend::chunks(pages, self.chunk_size) {
            let prompt = &self.prompt;
            let mut sequences = Vec::with_capacity(chunk.len());
            for page in chunk {
                sequences.push(vec![
                    Segment::Text(&prompt.prefix),
                    Segment::Image(page),
                    Segment::Text(&prompt.suffix),
                ]);
            }
            let rows = self.encoder.encode(&sequences, hook)?;
            let lengths: Vec<usize> = chunk.iter().map(|page| prompt.rows(page.grid)).collect();
            vectors.extend(backend::split_rows(
                normalised(rows, self.encoder.dim()),
                &lengths,
            ));
        }
        Ok(vectors)
    }
}

fn normalised(mut rows: Vec<f32>, dim: usize) -> Vec<f32> {
    backend::normalise_rows(&mut rows, dim);
    rows
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
        let rows = self.encoder.encode(&[sequence], &mut |_, _, _| ())?;
        Ok(normalised(rows, self.encoder.dim()))
    }
}
