//! Pictures of pages: rendered from the original files, reduced to the width asked for, and kept on disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use crate::config::Settings;
use crate::library;
use crate::page::{PageImage, Size};
use crate::pipeline::{FileStamp, content_digest};
use crate::render::{self, PlacedWord, Rendered, Renderer};
use crate::store::{FileError, ManualCard, StoredPage};

/// JPEG quality: print stays crisp.
const QUALITY: u8 = 82;
/// Resolution of wide pictures, relative to that of the stored pages.
const FINE: u32 = 2;
/// The workers of the renderer end when no picture was drawn for this long.
const IDLE: Duration = Duration::from_secs(60);
/// Pictures written between two looks at the size of the cache.
const WRITES_BETWEEN_CLEANINGS: u64 = 32;

/// Whether the file that a manual was stored from can still be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FileState {
    /// It is the one that was stored.
    There,
    /// It is not where it was.
    Moved,
    /// It is another one now.
    Changed,
}

/// A renderer with the time of its last use.
type Warm = Option<(Box<dyn Renderer>, Instant)>;

/// Draws pictures and keeps them.
pub(super) struct Pictures {
    /// At the resolution of the stored pages, and a finer one.
    renderers: [Mutex<Warm>; 2],
    /// What the files were when their digest was compared.
    checked: Mutex<HashMap<PathBuf, (FileStamp, FileState)>>,
    folder: Option<PathBuf>,
    limit: u64,
    writes: AtomicU64,
    config: render::Config,
    /// Passwords of protected files. Never printed.
    passwords: Vec<String>,
}

impl Pictures {
    pub(super) fn new(settings: &Settings, passwords: &[String]) -> Self {
        let cache = etcetera::choose_base_strategy().ok();
        let cache = cache.map(|base| etcetera::BaseStrategy::cache_dir(&base));
        Self {
            renderers: [Mutex::new(None), Mutex::new(None)],
            checked: Mutex::new(HashMap::new()),
            folder: cache.map(|folder| folder.join("ingest/pictures")),
            limit: settings.serve.cache.0,
            writes: AtomicU64::new(0),
            config: settings.render.clone(),
            passwords: passwords.to_vec(),
        }
    }

    /// Whether the file of a manual is there and the one that was stored; its digest is compared again when its length or
    /// time has changed.
    pub(super) fn file_state(&self, card: &ManualCard) -> FileState {
        let stamp = FileStamp::of(&card.path);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, state)) = checked.get(&card.path)
            && *known == stamp
            && *state != FileState::Moved
        {
            return *state;
        }
        let state = match card.verify_file() {
            Ok(()) => FileState::There,
            Err(FileError::Unreadable { .. }) => FileState::Moved,
            Err(_) => FileState::Changed,
        };
        checked.insert(card.path.clone(), (stamp, state));
        state
    }

    /// The picture of a page as JPEG, `width` pixels wide, and whether it was kept.
    ///
    /// # Errors
    /// If the file has moved or changed, or the page cannot be drawn.
    pub(super) fn page(
        &self,
        card: &ManualCard,
        page: &StoredPage,
        width: u32,
    ) -> Result<(Vec<u8>, bool), Problem> {
        let kept = self.kept(&page.content, width);
        let cached = kept.as_ref().and_then(|path| fs::read(path).ok());
        if let (Some(path), Some(jpeg)) = (&kept, &cached) {
            touch(path);
            return Ok((jpeg.clone(), true));
        }
        let image = self.draw(card, page, width)?;
        let jpeg = encode(&image, width)?;
        if let Some(path) = kept {
            self.keep(&path, &jpeg);
        }
        Ok((jpeg, false))
    }

    /// Where the words of a page are on its picture.
    ///
    /// # Errors
    /// As [`Pictures::page`].
    pub(super) fn words(
        &self,
        card: &ManualCard,
        page: &StoredPage,
    ) -> Result<Vec<PlacedWord>, Problem> {
        Ok(self.same(card, page)?.words)
    }

    /// The picture of a page as it was stored, or finer if it is less than `width` pixels wide.
    ///
    /// # Errors
    /// As [`Pictures::page`].
    pub(super) fn draw(
        &self,
        card: &ManualCard,
        page: &StoredPage,
        width: u32,
    ) -> Result<PageImage, Problem> {
        let rendered = self.same(card, page)?;
        match width > rendered.image.size().width {
            true => Ok(self.render(card, page, FINE)?.image),
            false => Ok(rendered.image),
        }
    }

    /// The page as it was stored, rendered again.
    fn same(&self, card: &ManualCard, page: &StoredPage) -> Result<Rendered, Problem> {
        let rendered = self.render(card, page, 1);
        let is_same = match self.file_state(card) {
            FileState::There => page.is_from(card),
            FileState::Moved => return Err(library::Error::from(moved(card)).into()),
            FileState::Changed => false,
        };
        let rendered = rendered.map_err(|problem| match is_same {
            true => problem,
            false => library::Error::from(card.changed_since(&[page.id.number])).into(),
        })?;
        if !is_same && content_digest(&rendered) != page.content {
            let changed = card.changed_since(&[page.id.number]);
            return Err(library::Error::from(changed).into());
        }
        Ok(rendered)
    }

    fn render(
        &self,
        card: &ManualCard,
        page: &StoredPage,
        fineness: u32,
    ) -> Result<Rendered, Problem> {
        let renderer = &self.renderers[usize::from(fineness > 1)];
        let mut warm = renderer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = match warm.take() {
            Some((renderer, _)) => renderer,
            None => open(&self.config, fineness)?,
        };
        let rendered = library::rendered_page(&mut *opened, card, &page.id, &self.passwords)?;
        *warm = Some((opened, Instant::now()));
        Ok(rendered)
    }

    /// Ends workers that have been idle for a while: they would keep their memory.
    pub(super) fn rest(&self) {
        for renderer in &self.renderers {
            let mut warm = renderer.lock().unwrap_or_else(PoisonError::into_inner);
            if warm.as_ref().is_some_and(|(_, used)| used.elapsed() > IDLE) {
                *warm = None;
            }
        }
    }

    /// Where a picture is kept. Its name is a digest, whatever the store says.
    fn kept(&self, content: &str, width: u32) -> Option<PathBuf> {
        let is_digest = !content.is_empty() && content.bytes().all(|b| b.is_ascii_hexdigit());
        let folder = self
            .folder
            .as_ref()
            .filter(|_| is_digest && self.limit > 0)?;
        Some(folder.join(format!("{content}-{width}.jpg")))
    }

    /// Keeps a picture; a full disk is no reason to show none.
    fn keep(&self, path: &Path, jpeg: &[u8]) {
        let Some(folder) = path.parent() else { return };
        let written = fs::create_dir_all(folder)
            .and_then(|()| tempfile::NamedTempFile::new_in(folder))
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, jpeg)?;
                file.persist(path).map_err(|error| error.error)
            });
        let writes = self.writes.fetch_add(1, Ordering::Relaxed);
        if written.is_err() || writes.is_multiple_of(WRITES_BETWEEN_CLEANINGS) {
            clean(folder, self.limit);
        }
    }
}

fn open(config: &render::Config, fineness: u32) -> Result<Box<dyn Renderer>, Problem> {
    let mut config = config.clone();
    config.workers = 1;
    config.dpi *= fineness;
    config.max_megapixels *= fineness * fineness;
    let options = render::Options {
        words: fineness == 1,
        ..render::Options::default()
    };
    render::open_with(&config, &options).map_err(|error| library::Error::from(error).into())
}

fn moved(card: &ManualCard) -> FileError {
    FileError::Unreadable {
        path: card.path.clone(),
        cause: std::io::ErrorKind::NotFound.into(),
    }
}

/// Reduces an image to a width and encodes it; a smaller one keeps its size.
fn encode(image: &PageImage, width: u32) -> Result<Vec<u8>, Problem> {
    let factor = f64::from(width) / f64::from(image.size().width);
    jpeg(&reduced(image, factor)?, QUALITY)
}

/// An image whose sides are those of another times a factor; none is enlarged.
pub(super) fn reduced(image: &PageImage, factor: f64) -> Result<PageImage, Problem> {
    let failed = |why: String| Problem::internal(format!("the picture cannot be reduced: {why}"));
    let size = image.size();
    let side = |side: u32| ((f64::from(side) * factor.min(1.0)).round() as u32).max(1);
    let (width, height) = (side(size.width), side(size.height));
    let source = TypedImageRef::<U8x3>::from_buffer(size.width, size.height, image.rgb())
        .map_err(|e| failed(e.to_string()))?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut reduced = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels)
        .map_err(|e| failed(e.to_string()))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new()
        .resize_typed(&source, &mut reduced, &options)
        .map_err(|e| failed(e.to_string()))?;
    PageImage::new(Size::new(width, height), pixels).map_err(|e| failed(e.to_string()))
}

/// Encodes an image as JPEG.
pub(super) fn jpeg(image: &PageImage, quality: u8) -> Result<Vec<u8>, Problem> {
    let Size { width, height } = image.size();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(image.rgb(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Problem::internal(format!("the picture cannot be encoded: {e}")))?;
    Ok(jpeg)
}

/// Marks a picture as used now, so that it is among the last to go.
fn touch(path: &Path) {
    let file = fs::File::options().append(true).open(path);
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Deletes the pictures that were not used for the longest time, down to nine tenths of the limit.
fn clean(folder: &Path, limit: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    if total <= limit {
        return;
    }
    files.sort();
    for (_, bytes, path) in files {
        if total <= limit / 10 * 9 {
            break;
        }
        if fs::remove_file(path).is_ok() {
            total -= bytes;
        }
    }
}
