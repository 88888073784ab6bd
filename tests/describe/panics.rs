//! A panic of a thread ends the run: the caller gets it, and nothing waits for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ingest::annotate::{Components, Event, Request, Settings, annotate};
use ingest::render::{self, Options};
use ingest::store::{self, Address, CollectionSelector, Mode, Store};
use ingest::units::ByteSize;
use ingest::vlm::{Card, ChatRequest, Chunk, Error, Finish, Runner, Stream};

use crate::library::{description, library_of};
use crate::sandbox::Sandbox;

/// A model that panics at its second request and takes its time for the others.
struct Panicking {
    card: Card,
    requests: AtomicUsize,
}

impl Panicking {
    fn new() -> Self {
        Self {
            card: Card {
                name: "panicking".to_owned(),
                model: "tiny".to_owned(),
                lanes: 1,
                interleave: 1,
                exclusive_prefill: false,
                pixels_per_token: 784,
                remote: false,
                can_unload: false,
                warning: None,
            },
            requests: AtomicUsize::new(0),
        }
    }
}

impl Runner for Panicking {
    fn card(&self) -> &Card {
        &self.card
    }

    fn run(&self, _: &ChatRequest) -> Result<Stream, Error> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        assert!(number != 1, "the second request");
        thread::sleep(Duration::from_millis(200));
        let answer = Chunk::Text(description(number as u32));
        let chunks = [answer, Chunk::Finished(Finish::default())];
        Ok(Box::new(chunks.into_iter().map(Ok)))
    }

    fn unload(&self) -> Result<(), Error> {
        Ok(())
    }

    fn process(&self) -> Option<u32> {
        None
    }
}

fn opened_store(sandbox: &Sandbox) -> Box<dyn Store> {
    let file = Address::File(sandbox.path("library.db"));
    let config = store::Config::new(file);
    let opened = store::open(&config, CollectionSelector::Last, Mode::Write).unwrap();
    opened.store.prepare(&opened.profile.unwrap()).unwrap();
    opened.store
}

fn renderer() -> Result<Box<dyn render::Renderer>, render::Error> {
    let config = render::Config {
        dpi: 150,
        max_megapixels: 16,
        workers: 1,
        deadline_s: 60,
        worker_memory: ByteSize(2 << 30),
    };
    let options = Options {
        worker: Some(PathBuf::from(env!("CARGO_BIN_EXE_ingest"))),
        pixels: Some(100_000),
        ..Options::default()
    };
    render::open_with(&config, &options)
}

/// Describes twenty pages; returns the message of the panic and the number of requests.
fn message_of_panic(lanes: usize, on_event: fn(Event)) -> (String, usize) {
    let texts: Vec<String> = (0..20).map(|n| format!("text of page {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sandbox = library_of(&texts);
    let store = opened_store(&sandbox);
    let settings = Settings {
        lanes,
        interleave: 1,
        chat: ingest::chat::Settings {
            max_tokens: 600,
            deadline: Duration::from_secs(60),
            memory: u64::MAX,
        },
        attempts: 1,
        unload_every: 0,
        canary_every: 0,
    };
    let (sender, ended) = channel();
    thread::spawn(move || {
        let runner = Panicking::new();
        let parts = Components {
            renderer: Box::new(renderer),
            runner: &runner,
            store: &*store,
            gauge: &|| None,
        };
        let stop = AtomicBool::new(false);
        let request = Request::default();
        let run = || annotate(parts, &request, &settings, &stop, &on_event);
        let panic = catch_unwind(AssertUnwindSafe(run)).err();
        let message = panic.and_then(|panic| panic.downcast_ref::<&str>().map(ToString::to_string));
        drop(sender.send((message, runner.requests.load(Ordering::SeqCst))));
    });
    let ended = ended.recv_timeout(Duration::from_secs(60));
    let (message, requests) = ended.expect("the run does not hang");
    (message.expect("the panic reaches the caller"), requests)
}

#[test]
fn a_panic_while_describing_ends_the_run() {
    for lanes in [1, 3] {
        let (message, requests) = message_of_panic(lanes, |_| ());
        assert_eq!(message, "the second request", "{lanes}");
        assert!(
            requests <= 2 * lanes,
            "{lanes}: {requests} requests, the run went on"
        );
    }
}

#[test]
fn a_panic_while_recording_ends_the_run() {
    let (message, requests) = message_of_panic(1, |event| {
        assert!(!matches!(event, Event::Done(_)), "the first outcome");
    });
    assert_eq!(message, "the first outcome");
    assert!(requests <= 3, "{requests} requests, the run went on");
}
