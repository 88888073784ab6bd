//! What computes a ColQwen, and what is the same whatever does: prompts, chunks, lengths of 1, where rows look.

use std::num::NonZeroUsize;

use super::super::{Embedder, Error};
use super::prompt::Prompt;
use crate::page::PageError;
use crate::patch::{Patches, Prepared};
use crate::vectors::{MultiVector, PageVectors, ShapeError};

/// A ColQwen on candle or on MLX.
pub(super) trait Core {
    /// What stands around pages and questions.
    fn prompt(&self) -> &Prompt;

    /// Width of a vector.
    fn dim(&self) -> usize;

    /// The vectors of pages, unchecked: for each page its rows, one behind the other.
    fn see(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error>;

    /// The vectors of a question, unchecked.
    fn ask(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error>;
}

impl<C: Core> Embedder for C {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let pages = pages.iter().map(patches).collect::<Result<Vec<_>, _>>()?;
        let rows = self.see(&pages)?;
        let finish = |(page, rows)| finish(self, page, rows);
        pages.into_iter().zip(rows).map(finish).collect()
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let tokens = self.prompt().query(text)?;
        let rows = self.ask(&tokens)?;
        checked(self, rows).map_err(|error| Error::Model(error.to_string()))
    }
}

/// Checks the vectors of a page; a page that is not finite gets a second chance, alone.
fn finish(
    core: &mut impl Core,
    page: &Patches,
    rows: Vec<f32>,
) -> Result<Result<PageVectors, PageError>, Error> {
    let vectors = match checked(core, rows) {
        Ok(vectors) => Ok(vectors),
        Err(_) => {
            let again = core.see(&[page])?.concat();
            checked(core, again)
        }
    };
    let places = core.prompt().looks(page.grid);
    Ok(match (vectors, places) {
        (Ok(vectors), Ok(places)) => Ok(PageVectors { vectors, places }),
        (Err(_), _) => Err(PageError::NotFinite),
        (_, Err(why)) => Err(PageError::Shape(why.to_string())),
    })
}

fn checked(core: &impl Core, rows: Vec<f32>) -> Result<MultiVector, ShapeError> {
    let dim = NonZeroUsize::new(core.dim()).ok_or(ShapeError::Empty)?;
    MultiVector::new(rows, dim)
}

fn patches(page: &Prepared) -> Result<&Patches, Error> {
    match page {
        Prepared::Qwen(patches) => Ok(patches),
        Prepared::Gray(_) => Err(Error::WrongInput),
    }
}

/// Pages in chunks of at most `patches` patches; a larger page is a chunk by itself.
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
        let (chunk, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(chunk)
    })
}

/// Makes rows of length 1, in f32 whatever the model computes in: a bf16 length would leave them up to 0.4 % off.
pub(super) fn normalise(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
}

/// Cuts rows into sequences of the lengths given.
pub(super) fn cut(rows: Vec<f32>, lengths: &[usize]) -> Vec<Vec<f32>> {
    let width = rows.len() / lengths.iter().sum::<usize>().max(1);
    let mut rest = rows.as_slice();
    let cut = |length: &usize| {
        let (sequence, behind) = rest.split_at(length * width);
        rest = behind;
        sequence.to_vec()
    };
    lengths.iter().map(cut).collect()
}
