//! From files to page pictures, with text layer, labels and outline: PDFs through PDFium, pictures through `image`.
//!
//! PDFium takes one call at a time in a process and cannot be interrupted, so it lives in worker processes of our own
//! executable; a page that hangs or kills its worker is one failed page.

mod dispatch;
mod file_type;
mod memory;
mod pdfium;
mod pdfium_library;
mod picture;
mod pool;
mod process;
mod protocol;
mod queue;
mod size;
mod text;
pub mod worker;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::page::{ManualId, Page, PageError, PageImage, PageSet, Size};
use crate::units::ByteSize;

pub use pdfium_library::{library, licences};

/// How pages are rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Dots per inch of a rendered page.
    pub dpi: u32,
    /// A page is never rendered larger than this many million pixels.
    pub max_megapixels: u32,
    /// Worker processes; 0 means one per two cores, at most 4.
    pub workers: usize,
    /// Seconds a page may take before its worker is stopped.
    pub deadline_s: u64,
    /// Memory a worker may take.
    pub worker_memory: ByteSize,
}

impl Config {
    /// What of these settings shows in the pixels: pages rendered under another profile are rendered again.
    pub fn profile(&self) -> String {
        format!(
            "pdfium-8149 {} dpi, at most {} MP",
            self.dpi, self.max_megapixels
        )
    }

    /// Pixels of the largest picture of a page.
    fn max_pixels(&self) -> u64 {
        u64::from(self.max_megapixels.max(1)) * 1_000_000
    }

    /// Worker processes that there will be.
    pub fn workers(&self) -> usize {
        pool::workers(self)
    }

    /// The deadline of a page.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_s)
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The manual it is.
    pub manual: ManualId,
    /// Where it lies.
    pub path: PathBuf,
    /// Its password, if one is needed. Never printed.
    pub password: Option<String>,
}

/// A bookmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// Its text.
    pub title: String,
    /// 0 for a chapter, 1 for a section in it, and so on.
    pub level: u32,
    /// The page it points to, from 1.
    pub page: u32,
}

/// What is known of a manual once it is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manual {
    /// Number of pages.
    pub pages: u32,
    /// Printed page labels, one a page (`iv`, `12`, `A-3`), or none at all.
    pub labels: Vec<String>,
    /// Bookmarks in reading order, those that point to a page of this file.
    pub outline: Vec<Bookmark>,
}

impl Manual {
    /// The printed label of a page, if the file has labels.
    pub fn label(&self, number: u32) -> Option<&str> {
        self.labels
            .get(number.checked_sub(1)? as usize)
            .map(String::as_str)
            .filter(|l| !l.is_empty())
    }

    /// The title of the last bookmark at or before a page: the section it lies in.
    pub fn section(&self, number: u32) -> Option<&str> {
        self.outline
            .iter()
            .filter(|b| b.page <= number)
            .max_by_key(|b| b.page)
            .map(|b| b.title.as_str())
    }
}

/// A page as rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Its picture, upright as a viewer shows it.
    pub image: PageImage,
    /// Its text layer; empty when there is none.
    pub text: String,
    /// Whether the picture is one flat colour.
    pub blank: bool,
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there or may not be read.
    #[error("cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// Not a PDF, or too damaged.
    #[error("not a readable PDF")]
    Format,
    /// A password is needed, or the one given is wrong.
    #[error("protected by a password{}", if *.given { "; the one given does not open it" } else { "" })]
    Password {
        /// Whether one was given.
        given: bool,
    },
    /// The file has no pages.
    #[error("has no pages")]
    Empty,
    /// Another kind of file.
    #[error("neither a PDF nor a picture (.png .jpg .tif)")]
    Kind,
    /// A picture that cannot be decoded.
    #[error("not a readable picture: {0}")]
    Picture(String),
    /// PDFium itself cannot be loaded.
    #[error("PDFium cannot be loaded: {0}")]
    Library(String),
    /// The worker process failed in a way that is not the page's fault.
    #[error("the render worker failed: {0}")]
    Worker(String),
}

/// Reads one file after the other.
pub trait Renderer {
    /// Opens a file; closes the one before.
    ///
    /// # Errors
    /// When the file as a whole cannot be read.
    fn open(&mut self, source: &Source) -> Result<Manual, Error>;

    /// The pages of the open file that belong to `which`, in page order, rendered ahead while the caller works.
    ///
    /// # Errors
    /// When no file is open or no worker can be started; a bad page is an item of the iterator.
    fn pages(
        &mut self,
        which: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, Error>;
}

/// What differs between the program, its tests and its benchmarks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The executable to run as `render-worker`; `None`: the one that is running, which in a test is the test.
    pub worker: Option<PathBuf>,
    /// Whether the text layer is read.
    pub text: bool,
    /// So many pixels for every page, whatever its paper; none: as the settings say.
    pub pixels: Option<u64>,
    /// Whether a page whose text runs another way than its paper lies is turned until it can be read.
    pub upright: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            worker: None,
            text: true,
            pixels: None,
            upright: false,
        }
    }
}

/// Opens the renderer. Workers are started when they are needed.
///
/// # Errors
/// [`Error::Library`] when PDFium cannot be unpacked.
pub fn open(config: &Config) -> Result<Box<dyn Renderer>, Error> {
    open_with(config, &Options::default())
}

/// Opens the renderer in a special setting.
///
/// # Errors
/// [`Error::Library`] when PDFium cannot be unpacked.
pub fn open_with(config: &Config, options: &Options) -> Result<Box<dyn Renderer>, Error> {
    Ok(Box::new(pool::Pool::new(config, options)?))
}

/// A picture in memory as a page, without text: the same as of a picture file.
///
/// # Errors
/// [`PageError::Render`] when it cannot be decoded.
pub fn picture(bytes: &[u8], config: &Config) -> Result<Rendered, PageError> {
    let picture = picture::decode(bytes, config.max_pixels(), config.worker_memory.0)
        .map_err(PageError::Render)?;
    let size = Size::new(picture.width(), picture.height());
    let image = PageImage::new(size, picture.into_raw())
        .map_err(|cause| PageError::Render(cause.to_string()))?;
    Ok(Rendered {
        blank: worker::is_flat(image.rgb()),
        image,
        text: String::new(),
    })
}

/// The most pages that are rendered and not yet taken: what the render stage may hold in memory.
pub fn ahead(config: &Config) -> usize {
    pool::ahead(pool::workers(config))
}
