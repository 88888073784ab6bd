//! Layers (optional content groups): text of a layer that is switched off is not on the page.
//!
//! PDFium draws only visible layers but reads the text of all, and does not say which are visible. So each group of marked
//! objects is drawn alone on a coloured background: a hidden group leaves no trace.

use std::collections::{BTreeMap, HashSet};

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

/// Switches off the objects of hidden layers on a loaded page, so that their text is not there any more, and returns the
/// others.
pub(super) fn without_hidden<'a>(page: &Page<'_>, objects: &'a [Object]) -> Vec<&'a Object> {
    let mut groups: BTreeMap<&[usize], Vec<&Object>> = BTreeMap::new();
    for object in objects.iter().filter(|object| !object.layers.is_empty()) {
        groups.entry(&object.layers).or_default().push(object);
    }
    let bindings = page.bindings();
    // Only text is in question, and some groups leave no trace in any case: the text layer of a scan, a missing font.
    groups.retain(|_, group| {
        let is_text = |o: &&Object| matches!(o.kind, Kind::Text { .. });
        group.iter().any(is_text) && group.iter().any(|o| leaves_a_trace(page, o))
    });
    let all = || objects.iter().collect();
    let Some(size) = drawing_size(page).filter(|_| !groups.is_empty()) else {
        return all();
    };
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
    let hidden: HashSet<usize> = hidden.into_iter().flatten().map(|o| o.address()).collect();
    let (hidden, others): (Vec<&Object>, Vec<&Object>) =
        objects.iter().partition(|o| hidden.contains(&o.address()));
    hidden
        .into_iter()
        .for_each(|o| o.set_active(bindings, false));
    others
}

/// Whether an object would be seen if it were drawn.
fn leaves_a_trace(page: &Page<'_>, object: &Object) -> bool {
    match object.kind {
        Kind::Text { visible } => visible && !object.is_flat(page.bindings()),
        Kind::Image => false,
        Kind::Other => true,
    }
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
