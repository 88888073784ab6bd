//! The main flow with parts that can be computed by hand, on the real store: no PDFium, no weights.
//!
//! A manual here is a text file of gray levels, one a page (`x` is a page that cannot be rendered). A page is embedded
//! as one row: the unit vector e_k, k = gray level / 2; the question `gray 100` is e_50.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use ingest::batch::Limits;
use ingest::embed::{self, Embedder};
use ingest::page::{ManualId, Page, PageError, PageId, PageImage, PageSet, Size};
use ingest::patch::{Prepare, Prepared};
use ingest::pipeline::{self, Event, Parts, Request, Settings, Stage, Tally, ingest, survey};
use ingest::render::{self, Manual, Rendered, Renderer, Source};
use ingest::store::{self, Catalogue, Mode, Scope, Store, Which};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile};

const DIM: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// Renders files of gray levels.
#[derive(Default)]
struct Paper {
    manual: Option<(ManualId, Vec<String>)>,
    delay: Duration,
}

impl Renderer for Paper {
    fn open(&mut self, source: &Source) -> Result<Manual, render::Error> {
        let text = fs::read_to_string(&source.path)?;
        if text.starts_with("torn") {
            return Err(render::Error::Format);
        }
        let pages: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let manual = Manual {
            pages: pages.len() as u32,
            ..Manual::default()
        };
        self.manual = Some((source.manual.clone(), pages));
        Ok(manual)
    }

    fn pages(
        &mut self,
        which: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, render::Error> {
        let (manual, pages) = self.manual.as_ref().unwrap();
        let delay = self.delay;
        let which = which.within(pages.len() as u32);
        Ok(Box::new(which.into_iter().map(move |number| {
            sleep(delay);
            (
                PageId::new(manual, number),
                gray_page(&pages[number as usize - 1]),
            )
        })))
    }
}

fn gray_page(level: &str) -> Result<Rendered, PageError> {
    let level: u8 = level
        .parse()
        .map_err(|_| PageError::Render("torn out".into()))?;
    let size = Size::new(48, 64);
    let image = PageImage::new(size, vec![level; size.area() as usize * 3]).unwrap();
    Ok(Rendered {
        image,
        text: format!("gray {level}"),
        blank: false,
    })
}

/// Embeds a page by its brightness.
struct ByBrightness {
    delay: Duration,
    most: usize,
    seen: Arc<AtomicUsize>,
}

fn unit(k: usize) -> MultiVector {
    let mut row = vec![0.0; DIM.get()];
    row[k] = 1.0;
    MultiVector::new(row, DIM).unwrap()
}

impl Embedder for ByBrightness {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, embed::Error> {
        if pages.len() > self.most {
            return Err(embed::Error::OutOfMemory("the fake device".into()));
        }
        sleep(self.delay * pages.len() as u32);
        self.seen.fetch_add(pages.len(), Ordering::Relaxed);
        Ok(pages.iter().map(|page| by_brightness(page)).collect())
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, embed::Error> {
        Ok(unit(
            text.rsplit(' ').next().unwrap().parse::<usize>().unwrap() / 2,
        ))
    }
}

fn by_brightness(page: &Prepared) -> Result<PageVectors, PageError> {
    let Prepared::Gray(page) = page else {
        panic!("prepared for another model")
    };
    let mean = page.pixels.iter().map(|&p| usize::from(p)).sum::<usize>() / page.pixels.len();
    match mean {
        255 => Err(PageError::NotFinite),
        mean => Ok(PageVectors {
            vectors: unit(mean / 2),
            places: PatchMap {
                columns: 1,
                rows: 1,
                cells: vec![0],
            },
        }),
    }
}

/// A folder with manuals and a store.
struct Desk {
    folder: tempfile::TempDir,
    seen: Arc<AtomicUsize>,
    stop: AtomicBool,
    delays: (Duration, Duration),
    batch: usize,
    most: usize,
    limit: Option<u64>,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            seen: Arc::default(),
            stop: AtomicBool::new(false),
            delays: (Duration::ZERO, Duration::ZERO),
            batch: 4,
            most: usize::MAX,
            limit: None,
        }
    }

    fn write(&self, name: &str, pages: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, pages).unwrap();
        path
    }

    fn store(&self, mode: Mode) -> Box<dyn Store> {
        let profile = Profile {
            id: "fake".into(),
            model: "by-brightness".into(),
            dim: 128,
        };
        let url = self.folder.path().join("library.db").display().to_string();
        let config = store::Config {
            url,
            limit: self.limit.map(ingest::units::ByteSize),
        };
        let opened = store::open(&config, Which::Profile(&profile), mode).unwrap();
        if mode == Mode::Write {
            opened.store.prepare(&profile).unwrap();
        }
        opened.store
    }

    fn run(&self, paths: &[&Path]) -> Tally {
        let (tally, result) = self.try_run(paths, &|_| ());
        result.unwrap();
        tally
    }

    fn try_run(
        &self,
        paths: &[&Path],
        watch: &(dyn Fn(Event) + Sync),
    ) -> (Tally, Result<(), pipeline::Error>) {
        let store = self.store(Mode::Write);
        let request = Request {
            paths: paths.iter().map(|p| p.to_path_buf()).collect(),
            ..Request::default()
        };
        let jobs = survey(&request, Some(&*store as &dyn Catalogue), "paper").unwrap();
        let (render, embed) = self.delays;
        let parts = Parts {
            renderer: Box::new(move || {
                Ok(Box::new(Paper {
                    delay: render,
                    ..Paper::default()
                }))
            }),
            embedder: Box::new(move || {
                Ok(Box::new(ByBrightness {
                    delay: embed,
                    most: self.most,
                    seen: self.seen.clone(),
                }))
            }),
            store: &*store,
        };
        let settings = Settings {
            prepare: Prepare::Gray { pixels: 4096 },
            render: "paper".into(),
            pages: PageSet::all(),
            limits: Limits {
                pages: self.batch,
                cost: u64::MAX,
            },
            queue: 2,
        };
        ingest(parts, &jobs, &settings, &self.stop, watch)
    }

    fn pages(&self) -> Vec<String> {
        let store = self.store(Mode::Read);
        let pages: Vec<_> = store
            .scan(&Scope::default())
            .unwrap()
            .map(|page| page.unwrap())
            .collect();
        pages
            .iter()
            .map(|page| format!("{} {}", page.id.manual, page.text))
            .collect()
    }

    fn best(&self, gray: usize) -> String {
        let hits = self
            .store(Mode::Read)
            .visual(&unit(gray / 2), &Scope::default(), 1)
            .unwrap();
        hits[0].id.to_string()
    }
}

fn levels(count: usize) -> String {
    (0..count)
        .map(|n| (n * 2).to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_page_is_stored_and_found() {
    let desk = Desk::new();
    let (a, b) = (
        desk.write("a.pdf", "0 10 20 30 40"),
        desk.write("b.pdf", "50 60"),
    );
    let tally = desk.run(&[&a, &b]);
    assert_eq!(
        (
            tally.total(|m| m.pages),
            tally.total(|m| m.stored),
            tally.exit_code()
        ),
        (7, 7, 0)
    );
    assert_eq!(desk.best(30), "a.pdf, page 4");
    assert_eq!(desk.best(60), "b.pdf, page 2");
}

#[test]
fn bad_pages_and_bad_manuals_are_named_and_the_rest_is_stored() {
    let desk = Desk::new();
    let (a, torn) = (
        desk.write("a.pdf", "0 x 20 255"),
        desk.write("torn.pdf", "torn"),
    );
    let missing = desk.folder.path().join("missing.pdf");
    let tally = desk.run(&[&missing, &torn, &a]);
    assert_eq!(tally.exit_code(), 1);
    let [gone, torn, a] = &tally.manuals[..] else {
        panic!("three manuals")
    };
    assert!(
        gone.error
            .as_ref()
            .unwrap()
            .starts_with("cannot be read: No such file")
    );
    assert_eq!(torn.error.as_deref(), Some("not a readable PDF"));
    let failed: Vec<_> = a
        .failed
        .iter()
        .map(|f| (f.page, f.reason.as_str()))
        .collect();
    assert_eq!(a.stored, 2);
    assert_eq!(failed[0], (2, "cannot be rendered: torn out"));
    assert_eq!(failed[1].0, 4);
    let nothing = Desk::new();
    assert_eq!(nothing.run(&[&missing]).exit_code(), 2);
}

#[test]
fn an_unchanged_manual_opens_nothing() {
    let desk = Desk::new();
    let a = desk.write("a.pdf", "0 10 20");
    desk.run(&[&a]);
    let store = desk.store(Mode::Write);
    let request = Request {
        paths: vec![a],
        ..Request::default()
    };
    let jobs = survey(&request, Some(&*store as &dyn Catalogue), "paper").unwrap();
    let parts = Parts {
        renderer: Box::new(|| panic!("the renderer was opened")),
        embedder: Box::new(|| panic!("the model was opened")),
        store: &*store,
    };
    let settings = Settings {
        prepare: Prepare::Gray { pixels: 4096 },
        render: "paper".into(),
        pages: PageSet::all(),
        limits: Limits {
            pages: 4,
            cost: u64::MAX,
        },
        queue: 2,
    };
    let (tally, result) = ingest(parts, &jobs, &settings, &AtomicBool::new(false), &|_| ());
    result.unwrap();
    assert_eq!((tally.manuals[0].unchanged, tally.exit_code()), (3, 0));
}

#[test]
fn a_changed_manual_embeds_only_what_changed() {
    let desk = Desk::new();
    let a = desk.write("a.pdf", "0 10 20 30");
    desk.run(&[&a]);
    desk.write("a.pdf", "0 12 20");
    let tally = desk.run(&[&a]);
    assert_eq!((tally.manuals[0].stored, tally.manuals[0].kept), (3, 2));
    assert_eq!(desk.seen.load(Ordering::Relaxed), 4 + 1);
    assert_eq!(
        desk.pages(),
        ["a.pdf gray 0", "a.pdf gray 12", "a.pdf gray 20"]
    );
    desk.write("a.pdf", "0 x 20");
    assert_eq!(desk.run(&[&a]).exit_code(), 1);
    assert_eq!(
        desk.pages(),
        ["a.pdf gray 0", "a.pdf gray 20"],
        "a page that fails leaves no stale one behind"
    );
    assert_eq!(
        desk.run(&[&a]).manuals[0].unchanged,
        2,
        "only the failed page is tried again"
    );
}

#[test]
fn manuals_keep_their_identity() {
    let desk = Desk::new();
    let (a, twin, other) = (
        desk.write("a.pdf", "0 10"),
        desk.write("copy/a.pdf", "0 10"),
        desk.write("b/a.pdf", "4"),
    );
    let tally = desk.run(&[&a, &twin, &other]);
    let names: Vec<_> = tally.manuals.iter().map(|m| m.manual.as_str()).collect();
    assert_eq!(
        names,
        ["a.pdf", "b/a.pdf"],
        "the same bytes are one manual, others at the same name are told apart"
    );
    let moved = desk.folder.path().join("moved.pdf");
    fs::rename(&a, &moved).unwrap();
    let tally = desk.run(&[&moved]);
    assert_eq!(
        (tally.manuals[0].manual.as_str(), tally.manuals[0].unchanged),
        ("a.pdf", 2)
    );
    let shelf = desk.store(Mode::Read).manuals().unwrap();
    assert_eq!(shelf[0].card.path, moved);
}

#[test]
fn a_batch_that_does_not_fit_is_halved() {
    let desk = Desk {
        batch: 8,
        most: 3,
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(20));
    let shrunk = std::sync::Mutex::new(Vec::new());
    let (tally, result) = desk.try_run(&[&a], &|event| {
        if let Event::Shrunk(pages) = event {
            shrunk.lock().unwrap().push(pages);
        }
    });
    result.unwrap();
    assert_eq!(tally.manuals[0].stored, 20);
    assert_eq!(
        *shrunk.lock().unwrap(),
        [2],
        "said once; the batches after it fit"
    );
    let tiny = Desk {
        batch: 2,
        most: 0,
        ..Desk::new()
    };
    let a = tiny.write("a.pdf", "0 10");
    let (_, result) = tiny.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Embed(embed::Error::OutOfMemory(_)))
        ),
        "one page does not fit"
    );
}

#[test]
fn a_stop_finishes_the_batch_in_hand_and_a_re_run_the_rest() {
    let desk = Desk {
        delays: (Duration::ZERO, Duration::from_millis(5)),
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(60));
    let (tally, result) = desk.try_run(&[&a], &|event| {
        if let Event::Done(Stage::Store, _) = event {
            desk.stop.store(true, Ordering::Relaxed);
        }
    });
    result.unwrap();
    let stored = tally.manuals[0].stored as usize;
    assert!(
        tally.stopped && tally.exit_code() == 1 && (4..=16).contains(&stored),
        "{stored} stored"
    );
    assert_eq!(desk.pages().len(), stored);
    desk.stop.store(false, Ordering::Relaxed);
    let tally = desk.run(&[&a]);
    assert_eq!(
        (tally.manuals[0].unchanged as usize, desk.pages().len()),
        (stored, 60)
    );
}

#[test]
fn a_full_store_ends_the_run_and_keeps_what_it_has() {
    let desk = Desk {
        limit: Some(400_000),
        ..Desk::new()
    };
    let a = desk.write("a.pdf", &levels(120));
    let (tally, result) = desk.try_run(&[&a], &|_| ());
    assert!(
        matches!(
            result,
            Err(pipeline::Error::Store(store::Error::Full { .. }))
        ),
        "{result:?}"
    );
    assert_eq!(desk.pages().len(), tally.manuals[0].stored as usize);
    let roomy = Desk {
        limit: None,
        ..desk
    };
    roomy.run(&[&a]);
    assert_eq!(roomy.pages().len(), 120);
}

#[test]
fn the_slowest_stage_sets_the_pace() {
    let pages = 100;
    let slow = Duration::from_millis(25);
    for delays in [(slow, slow / 3), (slow / 3, slow)] {
        let desk = Desk {
            delays,
            batch: 2,
            ..Desk::new()
        };
        let a = desk.write("a.pdf", &levels(pages));
        let wall = desk.run(&[&a]).wall;
        let slowest = slow.as_secs_f64() * pages as f64;
        assert!(
            wall <= 1.05 * slowest,
            "{wall:.2} s, the slowest stage alone takes {slowest:.2} s"
        );
    }
}
