//! A ColQwen on MLX: the same prompts, chunks and checks as on candle.

use super::super::Error;
use super::backend::{self, Core};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::mlx::{self, Activation, Encoder, Segment};

/// A model that embeds pages and questions.
pub struct ColQwen {
    encoder: Encoder,
    prompt: Prompt,
    dim: usize,
    chunk: usize,
}

impl ColQwen {
    pub(super) fn new(encoder: Encoder, prompt: Prompt, dim: usize, chunk: usize) -> Self {
        Self {
            encoder,
            prompt,
            dim,
            chunk,
        }
    }

    /// How many patches go through the model at a time; pages are never cut.
    pub fn set_chunk(&mut self, patches: usize) {
        self.chunk = patches;
    }

    /// What is computed on the way to the vectors of some pages.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn activations(&mut self, pages: &[&Patches]) -> Result<Vec<Activation>, Error> {
        let sequences = pages.iter().map(|page| self.sequence(page)).collect();
        Ok(self.encoder.activations(sequences)?)
    }

    fn sequence(&self, page: &Patches) -> Vec<Segment> {
        vec![
            Segment::Text(self.prompt.before.clone()),
            Segment::Image(page.clone()),
            Segment::Text(self.prompt.after.clone()),
        ]
    }

    fn read(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<f32>, mlx::Error> {
        let mut rows = self.encoder.encode(sequences)?;
        backend::normalise(&mut rows, self.dim);
        Ok(rows)
    }
}

impl Core for ColQwen {
    fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn see(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(pages.len());
        for chunk in backend::chunks(pages, self.chunk) {
            let rows = self.read(chunk.iter().map(|page| self.sequence(page)).collect())?;
            let lengths: Vec<usize> = chunk
                .iter()
                .map(|page| self.prompt.rows(page.grid))
                .collect();
            vectors.extend(backend::cut(rows, &lengths));
        }
        Ok(vectors)
    }

    fn ask(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        Ok(self.read(vec![vec![Segment::Text(tokens.to_vec())]])?)
    }
}
