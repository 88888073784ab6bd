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

use super::pdfium::{Document, Pdfium};
use super::protocol::{FileType, FrameReader, Handshake, OpenError, Reply, Request, send};
use super::{Manual, image_file, memory};
use crate::page::Size;

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
            FileType::Pdf => Some(self.pdfium()?),
            FileType::Image => None,
        };
        let file = memory::map_file(&File::open(path).map_err(io)?).map_err(io)?;
        let allowed = self
            .handshake
            .memory
            .saturating_add(self.base_memory + file.len() as u64);
        memory::limit_address_space(allowed).map_err(io)?;
        self.open = Some(match pdfium {
            Some(pdfium) => OpenFile::Pdf(pdfium.open(file, password)?),
            None => OpenFile::Image(
                image_file::decode(&file, self.handshake.max_pixels, self.handshake.memory)
                    .map_err(OpenError::Image)?,
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
            None => Manual::default(),
        }
    }

    fn render_page(&mut self, number: u32, slot: usize) -> Result<Reply, String> {
        let bytes = self.handshake.slot_bytes as usize;
        let target = self.slots.get_mut(slot * bytes..(slot + 1) * bytes);
        let target = target.ok_or("no such slot")?;
        let (size, text) = match self.open.as_ref().ok_or("no file is open")? {
            OpenFile::Pdf(document) => draw(document, number, &self.handshake, target)?,
            OpenFile::Image(image) => (copy(image, target)?, String::new()),
        };
        let blank = is_flat(&target[..size.area() as usize * 3]);
        Ok(Reply::Page { size, text, blank })
    }
}

fn draw(
    document: &Document,
    number: u32,
    handshake: &Handshake,
    target: &mut [u8],
) -> Result<(Size, String), String> {
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
    let text = if handshake.text {
        page.text()
    } else {
        String::new()
    };
    Ok((size, text))
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
