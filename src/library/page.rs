//! Look-up of pages, page images rendered from the original files, and heat maps of a query.

use crate::config::Settings;
use crate::page::{ManualId, PageId, PageImage, PageSet};
use crate::pipeline::content_digest;
use crate::render::{Manual, Rendered, Renderer, Source};
use crate::store::{FileError, ManualCard, Scope, Store, StoredPage};
use crate::vectors::{PageVectors, Profile};
use crate::{embed, heatmap};
use uuid::Uuid;

use super::open::model_config;
use super::{Error, open_model, open_model_for_profile};

/// A stored page with its vectors and all metadata; `number` counts from 1.
///
/// # Errors
/// [`Error::NoPage`] when it is not stored; [`Error::Store`] when the store fails.
pub fn find_page(store: &dyn Store, manual: &ManualId, number: u32) -> Result<StoredPage, Error> {
    let scope = Scope {
        manuals: vec![manual.clone()],
        pages: PageSet::of([number]),
    };
    let page = store.scan(&scope)?.next().transpose()?;
    page.ok_or_else(|| Error::NoPage(PageId::new(manual, number)))
}

/// The same without reading its vectors.
///
/// # Errors
/// As [`find_page`].
pub fn find_record(store: &dyn Store, id: &PageId) -> Result<StoredPage, Error> {
    let record = store.records(&Scope::page(id))?.next().transpose()?;
    record.ok_or_else(|| Error::NoPage(id.clone()))
}

/// The stored page with an id ([`PageId::uuid`]).
///
/// # Errors
/// [`Error::NoId`] when there is none; [`Error::Store`] when the store fails.
pub fn find_page_by_uuid(store: &dyn Store, id: &str) -> Result<PageId, Error> {
    let no_id = || Error::NoId(id.to_owned());
    let uuid = Uuid::parse_str(id).map_err(|_| no_id())?;
    store.page_with_uuid(uuid)?.ok_or_else(no_id)
}

/// The number of the page with a printed label, such as `iv`; upper and lower case are equal unless both exist.
///
/// # Errors
/// [`Error::NoLabel`] when no stored page has it; [`Error::Store`] when the store fails.
pub fn find_page_by_label(store: &dyn Store, manual: &ManualId, label: &str) -> Result<u32, Error> {
    let scope = Scope {
        manuals: vec![manual.clone()],
        pages: PageSet::all(),
    };
    let label = label.trim();
    let mut similar = None;
    for page in store.records(&scope)? {
        let page = page?;
        match page.label {
            Some(found) if found == label => return Ok(page.id.number),
            Some(found) if found.to_lowercase() == label.to_lowercase() => {
                similar = similar.or(Some(page.id.number));
            }
            _ => {}
        }
    }
    similar.ok_or_else(|| Error::NoLabel {
        manual: manual.clone(),
        label: label.to_owned(),
    })
}

/// Opens the file that a manual was stored from in a renderer.
///
/// # Errors
/// [`Error::File`] when it is missing or has changed; [`Error::Manual`] when the renderer cannot open it.
pub fn open_manual(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    passwords: &[String],
) -> Result<Manual, Error> {
    card.verify_file()?;
    open_file(renderer, card, passwords)
}

fn open_file(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    passwords: &[String],
) -> Result<Manual, Error> {
    let source = Source {
        manual: card.id.clone(),
        path: card.path.clone(),
        passwords: passwords.to_vec(),
    };
    renderer.open(&source).map_err(|cause| Error::Manual {
        path: card.path.clone(),
        cause,
    })
}

/// The image of a stored page, rendered from its file again. The file may have changed if the page has not.
///
/// # Errors
/// [`Error::File`] when the file is missing, or the page is not the one that was stored; [`Error::Manual`] when the renderer
/// cannot open the file; [`Error::Render`] when no worker can be started; [`Error::Page`] when the page cannot be rendered;
/// [`Error::NoPage`] when the file has no such page.
pub fn page_image(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    page: &StoredPage,
    passwords: &[String],
) -> Result<PageImage, Error> {
    let changed = match card.verify_file() {
        Err(cause @ FileError::Unreadable { .. }) => return Err(cause.into()),
        Err(changed) => Some(changed),
        Ok(()) if page.is_from(card) => None,
        Ok(()) => Some(card.changed_since(&[page.id.number])),
    };
    match (rendered_page(renderer, card, &page.id, passwords), changed) {
        (Ok(rendered), None) => Ok(rendered.image),
        (Ok(rendered), Some(_)) if content_digest(&rendered) == page.content => Ok(rendered.image),
        (Err(cause), None) => Err(cause),
        (_, Some(changed)) => Err(changed.into()),
    }
}

/// A page rendered from the file of its manual, whatever has become of the file.
///
/// # Errors
/// As [`page_image`], but for a changed file.
pub fn rendered_page(
    renderer: &mut dyn Renderer,
    card: &ManualCard,
    page: &PageId,
    passwords: &[String],
) -> Result<Rendered, Error> {
    open_file(renderer, card, passwords)?;
    let number = page.number;
    let selector = PageSet::of([number]);
    match renderer.pages(&selector)?.next() {
        Some((_, Ok(rendered))) => Ok(rendered),
        Some((_, Err(cause))) => Err(Error::Page {
            path: card.path.clone(),
            number,
            cause,
        }),
        None => Err(Error::NoPage(page.clone())),
    }
}

/// A page image overlaid with a heat map of a query. `stored` are the vectors of the page in the store.
///
/// Opens the model, and with token pooling embeds the page again: only unpooled vectors belong to one patch each.
///
/// # Errors
/// [`Error::Embed`] when the model cannot be opened or fails; with token pooling also [`Error::Prepare`] or
/// [`Error::Embedding`] when the page cannot be embedded.
pub fn heat_map(
    settings: &Settings,
    profile: &Profile,
    image: PageImage,
    stored: &PageVectors,
    query: &str,
) -> Result<PageImage, Error> {
    let query = open_model_for_profile(settings, profile)?.embed_query(query)?;
    if profile.pool_factor == 1 {
        return Ok(heatmap::overlay(image, stored, &query));
    }
    let unpooled = unpooled_vectors(settings, profile, &image)?;
    Ok(heatmap::overlay(image, &unpooled, &query))
}

/// The vectors of a page before token pooling, computed again.
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
    let missing = || embed::Error::Model("no page was embedded".to_owned());
    let embedded = embedded.into_iter().next().ok_or_else(missing)?;
    let PageVectors { vectors, patches } = embedded.map_err(Error::Embedding)?;
    Ok(PageVectors {
        // Same precision as in the store.
        vectors: vectors.rounded_to_f16(),
        patches,
    })
}
