//! Backend trait of ColQwen, and what both backends share: prompts, chunks, row normalisation, patch maps.

use std::num::NonZeroUsize;

use super::super::{Embedder, Error, QueryWord};
use super::prompt::Prompt;
use crate::page::PageError;
use crate::patch::{Patches, Prepared};
use crate::vectors::{MultiVector, PageVectors, ShapeError};

/// A ColQwen model on candle or on MLX.
pub(super) trait Backend {
    /// The prompt around pages and queries.
    fn prompt(&self) -> &Prompt;

    /// Width of a vector.
    fn dim(&self) -> usize;

    /// Encodes pages; for each page its rows, concatenated and unchecked.
    fn encode_pages(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error>;

    /// Encodes the tokens of a query; its rows, unchecked.
    fn encode_query(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error>;
}

/// A model whose first result can be had: [`Embedder`] encodes a page with non-finite rows once more.
pub trait EncodeOnce: Embedder {
    /// The vectors of prepared pages, or why they are invalid.
    ///
    /// # Errors
    /// As [`Embedder::embed_pages`].
    fn encode_once(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<MultiVector, ShapeError>>, Error>;
}

impl<B: Backend> EncodeOnce for B {
    fn encode_once(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<MultiVector, ShapeError>>, Error> {
        let pages = pages.iter().map(patches).collect::<Result<Vec<_>, _>>()?;
        let rows = self.encode_pages(&pages)?.into_iter();
        Ok(rows.map(|rows| multi_vector(self, rows)).collect())
    }
}

impl<B: Backend> Embedder for B {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let pages = pages.iter().map(patches).collect::<Result<Vec<_>, _>>()?;
        let rows = self.encode_pages(&pages)?;
        let finish = |(page, rows)| page_vectors(self, page, rows);
        pages.into_iter().zip(rows).map(finish).collect()
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let tokens = self.prompt().query(text)?;
        let rows = self.encode_query(&tokens)?;
        Ok(multi_vector(self, rows)?)
    }

    fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error> {
        self.prompt().query_words(text)
    }
}

/// Checks the rows of a page; a page with non-finite rows is encoded once more, alone.
fn page_vectors(
    backend: &mut impl Backend,
    page: &Patches,
    rows: Vec<f32>,
) -> Result<Result<PageVectors, PageError>, Error> {
    let vectors = match multi_vector(backend, rows) {
        Ok(vectors) => Ok(vectors),
        Err(_) => {
            let rows = backend.encode_pages(&[page])?.concat();
            multi_vector(backend, rows)
        }
    };
    let patches = backend.prompt().patch_map(page.grid);
    Ok(match (vectors, patches) {
        (Ok(vectors), Ok(patches)) => Ok(PageVectors { vectors, patches }),
        (Err(_), _) => Err(PageError::NotFinite),
        (_, Err(why)) => Err(PageError::Shape(why.to_string())),
    })
}

fn multi_vector(backend: &impl Backend, rows: Vec<f32>) -> Result<MultiVector, ShapeError> {
    let dim = NonZeroUsize::new(backend.dim()).ok_or(ShapeError::Empty)?;
    MultiVector::new(rows, dim)
}

fn patches(page: &Prepared) -> Result<&Patches, Error> {
    match page {
        Prepared::Qwen(patches) => Ok(patches),
        Prepared::Gray(_) => Err(Error::WrongInput),
    }
}

/// Splits pages into chunks of at most `patches` patches; a larger page is a chunk by itself.
pub(super) fn chunks<'p>(
    pages: &'p [&'p Patches],
    patches: usize,
) -> impl Iterator<Item = &'p [&'p Patches]> {
    let mut rest = pages;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |page: &&&Patches| {
            sum += page.grid.patches();
            sum <= patches
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (chunk, later) = rest.split_at_checked(count)?;
        rest = later;
        Some(chunk)
    })
}

/// Normalises rows to length 1, in f32 for every dtype of the model: a bf16 length would be up to 0.4 % off.
pub(super) fn normalise_rows(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
}

/// Splits rows into sequences of the given lengths.
pub(super) fn split_rows(rows: Vec<f32>, lengths: &[usize]) -> Vec<Vec<f32>> {
    let width = rows.len() / lengths.iter().sum::<usize>().max(1);
    let mut rest = rows.as_slice();
    let split = |length: &usize| {
        let (sequence, later) = rest.split_at(length * width);
        rest = later;
        sequence.to_vec()
    };
    lengths.iter().map(split).collect()
}
