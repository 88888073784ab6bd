//! A ColQwen on MLX: the same prompts, chunks and checks as on candle.

use super::super::Error;
use super::backend::{self, Core};
use super::prompt::Prompt;
use crate::patch::Patches;
use crate::qwen::mlx::{self, Piece, Reader, Tap};

/// A model that embeds pages and questions.
pub struct ColQwen {
    reader: Reader,
    prompt: Prompt,
    dim: usize,
    chunk: usize,
}

impl ColQwen {
    pub(super) fn new(reader: Reader, prompt: Prompt, dim: usize, chunk: usize) -> Self {
        Self {
            reader,
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
    pub fn inside(&mut self, pages: &[&Patches]) -> Result<Vec<Tap>, Error> {
        let sequences = pages.iter().map(|page| self.sequence(page)).collect();
        Ok(self.reader.inside(sequences)?)
    }

    fn sequence(&self, page: &Patches) -> Vec<Piece> {
        vec![
            Piece::Text(self.prompt.before.clone()),
            Piece::Image(page.clone()),
            Piece::Text(self.prompt.after.clone()),
        ]
    }

    fn read(&mut self, sequences: Vec<Vec<Piece>>) -> Result<Vec<f32>, mlx::Error> {
        let mut rows = self.reader.read(sequences)?;
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
        Ok(self.read(vec![vec![Piece::Text(tokens.to_vec())]])?)
    }
}
