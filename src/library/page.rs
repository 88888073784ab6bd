//! Manuals by name, pages by number, page images rendered again, and where a page matches a question.

use crate::config::Settings;
use crate::page::{ManualId, PageId, PageImage, PageSet};
use crate::render::{Manual, Renderer, Source};
use crate::store::{ManualCard, Scope, Store, StoredPage};
use crate::vectors::{PageVectors, Profile};
use crate::{embed, heatmap};

use super::open::model_config;
use super::{Error, model_of, open_model};

/// The manual of that name; its ending `.pdf` may be left out.
///
/// # Errors
/// [`Error::NoManual`] with the stored name that is most like it, and when the store fails.
pub fn find_manual(store: &dyn Store, name: &str) -> Result<ManualCard, Error> {
    let cards = store.cards()?;
    let fits = |card: &&ManualCard| {
        let known = card.id.as_str();
        known == name || known.strip_suffix(".pdf") == Some(name)
    };
    if let Some(card) = cards.iter().find(fits) {
        return Ok(card.clone());
    }
    let distance = |card: &ManualCard| strsim::damerau_levenshtein(card.id.as_str(), name);
    let nearest = cards
        .iter()
        .min_by_key(|card| distance(card))
        .filter(|card| distance(card) <= 2 + name.len() / 3);
    Err(Error::NoManual {
        name: name.to_owned(),
        nearest: nearest.map(|card| card.id.to_string()),
    })
}

/// A stored page with everything that is stored of it.
///
/// # Errors
/// [`Error::NoPage`], and when the store fails.
pub fn page(store: &dyn Store, manual: &ManualId, number: u32) -> Result<StoredPage, Error> {
    let scope = Scope {
        manual: Some(manual.clone()),
        pages: PageSet::of([number]),
    };
    let page = store.scan(&scope)?.next().transpose()?;
    page.ok_or_else(|| Error::NoPage(PageId::new(manual, number)))
}

/// Opens the file that a manual was stored from.
///
/// # Errors
/// [`Error::File`] when it is not there or is not the same file any more, [`Error::Manual`] when it cannot be read.
pub fn open_manual(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    password: Option<String>,
) -> Result<Manual, Error> {
    card.verify_file()?;
    let source = Source {
        manual: card.id.clone(),
        path: card.path.clone(),
        password,
    };
    renderer.open(&source).map_err(|cause| Error::Manual {
        path: card.path.clone(),
        cause,
    })
}

/// The image of a stored page, rendered again from the file that the manual was stored from.
///
/// # Errors
/// As [`open_manual`], and [`Error::Page`] when the page cannot be rendered.
pub fn page_image(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    number: u32,
    password: Option<String>,
) -> Result<PageImage, Error> {
    open_manual(renderer, card, password)?;
    let which = PageSet::of([number]);
    match renderer.pages(&which)?.next() {
        Some((_, Ok(rendered))) => Ok(rendered.image),
        Some((_, Err(cause))) => Err(Error::Page {
            path: card.path.clone(),
            number,
            cause,
        }),
        None => Err(Error::NoPage(PageId::new(&card.id, number))),
    }
}

/// A page's image with the places marked that match a question. `stored` are the page's vectors as the store has them.
///
/// # Errors
/// When the model that filled the store cannot be opened, or fails.
pub fn heat_map(
    settings: &Settings,
    profile: &Profile,
    image: PageImage,
    stored: &PageVectors,
    question: &str,
) -> Result<PageImage, Error> {
    let query = model_of(settings, profile)?.embed_query(question)?;
    if profile.pool_factor == 1 {
        return Ok(heatmap::overlay(image, stored, &query));
    }
    let unpooled = unpooled_vectors(settings, profile, &image)?;
    Ok(heatmap::overlay(image, &unpooled, &query))
}

/// The vectors of a page before they were pooled, made again: only those belong to one patch each.
fn unpooled_vectors(
    settings: &Settings,
    profile: &Profile,
    image: &PageImage,
) -> Result<PageVectors, Error> {
    let unpooled = Profile {
        pool_factor: 1,
        ..profile.clone()
    };
    let config = model_config(settings, &unpooled);
    let prepared = embed::card(&config)?.prepare.prepare(image)?;
    let embedded = open_model(settings, &config)?.embed_pages(&[prepared])?;
    let missing = || embed::Error::Model("it embedded no page".to_owned());
    let embedded = embedded.into_iter().next().ok_or_else(missing)?;
    let PageVectors { vectors, places } = embedded.map_err(Error::Embedding)?;
    Ok(PageVectors {
        // As they would be stored.
        vectors: vectors.rounded_to_f16(),
        places,
    })
}
