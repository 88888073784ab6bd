//! Where the words of the text layer stand on the image of a page.

use std::ffi::c_int;

use super::page::Page;
use super::text_page::TextPage;
use crate::page::Size;
use crate::render::PlacedWord;

/// Maximum words of a page; the rest is dropped.
const MAX_WORDS: usize = 20_000;

impl Page<'_> {
    /// The words of its text layer, on an image with this size and rotation.
    pub(in crate::render) fn words(&self, size: Size, rotation: u8) -> Vec<PlacedWord> {
        let Some(text_page) = TextPage::load(self.bindings(), self.handle()) else {
            return Vec::new();
        };
        let mut words: Vec<PlacedWord> = Vec::new();
        let mut is_new = true;
        for index in 0..text_page.count() {
            let letter = text_page.letter(index).filter(|c| !c.is_whitespace());
            let placed = letter.zip(text_page.char_box(index));
            let Some((letter, corners)) = placed else {
                is_new = true;
                continue;
            };
            let place = self.on_image(corners, size, rotation);
            let is_full = words.len() == MAX_WORDS;
            match words.last_mut().filter(|_| !is_new) {
                Some(word) => word.extend(letter, place),
                None if is_full => break,
                None => words.push(PlacedWord {
                    text: letter.to_string(),
                    place,
                }),
            }
            is_new = false;
        }
        words
    }

    /// Two opposite corners in page coordinates as a place on the image: left, top, right and bottom as shares of its size.
    fn on_image(&self, [x1, y1, x2, y2]: [f64; 4], size: Size, rotation: u8) -> [f32; 4] {
        let (width, height) = (size.width as c_int, size.height as c_int);
        let pixel = |x: f64, y: f64| {
            let (mut column, mut row) = (0, 0);
            // SAFETY: the page is open.
            unsafe {
                self.bindings().FPDF_PageToDevice(
                    self.handle().cast(),
                    0,
                    0,
                    width,
                    height,
                    rotation.into(),
                    x,
                    y,
                    &raw mut column,
                    &raw mut row,
                )
            };
            (column as f32 / width as f32, row as f32 / height as f32)
        };
        let ((a, b), (c, d)) = (pixel(x1, y1), pixel(x2, y2));
        [a.min(c), b.min(d), a.max(c), b.max(d)]
    }
}

impl PlacedWord {
    /// Adds a letter.
    fn extend(&mut self, letter: char, [left, top, right, bottom]: [f32; 4]) {
        self.text.push(letter);
        let [l, t, r, b] = self.place;
        self.place = [l.min(left), t.min(top), r.max(right), b.max(bottom)];
    }
}
