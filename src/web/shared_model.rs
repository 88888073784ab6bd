//! The librarian's embedding model as a job uses it, so that it is in memory once: batch by batch, with the questions that
//! wait answered in between.

use std::sync::Arc;

use super::librarian::Librarian;
use crate::embed::{Embedder, Error, QueryWord};
use crate::page::PageError;
use crate::patch::Prepared;
use crate::search::Models;
use crate::vectors::{MultiVector, PageVectors, Profile};

/// The model of a profile on the thread of the librarian.
pub(super) struct SharedModel {
    librarian: Arc<Librarian>,
    profile: Profile,
}

impl SharedModel {
    /// Loads the model if the librarian has not done so yet.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub(super) fn open(
        librarian: &Arc<Librarian>,
        profile: &Profile,
    ) -> Result<Box<dyn Embedder>, Error> {
        let model = Self {
            librarian: librarian.clone(),
            profile: profile.clone(),
        };
        model.run(|_| Ok(()))?;
        Ok(Box::new(model))
    }

    /// Runs a task with the model, after the questions that wait.
    fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut dyn Embedder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let profile = self.profile.clone();
        let done = self
            .librarian
            .run(move |desk| task(desk.models(&profile).embedder()?));
        done.unwrap_or_else(|| Err(Error::Model("it ended with a panic".to_owned())))
    }
}

impl Embedder for SharedModel {
    /// The pages are copied to the other thread: some milliseconds for a batch that takes the model seconds.
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let pages = pages.to_vec();
        self.run(move |model| model.embed_pages(&pages))
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let text = text.to_owned();
        self.run(move |model| model.embed_query(&text))
    }

    fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error> {
        let text = text.to_owned();
        self.run(move |model| model.query_words(&text))
    }

    fn can_read(&self, query: &str) -> bool {
        let query = query.to_owned();
        self.run(move |model| Ok(model.can_read(&query)))
            .unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};
    use crate::embed;
    use crate::page::{PageImage, Size};

    fn settings() -> Settings {
        let mut settings = Settings::resolve(&Sources::default()).unwrap();
        let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/colqwen2.5-tiny");
        tiny.clone_into(&mut settings.embed.model);
        settings.embed.device = embed::Device::Cpu;
        settings
    }

    #[test]
    fn pages_and_questions_use_one_model() {
        let settings = settings();
        let card = embed::card(&settings.embed).unwrap();
        let librarian = Arc::new(Librarian::start(&settings).unwrap());
        let has_model = || librarian.run(|desk| desk.has_models()).unwrap();
        assert!(!has_model());
        let mut shared = SharedModel::open(&librarian, &card.profile).unwrap();
        assert!(has_model());
        let image = PageImage::new(Size::new(56, 84), vec![200; 56 * 84 * 3]).unwrap();
        let page = card.prepare.prepare(&image).unwrap();
        let mut own = embed::open(&settings.embed).unwrap();
        let (pages, query) = (&[page], "oil filter");
        assert_eq!(
            shared.embed_pages(pages).unwrap(),
            own.embed_pages(pages).unwrap()
        );
        assert_eq!(
            shared.embed_query(query).unwrap(),
            own.embed_query(query).unwrap()
        );
        assert_eq!(
            shared.query_words(query).unwrap(),
            own.query_words(query).unwrap()
        );
        drop(shared);
        assert!(has_model(), "the librarian keeps it for questions");
    }

    #[test]
    fn a_panic_is_an_error_of_the_job() {
        let settings = settings();
        let profile = embed::card(&settings.embed).unwrap().profile;
        let librarian = Arc::new(Librarian::start(&settings).unwrap());
        let shared = SharedModel { librarian, profile };
        let failed = shared.run(|_| -> Result<(), Error> { panic!("on purpose") });
        assert!(matches!(failed, Err(Error::Model(_))));
        assert!(shared.can_read("oil"));
    }
}
