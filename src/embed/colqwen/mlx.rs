//! ColQwen on MLX, with the same prompts, chunks and checks as on candle.

use super::super::Error;
use super::backend::{self, Backend};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::mlx::{self, Activation, Encoder, Segment};

/// A model that embeds pages and queries.
pub struct ColQwen {
    encoder: Encoder,
    prompt: Prompt,
    dim: usize,
    chunk_size: usize,
}

impl ColQwen {
    pub(super) fn new(encoder: Encoder, prompt: Prompt, dim: usize, chunk_size: usize) -> Self {
        Self {
            encoder,
            prompt,
            dim,
            chunk_size,
        }
    }

    /// Sets the chunk size: patches that go through the model at a time. Pages are never split.
    pub fn set_chunk_size(&mut self, patches: usize) {
        self.chunk_size = patches;
    }

    /// Activations captured while encoding pages.
    ///
    /// # Errors
    /// [`Error::Mlx`] or [`Error::OutOfMemory`].
    pub fn activations(&mut self, pages: &[&Patches]) -> Result<Vec<Activation>, Error> {
        let sequences = pages.iter().map(|page| self.sequence(page)).collect();
        Ok(self.encoder.activations(sequences)?)
    }

    fn sequence(&self, page: &Patches) -> Vec<Segment> {
        vec![
            Segment::Text(self.prompt.prefix.clone()),
            Segment::Image(page.clone()),
            Segment::Text(self.prompt.suffix.clone()),
        ]
    }

    fn encode(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<f32>, mlx::Error> {
        let mut rows = self.encoder.encode(sequences)?;
        backend::normalise_rows(&mut rows, self.dim);
        Ok(rows)
    }
}

impl Backend for ColQwen {
    fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn encode_pages(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(pages.len());
        for chunk in backend::chunks(pages, self.chunk_size) {
            let rows = self.encode(chunk.iter().map(|page| self.sequence(page)).collect())?;
            let lengths: Vec<usize> = chunk
                .iter()
                .map(|page| self.prompt.rows(page.grid))
                .collect();
            vectors.extend(backend::split_rows(rows, &lengths));
        }
        Ok(vectors)
    }

    fn encode_query(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(self.encode(vec![vec![Segment::Text(tokens.to_vec())]])?)
    }
}
