//! Digest of what a page shows: decides whether it must be embedded again.

use crate::render::Rendered;
use crate::store::digest;

/// Digest of pixels and text of a rendered page: the [`content`](crate::store::StoredPage::content) of its record.
pub fn content_digest(rendered: &Rendered) -> String {
    let size = rendered.image.size();
    let shape = [size.width.to_le_bytes(), size.height.to_le_bytes()].concat();
    digest(&[&shape, rendered.image.rgb(), rendered.text.as_bytes()])
}
