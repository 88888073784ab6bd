//! Layers (optional content groups): text of a layer that is switched off is not on the page.
//!
//! PDFium draws only visible layers but reads the text of all, and does not say which are visible. So each group of marked
//! objects is drawn alone on a coloured background: a hidden group leaves no trace.

use std::collections::BTreeMap;

use super::objects::{Kind, Object};
use super::page::Page;
use crate::page::Size;
use crate::render::size;

/// Maximum number of groups that are examined; the rest counts as visible.
const MAX_GROUPS: usize = 64;
/// Size of the drawing.
const DPI: u32 = 72;
const MAX_PIXELS: u64 = 1_000_000;
/// A colour that objects rarely have.
const BACKGROUND: [u8; 3] = [151, 83, 201];

/// Switches off the objects of hidden layers on a loaded page: neither their text nor their pixels are there any more.
pub(super) fn deactivate_hidden(page: &Page<'_>, objects: &[Object]) {
    let mut groups: BTreeMap<&[usize], Vec<&Object>> = BTreeMap::new();
    for object in objects.iter().filter(|object| !object.layers.is_empty()) {
        groups.entry(&object.layers).or_default().push(object);
    }
    // A group of invisible text leaves no trace in any case: the text layer of a scan.
    groups.retain(|_, group| {
        group
            .iter()
            .any(|o| o.kind != Kind::Text { visible: false })
    });
    if groups.is_empty() {
        return;
    }
    let Some(size) = drawing_size(page) else {
        return;
    };
    let bindings = page.bindings();
    objects.iter().for_each(|o| o.set_active(bindings, false));
    let hidden: Vec<&Vec<&Object>> = groups
        .values()
        .take(MAX_GROUPS)
        .filter(|group| {
            group.iter().for_each(|o| o.set_active(bindings, true));
            let hidden = leaves_no_trace(page, size);
            group.iter().for_each(|o| o.set_active(bindings, false));
            hidden
        })
        .collect();
    objects.iter().for_each(|o| o.set_active(bindings, true));
    hidden
        .into_iter()
        .flatten()
        .for_each(|o| o.set_active(bindings, false));
}

fn drawing_size(page: &Page<'_>) -> Option<Size> {
    let (width, height) = page.dimensions();
    size::of_points(width, height, DPI, MAX_PIXELS)
}

/// Whether drawing the page changes no pixel.
fn leaves_no_trace(page: &Page<'_>, size: Size) -> bool {
    let mut rgb = BACKGROUND.repeat(size.area() as usize);
    let drawn = page.draw_over(size, 0, &mut rgb, false);
    drawn.is_ok() && rgb.chunks_exact(3).all(|pixel| pixel == BACKGROUND)
}
