//! The worker process: `ingest render-worker`. One thread owns PDFium; another notices when the parent is gone.
//!
//! Its standard input is a socket to the parent, for both ways; its standard output is the shared memory for pictures.

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
use super::protocol::{Hello, Inbox, Kind, Refusal, Reply, Request, send};
use super::{Manual, memory, picture};
use crate::page::Size;

/// Serves one parent until it hangs up.
pub fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    let mut line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut inbox = Inbox::default();
    let Some(hello) = inbox.receive::<Hello>(&mut line)? else {
        return Ok(());
    };
    let requests = listen(line.try_clone()?, inbox);
    let mut desk = Desk::new(hello)?;
    for request in requests {
        send(&mut line, &desk.answer(request))?;
    }
    Ok(())
}

/// Reads requests on a thread of its own: a page may take for ever, and the parent may be gone before it is done.
fn listen(mut line: UnixStream, mut inbox: Inbox) -> Receiver<Request> {
    let (out, requests) = sync_channel(memory::SLOTS);
    thread::spawn(move || {
        while let Ok(Some(request)) = inbox.receive(&mut line) {
            if out.send(request).is_err() {
                break;
            }
        }
        leave()
    });
    requests
}

#[expect(
    clippy::exit,
    reason = "the parent is gone, and the rendering thread cannot be interrupted"
)]
fn leave() {
    std::process::exit(0)
}

/// The open file.
enum Open {
    Pdf(Document),
    Picture(RgbImage),
}

/// What a worker has in hand.
struct Desk {
    hello: Hello,
    slots: MmapMut,
    /// The memory taken before any file was open.
    base: u64,
    pdfium: Option<Pdfium>,
    open: Option<Open>,
}

impl Desk {
    fn new(hello: Hello) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let slots = memory::map_slots(&file, hello.slot_bytes as usize)?;
        Ok(Self {
            hello,
            slots,
            base: memory::taken(),
            pdfium: None,
            open: None,
        })
    }

    fn answer(&mut self, request: Request) -> Reply {
        match request {
            Request::Open {
                path,
                kind,
                password,
                contents,
            } => match self.open(Path::new(&path), kind, password.as_deref()) {
                Ok(()) => Reply::Opened(self.contents(contents)),
                Err(refusal) => Reply::Refused(refusal),
            },
            Request::Page { number, slot } => self.page(number, slot).unwrap_or_else(Reply::Failed),
        }
    }

    fn open(&mut self, path: &Path, kind: Kind, password: Option<&str>) -> Result<(), Refusal> {
        self.open = None;
        let io = |e: io::Error| Refusal::Io(e.to_string());
        let pdfium = match kind {
            Kind::Pdf => Some(self.pdfium()?),
            Kind::Picture => None,
        };
        let file = memory::map_file(&File::open(path).map_err(io)?).map_err(io)?;
        let allowed = self
            .hello
            .memory
            .saturating_add(self.base + file.len() as u64);
        memory::limit(allowed).map_err(io)?;
        self.open = Some(match pdfium {
            Some(pdfium) => Open::Pdf(pdfium.open(file, password)?),
            None => Open::Picture(
                picture::decode(&file, self.hello.max_pixels, self.hello.memory)
                    .map_err(Refusal::Picture)?,
            ),
        });
        Ok(())
    }

    /// The library, loaded when the first PDF comes.
    fn pdfium(&mut self) -> Result<Pdfium, Refusal> {
        if let Some(pdfium) = self.pdfium {
            return Ok(pdfium);
        }
        let loaded = Pdfium::load(Path::new(&self.hello.library)).map_err(Refusal::Library)?;
        Ok(*self.pdfium.insert(loaded))
    }

    fn contents(&self, whole: bool) -> Manual {
        match &self.open {
            Some(Open::Pdf(document)) if whole => document.contents(),
            Some(Open::Pdf(document)) => Manual {
                pages: document.count(),
                ..Manual::default()
            },
            Some(Open::Picture(_)) => Manual {
                pages: 1,
                ..Manual::default()
            },
            None => Manual::default(),
        }
    }

    fn page(&mut self, number: u32, slot: usize) -> Result<Reply, String> {
        let bytes = self.hello.slot_bytes as usize;
        let room = self.slots.get_mut(slot * bytes..(slot + 1) * bytes);
        let room = room.ok_or("no such slot")?;
        let (size, text) = match self.open.as_ref().ok_or("no file is open")? {
            Open::Pdf(document) => draw(document, number, &self.hello, room)?,
            Open::Picture(picture) => (copy(picture, room)?, String::new()),
        };
        let blank = is_flat(&room[..size.area() as usize * 3]);
        Ok(Reply::Page { size, text, blank })
    }
}

fn draw(
    document: &Document,
    number: u32,
    hello: &Hello,
    room: &mut [u8],
) -> Result<(Size, String), String> {
    let page = document.page(number)?;
    let turns = if hello.upright { page.turns() } else { 0 };
    let mut size = page.size(hello.dpi, hello.max_pixels)?;
    if turns % 2 == 1 {
        size = Size::new(size.height, size.width);
    }
    let rgb = room.get_mut(..size.area() as usize * 3);
    let rgb = rgb.ok_or("the picture does not fit its memory")?;
    page.draw(size, turns, rgb)?;
    let text = if hello.text {
        page.text()
    } else {
        String::new()
    };
    Ok((size, text))
}

fn copy(picture: &RgbImage, room: &mut [u8]) -> Result<Size, String> {
    let rgb = picture.as_raw();
    let room = room.get_mut(..rgb.len());
    room.ok_or("the picture does not fit its memory")?
        .copy_from_slice(rgb);
    Ok(Size::new(picture.width(), picture.height()))
}

/// Whether all pixels are equal: then the picture equals itself moved by one.
pub(super) fn is_flat(rgb: &[u8]) -> bool {
    rgb.len() < 6 || rgb[3..] == rgb[..rgb.len() - 3]
}

#[cfg(test)]
mod tests {
    use super::is_flat;

    #[test]
    fn one_colour_is_flat() {
        assert!(is_flat(&[7, 8, 9, 7, 8, 9, 7, 8, 9]));
        assert!(!is_flat(&[7, 8, 9, 7, 8, 9, 7, 8, 8]));
    }
}
