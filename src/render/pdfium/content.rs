//! What is on a page apart from its pixels.

use super::page::Page;
use super::{annotations, layers, objects, undrawn};
use crate::page::Size;
use crate::render::Undrawn;

/// Texts of a page, and what is missing on its image.
pub(in crate::render) struct Content {
    /// The text layer as PDFium reads it: what is inside the page box and on layers that are switched on.
    pub(in crate::render) raw_text: String,
    /// What was filled into its form and written onto it, one entry per field or annotation.
    pub(in crate::render) additions: Vec<String>,
    /// What PDFium could not draw.
    pub(in crate::render) undrawn: Vec<Undrawn>,
}

impl Content {
    /// Reads a page that was drawn as `rgb` with this size and rotation. Takes hidden layers off the loaded page.
    pub(in crate::render) fn read(page: &Page<'_>, size: Size, rotation: u8, rgb: &[u8]) -> Self {
        let objects = objects::of_page(page);
        let objects = layers::without_hidden(page, &objects);
        let undrawn = undrawn::find(page, &objects, size, rotation, rgb);
        Self {
            raw_text: page.raw_text(),
            additions: annotations::texts(page),
            undrawn,
        }
    }
}
