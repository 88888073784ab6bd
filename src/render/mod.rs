//! Rendering of PDF and image files to page images, with text layer, page labels and outline (PDFium, `image`).
//!
//! PDFium is not thread-safe and cannot be interrupted, so it runs in worker processes of this executable; a page that
//! hangs or crashes its worker is one failed page.

mod dispatch;
mod fax;
mod file_type;
mod image_file;
mod memory;
mod pdfium;
mod pool;
mod protocol;
mod queue;
mod size;
mod text;
mod text_quality;
mod tiff_file;
pub mod worker;
mod worker_process;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::page::{ManualId, Page, PageError, PageImage, PageSet, Sections, Size};
use crate::units::ByteSize;

pub use file_type::FileKind;
pub use pdfium::library::licences;

/// How pages are rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Dots per inch of a rendered page.
    pub dpi: u32,
    /// Maximum size of a page image, in million pixels.
    pub max_megapixels: u32,
    /// Number of worker processes; 0: one per two cores, at most 4.
    pub workers: usize,
    /// Seconds after which the worker of an unfinished page is stopped.
    pub deadline_s: u64,
    /// Maximum memory of a worker.
    pub worker_memory: ByteSize,
}

impl Config {
    /// Identifies what affects pixels, text and sections: pages rendered with another profile are rendered again, and keep
    /// their vectors if pixels and text are the same. `v2`: form values, annotations, layers, frames of TIFF files.
    pub fn profile(&self) -> String {
        format!(
            "pdfium-8149 v2 {} dpi, at most {} MP",
            self.dpi, self.max_megapixels
        )
    }

    /// Maximum pixels of a page image.
    fn max_pixels(&self) -> u64 {
        u64::from(self.max_megapixels.max(1)) * 1_000_000
    }

    /// Number of worker processes, with 0 resolved.
    pub fn worker_count(&self) -> usize {
        pool::worker_count(self)
    }

    /// The deadline of a page.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_s)
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The manual's id.
    pub manual: ManualId,
    /// Path of the file.
    pub path: PathBuf,
    /// Passwords to try, if it is protected. Never printed.
    pub passwords: Vec<String>,
}

/// A bookmark of the outline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    /// Title.
    pub title: String,
    /// Depth: 0 for a chapter, 1 for a section in it, and so on.
    pub level: u32,
    /// Target page, from 1.
    pub page: u32,
}

/// Page count, page labels and outline of an open file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manual {
    /// Number of pages.
    pub pages: u32,
    /// Page labels, one per page (`iv`, `12`, `A-3`); empty if the file has none.
    pub labels: Vec<String>,
    /// Bookmarks in reading order; only those that point to a page of this file.
    pub outline: Vec<Bookmark>,
    /// What a viewer would show and the rendered pages do not.
    pub missing: Vec<MissingContent>,
    /// Whether the outline has more bookmarks, which were not read.
    pub is_outline_cut: bool,
}

/// Content of a file that its pages do not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MissingContent {
    /// An XFA form: its pages are made by Adobe's viewers only.
    XfaForm,
    /// A portfolio, or attached documents, by name.
    AttachedFiles(Vec<String>),
}

impl fmt::Display for MissingContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XfaForm => f.write_str(
                "its pages are an XFA form, which only Adobe's viewers show: print it to a PDF there and store that",
            ),
            Self::AttachedFiles(names) => {
                let (shown, rest) = names.split_at(names.len().min(3));
                write!(f, "attached files are not read: {}", shown.join(", "))?;
                if !rest.is_empty() {
                    write!(f, " and {} more", rest.len())?;
                }
                f.write_str("; save them as files of their own and store those")
            }
        }
    }
}

/// Part of a page that could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undrawn {
    /// Text whose font is neither in the file nor on this machine.
    Font {
        /// The script, as in "Japanese".
        script: String,
    },
    /// A picture that cannot be decoded.
    Picture {
        /// Its format, as in "JPEG 2000"; empty if that says nothing.
        format: String,
    },
}

impl fmt::Display for Undrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Font { script } => write!(f, "a font for {script} is missing on this machine"),
            Self::Picture { format } if format.is_empty() => {
                f.write_str("a picture cannot be decoded")
            }
            Self::Picture { format } => write!(f, "a {format} picture cannot be decoded"),
        }
    }
}

impl Manual {
    /// The page label of a page, if the file has labels.
    pub fn label(&self, number: u32) -> Option<&str> {
        self.labels
            .get(number.checked_sub(1)? as usize)
            .map(String::as_str)
            .filter(|l| !l.is_empty())
    }

    /// The sections of a page, as [`Sections`] are stored: those that begin on it and the one that began before it. Behind
    /// the last bookmark of an outline that was cut, a page has none: the bookmark it needs may be among the others.
    pub fn section(&self, number: u32) -> Option<String> {
        let last = self.outline.last()?.page;
        if self.is_outline_cut && number > last {
            return None;
        }
        let title = |bookmark: &Bookmark| bookmark.title.clone();
        let before = self.outline.iter().filter(|b| b.page < number);
        let sections = Sections {
            continued: before.max_by_key(|b| b.page).map(title),
            begun: self
                .outline
                .iter()
                .filter(|b| b.page == number)
                .map(title)
                .collect(),
        };
        sections.to_text()
    }
}

/// A rendered page.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Page image, with `/Rotate` applied as in a viewer.
    pub image: PageImage,
    /// Text layer, with what was filled into forms and written onto the page; empty if there is none.
    pub text: String,
    /// Whether the page has a text layer that says something else than the page, which is left out of `text`.
    pub unreadable_text: bool,
    /// Whether all pixels have the same colour.
    pub blank: bool,
    /// What could not be drawn, each reason once.
    pub undrawn: Vec<Undrawn>,
    /// Where the words of the text layer are ([`Options::words`]).
    pub words: Vec<PlacedWord>,
}

/// A word of the text layer on the image of its page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacedWord {
    /// Its letters, with the punctuation beside them.
    pub text: String,
    /// Left, top, right and bottom, as shares of the width and height of the image.
    pub place: [f32; 4],
}

impl Rendered {
    /// A page that is only an image.
    pub fn of_image(image: PageImage) -> Self {
        Self {
            blank: worker::is_flat(image.rgb()),
            image,
            text: String::new(),
            unreadable_text: false,
            undrawn: Vec::new(),
            words: Vec::new(),
        }
    }
}

/// Error of a file as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not exist or cannot be read.
    #[error("cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// Not a PDF, or too damaged.
    #[error("not a readable PDF")]
    Format,
    /// A file without any bytes.
    #[error("the file is empty")]
    NoBytes,
    /// A PDF whose end is missing.
    #[error("begins as a PDF, but its end is missing")]
    Truncated,
    /// A file of another kind.
    #[error("{0}, not a PDF or a readable image")]
    Foreign(FileKind),
    /// A password is needed, or none of the given ones is right.
    #[error("protected by a password{}", wrong_passwords(*.given))]
    Password {
        /// Number of passwords given.
        given: usize,
    },
    /// The file has no pages.
    #[error("has no pages")]
    Empty,
    /// Neither a PDF nor an image.
    #[error("not a PDF or an image (.png, .jpg, .tif)")]
    Unsupported,
    /// An image that cannot be decoded.
    #[error("not a readable image: {0}")]
    Image(String),
    /// PDFium cannot be loaded.
    #[error("PDFium cannot be loaded: {0}")]
    Library(String),
    /// The worker process failed for a reason other than a page.
    #[error("the render worker failed: {0}")]
    Worker(String),
}

fn wrong_passwords(given: usize) -> &'static str {
    match given {
        0 => "",
        1 => "; the given one is wrong",
        _ => "; all given ones are wrong",
    }
}

/// Renders the pages of one file at a time.
pub trait Renderer: Send {
    /// Opens a file; closes the previous one.
    ///
    /// # Errors
    /// Any [`Error`], when the file as a whole cannot be read.
    fn open(&mut self, source: &Source) -> Result<Manual, Error>;

    /// The pages of the open file in `selection`, in page order, rendered in parallel while the caller consumes them.
    ///
    /// # Errors
    /// [`Error::Worker`] when no file is open or no worker can be started; a failed page is an item of the iterator.
    fn pages(
        &mut self,
        selection: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, Error>;
}

/// Options that differ between indexing, describing, tests and benchmarks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Executable to run as `render-worker`; `None`: the running one, which in a test is the test binary.
    pub worker: Option<PathBuf>,
    /// Whether to read the text layer.
    pub text: bool,
    /// Number of pixels of every page, regardless of its paper size; `None`: by [`Config::dpi`].
    pub pixels: Option<u64>,
    /// Whether to rotate pages so that most of their text is upright.
    pub upright: bool,
    /// Whether to read where the words of the text layer are.
    pub words: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            worker: None,
            text: true,
            pixels: None,
            upright: false,
            words: false,
        }
    }
}

/// Opens the renderer. Workers are started on demand.
///
/// # Errors
/// [`Error::Library`] when PDFium cannot be unpacked.
pub fn open(config: &Config) -> Result<Box<dyn Renderer>, Error> {
    open_with(config, &Options::default())
}

/// Opens the renderer with options.
///
/// # Errors
/// [`Error::Library`] when PDFium cannot be unpacked.
pub fn open_with(config: &Config, options: &Options) -> Result<Box<dyn Renderer>, Error> {
    Ok(Box::new(pool::Pool::new(config, options)?))
}

/// Decodes an image in memory to a page without text, as an image file is.
///
/// # Errors
/// [`PageError::Render`] when it cannot be decoded.
pub fn decode_image(bytes: &[u8], config: &Config) -> Result<Rendered, PageError> {
    let decoded = image_file::decode(bytes, config.max_pixels(), config.worker_memory.0)
        .map_err(PageError::Render)?;
    let size = Size::new(decoded.width(), decoded.height());
    let image = PageImage::new(size, decoded.into_raw())
        .map_err(|cause| PageError::Render(cause.to_string()))?;
    Ok(Rendered::of_image(image))
}

/// Maximum number of rendered pages that are not yet consumed: they take memory in the render stage.
pub fn prefetch_limit(config: &Config) -> usize {
    pool::prefetch_limit(config.worker_count())
}
