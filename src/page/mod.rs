//! Page identity, page images, page errors and page sets. Depends on no other module.

mod annotation;
mod sections;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use annotation::{Annotation, Description, Figure, Identifier, Outcome, Table};
pub use sections::Sections;

/// The name of a manual, unique within a store: its file name, or `parent/name.pdf` where two files share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ManualId(Arc<str>);

impl ManualId {
    /// Creates an id from a name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ManualId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<ManualId> for String {
    fn from(id: ManualId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ManualId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Letters and digits that a text layer must have to be what a page says. Stamps of scanners and download sites, page numbers
/// and running titles are one line, which is shorter; `Downloaded from www.example-manuals.com` has 36.
const LEAST_TEXT: usize = 50;

/// Whether the text layer of a page says so little that the page must be read from its picture, as a scan is.
pub fn says_little(text: &str) -> bool {
    let said = text.chars().filter(|c| c.is_alphanumeric());
    said.take(LEAST_TEXT).count() < LEAST_TEXT
}

/// One page of one manual; pages count from 1, as PDF viewers do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PageId {
    /// The manual the page belongs to.
    pub manual: ManualId,
    /// The position of the page in its file, from 1.
    pub number: u32,
}

/// UUIDv5 namespace of page ids. Must never change: every store contains ids derived from it.
const NAMESPACE: Uuid = Uuid::from_u128(0x0ad1_c5ab_6a0b_5f0e_8b5e_7c44_8a3e_57d1);

impl PageId {
    /// Creates the id of page `number` of a manual.
    pub fn new(manual: &ManualId, number: u32) -> Self {
        Self {
            manual: manual.clone(),
            number,
        }
    }

    /// The id of the page in every store: UUIDv5 (RFC 9562 §5.5) of `manual '\n' number`.
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v5(
            &NAMESPACE,
            format!("{}\n{}", self.manual, self.number).as_bytes(),
        )
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, page {}", self.manual, self.number)
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Size {
    /// Creates a size.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A page image: 8-bit RGB, row-major, no padding; never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct PageImage {
    size: Size,
    rgb: Vec<u8>,
}

/// Error of pixels that do not match the image size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{bytes} bytes are not an RGB image of {size} pixels")]
pub struct PixelError {
    size: Size,
    bytes: usize,
}

impl PageImage {
    /// Creates an image of `size` from `3 * width * height` bytes.
    ///
    /// # Errors
    /// [`PixelError`] if the number of bytes does not match the size, or the size is zero.
    pub fn new(size: Size, rgb: Vec<u8>) -> Result<Self, PixelError> {
        if size.area() == 0 || rgb.len() as u64 != size.area() * 3 {
            return Err(PixelError {
                size,
                bytes: rgb.len(),
            });
        }
        Ok(Self { size, rgb })
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The pixels, `3 * width * height` bytes.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl fmt::Debug for PageImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageImage({})", self.size)
    }
}

/// Error of a single page; its id is passed separately ([`Page`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The page cannot be rendered.
    #[error("cannot be rendered: {0}")]
    Render(String),
    /// Rendering exceeded the deadline; the worker was stopped.
    #[error("rendering timed out after {seconds} s")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// The render worker crashed on this page.
    #[error("the render worker crashed ({0})")]
    WorkerDied(String),
    /// The reference preprocessing rejects a page of this shape.
    #[error("cannot be prepared for the model: {0}")]
    Shape(String),
    /// The model produced a non-finite number, twice.
    #[error("the model produced a non-finite vector, also when the page was embedded alone")]
    NotFinite,
    /// The store rejected the page.
    #[error("the store rejected it: {0}")]
    Store(String),
}

/// Item passed between the stages of a run: the id of a page and its result.
pub type Page<T> = (PageId, Result<T, PageError>);

/// A set of page numbers, such as `1-20,33`; the empty text or `all` means every page.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PageSet {
    /// Inclusive ranges, sorted and merged; `None` is every page.
    ranges: Option<Vec<(u32, u32)>>,
}

/// Error of parsing a page set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid page range `{0}`: expected pages such as 1-20,33, counted from 1")]
pub struct PageSetError(String);

impl PageSet {
    /// Every page.
    pub fn all() -> Self {
        Self::default()
    }

    /// The given pages.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        Self::merged(numbers.into_iter().map(|n| (n, n)).collect())
    }

    /// All pages from `first` to the end.
    pub fn starting_at(first: u32) -> Self {
        Self::between(first, u32::MAX)
    }

    /// All pages from `first` to `last`.
    pub fn between(first: u32, last: u32) -> Self {
        Self {
            ranges: Some(vec![(first, last)]),
        }
    }

    /// Whether the set is every page.
    pub fn is_all(&self) -> bool {
        self.ranges.is_none()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether the set contains a page.
    pub fn contains(&self, number: u32) -> bool {
        match &self.ranges {
            None => true,
            Some(ranges) => ranges.iter().any(|&(a, b)| (a..=b).contains(&number)),
        }
    }

    /// The pages of the set among `1..=count`, in order.
    pub fn within(&self, count: u32) -> Vec<u32> {
        (1..=count).filter(|&n| self.contains(n)).collect()
    }

    /// The inclusive ranges, sorted and disjoint; `None` is every page.
    pub fn ranges(&self) -> Option<&[(u32, u32)]> {
        self.ranges.as_deref()
    }

    fn merged(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (a, b) in ranges {
            match merged.last_mut() {
                Some(last) if a <= last.1.saturating_add(1) => last.1 = last.1.max(b),
                _ => merged.push((a, b)),
            }
        }
        Self {
            ranges: Some(merged),
        }
    }
}

impl fmt::Display for PageSet {
    /// As it is parsed, such as `1-20, 33`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ranges) = &self.ranges else {
            return f.write_str("all");
        };
        for (index, &(first, last)) in ranges.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match last {
                _ if first == last => write!(f, "{first}")?,
                u32::MAX => write!(f, "{first}-")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for PageSet {
    type Err = PageSetError;

    fn from_str(text: &str) -> Result<Self, PageSetError> {
        let text = text.trim();
        if text == "all" {
            return Ok(Self::all());
        }
        let invalid = || PageSetError(text.to_owned());
        let number = |s: &str| {
            s.trim()
                .parse::<u32>()
                .ok()
                .filter(|&n| n > 0)
                .ok_or_else(invalid)
        };
        let range = |part: &str| match part.split_once('-') {
            None => number(part).map(|n| (n, n)),
            Some((a, "")) => Ok((number(a)?, u32::MAX)),
            Some((a, b)) => Ok((number(a)?, number(b)?)),
        };
        let ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        if ranges.iter().any(|(a, b)| a > b) {
            return Err(invalid());
        }
        Ok(Self::merged(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ids_never_change() {
        let namespace = NAMESPACE.to_string();
        assert_eq!(namespace, "0ad1c5ab-6a0b-5f0e-8b5e-7c448a3e57d1");
        for (manual, number, uuid) in [
            ("pump.pdf", 7, "a8c76708-299b-549a-9305-2059c2a17f32"),
            (
                "Anleitung/wärmepumpe.pdf",
                3,
                "d99d8a0b-3629-5c91-a0ff-f222576b72bb",
            ),
        ] {
            let id = PageId::new(&ManualId::new(manual), number);
            assert_eq!(id.uuid().to_string(), uuid);
        }
    }

    #[test]
    fn page_sets_are_parsed_merged_or_rejected() {
        let set: PageSet = "1-3, 33,4-5,40-".parse().unwrap();
        assert_eq!(set.within(42), [1, 2, 3, 4, 5, 33, 40, 41, 42]);
        assert_eq!(set.to_string(), "1-5, 33, 40-");
        assert!("all".parse::<PageSet>().unwrap().is_all());
        for bad in ["", "0", "5-2", "a", "1,,2", "-4"] {
            assert!(bad.parse::<PageSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn page_image_requires_three_bytes_per_pixel() {
        assert!(PageImage::new(Size::new(2, 2), vec![0; 12]).is_ok());
        assert!(PageImage::new(Size::new(2, 2), vec![0; 11]).is_err());
        assert!(PageImage::new(Size::new(0, 2), vec![]).is_err());
    }
}
