//! Fakes: manuals that are text files of gray levels, a renderer and a model with results that can be computed by hand.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use ingest::batch::Limits;
use ingest::embed::{self, Embedder, QueryWord};
use ingest::page::{ManualId, Page, PageError, PageId, PageImage, PageSet, Size};
use ingest::patch::{Prepare, Prepared};
use ingest::pipeline::{
    self, Components, Event, Profiles, Request, RunStats, Settings, discover, ingest,
};
use ingest::render::{self, Manual, Rendered, Renderer, Source};
use ingest::store::{self, Address, Catalogue, CollectionSelector, Mode, Scope, Store, TopK};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile};

const DIM: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// What pages are made with: without text vectors.
pub(crate) const PROFILES: Profiles<'static> = Profiles {
    render: "paper",
    text: None,
};

/// Renders text files of gray levels.
#[derive(Default)]
pub(crate) struct FakeRenderer {
    manual: Option<(ManualId, Vec<String>)>,
    delay: Duration,
}

impl Renderer for FakeRenderer {
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
        requested: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, render::Error> {
        let (manual, pages) = self.manual.as_ref().unwrap();
        let delay = self.delay;
        let requested = requested.within(pages.len() as u32);
        Ok(Box::new(requested.into_iter().map(move |number| {
            sleep(delay);
            (
                PageId::new(manual, number),
                gray_page(&pages[number as usize - 1]),
            )
        })))
    }
}

pub(crate) fn gray_page(level: &str) -> Result<Rendered, PageError> {
    let level: u8 = level
        .parse()
        .map_err(|_| PageError::Render("torn out".into()))?;
    let size = Size::new(48, 64);
    let image = PageImage::new(size, vec![level; size.area() as usize * 3]).unwrap();
    Ok(Rendered {
        text: format!("gray {level}"),
        blank: false,
        ..Rendered::of_image(image)
    })
}

/// Embeds a page as the unit vector of half its mean gray level.
pub(crate) struct FakeEmbedder {
    delay: Duration,
    max_batch: usize,
    embedded: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
}

pub(crate) fn unit_vector(axis: usize) -> MultiVector {
    let mut row = vec![0.0; DIM.get()];
    row[axis] = 1.0;
    MultiVector::new(row, DIM).unwrap()
}

impl Embedder for FakeEmbedder {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, embed::Error> {
        if pages.len() > self.max_batch {
            return Err(embed::Error::OutOfMemory("the fake device".into()));
        }
        sleep(self.delay * pages.len() as u32);
        self.embedded.fetch_add(pages.len(), Ordering::Relaxed);
        let levels = pages.iter().map(mean_level).collect();
        self.batches.lock().unwrap().push(levels);
        Ok(pages.iter().map(by_brightness).collect())
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, embed::Error> {
        Ok(unit_vector(
            text.rsplit(' ').next().unwrap().parse::<usize>().unwrap() / 2,
        ))
    }

    fn query_words(&self, _text: &str) -> Result<Vec<QueryWord>, embed::Error> {
        Ok(Vec::new())
    }
}

fn mean_level(page: &Prepared) -> usize {
    let Prepared::Gray(page) = page else {
        panic!("expected gray input")
    };
    page.pixels.iter().map(|&p| usize::from(p)).sum::<usize>() / page.pixels.len()
}

pub(crate) fn by_brightness(page: &Prepared) -> Result<PageVectors, PageError> {
    match mean_level(page) {
        255 => Err(PageError::NotFinite),
        mean => Ok(PageVectors {
            vectors: unit_vector(mean / 2),
            patches: PatchMap::new(1, 1, vec![0], 1).unwrap(),
        }),
    }
}

/// A pipeline of fakes on a folder of manuals and a SQLite store.
pub(crate) struct FakePipeline {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) embedded: Arc<AtomicUsize>,
    /// Models opened.
    pub(crate) opened: AtomicUsize,
    /// The gray levels of each batch that a model was given.
    pub(crate) batches: Arc<Mutex<Vec<Vec<usize>>>>,
    pub(crate) stop: AtomicBool,
    pub(crate) delays: (Duration, Duration),
    pub(crate) batch: usize,
    pub(crate) max_batch: usize,
    pub(crate) limit: Option<u64>,
}

impl FakePipeline {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            embedded: Arc::default(),
            opened: AtomicUsize::new(0),
            batches: Arc::default(),
            stop: AtomicBool::new(false),
            delays: (Duration::ZERO, Duration::ZERO),
            batch: 4,
            max_batch: usize::MAX,
            limit: None,
        }
    }

    pub(crate) fn write(&self, name: &str, pages: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, pages).unwrap();
        path
    }

    pub(crate) fn store(&self, mode: Mode) -> Box<dyn Store> {
        let profile = Profile {
            id: "fake".into(),
            model: "by-brightness".into(),
            dim: 128,
            pool_factor: 1,
        };
        let file = Address::File(self.folder.path().join("library.db"));
        let config = store::Config {
            limit: self.limit.map(ingest::units::ByteSize),
            ..store::Config::new(file)
        };
        let opened = store::open(&config, CollectionSelector::Profile(&profile), mode).unwrap();
        if mode == Mode::Write {
            opened.store.prepare(&profile).unwrap();
        }
        opened.store
    }

    pub(crate) fn run(&self, paths: &[&Path]) -> RunStats {
        let (stats, result) = self.try_run(paths, &|_| ());
        result.unwrap();
        stats
    }

    pub(crate) fn try_run(
        &self,
        paths: &[&Path],
        on_event: &(dyn Fn(Event) + Sync),
    ) -> (RunStats, Result<(), pipeline::Error>) {
        let store = self.store(Mode::Write);
        let request = Request {
            paths: paths.iter().map(|p| p.to_path_buf()).collect(),
            ..Request::default()
        };
        let jobs = discover(&request, Some(&*store as &dyn Catalogue), PROFILES).unwrap();
        let settings = self.settings();
        ingest(
            self.components(&*store),
            &jobs,
            &settings,
            &self.stop,
            on_event,
        )
    }

    pub(crate) fn components<'a>(&'a self, store: &'a dyn Store) -> Components<'a> {
        let (render, embed) = self.delays;
        Components {
            renderer: Box::new(move || {
                Ok(Box::new(FakeRenderer {
                    delay: render,
                    ..FakeRenderer::default()
                }))
            }),
            embedder: Box::new(move || {
                self.opened.fetch_add(1, Ordering::Relaxed);
                Ok(Box::new(FakeEmbedder {
                    delay: embed,
                    max_batch: self.max_batch,
                    embedded: self.embedded.clone(),
                    batches: self.batches.clone(),
                }))
            }),
            meaning: None,
            store,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            prepare: Prepare::Gray { pixels: 4096 },
            render: "paper".into(),
            reads_with: None,
            limits: Limits {
                pages: self.batch,
                cost: u64::MAX,
            },
            queue: 2,
        }
    }

    pub(crate) fn pages(&self) -> Vec<String> {
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

    pub(crate) fn best_hit(&self, gray: usize) -> String {
        let hits = self
            .store(Mode::Read)
            .visual(&unit_vector(gray / 2), &Scope::default(), TopK::new(1))
            .unwrap();
        hits[0].id.to_string()
    }
}

pub(crate) fn gray_levels(count: usize) -> String {
    (0..count)
        .map(|n| (n * 2).to_string())
        .collect::<Vec<_>>()
        .join(" ")
}
