//! Near-duplicates: pages whose image and text equal those of an earlier page are not described again.

use std::collections::HashMap;

use crate::page::{PageId, PageImage, Size};

/// Maximum difference of two cell means, in levels of 255, that counts as noise.
const MAX_DIFFERENCE: u8 = 8;
/// Side of a cell in pixels: a page is reduced to the means of its cells, a sixteenth of its pixels. One black pixel on
/// white changes a mean by 16 levels.
const CELL_SIDE: usize = 4;

/// Index of the pages rendered so far, by text layer.
#[derive(Default)]
pub(super) struct DuplicateIndex {
    pages_by_text: HashMap<String, Vec<IndexedPage>>,
}

/// A page in the index.
struct IndexedPage {
    id: PageId,
    size: Size,
    cell_means: Vec<u8>,
}

impl DuplicateIndex {
    /// Returns the earlier page that this one duplicates: their text layers are equal except for white space, and no
    /// cell mean differs by more than noise. Otherwise inserts the page.
    pub(super) fn find_or_insert(
        &mut self,
        id: &PageId,
        text: &str,
        image: &PageImage,
    ) -> Option<PageId> {
        let normalised = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let page = IndexedPage {
            id: id.clone(),
            size: image.size(),
            cell_means: cell_means(image),
        };
        let candidates = self.pages_by_text.entry(normalised).or_default();
        if let Some(original) = candidates
            .iter()
            .find(|other| is_near_duplicate(other, &page))
        {
            return Some(original.id.clone());
        }
        candidates.push(page);
        None
    }
}

/// Luma of a pixel (Rec. 601).
fn luma(rgb: &[u8]) -> u8 {
    let sum = 299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]);
    (sum / 1000) as u8
}

fn is_near_duplicate(a: &IndexedPage, b: &IndexedPage) -> bool {
    let is_close = |(x, y): (&u8, &u8)| x.abs_diff(*y) <= MAX_DIFFERENCE;
    a.size == b.size && a.cell_means.iter().zip(&b.cell_means).all(is_close)
}

/// Returns the mean luma of each cell, row by row.
fn cell_means(image: &PageImage) -> Vec<u8> {
    let width = image.size().width as usize;
    let columns = width.div_ceil(CELL_SIDE);
    let rows = (image.size().height as usize).div_ceil(CELL_SIDE);
    let mut sums = vec![(0_u32, 0_u32); columns * rows];
    for (index, rgb) in image.rgb().chunks_exact(3).enumerate() {
        let cell = &mut sums[index / width / CELL_SIDE * columns + index % width / CELL_SIDE];
        *cell = (cell.0 + u32::from(luma(rgb)), cell.1 + 1);
    }
    let mean = |(sum, count): (u32, u32)| (sum / count.max(1)) as u8;
    sums.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    fn id(page: u32) -> PageId {
        PageId::new(&ManualId::new("m"), page)
    }

    fn image(change: impl Fn(usize) -> u8) -> PageImage {
        PageImage::new(Size::new(40, 30), (0..3600).map(change).collect()).unwrap()
    }

    #[test]
    fn pages_that_differ_by_noise_are_duplicates_and_by_a_digit_are_not() {
        let plain = image(|i| (i % 200) as u8);
        let noisy = image(|i| (i % 200) as u8 + (i % 7) as u8);
        // A few dark pixels instead of light ones.
        let digit = image(|i| {
            if (1500..1512).contains(&i) {
                0
            } else {
                (i % 200) as u8
            }
        });
        let mut duplicates = DuplicateIndex::default();
        assert_eq!(
            duplicates.find_or_insert(&id(1), "E-104 is a fault", &plain),
            None
        );
        assert_eq!(
            duplicates.find_or_insert(&id(2), "E-104  is a\nfault", &noisy),
            Some(id(1))
        );
        assert_eq!(
            duplicates.find_or_insert(&id(3), "E-105 is a fault", &plain),
            None,
            "the text differs by a digit"
        );
        assert_eq!(
            duplicates.find_or_insert(&id(4), "E-104 is a fault", &digit),
            None,
            "the image differs"
        );
        assert_eq!(
            duplicates.find_or_insert(&id(5), "", &plain),
            None,
            "a scan has no text"
        );
        assert_eq!(duplicates.find_or_insert(&id(6), "", &noisy), Some(id(5)));
    }
}
