//! A page that kills each worker that embeds it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

use ingest::config::{Settings, Sources};
use ingest::distributed::{self, Indexer, WorkerRun};
use ingest::embed::{self, Embedder, Error, QueryWord};
use ingest::library::{self, Openers};
use ingest::page::PageError;
use ingest::patch::Prepared;
use ingest::render;
use ingest::store::CollectionSelector;
use ingest::vectors::{MultiVector, PageVectors};
use ingest::vlm;

use super::machines::{Office, Running};
use crate::{nats, pdf, weaviate};

/// The tiny model, which kills its process when a page is wider than high: as a driver might, or the system when memory is
/// short.
struct Poisoned(Box<dyn Embedder>);

impl Embedder for Poisoned {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let is_wide = |page: &Prepared| match page {
            Prepared::Qwen(patches) => patches.grid.columns > patches.grid.rows,
            Prepared::Gray(_) => false,
        };
        if pages.iter().any(is_wide) {
            std::process::abort();
        }
        self.0.embed_pages(pages)
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        self.0.embed_query(text)
    }

    fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error> {
        self.0.query_words(text)
    }
}

/// The worker that [`a_page_that_kills_workers_fails_alone`] starts again and again.
#[test]
#[ignore = "run by the test below"]
fn poisoned_worker() {
    let env = std::env::vars().filter(|(name, _)| name.starts_with("INGEST_"));
    let settings = Settings::resolve(&Sources {
        env: env.collect(),
        ..Sources::default()
    });
    let settings = settings.unwrap();
    let card = embed::card(&settings.embed).unwrap();
    let plan = library::memory_plan(&settings, &card).unwrap();
    let queue = distributed::connect(&settings).unwrap();
    let selector = CollectionSelector::Profile(&card.profile);
    let opened = distributed::open_store(&settings, selector).unwrap();
    let options = render::Options {
        worker: Some(env!("CARGO_BIN_EXE_ingest").into()),
        ..render::Options::default()
    };
    let openers = || Openers {
        renderer: Box::new(|| render::open_with(&settings.render, &options)),
        embedder: Box::new(|| Ok(Box::new(Poisoned(embed::open(&settings.embed)?)))),
    };
    let indexer = Indexer {
        card: &card,
        plan: &plan,
        group: distributed::index_group(&settings, &card, &opened),
        speed: None,
        openers: &openers,
    };
    let worker = WorkerRun {
        settings: &settings,
        queue: &queue,
        store: &*opened.store,
        location: &opened.location,
        indexing: Some(indexer),
        runner: &|| vlm::open(&settings.describe, u64::MAX),
        stop: &AtomicBool::new(false),
        on_event: &|_| {},
    };
    worker.run().1.unwrap();
}

fn start_poisoned(office: &Office) -> Child {
    let like = office.desk.command(&["work"]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "runs::poison::poisoned_worker"])
        .envs(
            like.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_page_that_kills_workers_fails_alone() {
    let (queue, store) = (nats::Server::start(), weaviate::shared());
    let office = Office::new(&queue, store);
    let wide = "/MediaBox [0 0 792 500] /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>";
    let page = |n: u32| match n {
        6 => (wide, pdf::text_content("a wide page")),
        n => (pdf::PLAIN, pdf::text_content(&format!("part {n}"))),
    };
    let pages: Vec<_> = (1..=10).map(page).collect();
    office.desk.write("poison.pdf", &pdf::pages(&pages, ""));
    let mut coordinator = Running::start(&office.desk, &["poison.pdf", "--json"]);
    // Until the collection is there a worker cannot open the store.
    super::machines::wait_until("a run", || {
        ingest::distributed::runs(&office.queue()).is_ok_and(|(runs, _)| !runs.is_empty())
    });
    let mut deaths = 0;
    while !coordinator.has_ended() {
        let mut worker = start_poisoned(&office);
        while worker.try_wait().unwrap().is_none() && !coordinator.has_ended() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        deaths += u32::from(!coordinator.has_ended());
        drop(worker.kill());
        drop(worker.wait());
        assert!(deaths < 8, "the page goes on killing");
    }
    let ended = coordinator.output();
    assert_eq!(ended.code, 1, "{}", ended.err);
    let report = ended.json();
    let manual = &report["manuals"][0];
    assert_eq!(manual["stored"], 9, "{report}");
    let failed = manual["failed"].as_array().unwrap();
    assert_eq!(
        (failed.len(), &failed[0]["page"]),
        (1, &6.into()),
        "{report}"
    );
    assert!(
        failed[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("2 workers died on it")
    );
    assert_eq!(deaths, 3, "one with its neighbours, two alone");
}
