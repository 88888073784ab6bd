//! The worker process: `ingest render-worker`. One thread owns PDFium; another detects that the parent has exited.
//!
//! Its standard input is a bidirectional socket to the parent; its standard output is the shared memory of page images.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use image::RgbImage;
use memmap2::MmapMut;

use super::pdfium::{Content, Document, Pdfium};
use super::protocol::{
    FileType, FrameReader, Handshake, OpenError, PageContent, Reply, Request, send,
};
use super::tiff_file::{Frame, TiffFile};
use super::{Manual, image_file, memory, text, text_quality};
use crate::page::Size;

/// How often a file is mapped at most: a TIFF a second time, as a private copy.
const MAPS: u64 = 2;
/// Resolution at which a point is a pixel.
const PIXEL_PER_POINT: u32 = 72;

/// Serves one parent until it closes the socket.
pub fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut frames = FrameReader::default();
    let Some(handshake) = frames.read_message::<Handshake>(&mut socket)? else {
        return Ok(());
    };
    let requests = receive_requests(socket.try_clone()?, frames);
    let mut session = WorkerSession::new(handshake)?;
    for request in requests {
        send(&mut socket, &session.handle(request))?;
    }
    Ok(())
}

/// Reads requests on a separate thread: a page may never finish, and the parent may exit meanwhile.
fn receive_requests(mut socket: UnixStream, mut frames: FrameReader) -> Receiver<Request> {
    let (tx, requests) = sync_channel(memory::SLOTS);
    thread::spawn(move || {
        while let Ok(Some(request)) = frames.read_message(&mut socket) {
            if tx.send(request).is_err() {
                break;
            }
        }
        exit_now()
    });
    requests
}

#[expect(
    clippy::exit,
    reason = "the parent has exited, and the rendering thread cannot be interrupted"
)]
fn exit_now() {
    std::process::exit(0)
}

/// The open file.
enum OpenFile {
    Pdf(Document),
    Image(RgbImage),
    Tiff(TiffFile, Pdfium),
}

/// State of a worker: settings, shared memory, and the open file.
struct WorkerSession {
    handshake: Handshake,
    slots: MmapMut,
    /// Address space used before any file was open.
    base_memory: u64,
    pdfium: Option<Pdfium>,
    open: Option<OpenFile>,
}

impl WorkerSession {
    fn new(handshake: Handshake) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let slots = memory::map_slots(&file, handshake.slot_bytes as usize)?;
        Ok(Self {
            handshake,
            slots,
            base_memory: memory::address_space(),
            pdfium: None,
            open: None,
        })
    }

    fn handle(&mut self, request: Request) -> Reply {
        match request {
            Request::Open {
                path,
                file_type,
                password,
                contents,
            } => match self.open(Path::new(&path), file_type, password.as_deref()) {
                Ok(()) => Reply::Opened(self.contents(contents)),
                Err(error) => Reply::OpenFailed(error),
            },
            Request::Page { number, slot } => self
                .render_page(number, slot)
                .unwrap_or_else(Reply::PageFailed),
        }
    }

    fn open(
        &mut self,
        path: &Path,
        file_type: FileType,
        password: Option<&str>,
    ) -> Result<(), OpenError> {
        self.open = None;
        let io = |e: io::Error| OpenError::Io(e.to_string());
        let pdfium = match file_type {
            FileType::Pdf | FileType::Tiff => Some(self.pdfium()?),
            FileType::Image => None,
        };
        let on_disk = File::open(path).map_err(io)?;
        let file = memory::map_file(&on_disk).map_err(io)?;
        let allowed = self
            .handshake
            .memory
            .saturating_add(self.base_memory + MAPS * file.len() as u64);
        memory::limit_address_space(allowed).map_err(io)?;
        let Handshake {
            max_pixels, memory, ..
        } = self.handshake;
        self.open = Some(match pdfium {
            Some(pdfium) if file_type == FileType::Tiff => {
                let bytes = memory::map_private(&on_disk).map_err(io)?;
                OpenFile::Tiff(TiffFile::open(bytes).map_err(OpenError::Image)?, pdfium)
            }
            Some(pdfium) => OpenFile::Pdf(pdfium.open(file, password)?),
            None => OpenFile::Image(
                image_file::decode(&file, max_pixels, memory).map_err(OpenError::Image)?,
            ),
        });
        Ok(())
    }

    /// The library, loaded with the first PDF.
    fn pdfium(&mut self) -> Result<Pdfium, OpenError> {
        if let Some(pdfium) = self.pdfium {
            return Ok(pdfium);
        }
        let loaded =
            Pdfium::load(Path::new(&self.handshake.library)).map_err(OpenError::Library)?;
        Ok(*self.pdfium.insert(loaded))
    }

    fn contents(&self, with_contents: bool) -> Manual {
        match &self.open {
            Some(OpenFile::Pdf(document)) if with_contents => document.contents(),
            Some(OpenFile::Pdf(document)) => Manual {
                pages: document.count(),
                ..Manual::default()
            },
            Some(OpenFile::Image(_)) => Manual {
                pages: 1,
                ..Manual::default()
            },
            Some(OpenFile::Tiff(file, _)) => Manual {
                pages: file.pages(),
                ..Manual::default()
            },
            None => Manual::default(),
        }
    }

    fn render_page(&mut self, number: u32, slot: usize) -> Result<Reply, String> {
        let bytes = self.handshake.slot_bytes as usize;
        let target = self.slots.get_mut(slot * bytes..(slot + 1) * bytes);
        let target = target.ok_or("no such slot")?;
        let (size, content) = match self.open.as_ref().ok_or("no file is open")? {
            OpenFile::Pdf(document) => draw(document, number, &self.handshake, target)?,
            OpenFile::Image(image) => (copy(image, target)?, PageContent::default()),
            OpenFile::Tiff(file, pdfium) => {
                draw_frame(file, *pdfium, number, &self.handshake, target)?
            }
        };
        let blank = is_flat(&target[..size.area() as usize * 3]);
        let content = PageContent { blank, ..content };
        Ok(Reply::Page { size, content })
    }
}

/// A page of a TIFF file in the size of its pixels.
fn draw_frame(
    file: &TiffFile,
    pdfium: Pdfium,
    number: u32,
    handshake: &Handshake,
    target: &mut [u8],
) -> Result<(Size, PageContent), String> {
    match file.page(number, handshake.max_pixels, handshake.memory)? {
        Frame::Pixels(image) => Ok((copy(&image, target)?, PageContent::default())),
        Frame::Fax(pdf) => {
            let document = pdfium.open(pdf, None);
            let document = document.map_err(|_| "its fax data cannot be read")?;
            let handshake = Handshake {
                dpi: PIXEL_PER_POINT,
                ..handshake.clone()
            };
            draw(&document, 1, &handshake, target)
        }
    }
}

fn draw(
    document: &Document,
    number: u32,
    handshake: &Handshake,
    target: &mut [u8],
) -> Result<(Size, PageContent), String> {
    let page = document.page(number)?;
    let rotation = if handshake.upright {
        page.rotation()
    } else {
        0
    };
    let mut size = page.size(handshake.dpi, handshake.max_pixels)?;
    if rotation % 2 == 1 {
        size = Size::new(size.height, size.width);
    }
    let rgb = target.get_mut(..size.area() as usize * 3);
    let rgb = rgb.ok_or("the page image does not fit its slot")?;
    page.draw(size, rotation, rgb)?;
    let content = match handshake.text {
        true => page_content(Content::read(&page, size, rotation, rgb)),
        false => PageContent::default(),
    };
    let words = match handshake.words && !content.unreadable_text {
        true => page.words(size, rotation),
        false => Vec::new(),
    };
    Ok((size, PageContent { words, ..content }))
}

/// The part of a reply that is not pixels.
fn page_content(content: Content) -> PageContent {
    let unreadable_text = text_quality::is_unreadable(&content.raw_text);
    let text = match unreadable_text {
        true => String::new(),
        false => text::clean(&content.raw_text),
    };
    PageContent {
        text: text::with_additions(text, &content.additions),
        unreadable_text,
        undrawn: content.undrawn,
        blank: false,
        words: Vec::new(),
    }
}

fn copy(image: &RgbImage, target: &mut [u8]) -> Result<Size, String> {
    let rgb = image.as_raw();
    let target = target.get_mut(..rgb.len());
    target
        .ok_or("the page image does not fit its slot")?
        .copy_from_slice(rgb);
    Ok(Size::new(image.width(), image.height()))
}

/// Whether all pixels are equal: then the image equals itself shifted by one pixel.
pub(super) fn is_flat(rgb: &[u8]) -> bool {
    rgb.len() < 6 || rgb[3..] == rgb[..rgb.len() - 3]
}

#[cfg(test)]
mod tests {
    use super::is_flat;

    #[test]
    fn is_flat_if_all_pixels_are_equal() {
        assert!(is_flat(&[7, 8, 9, 7, 8, 9, 7, 8, 9]));
        assert!(!is_flat(&[7, 8, 9, 7, 8, 9, 7, 8, 8]));
    }
}
