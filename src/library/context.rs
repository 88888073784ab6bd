//! The pages that a vision-language model reads: to describe them, or to answer a question.

use std::time::Duration;

use crate::answer::ContextPage;
use crate::chat;
use crate::config::Settings;
use crate::page::{ManualId, PageId};
use crate::render::{self, Renderer};
use crate::search::{self, Mode, Models, SearchHit, SearchRequest};
use crate::store::{Scope, Store, TopK};

use super::{
    Error, Library, card_for_profile, find_record, manual_named, page_image, vlm_memory_limit,
};

/// Hits of a search for the pages of an answer, for each page: some are blank, or equal to others.
const HITS_PER_PAGE: usize = 3;

/// Returns a function that opens a renderer for a vision-language model: upright pages of `describe.megapixels`.
pub fn upright_renderer(
    settings: &Settings,
) -> impl FnOnce() -> Result<Box<dyn Renderer>, render::Error> + use<> {
    let config = settings.render.clone();
    let options = render::Options {
        upright: true,
        pixels: Some(settings.describe.pixels()),
        ..render::Options::default()
    };
    move || render::open_with(&config, &options)
}

/// The settings of a request for the answer from `pages` pages: each has the time of a page that is described.
pub fn answer_settings(settings: &Settings, pages: usize) -> chat::Settings {
    let per_page = Duration::from_secs(settings.describe.deadline_s);
    chat::Settings {
        max_tokens: settings.ask.max_tokens,
        deadline: per_page * u32::try_from(pages).unwrap_or(u32::MAX).max(1),
        memory: vlm_memory_limit(settings),
    }
}

/// The hits of a hybrid search that answer a question, enough for `count` pages.
///
/// # Errors
/// [`search::Error`] when the search fails; [`search::Error::Embed`] also when the model of the library is unknown.
pub fn hits_to_read(
    settings: &Settings,
    library: &Library,
    models: &mut dyn Models,
    (question, scope, count): (&str, &Scope, usize),
) -> Result<Vec<SearchHit>, search::Error> {
    let card = card_for_profile(settings, &library.profile)?;
    let request = SearchRequest {
        text: question,
        mode: Mode::Hybrid,
        scope,
        top_k: TopK::new(count * HITS_PER_PAGE),
        visual_weight: card.visual_weight,
    };
    Ok(search::search(&*library.store, models, &request)?.hits)
}

/// The best pages of `hits`, `count` at most, without blank ones and those that are equal to a better one. A page whose file is
/// missing or has changed has no image; `on_note` gets the reason.
///
/// # Errors
/// [`Error::Store`] when the store fails, [`Error::Render`] when no renderer can be opened.
pub fn context_pages(
    (settings, store, passwords): (&Settings, &dyn Store, &[String]),
    hits: &[SearchHit],
    count: usize,
    on_note: &mut dyn FnMut(String),
) -> Result<Vec<ContextPage>, Error> {
    let mut renderer = upright_renderer(settings)()?;
    let (mut pages, mut contents) = (Vec::new(), Vec::new());
    for hit in hits {
        if pages.len() == count {
            break;
        }
        let id = PageId::new(&ManualId::new(&hit.manual), hit.page);
        let record = match find_record(store, &id) {
            Err(Error::NoPage(_)) => continue,
            record => record?,
        };
        if record.blank || contents.contains(&record.content) {
            continue;
        }
        let image = manual_named(store, &hit.manual)
            .and_then(|card| page_image(&mut *renderer, &card, &record, passwords));
        let jpeg = match image {
            Ok(image) => Some(chat::jpeg::encode(image.rgb(), image.size())),
            Err(store @ Error::Store(_)) => return Err(store),
            Err(why) => {
                on_note(format!("{id}: only its text is read: {why}"));
                None
            }
        };
        contents.push(record.content);
        pages.push(ContextPage {
            id,
            label: record.label,
            section: hit.section.clone(),
            text: record.text,
            jpeg,
        });
    }
    Ok(pages)
}
