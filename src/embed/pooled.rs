//! Token pooling of an embedder's pages; queries are not pooled.

use rayon::prelude::*;

use super::{Embedder, Error, QueryWord};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::pooling::pool;
use crate::vectors::{MultiVector, PageVectors};

/// An embedder that pools page vectors by `factor`.
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
        let pooled = |page: Result<PageVectors, PageError>| {
            pool(&page?, factor).map_err(|_| PageError::NotFinite)
        };
        let pages = self.model.embed_pages(pages)?;
        Ok(pages.into_par_iter().map(pooled).collect())
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        self.model.embed_query(text)
    }

    fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error> {
        self.model.query_words(text)
    }

    fn can_read(&self, query: &str) -> bool {
        self.model.can_read(query)
    }
}
