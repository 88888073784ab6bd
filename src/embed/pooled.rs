//! A model whose pages are pooled before anybody sees them; questions stay whole.

use rayon::prelude::*;

use super::{Embedder, Error};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::pooling::pool;
use crate::vectors::{MultiVector, PageVectors};

/// A model and the pool factor.
pub(super) struct Pooled {
    pub(super) model: Box<dyn Embedder>,
    pub(super) factor: u32,
}

impl Embedder for Pooled {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let factor = self.factor;
        let pooled = |seen: Result<PageVectors, PageError>| {
            pool(&seen?, factor).map_err(|_| PageError::NotFinite)
        };
        let seen = self.model.embed_pages(pages)?;
        Ok(seen.into_par_iter().map(pooled).collect())
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        self.model.embed_query(text)
    }
}
