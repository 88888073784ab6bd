//! Pages that look and read as one that was met before need not be described again.

use std::collections::HashMap;

use crate::page::{PageId, PageImage, Size};

/// Levels of 255 that noise may change.
const NOISE: u8 = 8;
/// Pixels of a cell, a side: of a page its cells' means are kept, a sixteenth of its pixels. One black pixel on white
/// changes a mean by 16 levels.
const CELL: usize = 4;

/// Pages that were met, by what they read.
#[derive(Default)]
pub(super) struct DuplicateIndex {
    met: HashMap<String, Vec<Met>>,
}

/// A page that was met.
struct Met {
    id: PageId,
    size: Size,
    cells: Vec<u8>,
}

impl DuplicateIndex {
    /// The page met before of which this one is a twin: their text layers are equal but for white space, and no cell
    /// of their pictures differs by more than noise. Otherwise it is remembered.
    pub(super) fn find_or_insert(
        &mut self,
        id: &PageId,
        text: &str,
        image: &PageImage,
    ) -> Option<PageId> {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let page = Met {
            id: id.clone(),
            size: image.size(),
            cells: cells(image),
        };
        let same = self.met.entry(words).or_default();
        if let Some(twin) = same.iter().find(|met| alike(met, &page)) {
            return Some(twin.id.clone());
        }
        same.push(page);
        None
    }
}

/// Rec. 601.
fn luma(rgb: &[u8]) -> u8 {
    let sum = 299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]);
    (sum / 1000) as u8
}

fn alike(a: &Met, b: &Met) -> bool {
    let near = |(x, y): (&u8, &u8)| x.abs_diff(*y) <= NOISE;
    a.size == b.size && a.cells.iter().zip(&b.cells).all(near)
}

/// The mean of each cell, row by row.
fn cells(image: &PageImage) -> Vec<u8> {
    let width = image.size().width as usize;
    let across = width.div_ceil(CELL);
    let down = (image.size().height as usize).div_ceil(CELL);
    let mut sums = vec![(0_u32, 0_u32); across * down];
    for (at, rgb) in image.rgb().chunks_exact(3).enumerate() {
        let cell = &mut sums[at / width / CELL * across + at % width / CELL];
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

    fn picture(change: impl Fn(usize) -> u8) -> PageImage {
        PageImage::new(Size::new(40, 30), (0..3600).map(change).collect()).unwrap()
    }

    #[test]
    fn one_digit_makes_another_page_and_noise_does_not() {
        let plain = picture(|i| (i % 200) as u8);
        let noisy = picture(|i| (i % 200) as u8 + (i % 7) as u8);
        // A few dark pixels in a place where there were light ones.
        let digit = picture(|i| {
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
            "the text differs in a digit"
        );
        assert_eq!(
            duplicates.find_or_insert(&id(4), "E-104 is a fault", &digit),
            None,
            "the picture does"
        );
        assert_eq!(
            duplicates.find_or_insert(&id(5), "", &plain),
            None,
            "a scan of it has no text"
        );
        assert_eq!(duplicates.find_or_insert(&id(6), "", &noisy), Some(id(5)));
    }
}
