//! `ingest serve`: the library in a browser, and a REST interface; and for assistants, also of `ingest mcp`. The only
//! asynchronous code of the program.
//!
//! Requests run on a few threads of tokio; questions go through the queue of the librarian, which owns the models; files that
//! are added are stored by one flow on a thread of jobs; everything that reads the store or draws a page runs on the
//! threads for blocking work.

mod about;
mod access;
mod app;
mod ask;
mod asker;
mod assets;
mod counters;
mod event_stream;
mod events;
mod expected;
mod job;
mod job_flow;
mod job_list;
mod job_run;
mod jobs;
mod jobs_api;
mod journal;
mod librarian;
mod manuals;
mod mcp;
mod metrics;
mod moved;
mod openapi;
mod pages;
mod parameters;
mod pictures;
mod problem;
mod routes;
mod search;
mod server_sent;
mod shared_model;
mod shelf;
mod uploads;
mod words;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::{self, Next};
use futures_util::future::{self, Either};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use self::access::Access;
use self::app::{App, Shared};
use self::asker::Asker;
use self::counters::Counters;
use self::events::Events;
use self::jobs::{Jobs, Parts};
use self::journal::Journal;
use self::librarian::Librarian;
use self::pictures::Pictures;
use self::shelf::Shelf;
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::pipeline::absolute_path;
use crate::store;

/// Threads that serve connections.
const THREADS: usize = 2;
/// Time between two looks whether the server is to end.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two looks at idle renderers.
const TICKS_BETWEEN_RESTS: u32 = 100;
/// Time that open connections get when the server ends.
const GRACE: Duration = Duration::from_secs(2);

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The key that clients must send. Never printed.
    pub key: Option<String>,
    /// Passwords of protected files. Never printed.
    pub passwords: Vec<String>,
    /// Files and folders to add.
    pub paths: Vec<PathBuf>,
}

/// Why the server cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("{address} cannot be used: {cause}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        cause: std::io::Error,
    },
    /// Others could use the library.
    #[error("{0} can be reached by other machines, and there is no key")]
    NoKey(SocketAddr),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The system refuses a thread or a connection.
    #[error("the server cannot go on: {0}")]
    System(#[from] std::io::Error),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let diagnostic = Self::from_error(&error);
        match error {
            Error::Store(error) => error.into(),
            Error::NoKey(_) => {
                diagnostic.hint("set INGEST_SERVE_KEY or `serve.key_file`, or listen on 127.0.0.1")
            }
            Error::Address { .. } => {
                diagnostic.hint("choose another one: `--address 127.0.0.1:0` takes a free port")
            }
            Error::System(_) => diagnostic,
        }
    }
}

/// Serves a library to the assistant that started this program, over stdin and stdout, until stdin ends.
///
/// # Errors
/// [`Error::System`] when the system refuses a thread, or the client does not speak the protocol.
pub fn serve_assistant(settings: &Settings, passwords: &[String]) -> Result<(), Error> {
    let runtime = runtime()?;
    let served = runtime.block_on(mcp::serve(settings, passwords));
    runtime.shutdown_timeout(GRACE);
    Ok(served?)
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
}

/// Serves a library until `stop` is set. `on_ready` gets the URL.
///
/// # Errors
/// [`Error`] when the server cannot start.
pub fn serve(
    settings: &Settings,
    options: Options,
    stop: &'static AtomicBool,
    on_ready: impl FnOnce(&str),
) -> Result<(), Error> {
    let address = settings.serve.address;
    if !address.ip().is_loopback() && options.key.is_none() {
        return Err(Error::NoKey(address));
    }
    let runtime = runtime()?;
    let unusable = |cause| Error::Address { address, cause };
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(unusable)?;
    let bound = listener.local_addr()?;
    let app = open(settings, &options, bound)?;
    for path in &options.paths {
        let path = absolute_path(path);
        // A full disk is told when the file is stored.
        let _ = app.jobs.add(&path);
    }
    let jobs = {
        let app = app.clone();
        thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(move || app.jobs.work(|| app.refresh()))?
    };
    {
        // A server that does not answer must not keep the page from coming up.
        let app = app.clone();
        let load = move || app.load(app.shelf.library_if_any().ok().flatten());
        thread::Builder::new()
            .name("loading".to_owned())
            .spawn(load)?;
    }
    on_ready(&format!("http://{bound}{}/", app.access.base));
    let served = runtime.block_on(run(listener, app.clone(), stop));
    app.jobs.end();
    // The pages of the batch in hand are stored.
    let _ = jobs.join();
    runtime.shutdown_timeout(GRACE);
    Ok(served?)
}

fn open(settings: &Settings, options: &Options, bound: SocketAddr) -> Result<Shared, Error> {
    let shelf = Arc::new(Shelf::new(&settings.store));
    let events = Arc::new(Events::new());
    let uploads = shelf.uploads()?;
    uploads::remove_partial(&uploads);
    let journal = Journal::open(&uploads.join("jobs.json"));
    let passwords = &options.passwords;
    let librarian = Arc::new(Librarian::start(settings)?);
    let jobs = Jobs::new(
        settings,
        passwords,
        Parts {
            journal,
            events: events.clone(),
            shelf: shelf.clone(),
            librarian: librarian.clone(),
        },
    );
    Ok(Arc::new(App {
        settings: settings.clone(),
        access: Arc::new(Access::new(&settings.serve, bound, options.key.as_deref())),
        librarian,
        asker: Arc::new(Asker::new(settings, passwords)),
        pictures: Arc::new(Pictures::new(settings, passwords)),
        jobs,
        counters: Arc::new(Counters::default()),
        events,
        shelf,
    }))
}

/// Answers requests until `stop` is set.
async fn run(listener: TcpListener, app: Shared, stop: &'static AtomicBool) -> std::io::Result<()> {
    let service = under_base(&app);
    let server = axum::serve(listener, service).into_future();
    match future::select(server, pin!(until(stop, &app))).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => Ok(()),
    }
}

/// The routes, with and without the path that the server has behind a proxy.
fn under_base(app: &Shared) -> Router {
    let base = app.access.base.clone();
    let strip = move |mut request: Request, next: Next| {
        let uri = without_base(request.uri(), &base);
        async move {
            if let Some(uri) = uri {
                *request.uri_mut() = uri;
            }
            next.run(request).await
        }
    };
    // Layers of a router run after its routing; this one must come before.
    Router::new()
        .fallback_service(routes::router(app.clone()))
        .layer(middleware::from_fn(strip))
}

fn without_base(uri: &Uri, base: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(base)?;
    let rest = match rest {
        _ if base.is_empty() => return None,
        "" => "/",
        rest if rest.starts_with('/') => rest,
        _ => return None,
    };
    rest.parse().ok()
}

/// Waits until `stop` is set; ends idle renderers meanwhile.
async fn until(stop: &AtomicBool, app: &Shared) {
    for tick in 1u32.. {
        tokio::time::sleep(TICK).await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if tick.is_multiple_of(TICKS_BETWEEN_RESTS) {
            let app = app.clone();
            tokio::task::spawn_blocking(move || app.pictures.rest());
        }
    }
}
